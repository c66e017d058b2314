"""From the design of a task to its images: what all families share.

A family designs: how many classes, which, and how an image of a class is painted. Numbers of images, seeds and looks are the same
for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import UserError
from archscout.core.pictures import Pictures, TaskForm
from archscout.core.seeds import generator
from archscout.families._look import Floats, Look, drawn_look, finished

Part = Literal["train", "valid"]
Paint = Callable[[Part, NDArray[np.int64], int, np.random.Generator], Floats]
"""(part, labels (N,), side, generator) -> paintings (N, side, side, 3), 0 to 1."""


@dataclass(frozen=True, eq=False)
class Design:
    """A task, undrawn. mirrored: whether a mirrored image keeps its label."""

    classes: tuple[str, ...]
    paint: Paint
    look: Look
    mirrored: bool = False


Designer = Callable[[np.random.Generator, Look, TaskForm], Design]
"""(generator, look, form) -> the design; it may change the look."""


def drawn(name: str, number: int, form: TaskForm, seed: int, designer: Designer) -> Pictures:
    """The task of a number of the family `name`."""
    checked(form)
    rng = generator(seed, name, number)
    design = designer(rng, drawn_look(rng), form)
    count = len(design.classes)

    def part(which: Part, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = np.arange(size, dtype=np.int64) % count
        own = generator(seed, name, number, which)
        return finished(design.paint(which, labels, 2 * form.side, own), design.look, own), labels

    return Pictures(*part("train", form.train), *part("valid", form.valid), design.classes, design.mirrored)


def class_count(rng: np.random.Generator, form: TaskForm, available: int | None = None) -> int:
    """A number of classes within the form's, at most `available`."""
    most = form.most if available is None else min(form.most, available)
    return int(rng.integers(min(form.fewest, most), most + 1))


def checked(form: TaskForm) -> None:
    """Raises UserError for a form that no task can have."""
    if form.fewest < 2 or form.most < form.fewest:
        raise UserError(f"a task has at least 2 classes and at most as many as at least, but {form.fewest} to {form.most} came")
    if not 8 <= form.side <= 128:
        raise UserError(f"the images of a task have 8 to 128 pixels on a side, but {form.side} came")
    if min(form.train, form.valid) < form.most:
        raise UserError(
            f"each part of a task has an image of each class, but {form.train} and {form.valid} images came for up to "
            f"{form.most} classes; ask for more images or fewer classes"
        )
