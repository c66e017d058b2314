"""Arrays in .npz files, read one at a time, without pickle, and never more of them than is asked for.

A file may come from anywhere: sizes are checked against a bound before anything is read, and only plain arrays under plain names
are let through. Writing is reproducible: equal arrays give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from archscout.benchmarks._seal import forbid_searchers
from archscout.core.errors import UserError

MOST_BYTES = 64 << 20
"""Of a file, and of an array in it."""
TEST_SUFFIX = ".test.npz"
"""The files that only `benchmarks.verdict` reads."""
_MOST_ARRAYS = 256
_MOST_DIRECTORY = 1 << 20
_LONGEST_HEADER = 10_000
_MEMBER = re.compile(r"[\w-][\w.-]*\.npy", re.ASCII)
_END, _END_BYTES = b"PK\x05\x06", 22
_LARGE, _LARGE_BYTES = b"PK\x06\x07", 20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class UnreadableArrays(Exception):
    """A file that is no .npz of plain arrays within the bounds; the text says why, as a clause."""


def read(path: Path, name: str) -> NDArray[Any]:
    """One array, read-only. Raises UnreadableArrays, OSError; ImportError where a search asks for test values."""
    if path.name.endswith(TEST_SUFFIX):
        forbid_searchers()
    with _opened(path) as archive:
        if f"{name}.npy" not in archive.namelist():
            listed = ", ".join(sorted(member.removesuffix(".npy") for member in archive.namelist())[:10]) or "nothing"
            raise UnreadableArrays(f"it has no array '{name}', but {listed}")
        try:
            with archive.open(f"{name}.npy") as file:
                return _array(file, name, archive.getinfo(f"{name}.npy").file_size)
        except UnreadableArrays:
            raise
        except Exception as error:  # a foreign file can break zip, zlib and NumPy's parser in many ways
            raise UnreadableArrays(f"its array '{name}' is damaged: {' '.join(str(error).split())[:200]}") from error


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write the arrays in the order of the mapping; gives the file's checksum. Equal arrays give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    keep(path, packed.getvalue())
    return checksum(path)


def keep(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all: the old one stays until the new one is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, wanted: str, advice: str) -> None:
    """Raises UserError where the file is missing or other than the checksum says. advice: what to do then."""
    try:
        found = checksum(path)
    except OSError as error:
        raise UserError(f"the recorded values in '{path}' cannot be read ({error.strerror or error}); {advice}") from error
    if found != wanted:
        raise UserError(f"the recorded values in '{path}' are damaged (their checksum differs); {advice}")


def _opened(path: Path) -> zipfile.ZipFile:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UnreadableArrays(f"it has {size:,} bytes, and at most {MOST_BYTES:,} are read")
    _check_end(path, size)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UnreadableArrays(f"it is no .npz file ({error})") from error
    strange = next((member for member in archive.namelist() if not _MEMBER.fullmatch(member)), None)
    packed = {entry.compress_type for entry in archive.infolist()}
    if strange is not None or not packed <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        archive.close()
        raise UnreadableArrays(f"it holds '{strange[:80]}', which is no array" if strange else "it is packed in an unusual way")
    return archive


def _check_end(path: Path, size: int) -> None:
    """The archive's directory is small: it is read as a whole, whatever it says."""
    with path.open("rb") as file:
        file.seek(max(0, size - _END_BYTES - _LARGE_BYTES))
        tail = file.read()
    end = tail[-_END_BYTES:]
    if not end.startswith(_END) or len(end) < _END_BYTES:
        raise UnreadableArrays("it is no .npz file, or it was cut short")
    arrays, directory = struct.unpack("<HI", end[10:16])
    if tail.startswith(_LARGE) or arrays > _MOST_ARRAYS or directory > _MOST_DIRECTORY:
        raise UnreadableArrays(f"it holds more than {_MOST_ARRAYS} arrays")


def _array(file: IO[bytes], name: str, size: int) -> NDArray[Any]:
    if size > MOST_BYTES:
        raise UnreadableArrays(f"its array '{name}' has {size:,} bytes, and at most {MOST_BYTES:,} are read")
    read_header = _HEADERS.get(np.lib.format.read_magic(file))
    if read_header is None:
        raise UnreadableArrays(f"its array '{name}' has an unknown format")
    shape, fortran, kind = read_header(file, max_header_size=_LONGEST_HEADER)
    if kind.hasobject:
        raise UnreadableArrays(f"its array '{name}' holds pickled objects, which are never opened; save numbers and plain text")
    count = 1
    for extent in shape:
        count *= extent
    if count < 0 or count * kind.itemsize > size:
        raise UnreadableArrays(f"its array '{name}' claims {count:,} values, more than there are bytes for")
    content = file.read(count * kind.itemsize)
    if len(content) < count * kind.itemsize or file.read(1):
        raise UnreadableArrays(f"its array '{name}' has another length than it claims")
    return np.frombuffer(content, kind, count).reshape(shape, order="F" if fortran else "C")
