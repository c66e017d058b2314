"""What a data plug-in hands over: first where a data set is (`Found`, cheap), then what is in it (`Contents`, read once).

A plug-in is a frozen dataclass with one method, `find(place) -> Found`. Everything after that (decoding, resizing, splits,
the cache) is the same for all sets and happens in `_prepared` and `_opened`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much is done, and how much there is (0 where unknown)."""

Rows = NDArray[np.int64]
SPLITS = ("train", "valid", "test")
MOST_MEMBER_BYTES = 16 << 20


@dataclass(frozen=True)
class Place:
    """Where to look and where to keep things.

    data_dir: a folder with published data sets, laid out one sub-folder or file per set. cache: the base of the cache.
    """

    cache: Path
    data_dir: Path | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class FlipRule:
    """Whether a mirrored image keeps its label, and why: `reason` ends the sentence "mirroring is (not) used because ..."."""

    keeps_labels: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Contents:
    """What is in a data set, as found.

    count: N images. picture: opens image i (0 .. N - 1); it may raise any error for an unreadable one. label_of_picture: how
    messages call image i. labels: (N,). array: all images as (N, H, W, C) uint8 where they lie in memory like that already.
    splits: rows of the splits that the set comes with; what is missing is drawn from "train", or from all rows if that is
    missing too. valid_fraction, valid_most: how much of "train" a missing "valid" takes. flip: None to judge by class names.
    quarters: whether the images of a class, turned by quarters, make further classes for few-shot episodes.
    skipped: (name, reason) of what was passed over while listing. notes: plain sentences for the report.
    """

    labels: Rows
    classes: tuple[str, ...]
    picture: Callable[[int], Image]
    name_of: Callable[[int], str]
    array: NDArray[np.uint8] | None = None
    splits: Mapping[str, Rows] = field(default_factory=dict)
    valid_fraction: float = 0.15
    valid_most: int | None = None
    flip: FlipRule | None = None
    quarters: bool = False
    skipped: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """A data set that has been located but not read. identity: text that changes whenever the contents may have changed."""

    name: str
    identity: str
    read: Callable[[], Contents]


class DataSet(Protocol):
    """A data plug-in."""

    def find(self, place: Place) -> Found:
        """Locate the set. Raises DataError when it cannot be had."""


@runtime_checkable
class EpisodicSet(Protocol):
    """A data plug-in that has a form of its own for few-shot episodes, with more classes."""

    def for_episodes(self) -> DataSet:
        """That form."""


def digest(parts: Iterable[object], size: int = 16) -> str:
    """2 * size hex digits that follow from the text of the parts."""
    hashed = blake2b(digest_size=size)
    for part in parts:
        hashed.update(str(part).encode("utf8", "surrogateescape") + b"\x1f")
    return hashed.hexdigest()


def array_digest(*arrays: NDArray[np.generic]) -> str:
    """32 hex digits that follow from the types, shapes and values of arrays."""
    hashed = blake2b(digest_size=16)
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


def files_in(folder: Path) -> list[Path]:
    """The files below a folder, in the order of their paths, but for what is hidden: `.ipynb_checkpoints` holds copies."""
    shown = (path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in shown if path.is_file())


def file_identity(paths: Iterable[Path]) -> str:
    """Text that changes when one of the files changes: names, sizes and times of change."""
    stats = [(path.resolve(), os.stat(path)) for path in paths]
    return digest((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays (or these) of an .npz file, without pickle. Raises OSError, or ValueError for a damaged or foreign file."""
    with path.open("rb") as opened:  # NumPy alone leaves a damaged file open
        try:
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            with file:
                return {name: file[name] for name in names or file.files}
        except (EOFError, KeyError, MemoryError, SyntaxError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(str(error) or type(error).__name__) from error


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A picture in an archive, read in place. Raises ValueError where it is larger than pictures are."""
    with archive.open(name) as member:
        content = member.read(MOST_MEMBER_BYTES + 1)
    if len(content) > MOST_MEMBER_BYTES:
        raise ValueError(f"'{name}' is larger than {MOST_MEMBER_BYTES:,} bytes")
    return content


def from_array(images: NDArray[np.uint8], labels: NDArray[np.generic], classes: Sequence[str], **more: object) -> Contents:
    """Contents of images (N, H, W, C) uint8 in memory; `more` are further fields of Contents."""
    from archscout.data._decode import picture_of

    return Contents(
        labels=labels.astype(np.int64),
        classes=tuple(classes),
        picture=lambda index: picture_of(images[index]),
        name_of=lambda index: f"image {index}",
        array=images,
        **more,  # type: ignore[arg-type]
    )
