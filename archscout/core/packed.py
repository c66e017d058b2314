"""Arrays and facts as one compact file: an `.npz` that is read without pickle, and refused where a byte is wrong.

The array `facts` is JSON as bytes, among it the number of the format; `digest` is that of all other arrays.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import UserError

Arrays = Mapping[str, NDArray[Any]]
Value = TypeVar("Value")
_MOST_BYTES = 1 << 28
"""Of a file, unpacked: two million architectures and several judges. A file may come from anywhere."""


@dataclass(frozen=True)
class PackedKind:
    """A kind of file, and what messages say of it.

    what: its name, such as "score file". format: the number that this version writes and reads. names: of its arrays, in the order
    of the digest. made_by: the command that makes one. again, renewed: what to do about one that is foreign, or damaged.
    """

    what: str
    format: int
    names: tuple[str, ...]
    made_by: str
    again: str
    renewed: str


def pack_arrays(arrays: Arrays, kind: PackedKind) -> bytes:
    """The file of these arrays, `facts` among them."""
    file = io.BytesIO()
    np.savez_compressed(file, digest=arrays_digest(arrays, kind.names), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def facts_array(facts: Mapping[str, Any], kind: PackedKind) -> NDArray[np.uint8]:
    """Facts, and the number of the format, as an array."""
    return np.frombuffer(json.dumps({"format": kind.format, **facts}, allow_nan=False).encode(), np.uint8)


def read_packed(path: Path, kind: PackedKind, parse: Callable[[Mapping[str, Any], Arrays], Value]) -> Value:
    """What `parse` makes of the facts and arrays in a file. Raises UserError where it is missing, damaged, or something else."""
    try:
        with np.load(io.BytesIO(_content(path)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in kind.names}
            whole = np.array_equal(file["digest"], arrays_digest(arrays, kind.names))
        facts = json.loads(arrays["facts"].tobytes()) if whole else {}
        made = (facts["format"], parse(facts, arrays)) if whole else None
    except FileNotFoundError:
        raise UserError(f"there is no {kind.what} '{path}'; make one with: {kind.made_by} --out {path}") from None
    except Exception as error:  # a foreign file can break zip, zlib and NumPy's parser in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is no {kind.what} of archscout, or it is damaged ({reason[:200]}); {kind.again}") from error
    if made is None:
        raise UserError(f"the {kind.what} '{path}' is damaged (its checksum differs); {kind.renewed}")
    number, value = made
    if number != kind.format:
        raise UserError(f"the {kind.what} '{path}' has format {number}, but this version reads {kind.format}; update archscout")
    return value


def arrays_digest(arrays: Arrays, names: Sequence[str]) -> NDArray[np.uint8]:
    """16 bytes that follow from the names, types, shapes and values of arrays, in this order of names."""
    hashed = blake2b(digest_size=16)
    for name in names:
        hashed.update(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode())
        hashed.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(hashed.digest(), np.uint8)


def _content(path: Path) -> bytes:
    """The bytes of a file that unpacks to no more than may be read. Raises ValueError for another."""
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, and at most {_MOST_BYTES:,} are read")
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError(f"it unpacks to {size:,} bytes, and at most {_MOST_BYTES:,} are read")
    return content
