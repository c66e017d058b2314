"""How a network is trained to learn from a few images: the recipe of meta-training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from archscout.core.checks import check_plain
from archscout.core.errors import UserError
from archscout.nn.adapting import Inner, Method, WhoseStatistics

_LEAST_STEPS = 5
_WORDS = {
    "method": ("fomaml", "maml", "reptile", "anil"), "statistics": ("batch", "support"), "schedule": ("cosine", "constant"),
    "precision": ("fp32",),
}  # fmt: skip


@dataclass(frozen=True)
class EpisodeRecipe:
    """How a network is meta-trained. All fields are plain values: `asdict` is the record.

    method: of the meta-gradient (`nn.adapting`). learning_rate: of Adam, on the meta-weights; with `reptile` the share of the way
        to the adapted weights that a step goes, so that it wants one of about 0.5.
    The defaults are what learned most in minutes on two cores (decision 017); MAML's own are method fomaml or maml, learning_rate
    0.001, batch 32, inner_rate 0.4 and one inner step for Omniglot, 4, 0.01 and five for miniImageNet.
    batch: episodes a step, whose gradients are averaged. schedule: how the learning rate goes on from its peak.
    inner_rate, inner_steps: of the adaptation in training; test_steps: in an evaluation.
    statistics: whose normalisations use for queries: "support" those of the support, so that every query is answered by itself;
        "batch" those of the queries together (transductive, as MAML's code does).
    clip: the largest absolute value in a meta-gradient; 0 for no bound. precision: fp32 alone.
    """

    method: Method = "anil"
    learning_rate: float = 3e-3
    batch: int = 8
    schedule: Literal["cosine", "constant"] = "cosine"
    inner_rate: float = 1.0
    inner_steps: int = 5
    test_steps: int = 5
    statistics: WhoseStatistics = "support"
    clip: float = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    small_share: ClassVar[float] = 0.0
    small_scale: ClassVar[float] = 1.0
    """What `Recipe` says of shrunk images: there are none."""

    def __post_init__(self) -> None:
        check_plain(self, EpisodeRecipe, _WORDS)
        if min(self.batch, self.inner_steps, self.test_steps) < 1 or not self.learning_rate > 0:
            raise UserError(
                "the recipe's batch, inner_steps and test_steps are at least 1 and its learning_rate more than 0, but "
                f"{self.batch}, {self.inner_steps}, {self.test_steps} and {self.learning_rate} came"
            )

    @property
    def train_inner(self) -> Inner:
        """The adaptation in training."""
        return Inner(self.method, self.inner_rate, self.inner_steps, self.statistics)

    @property
    def test_inner(self) -> Inner:
        """The adaptation in an evaluation."""
        return Inner(self.method, self.inner_rate, self.test_steps, self.statistics)

    def record(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return asdict(self)

    def batch_for(self, episodes: int) -> int:
        """The episodes of a step, where a pass has so many: fewer where it would have fewer than 5 steps."""
        return max(1, min(self.batch, episodes // _LEAST_STEPS))

    def rate(self, progress: float) -> float:
        """The share of the peak learning rate when `progress` (0..1) of the training is done."""
        return 1.0 if self.schedule == "constant" else (1 + math.cos(math.pi * progress)) / 2

    def optimizer_of(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam; with `reptile` plain steps."""
        if self.method == "reptile":
            return torch.optim.SGD(weights, lr=self.learning_rate)
        return torch.optim.Adam(weights, lr=self.learning_rate, betas=(0.9, 0.99))


def adaptation_of(recipe: object) -> dict[str, Any] | None:
    """What whoever uses a meta-trained network must know to adapt it, JSON-able; None for other recipes."""
    return asdict(recipe.test_inner) if isinstance(recipe, EpisodeRecipe) else None
