"""Small sets of labelled images, from which methods that learn across tasks learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TaskForm:
    """What all tasks of a database have in common.

    side: pixels of an image. train, valid: images of the two parts, all classes together. fewest, most: classes.
    """

    side: int = 16
    train: int = 512
    valid: int = 640
    fewest: int = 5
    most: int = 20


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a task in two parts that share no original.

    train, valid: (N, side, side, 3) uint8. train_labels, valid_labels: (N,) int64, 0 to K - 1; classes are equal but for one image.
    classes: K names. mirrored: whether a mirrored image keeps its label.
    """

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    valid: NDArray[np.uint8]
    valid_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mirrored: bool = False
