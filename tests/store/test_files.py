from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from archscout.core.errors import StorageError
from archscout.store import files
from archscout.store.files import write_atomic, write_json


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"name": "é"})
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    for number, remedy in ((errno.ENOSPC, "make room"), (errno.EROFS, "allow writing there")):

        def refused(handle: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.os, "fsync", refused)
        with pytest.raises(StorageError, match=rf"a\.bin' cannot be written: .*\[errno {number}\].*{remedy}, then"):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_not_a_number_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", float("nan"))
    assert not list(tmp_path.iterdir())
