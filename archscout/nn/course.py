"""What differs between kinds of task in a training, behind one door: `nn.train` owns the loop, a course the steps.

A course is what `nn.train.fit` asks for the next step, for an evaluation and for what a checkpoint must hold; everything about the
schedule, the clock, reports and checkpoints is the loop's and the same for all kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.recipe import Recipe
from archscout.nn.text_recipe import TextRecipe

AnyRecipe = Recipe | TextRecipe | EpisodeRecipe
Marks = NDArray[np.bool_] | NDArray[np.float64]
"""How each item of a split fared, in its order: whether an image was classified right, the mean log-likelihood of the tokens of a
window, or the share of an episode's queries that was classified right. The mean is the value."""


class Course(Protocol):
    """One training of one network, but for the loop."""

    network: nn.Module
    optimizer: Any
    batch: int
    per_epoch: int
    checks_every_pass: bool
    items: float
    """`batch`: images, columns or episodes a step. `per_epoch`: steps of a pass. `items`: images or windows a step; in general, as
    many as an evaluation sees in about a third of a step's time."""

    def shared(self, lanes: int) -> AbstractContextManager[object]:
        """Under it steps are shared between so many lanes, where the kind can do that; entered once everything is restored."""
        ...

    def move(self, step: int, progress: float) -> Tensor:
        """Make step number `step`: one batch forward and backward, one move of the weights; the loss."""
        ...

    def trial(self, step: int, progress: float) -> Tensor:
        """As `move`, for measuring what a step costs."""
        ...

    def marks(self) -> Marks:
        """An evaluation on the validation split, of the weights that would be the result now."""
        ...

    def checked(self, value: float) -> None:
        """Take note of a validation within the training."""
        ...

    def mended(self) -> bool:
        """After a loss that is no number: whether the training can go on from better weights."""
        ...

    def end(self, value: float) -> bool:
        """Give the network the weights of the result; whether these are others than those evaluated last, which had `value`."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the network and the optimizer."""
        ...

    def facts(self) -> dict[str, Any]:
        """The same, as far as it is JSON."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take up what `tensors` and `facts` said."""
        ...
