"""Published files: where they may lie, and how IDX files (the MNIST family) are read."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.data._contents import Contents, FlipRule, Found, Place, file_identity, from_array
from archscout.data._download import RemoteFile, fetch

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def at_hand(place: Place, names: Sequence[str], folders: Sequence[str]) -> list[Path] | None:
    """All these files in one folder of the data directory, or None.

    Each may have the ending .gz. folders: relative to the data directory; "" is the directory itself. The directory may also be
    one of these folders.
    """
    if place.data_dir is None:
        return None
    root = place.data_dir.resolve()
    candidates = [root / folder for folder in folders]
    if root.name in {Path(folder).name for folder in folders if folder}:
        candidates.append(root)
    for candidate in candidates:
        paths = [_plain_or_packed(candidate / name) for name in names]
        if all(path is not None for path in paths):
            return [path for path in paths if path is not None]
    return None


def fetched(place: Place, files: Sequence[RemoteFile], name: str) -> list[Path]:
    """These files from the cache, downloaded where they are missing. Raises DataError."""
    folder = place.cache / "downloads" / name
    return [fetch(file, folder, name, place.progress) for file in files]


def idx_family(name: str, paths: Sequence[Path], classes: Sequence[str], flip: FlipRule, notes: Sequence[str]) -> Found:
    """A set of four IDX files (training images and labels, test images and labels), or of two (then every split is drawn)."""

    def read() -> Contents:
        images = [read_idx(path, 3) for path in paths[::2]]
        labels = [read_idx(path, 1) for path in paths[1::2]]
        for path, pictures, numbers in zip(paths[::2], images, labels, strict=True):
            if len(pictures) != len(numbers) or int(numbers.max(initial=0)) >= len(classes):
                raise DataError(f"'{path}' and its labels do not belong together; download the set '{name}' again")
        splits = {}
        if len(images) == 2:
            first, second = len(images[0]), len(images[1])
            splits = {"train": np.arange(first), "test": np.arange(first, first + second)}
        fraction, most = (0.1, 5000) if splits else (0.15, None)
        whole = np.concatenate(images)[:, :, :, None]
        more = {"splits": splits, "valid_fraction": fraction, "valid_most": most, "flip": flip, "notes": notes}
        return from_array(whole, np.concatenate(labels), classes, **more)

    return Found(name, file_identity(paths), read)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes, perhaps gzip-compressed. Raises DataError for any other or damaged file."""
    opened: Callable[..., gzip.GzipFile] = gzip.open if path.suffix == ".gz" else open  # type: ignore[assignment]
    try:
        with opened(path, "rb") as file:
            zero, kind, number = struct.unpack(">HBB", file.read(4))
            if (zero, kind, number) != (0, 8, dimensions):
                raise ValueError(f"its header does not announce {dimensions} dimensions of bytes")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = int(np.prod(shape, dtype=np.int64))
            values = file.read(size + 1) if size <= 1 << 31 else b""
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read as an IDX file ({error}); remove it and fetch it again") from error
    if len(values) != size:
        raise DataError(f"'{path}' should hold {size:,} values, but has {len(values):,}; remove it and fetch it again")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _plain_or_packed(path: Path) -> Path | None:
    packed = path.with_name(f"{path.name}.gz")
    return path if path.is_file() else packed if packed.is_file() else None
