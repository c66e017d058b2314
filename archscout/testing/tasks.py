"""Tiny tasks in memory, of images and of tokens, for tests of spaces, judges and strategies."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np

from archscout.core.problem import IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Task
from archscout.core.seeds import generator
from archscout.nn.batches import ImageSplit
from archscout.nn.tokens import TokenSplit


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


def token_task(length: int = 6, classes: int = 11, tokens: int = 600, seed: int = 0) -> Task:
    """A task of tokens, each of which mostly follows from the one before: windows of L, a vocabulary of K.

    tokens: of the training split; a third as many for validation. Splits travel to workers by reference.
    """
    fingerprint = blake2b(f"token_task {length} {classes} {tokens} {seed}".encode(), digest_size=16).hexdigest()
    splits = {name: token_split(name, length, classes, tokens, seed) for name in ("train", "valid")}
    return Task("steps", LANGUAGE_MODELLING, (length,), classes, fingerprint, splits)


@lru_cache(maxsize=16)
def token_split(name: str, length: int, classes: int, tokens: int, seed: int) -> TokenSplit:
    """The split `name` ("train" or "valid") of `token_task`."""
    rng = generator(seed, "token_task", classes)
    steps = np.where(rng.random(tokens + tokens // 3) < 0.8, 1, rng.integers(classes, size=tokens + tokens // 3))
    ids = np.cumsum(steps) % classes
    part = ids[:tokens] if name == "train" else ids[tokens:]
    return TokenSplit(part.astype(np.int64), length, source=(token_split, (name, length, classes, tokens, seed)))
