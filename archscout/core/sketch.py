"""What images a set holds, as a few numbers: enough to tell that two sets share images, too few to make an image again.

A sketch is the k smallest of the 64-bit hashes of a set's images (Broder, "On the resemblance and containment of documents", 1997):
of two sets that share images, both keep about the same ones. Before it is hashed, an image is brought to a canonical form (three
channels, dark on average, 32 x 32 pixels) by whole-number arithmetic alone, so that grey, RGB and inverted copies are the same and
every machine finds the same hashes. Scaled, cropped or compressed copies are other images.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

KEPT = 4096
"""How many hashes a sketch keeps at most."""
_WRITTEN = 1000
_SIDE = 32
_BLOCK = 1024


def sketch(images: NDArray[np.uint8], kept: int = KEPT) -> NDArray[np.uint64]:
    """The smallest hashes of images (N, H, W, C), C 1 or 3, ascending, each once; images of one colour are left out."""
    found: list[NDArray[np.uint64]] = []
    for start in range(0, len(images), _BLOCK):
        block = np.asarray(images[start : start + _BLOCK])
        block = block[block.max((1, 2, 3)) > block.min((1, 2, 3))]
        hashes = [int.from_bytes(blake2b(image.tobytes(), digest_size=8).digest(), "big") for image in _canonical(block)]
        found.append(np.array(hashes, np.uint64))
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))[:kept]


def shared(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> int:
    """How many images two sets surely share; they may share more, of which one of the sketches does not tell."""
    return len(np.intersect1d(first, second, assume_unique=True))


def _canonical(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, C) -> (N, 32, 32, 3)."""
    count, height, width, channels = images.shape
    bright = images.sum((1, 2, 3), dtype=np.int64) * 2 > 255 * height * width * channels
    dark = np.where(bright[:, None, None, None], 255 - images, images)
    small = dark if (height, width) == (_SIDE, _SIDE) else _resized(dark)
    return np.ascontiguousarray(np.broadcast_to(small, (count, _SIDE, _SIDE, 3)))


def _resized(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, C) -> (N, 32, 32, C), each new pixel the average of what it covers, rounded half up."""
    count, height, width, channels = images.shape
    # Sums of whole numbers below 2**53 are exact in float64, in any order; and whole numbers alone are multiplied slowly.
    rows = np.matmul(_overlaps(height), images.reshape(count, height, width * channels).astype(np.float64)).reshape(
        count * _SIDE, width, channels
    )
    total = np.matmul(_overlaps(width), rows).astype(np.int64).reshape(count, _SIDE, _SIDE, channels)
    whole = height * width
    small: NDArray[np.uint8] = ((2 * total + whole) // (2 * whole)).astype(np.uint8)
    return small


def _overlaps(length: int) -> NDArray[np.float64]:
    """(32, length): how much of each of 32 equal stretches each old pixel covers; every row sums to `length`."""
    new, old = np.arange(_SIDE)[:, None], np.arange(length)[None, :]
    covered = np.minimum((new + 1) * length, (old + 1) * _SIDE) - np.maximum(new * length, old * _SIDE)
    return np.asarray(np.maximum(covered, 0), np.float64)


def to_text(found: NDArray[np.uint64]) -> str:
    """A sketch as hexadecimal digits, the smallest thousand of it."""
    return found[:_WRITTEN].astype(">u8").tobytes().hex()


def from_text(text: str) -> NDArray[np.uint64]:
    """The sketch that `to_text` wrote."""
    return np.frombuffer(bytes.fromhex(text), ">u8").astype(np.uint64)
