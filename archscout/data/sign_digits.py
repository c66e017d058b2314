"""Sign language digits: 2,062 colour images of hands showing 0 to 9, 32 x 32 pixels (Apache-2.0).

Mavi, "A new dataset and proposed convolutional neural network architecture for classification of American Sign Language
digits" (2020, arXiv:2011.08927). There is no test part, so all splits are drawn.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archscout.core.errors import DataError
from archscout.data._contents import Contents, FlipRule, Found, Place, file_identity, from_array, read_member, read_npz
from archscout.data._download import RemoteFile
from archscout.data._published import at_hand, fetched

_SIDE, _COUNT = 32, 2062
_ARCHIVE = RemoteFile(
    "Sign-Language-Digits-Dataset.zip",
    ("https://github.com/ardamavi/Sign-Language-Digits-Dataset/archive/refs/heads/master.zip",),
    None,  # GitHub makes this archive on request and publishes no checksum; the contents are counted instead
)


@dataclass(frozen=True)
class SignDigits:
    """Sign language digits, whole."""

    def find(self, place: Place) -> Found:
        """In the data directory (sign_digits32.npz or the repository's archive), in the cache, or from the network."""
        paths = at_hand(place, ["sign_digits32.npz"], ("", "sign-digits")) or at_hand(place, [_ARCHIVE.name], ("", "sign-digits"))
        [path] = paths or fetched(place, [_ARCHIVE], "sign-digits")
        return Found("sign-digits", file_identity([path]), lambda: _contents(path))


def _contents(path: Path) -> Contents:
    try:
        images, labels = _prepared(path) if path.suffix == ".npz" else _packed(path)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read as the sign language digits ({error}); remove it and fetch it again") from error
    if len(images) != _COUNT or set(labels.tolist()) != set(range(10)):
        raise DataError(f"'{path}' should hold {_COUNT} images of 10 digits, but has {len(images)}; remove it and fetch it again")
    notes = [f"The images are sign language digits (Arda Mavi, Apache-2.0), read from '{path}'."]
    flip = FlipRule(False, "a sign is made with one hand, which a mirror exchanges")
    return from_array(images, labels, [str(digit) for digit in range(10)], flip=flip, notes=notes)


def _prepared(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    file = read_npz(path)
    return file["images"].astype(np.uint8, copy=False), file["labels"].astype(np.int64)


def _packed(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pairs = list(_photographs(path))
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs], np.int64)


def _photographs(path: Path) -> Iterator[tuple[NDArray[np.uint8], int]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            words = name.split("/")
            if len(words) == 4 and words[1] == "Dataset" and words[2].isdecimal() and words[3].lower().endswith(".jpg"):
                with Image.open(io.BytesIO(read_member(archive, name)), formats=["JPEG"]) as photograph:
                    small = photograph.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
                yield np.asarray(small, np.uint8), int(words[2])
