"""Rows 7 and 11 of the fault table: a full disk, and cut or changed bytes, for everything that keeps the state of a training.

Four things do: the training of a network, of a supernet, of a method that learns across tasks, and a search with snapshots.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import Command, Process, end_of, full_disk, limit_files, until
from safetensors.numpy import load_file

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import DamagedError, RunError, StorageError
from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.engine import lectures
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Inline
from archscout.engine.lectures import Lectures
from archscout.export.weights import load_weights, save_weights
from archscout.learners import weight_sharing
from archscout.nn import checkpoint
from archscout.nn.recipe import Recipe, new_network
from archscout.nn.train import fit
from archscout.store.runs import RunStore
from archscout.testing.databases import MadeUp
from archscout.testing.problems import Counting, counting
from archscout.testing.tasks import image_task

WATCHED = Path(__file__).parent / "plugins" / "watched.py"
SMALL = Problem(catalogue.make("spaces", "nas201", channels=2, cells=1), image_task((3, 8, 8), 3, 64))
Moment = Callable[[int], object]
"""Called with the number of each step, before what it gave is saved."""


class Stopped(BaseException):
    """What ends a training from outside."""


class Network:
    """The training of a network, an epoch a step."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.newest, self.seed = folder / "network.safetensors", seed

    def go(self, moment: Moment = lambda step: None) -> dict[str, bytes]:
        network = new_network(counting().space, sample(counting().space, generator(0)), SMALL.task, seed=0)
        recipe = Recipe(batch=16, optimizer="adamw", learning_rate=0.003, average=0.9)
        fit(
            network, SMALL.task, recipe, seed=self.seed, epochs=6, checkpoint=self.newest, checkpoint_every_s=0.0,
            on_epoch=lambda report: moment(round(report.epoch)),
        )  # fmt: skip
        return as_bytes(network.state_dict())


class Supernet:
    """The training of shared weights."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.seed = seed
        self.learner = weight_sharing.WeightSharing(epochs=1, batch=8, channels=2, depth=1, images=16, keep=str(folder))
        self.newest = self.learner._path(SMALL, seed)

    def go(self, moment: Moment = lambda step: None) -> dict[str, bytes]:
        for step, _ in self.learner.fitting(SMALL, seed=self.seed):
            moment(step)
        found, _ = checkpoint.load(self.newest)
        assert found is not None
        return as_bytes(found[0])


class Lesson:
    """The training of a method that learns across tasks."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.learner = catalogue.make("meta", "metad2a", code=8, hidden=16, per_class=3, epochs=2, batch=4, rate=0.004)
        made = MadeUp(catalogue.make("spaces", "nas201"), width=4, images=6, hidden=1)
        database, features = made.database(4, 6), [made.features(task) for task in range(4)]

        def training(state: Any) -> Any:
            return self.learner.training(database, made.space, features, seed=seed, state=state)

        self.course = Lectures(self.learner, training, [database.digest], seed=seed, folder=folder)
        self.newest = self.course.path

    def go(self, moment: Moment = lambda step: None) -> dict[str, bytes]:
        learned, _ = self.course.attend(tell=lambda lecture: moment(lecture.done))
        return as_bytes(learned)


@dataclass(frozen=True)
class Wandering:
    """A strategy that draws numbers, and keeps them in its snapshots."""

    def search(self, problem: Problem, *, seed: int, state: Any = None) -> Search:
        drawn = np.zeros(0) if state is None else state["drawn"]
        for step in range(len(drawn) // 1000, 8):
            drawn = np.concatenate([drawn, generator(seed, step).random(1000)])
            yield Progress(sample(problem.space, generator(seed, step)), {"mean": float(drawn.mean())}, {"drawn": drawn})
        return sample(problem.space, generator(int(drawn.sum() * 1e9)))


class Snapshots:
    """A search with snapshots."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder / "run", seed

    @property
    def newest(self) -> Path:
        return self.folder / "checkpoints" / f"screen-{self._steps()[-1]}.safetensors"

    def go(self, moment: Moment = lambda step: None) -> dict[str, bytes]:
        made = RunStore.open if self.folder.exists() else lambda folder: RunStore.create(folder, request={}, seed=self.seed)
        with made(self.folder) as store, Inline() as executor:
            store.heed(checkpoint._log.warning)
            log = store.stage("screen")
            answer = drive(
                Wandering(), {"main": Counting()}, counting(), seed=self.seed, log=log, executor=executor, budget=Budget(),
                notify=lambda event: moment(len(log.moves)),
            )  # fmt: skip
            reports = [dict(move.metrics) for _, _, move in store.progress()]
        return {"answer": str(answer).encode(), "reports": repr(reports).encode()}

    def _steps(self) -> list[int]:
        return sorted(int(path.stem.split("-")[1]) for path in (self.folder / "checkpoints").iterdir())


KINDS = (Network, Supernet, Lesson, Snapshots)


@pytest.fixture(autouse=True)
def saving_always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(weight_sharing, "_SAVED_EVERY", 0.0)
    monkeypatch.setattr(lectures, "_SAVED_EVERY", 0.0)
    yield


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__.lower())
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def as_bytes(tensors: Any) -> dict[str, bytes]:
    return {name: np.ascontiguousarray(value).tobytes() for name, value in tensors.items() if not isinstance(value, str)}


def files(folder: Path) -> dict[Path, bytes]:
    """All files but those of SQLite."""
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.startswith(("run.sqlite", "lock"))
    }


def test_row_7_disk_full_in_a_save(kind: Any, tmp_path: Path) -> None:
    straight = kind(tmp_path / "straight").go()
    training, before = kind(tmp_path / "full"), {}
    with FullFrom(4, lambda: before.update(files(tmp_path / "full"))) as moment, pytest.raises(StorageError) as caught:
        training.go(moment)
    assert str(tmp_path / "full") in str(caught.value) and f"[errno {errno.EFBIG}]" in str(caught.value)
    assert before and files(tmp_path / "full") == before, (
        "the checkpoints from before should be untouched, and no other file be left"
    )
    assert training.go() == straight


class FullFrom:
    """The disk is full from the step of this number on; `note` is called just before."""

    def __init__(self, step: int, note: Callable[[], object]) -> None:
        self._step, self._note, self._full = step, note, full_disk(300)

    def __enter__(self) -> Moment:
        return self._look

    def __exit__(self, *error: object) -> None:
        self._full.__exit__(None, None, None)

    def _look(self, step: int) -> None:
        if step == self._step:
            self._note()
            self._full.__enter__()


def stopped(training: Any, after: int) -> tuple[Path, bytes]:
    """Stop a training once two checkpoints are there: the newest, and what is in it."""

    def stop(step: int) -> None:
        if step == after:
            raise Stopped

    with pytest.raises(Stopped):
        training.go(stop)
    return training.newest, training.newest.read_bytes()


def test_row_11_a_cut_checkpoint(kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    straight = kind(tmp_path / "straight").go()
    newest, content = stopped(training := kind(tmp_path / "cut"), 4)
    newest.write_bytes(content[: len(content) // 2])
    begun: list[int] = []
    assert training.go(begun.append) == straight
    assert 1 < min(begun) <= 4, "it should go on from the checkpoint before"
    [said] = [record.message for record in caplog.records if str(newest) in record.message]
    assert "checksum" in said or "damaged" in said


@pytest.mark.parametrize("seed", range(3))
def test_row_17_a_training_goes_on_from_a_random_moment(kind: Any, seed: int, tmp_path: Path) -> None:
    straight = kind(tmp_path / "straight", seed).go()
    stopped(training := kind(tmp_path / "cut", seed), int(generator(seed, "stop").integers(1, 6)))
    assert training.go() == straight


@pytest.mark.parametrize("kind", [Network, Supernet, Lesson], indirect=True)
def test_row_11_flipped_bits_of_checkpoints(kind: Any, tmp_path: Path) -> None:
    newest, content = stopped(kind(tmp_path), 4)
    (whole, _), (before, _) = checkpoint.load(newest), checkpoint.load(checkpoint.previous(newest))
    assert whole is not None and before is not None and not same(whole, before)
    noticed = 0
    for damaged in flipped(content):
        newest.write_bytes(damaged)
        found, said = checkpoint.load(newest)
        assert found is not None and same(found, before if said else whole)
        assert all(str(newest) in remark and "damaged" in remark for remark in said)
        noticed += bool(said)
    assert noticed >= 95, "bits without a meaning are few"


def test_row_11_flipped_bits_of_snapshots(tmp_path: Path) -> None:
    newest, content = stopped(training := Snapshots(tmp_path), 6)
    for damaged in flipped(content):
        newest.write_bytes(damaged)
        with RunStore.read(training.folder) as store:
            number, state = store.stage("screen").restart()
            [said] = store.warnings
        assert str(newest) in said and "checksum does not fit" in said
        assert state is not None and len(state["drawn"]) == 1000 * number == 1000 * (training._steps()[-2] + 1)


def test_row_11_flipped_bits_of_exported_weights(tmp_path: Path) -> None:
    path, network = tmp_path / "model.safetensors", torch.nn.Linear(5, 3)
    save_weights(network, path)
    whole = as_bytes(network.state_dict())
    content, noticed = path.read_bytes(), 0
    for damaged in [content[: len(content) // 2], *flipped(content)]:
        path.write_bytes(damaged)
        try:
            load_weights(network, path)
        except RunError as error:
            assert str(path) in str(error)
            noticed += 1
        assert as_bytes(network.state_dict()) == whole
    assert noticed >= 90


def test_row_11_the_weights_of_a_result_are_no_earlier_ones(tmp_path: Path) -> None:
    training = Network(tmp_path)
    training.go()
    content = training.newest.read_bytes()
    assert checkpoint.previous(training.newest).exists() and checkpoint.weights(training.newest)
    training.newest.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match=r"network\.safetensors' are damaged .*; restore a copy") as caught:
        checkpoint.weights(training.newest)
    assert caught.value.exit_code == 1


def flipped(content: bytes) -> Iterator[bytes]:
    """The content with one bit flipped, at 100 places: ten in the lengths and the header, the others anywhere."""
    rng = np.random.default_rng(0)
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    for place in [*rng.integers(0, 64, 3), *rng.integers(64, header, 7), *rng.integers(0, 8 * len(content), 90)]:
        damaged = bytearray(content)
        damaged[int(place) // 8] ^= 1 << int(place) % 8
        yield bytes(damaged)


def same(one: checkpoint.Contents, other: checkpoint.Contents) -> bool:
    return as_bytes(one[0]) == as_bytes(other[0]) and one[1] == other[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux sets the limits of another process")
def test_rows_7_and_11_as_a_user_sees_them(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    def train(name: str) -> Process:
        trace = tmp_path / f"{name}.trace"
        process = archscout.start(
            *("train", "watched:1.1.0", "--space", WATCHED, "--data", small_data, "--epochs", 4, "--formats", "", "--json"),
            *("--recipe", "darts-cifar10", "--set", f"space.trace={trace}", "--out", tmp_path / name),
        )  # fmt: skip
        os.sched_setaffinity(process.pid, [max(os.sched_getaffinity(0))])  # on a busy machine, two threads wait for one another
        return process

    def steps(name: str) -> int:
        trace = tmp_path / f"{name}.trace"
        return trace.read_text().count("\n") if trace.exists() else 0

    def cut(number: signal.Signals, code: int) -> None:
        had = steps("run")
        process = train("run")
        assert until(lambda: steps("run") > had + 10, process)
        process.send_signal(number)
        assert end_of(process).code == code

    assert end_of(train("straight")).code == 0
    cut(signal.SIGTERM, 143)
    cut(signal.SIGTERM, 143)
    [newest] = [path for path in (tmp_path / "run").rglob("*.safetensors") if checkpoint.previous(path).exists()]
    content, earlier = newest.read_bytes(), checkpoint.previous(newest).read_bytes()
    cut(signal.SIGKILL, -signal.SIGKILL)
    process = train("run")
    limit_files(process, len(content) // 2)
    done = end_of(process)
    assert done.code == 1 and done.out == "" and "Traceback" not in done.err
    message = done.err.splitlines()[-1]
    assert message.startswith(f"archscout: '{newest}' cannot be written: {os.strerror(errno.EFBIG)} [errno {errno.EFBIG}]")
    assert (newest.read_bytes(), checkpoint.previous(newest).read_bytes()) == (content, earlier)
    assert not list((tmp_path / "run").rglob(".*"))
    newest.write_bytes(content[: len(content) // 2])
    done = end_of(train("run"))
    assert done.code == 0, done.err
    [said] = [line for line in done.err.splitlines() if "damaged" in line]
    assert str(newest) in said and "the previous one is tried" in said
    assert steps("run") > steps("straight"), "what was lost is trained again"
    mine, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "straight"))
    assert mine.keys() == theirs.keys() and all((mine[name] == theirs[name]).all() for name in mine)
