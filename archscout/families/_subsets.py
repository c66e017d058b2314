"""Tasks from a set of labelled images: some of its classes, the images of each divided between the two parts, and varied.

A source is decoded once into the cache of prepared images (`data._prepared`), where other processes find it, and checked once a
process: none may hold images that are kept for testing (`_held_out`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.core.pictures import TaskForm
from archscout.data._opened import DataRequest, open_data
from archscout.families._drawing import Design, Part, class_count
from archscout.families._held_out import check
from archscout.families._look import Floats, Look, moves, sampled
from archscout.nn.batches import ImageSplit

LEAST = 10
"""Of how many images a class must have, at least."""


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images that may be learned from.

    images: (M, H, W, C) uint8, perhaps mapped from disk. rows: of each class, those that may be used. sketch: of all of these.
    """

    name: str
    images: NDArray[np.uint8]
    rows: tuple[NDArray[np.int64], ...]
    classes: tuple[str, ...]
    mirrored: bool
    sketch: NDArray[np.uint64]


@lru_cache(maxsize=8)
def named_source(data: str, data_dir: Path | None) -> Source:
    """The training images of any data set that archscout opens. Raises DataError or UnknownName."""
    opened = open_data(DataRequest(data, data_dir=data_dir, task="image-classification"))
    train: ImageSplit = opened.task.splits["train"]
    labels = train.labels[train.rows]
    rows = tuple(train.rows[labels == label] for label in range(opened.task.classes))
    return made_source(opened.task.name, train.images, rows, opened.classes, train.augmentation.flip)


def made_source(
    name: str, images: NDArray[np.uint8], rows: tuple[NDArray[np.int64], ...], classes: tuple[str, ...], mirrored: bool
) -> Source:
    """A source of the classes with enough images, checked. Raises DataError where these are fewer than two."""
    enough = [place for place, own in enumerate(rows) if len(own) >= LEAST]
    if len(enough) < 2:
        counts = ", ".join(f"'{label}' {len(own)}" for label, own in list(zip(classes, rows, strict=True))[:5])
        raise DataError(
            f"tasks need two classes or more with at least {LEAST} training images each, but '{name}' has {len(enough)} ({counts}"
            f"{', ...' if len(classes) > 5 else ''}); give more images"
        )
    found = check(images[np.sort(np.concatenate(rows))], name)
    return Source(name, images, tuple(rows[place] for place in enough), tuple(classes[place] for place in enough), mirrored, found)


def of_any_classes(source: Source, rng: np.random.Generator, look: Look, form: TaskForm) -> Design:
    """A task of random classes of a source."""
    count = class_count(rng, form, len(source.classes))
    chosen = np.sort(rng.permutation(len(source.classes))[:count])
    take = originals(source, chosen, rng, form)

    def paint(part: Part, labels: NDArray[np.int64], side: int, rng: np.random.Generator) -> Floats:
        return sampled(take(part, labels), moves(len(labels), look, rng), side)

    return Design(tuple(source.classes[label] for label in chosen), paint, look, source.mirrored)


def originals(
    source: Source, chosen: NDArray[np.int64], rng: np.random.Generator, form: TaskForm
) -> Callable[[Part, NDArray[np.int64]], NDArray[np.uint8]]:
    """(part, labels (N,)) -> images (N, H, W, C) of these of the chosen classes, in turn; the parts share none."""
    share = form.train / (form.train + form.valid)
    divided = [parted(rng.permutation(source.rows[label]), share) for label in chosen]

    def take(part: Part, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        rows = np.empty(len(labels), np.int64)
        for label, own in enumerate(divided):
            at = np.flatnonzero(labels == label)
            rows[at] = np.resize(own[part], len(at))
        return source.images[rows]

    return take


def parted(rows: NDArray[np.int64], share: float) -> dict[Part, NDArray[np.int64]]:
    """Rows divided between the parts, about this share for training; neither is empty."""
    cut = min(max(1, round(share * len(rows))), len(rows) - 1)
    return {"train": rows[:cut], "valid": rows[cut:]}
