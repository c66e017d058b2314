"""Some classes of CIFAR-10, from its training images, with other colours, contrasts, turns and disturbances in each task.

The images are those of the data set `cifar10` (see there for where it is looked for); its validation and test images are not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.pictures import Pictures, TaskForm
from archscout.families._drawing import drawn
from archscout.families._subsets import named_source, of_any_classes


@dataclass(frozen=True)
class Cifar10:
    """Random classes of CIFAR-10."""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number. Raises DataError where the set cannot be had."""
        return drawn("cifar10", number, form, seed, partial(of_any_classes, named_source("cifar10", data_dir)))

    def sources(self, data_dir: Path | None = None) -> Mapping[str, NDArray[np.uint64]]:
        """What it reads: the name of the set and the sketch of its images."""
        source = named_source("cifar10", data_dir)
        return {source.name: source.sketch}
