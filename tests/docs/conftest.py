"""The small things that the documentation's examples work on."""

from __future__ import annotations

import gzip
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import Command, banded_images, end_of, landed, until
from examples import ROOT
from PIL import Image
from shrinking import smaller

from archscout.testing.tasks import strokes


@pytest.fixture(scope="session")
def world(archscout: Command, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder with all that the pages speak of."""

    def make(folder: Path) -> None:
        for name, classes in (
            ("images", ("high", "middle", "low")), ("new-images", ("high", "middle", "low")), ("photos", ("ash", "elm", "oak")),
            ("new", ("one", "two", "three")),
        ):  # fmt: skip
            _pictures(folder / name, classes)
        _characters(folder / "characters", "train", 20, 6)
        _characters(folder / "shown", "test", 5, 1)
        for number, name in enumerate(("story.txt", "other.txt", "book.txt")):
            _story(folder / name, number)
        _story(folder / "data" / "text" / "warandpeace.valid.txt", 0)
        _story(folder / "data" / "text" / "warandpeace.test.txt", 1)
        for name in ("mnist", "fashion-mnist"):
            _idx_files(folder / "data" / name)
        _omniglot(folder / "data")
        images, labels = _ten_classes(300, 12)
        classes = "airplane automobile bird cat deer dog frog horse ship truck".split()
        np.savez(folder / "cifar10.npz", x=np.repeat(images[..., None], 3, 3), y=labels, classes=classes)
        (folder / "my.csv").write_text("architecture,value\nnas201:0.0.0.0.0.1,70.5\nnas201:3.3.3.1.3.2,91.25\n")
        shutil.copytree(ROOT / "results", folder / "results", ignore=shutil.ignore_patterns("*.html", "*.lock"))
        search = smaller(["search", "--data", "photos", "--space", "nas201", "--out", "runs/photos"])
        archscout(*search, cwd=folder)
        began = archscout.start(*search[:-1], search[-1], "--out", "runs/interrupted", "--data", "images", cwd=folder)
        assert until(lambda: landed(folder / "runs" / "interrupted") > 1, began)
        began.kill()
        end_of(began)

    return once("documented", make)


def _pictures(folder: Path, classes: tuple[str, ...]) -> None:
    """A sub-folder with thirty small images for each class, and one that is none of them."""
    for number, (image, label) in enumerate(zip(*banded_images(90), strict=True)):
        place = folder / classes[label] / f"{number:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place)


def _characters(folder: Path, part: str, classes: int, images: int) -> None:
    """A sub-folder for each class."""
    split = strokes(part, 14, classes, images, 0)
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        place = folder / f"character {label:02}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place)


def _omniglot(folder: Path) -> None:
    """Characters as the prepared form has them."""
    for part, kind, classes in (("background", "train", 24), ("evaluation", "test", 12)):
        split = strokes(kind, 28, classes, 6, 1)
        names = [f"{'Greek' if number % 2 else 'Latin'}{part}/character{number:02}" for number in range(classes)]
        np.savez(folder / f"omniglot28_{part}.npz", images=split.images[..., 0], character=split.labels, character_names=names)


def _story(path: Path, seed: int) -> None:
    draw = random.Random(seed)
    people, deeds, things = "anna boris carl dora".split(), "sees hears likes".split(), "dog cat tree house".split()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"Once upon a time {draw.choice(people)} {draw.choice(deeds)} the {draw.choice(things)}" for _ in range(120)]
    path.write_text("\n".join(lines) + "\n")


def _ten_classes(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, side, side) of bytes and their labels, 0 to 9, told by the place of a bright field."""
    labels = np.arange(count) % 10
    images = np.random.default_rng(0).integers(0, 120, (count, side, side))
    high, wide = side // 3, side // 4
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 4)
        image[high * row : high * (row + 1), wide * column : wide * (column + 1)] += 130
    return images.astype(np.uint8), labels.astype(np.uint8)


def _idx_files(folder: Path) -> None:
    """The four files of the MNIST family."""
    folder.mkdir(parents=True)
    images, labels = _ten_classes(1200, 28)
    for part, rows in (("train", slice(1000)), ("t10k", slice(1000, None))):
        for kind, array in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
