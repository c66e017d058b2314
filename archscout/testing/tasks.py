"""A tiny image classification task in memory, for tests of spaces, judges and strategies."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np

from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.seeds import generator
from archscout.nn.batches import ImageSplit


def image_task(shape: tuple[int, int, int] = (1, 12, 12), classes: int = 3, rows: int = 48, seed: int = 0) -> Task:
    """A task of noise images (C, H, W), each with a bright band whose place tells its class.

    rows: training images; half as many for validation. The classes are balanced. Splits travel to workers by reference.
    """
    fingerprint = blake2b(f"image_task {shape} {classes} {rows} {seed}".encode(), digest_size=16).hexdigest()
    splits = {name: image_split(name, shape, classes, rows, seed) for name in ("train", "valid")}
    return Task("bands", IMAGE_CLASSIFICATION, shape, classes, fingerprint, splits)


@lru_cache(maxsize=16)
def image_split(name: str, shape: tuple[int, int, int], classes: int, rows: int, seed: int) -> ImageSplit:
    """The split `name` ("train" or "valid") of `image_task`."""
    channels, height, width = shape
    count = rows + max(rows // 2, classes)
    rng = generator(seed, "image_task", shape, classes)
    labels = np.arange(count, dtype=np.int64) % classes
    images = rng.integers(0, 160, (count, height, width, channels))
    for image, label in zip(images, labels, strict=True):
        start, stop = (int(edge) * height // classes for edge in (label, label + 1))
        image[start : max(stop, start + 1)] += 90
    numbers = np.arange(count, dtype=np.int64)
    train = images[:rows].reshape(-1, channels) / 255
    return ImageSplit(
        images.astype(np.uint8),
        labels,
        numbers[:rows] if name == "train" else numbers[rows:],
        tuple(float(value) for value in train.mean(0)),
        tuple(float(value) for value in train.std(0)),
        source=(image_split, (name, shape, classes, rows, seed)),
    )
