"""CIFAR-10: 60,000 colour images of animals and vehicles, 32 x 32 pixels, 10 classes (for research).

Krizhevsky, "Learning multiple layers of features from tiny images" (2009). The 10,000 test images are the test split; 5,000 of
the 50,000 training images become the validation split. Read from the binary version or from `cifar10_jpeg.npz`, a JPEG copy
that is not pixel-exact; the pickled Python version is never read.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.data._contents import Contents, FlipRule, Found, Place, file_identity, from_array, read_npz
from archscout.data._decode import open_picture
from archscout.data._download import RemoteFile
from archscout.data._published import at_hand, fetched

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PARTS = (*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin")
_RECORDS, _RECORD = 10_000, 1 + 3 * 32 * 32
_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "https://cave.cs.toronto.edu/kriz/cifar-10-binary.tar.gz"),
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
)
_FLIP = FlipRule(True, "animals and vehicles keep their class in a mirror")


@dataclass(frozen=True)
class Cifar10:
    """CIFAR-10, whole."""

    def find(self, place: Place) -> Found:
        """In the data directory (binary files, their archive, or the JPEG copy), in the cache, or from the network."""
        parts = at_hand(place, _PARTS, ("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"))
        if parts:
            return Found("cifar10", file_identity(parts), lambda: _binary([path.read_bytes() for path in parts], parts[0].parent))
        archive = at_hand(place, [_ARCHIVE.name], ("", "cifar10", "cifar-10"))
        copy = None if archive else at_hand(place, ["cifar10_jpeg.npz"], ("", "cifar10"))
        if copy:
            return Found("cifar10", file_identity(copy), lambda: _jpeg(copy[0]))
        [path] = archive or fetched(place, [_ARCHIVE], "cifar10")
        return Found("cifar10", file_identity([path]), lambda: _binary(list(_members(path)), path))


def _contents_settings(source: Path, tail: str) -> dict[str, Any]:
    splits = {"train": np.arange(50_000), "test": np.arange(50_000, 60_000)}
    notes = [f"The images are CIFAR-10 (Krizhevsky, for research use), read from '{source}'{tail}."]
    return {"splits": splits, "valid_fraction": 0.1, "valid_most": 5000, "flip": _FLIP, "notes": notes}


def _binary(parts: list[bytes], source: Path) -> Contents:
    if any(len(part) != _RECORDS * _RECORD for part in parts):
        raise DataError(f"the CIFAR-10 files in '{source}' are not whole; remove them and fetch the binary version again")
    records: NDArray[np.uint8] = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _RECORD)
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return from_array(images, records[:, 0], CLASSES, **_contents_settings(source, ""))


def _members(path: Path) -> Iterator[bytes]:
    """The six files of the archive, read in place: nothing is unpacked to the disk."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for part in _PARTS:
                member = archive.extractfile(f"cifar-10-batches-bin/{part}")
                yield b"" if member is None else member.read(_RECORDS * _RECORD + 1)
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise DataError(f"'{path}' cannot be read as binary CIFAR-10 ({error}); fetch it again") from error


def _jpeg(path: Path) -> Contents:
    try:
        file = read_npz(path)
        blobs = [file[f"{part}_jpeg"] for part in ("train", "test")]
        offsets = [file[f"{part}_offset"].astype(np.int64) for part in ("train", "test")]
        labels = np.concatenate([file[f"{part}_label"] for part in ("train", "test")]).astype(np.int64)
        classes = tuple(str(name) for name in file["classes"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"'{path}' cannot be read as the JPEG copy of CIFAR-10 ({error}); fetch it again") from error
    spans = [(part, begin, end) for part in (0, 1) for begin, end in zip(offsets[part][:-1], offsets[part][1:], strict=True)]
    if len(spans) != len(labels) or len(labels) != 60_000:
        raise DataError(f"'{path}' should hold 60,000 images with labels, but has {len(spans):,} and {len(labels):,}")
    return Contents(
        labels=labels,
        classes=classes,
        picture=lambda index: open_picture(io.BytesIO(blobs[spans[index][0]][spans[index][1] : spans[index][2]].tobytes())),
        name_of=lambda index: f"image {index} of {path.name}",
        **_contents_settings(path, ", a JPEG copy that is not pixel-exact"),
    )
