from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from archscout.core.errors import DataError, StorageError
from archscout.data import _prepared
from archscout.data._opened import DataRequest, open_data

Make = Callable[..., Path]


def entries(cache: Path) -> list[Path]:
    return [path for path in (cache / "prepared").iterdir() if path.is_dir()]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []
    make = _prepared._make

    def counting(folder: Path, *rest: object) -> None:
        made.append(folder)
        make(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(_prepared, "_make", counting)
    return made


def test_the_second_opening_reads_the_cache(images: Make, counted: list[Path]) -> None:
    root = images({"aa": 5, "bb": 5})
    first, second = open_data(DataRequest(str(root))), open_data(DataRequest(str(root)))
    assert len(counted) == 1 and first.fingerprint == second.fingerprint and first.notes == second.notes
    os.utime(root / "aa" / "000.png", ns=(1, 1))
    open_data(DataRequest(str(root)))
    open_data(DataRequest(str(root), image_size="8"))
    assert len(counted) == 3


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "given.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_made_again(images: Make, own_cache: Path, counted: list[Path], name: str, damage: str) -> None:
    request = DataRequest(str(images({"train/aa": 5, "train/bb": 5, "test/aa": 3, "test/bb": 3})))
    before = open_data(request)
    [folder] = entries(own_cache)
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        place = content.find(b"NUMPY") if name.endswith(".npz") else len(content) // 2  # some bytes of a zip have no meaning
        content[place] ^= 0xFF
        path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    after = open_data(request)
    assert after.fingerprint == before.fingerprint and len(counted) == 2
    assert (after.task.splits["train"].images[:] == _pixels(request)).all()


def _pixels(request: DataRequest) -> np.ndarray:
    from PIL import Image

    return np.stack([np.asarray(Image.open(path)) for path in sorted(Path(request.source).rglob("*.png"))])


def test_a_changed_fact_is_noticed(images: Make, own_cache: Path, counted: list[Path]) -> None:
    request = DataRequest(str(images({"aa": 5, "bb": 5})))
    open_data(request)
    path = entries(own_cache)[0] / "meta.json"
    path.write_text(path.read_text().replace('"aa"', '"ab"'))
    assert open_data(request).classes == ("aa", "bb") and len(counted) == 2


def test_a_damaged_split_is_made_again(images: Make, own_cache: Path) -> None:
    request = DataRequest(str(images({"aa": 5, "bb": 5})))
    before = open_data(request)
    [split] = entries(own_cache)[0].glob("split-*.npz")
    split.write_bytes(b"damaged")
    _prepared.open_split.cache_clear()
    after = open_data(request)
    assert (after.task.splits["train"].rows == before.task.splits["train"].rows).all()
    assert after.preprocessing == before.preprocessing


def test_what_a_killed_process_left_is_removed(images: Make, own_cache: Path) -> None:
    request = DataRequest(str(images({"aa": 5, "bb": 5})))
    open_data(request)
    [folder] = entries(own_cache)
    (folder / "meta.json").unlink()
    left = folder.with_name(f"{folder.name}.dead.tmp")
    left.mkdir()
    (left / "images.npy").write_bytes(b"half")
    open_data(request)
    assert entries(own_cache) == [folder]


def test_a_failure_leaves_nothing_behind(images: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = images({"aa": 5, "bb": 5})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_prepared.os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        open_data(DataRequest(str(root)))
    assert entries(own_cache) == []


def test_a_cache_that_cannot_be_written(images: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set ARCHSCOUT_CACHE"):
        open_data(DataRequest(str(images({"aa": 5, "bb": 5}))))


def test_two_processes_prepare_the_same_set_at_once(images: Make, own_cache: Path) -> None:
    root = images({"aa": 60, "bb": 60}, size=(64, 64))
    program = "import sys; from archscout.data._opened import *; print(open_data(DataRequest(sys.argv[1])).fingerprint)"
    both = [subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=100)[0].strip() for process in both]
    assert said[0] == said[1] == open_data(DataRequest(str(root))).fingerprint
    assert len(entries(own_cache)) == 1
