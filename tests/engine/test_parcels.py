"""What travels to machines that share no disk with this one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.problem import Problem, Task
from archscout.engine.parcels import Parcel, kept_folder, unwrapped, wrapped
from archscout.nn.batches import ImageSplit, batches
from archscout.testing.problems import Counting, CountingSpace, Keeping
from archscout.testing.tasks import episode_task, image_task, token_task

SPACE = CountingSpace()


class Machine:
    """Another machine: the bytes that were stowed for it, its cache, and how many were fetched."""

    def __init__(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store: list[bytes] = []
        self.fetched: list[int] = []
        monkeypatch.setenv("ARCHSCOUT_CACHE", str(cache))

    def stow(self, data: bytes) -> int:
        self.store.append(data)
        return len(self.store) - 1

    def fetch(self, number: int) -> bytes:
        self.fetched.append(number)
        return self.store[number]

    def sent(self, thing: Any) -> Parcel:
        return wrapped(thing, self.stow)

    def got(self, parcel: Parcel) -> Any:
        packed = unwrapped(parcel, self.fetch)
        for name, path in packed.files.items():
            catalogue.load_file(Path(path), name)
        return pickle.loads(packed.data)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "cache", monkeypatch)


@pytest.mark.parametrize("make", [lambda: image_task(rows=480), lambda: token_task(tokens=9000), episode_task])
def test_a_task_arrives_as_it_was(make: Callable[[], Task], machine: Machine) -> None:
    task = make()
    there = machine.got(machine.sent(Problem(SPACE, task))).task
    assert there.fingerprint == task.fingerprint
    for name, split in task.splits.items():
        assert len(there.splits[name]) == len(split)
        if isinstance(split, ImageSplit):
            for (x, y), (other_x, other_y) in zip(
                batches(task, name, 7, seed=3, augment=True), batches(there, name, 7, seed=3, augment=True), strict=True
            ):
                assert (x == other_x).all() and (y == other_y).all()
        elif hasattr(split, "episode"):
            assert (split.episode(5).support == there.splits[name].episode(5).support).all()
        else:
            assert np.array_equal(split.ids, there.splits[name].ids)


def test_only_the_rows_of_a_split_leave(machine: Machine) -> None:
    """A split of an array that others (the test split, for one) have rows of too."""
    images = np.arange(300 * 100, dtype=np.int64).reshape(300, 10, 10, 1) // 100 % 251
    split = ImageSplit(images.astype(np.uint8), np.arange(300) % 3, np.arange(100, 300), (0.5,), (0.5,))
    task = replace(image_task(shape=(1, 10, 10)), splits={"train": split})
    there = machine.got(machine.sent(Problem(SPACE, task))).task.splits["train"]
    assert there.images.shape == (200, 10, 10, 1) and np.array_equal(there.images[there.rows], split.images[split.rows])


def test_cargo_comes_once_and_is_known_by_its_bytes(machine: Machine, tmp_path: Path) -> None:
    problem = Problem(SPACE, image_task(rows=480))
    first = machine.sent(problem)
    machine.got(first)
    count = len(machine.fetched)
    assert count == len(first.cargo) > 0
    machine.got(machine.sent(problem))
    machine.got(machine.sent(replace(problem, limits={"params": 7.0})))
    assert len(machine.fetched) == count, "the same bytes were sent again"
    [damaged, *_] = sorted((tmp_path / "cache" / "carried").rglob("array.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    machine.got(first)
    assert len(machine.fetched) == count + 1 and damaged.read_bytes() == machine.store[machine.fetched[-1]]


def test_files_that_a_judge_reads_and_keeps_are_elsewhere(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_text("seventeen")
    there = machine.got(machine.sent(Keeping(str(file), keep="runs/one/weights")))
    assert Path(there.path).read_text() == "seventeen" and Path(there.path).is_relative_to(tmp_path / "cache")
    assert there.keep == str(kept_folder())
    assert machine.got(machine.sent(Keeping("no such file"))) == Keeping("no such file")
    nested = machine.got(machine.sent(Pair((Keeping(str(file)), Counting()))))
    assert Path(nested.judges[0].path).read_text() == "seventeen" and nested.judges[1] == Counting()


@dataclass(frozen=True)
class Pair:
    """Judges within a judge."""

    judges: tuple[Any, ...]


def test_a_plug_in_file_travels_with_what_was_made_of_it(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine:\n    size: int = 3\n")
    made = catalogue.plugin("estimators", str(file))(size=5)
    parcel = machine.sent(made)
    file.unlink()  # the other machine has none
    assert machine.got(parcel) == made
    assert type(made).__module__ in parcel.modules


def test_what_cannot_travel_is_refused(machine: Machine) -> None:
    with pytest.raises(UserError, match="cannot travel"):
        machine.sent(lambda: None)


def test_a_cache_that_cannot_be_made_is_told_of(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set ARCHSCOUT_CACHE"):
        machine.got(machine.sent(Problem(SPACE, image_task(rows=480))))
