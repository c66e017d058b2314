"""Tiny tasks in memory, of images, tokens and episodes, for tests of spaces, judges and strategies."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np
from PIL import Image, ImageDraw

from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Task
from archscout.core.seeds import generator
from archscout.nn.batches import ImageSplit
from archscout.nn.episodes import EpisodeSplit
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


def episode_task(
    ways: int = 3, shots: int = 1, queries: int = 2, *, side: int = 12, classes: tuple[int, int] = (12, 6), seed: int = 0
) -> Task:
    """A few-shot task of drawn strokes (`strokes`). classes: for training and for validation."""
    fingerprint = blake2b(f"episode_task {ways} {shots} {queries} {side} {classes} {seed}".encode(), digest_size=16).hexdigest()
    counts = {"train": 4 * classes[0], "valid": 6}
    splits = {
        name: EpisodeSplit(strokes(name, side, number, shots + queries + 1, seed), ways, shots, queries, counts[name])
        for name, number in zip(counts, classes, strict=True)
    }
    return Task("strokes", FEW_SHOT, (1, side, side), ways, fingerprint, splits)


@lru_cache(maxsize=16)
def strokes(name: str, side: int, classes: int, images: int, seed: int) -> ImageSplit:
    """Characters that nobody knows: three joined strokes make a class; its images are drawn with a shaking, shifted hand.

    name: of the part, so that parts share no class. images: of each class.
    """
    rng = generator(seed, "strokes", name)
    drawn = np.zeros((classes * images, side, side, 1), np.uint8)
    for number in range(classes):
        corners = rng.uniform(0.15, 0.85, (4, 2))
        for image in range(images):
            shaken = (corners + rng.normal(0, 0.03, corners.shape) + rng.normal(0, 0.04, 2)) * side
            picture = Image.new("L", (side, side))
            ImageDraw.Draw(picture).line([tuple(corner) for corner in shaken.tolist()], 255, int(rng.integers(1, 2 + side // 14)))
            drawn[number * images + image, :, :, 0] = np.asarray(picture)
    labels = np.repeat(np.arange(classes, dtype=np.int64), images)
    pixels = drawn / 255
    source = (strokes, (name, side, classes, images, seed))
    return ImageSplit(drawn, labels, np.arange(len(labels)), (float(pixels.mean()),), (float(pixels.std()),), source=source)
