"""A drawn task as trainings want it: `core.problem.Task`, with splits that travel to workers by what they were drawn from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from archscout.core.pictures import TaskForm
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import Family
from archscout.data._contents import array_digest
from archscout.data._prepared import statistics
from archscout.nn.batches import Augmentation, ImageSplit


def open_task(family: Family, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Task:
    """The task of a number of a family; its name is such as "textures/12". Draws it, where it is none of the last few."""
    return _opened(family, number, form, seed, data_dir)  # type: ignore[arg-type] # families are frozen dataclasses


def family_name(family: Family) -> str:
    """The name of a family in the catalogue."""
    return type(family).__module__.rsplit(".", 1)[-1].replace("_", "-")


@lru_cache(maxsize=4)
def _opened(family: Family, number: int, form: TaskForm, seed: int, data_dir: Path | None) -> Task:
    drawn = family.draw(number, form, seed=seed, data_dir=data_dir)
    mean, std = (tuple(map(float, values)) for values in statistics(drawn.train, np.arange(len(drawn.train))))
    splits = {}
    for name, images, labels in (("train", drawn.train, drawn.train_labels), ("valid", drawn.valid, drawn.valid_labels)):
        augmentation = Augmentation(shift=1, flip=drawn.mirrored) if name == "train" else Augmentation()
        source = (_split, (family, number, form, seed, data_dir, name))
        splits[name] = ImageSplit(images, labels, np.arange(len(labels)), mean, std, augmentation, source)
    fingerprint = array_digest(drawn.train, drawn.train_labels, drawn.valid, drawn.valid_labels, np.array(drawn.mirrored))
    shape = (3, form.side, form.side)
    return Task(f"{family_name(family)}/{number}", IMAGE_CLASSIFICATION, shape, len(drawn.classes), fingerprint, splits)


def _split(family: Family, number: int, form: TaskForm, seed: int, data_dir: Path | None, name: str) -> ImageSplit:
    split: ImageSplit = open_task(family, number, form, seed=seed, data_dir=data_dir).splits[name]
    return split
