"""How a language model is trained: the recipe and its optimizer.

Merity, Keskar and Socher 2017 (arXiv 1708.02182): windows of drawn length, gradients clipped, penalties on activations and on their
changes, dropout on recurrent weights, and averaged gradient descent from when the validation no longer gains. The dropouts on
activations belong to the networks, so to the settings of their space.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from archscout.core.checks import check_plain
from archscout.core.errors import UserError

_LEAST_STEPS = 20
_WORDS = {"optimizer": ("adam", "sgd"), "schedule": ("linear", "cosine", "constant"), "precision": ("fp32", "bf16")}


@dataclass(frozen=True)
class TextRecipe:
    """How a language model is trained. All fields are plain values: `asdict` is the record.

    learning_rate: at the peak, for a window of the task's length; a shorter or longer one takes proportionally less or more.
    warm_up: share of the steps over which the rate rises from 0; `schedule` is how it then falls to 0, or whether it stays.
    batch: columns in which the text is read; fewer of a short text. varied: whether the lengths of windows are drawn.
    clip: the largest norm of the gradients of all weights together; 0 for no bound. weight_decay: of all weights alike.
    alpha, beta: weights of the squares of the outputs (behind the dropout), and of the changes of the outputs from one token to the
        next, which are added to the loss.
    frequencies: whether a network begins with the logarithms of the tokens' frequencies in the training text as its decoder's bias.
    weight_drop: share of the weights on previous hidden states that are dropped in each step, in networks that allow it
        (`nn.recurrent.WeightDropped`).
    nonmono: averaging of the weights begins when a validation is worse than the best of those more than so many validations ago;
        the validation is then measured after every pass. 0 for never.
    precision: `bf16` computes the decoder's products in bfloat16 (autocast); weights stay fp32.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    warm_up: float = 0.05
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    batch: int = 16
    varied: bool = True
    clip: float = 0.25
    alpha: float = 0.0
    beta: float = 0.0
    weight_drop: float = 0.0
    nonmono: int = 0
    frequencies: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    small_share: ClassVar[float] = 0.0
    small_scale: ClassVar[float] = 1.0
    """What `Recipe` says of shrunk images: there are none."""

    def __post_init__(self) -> None:
        check_plain(self, TextRecipe, _WORDS)
        if self.warm_up > 1 or self.weight_drop >= 1:
            raise UserError(
                f"the recipe's warm_up is at most 1 and its weight_drop less, but {self.warm_up} and {self.weight_drop} came"
            )
        if self.batch < 1 or not self.learning_rate > 0:
            raise UserError(f"the recipe's batch and learning_rate are more than 0, but {self.batch} and {self.learning_rate} came")

    def record(self) -> dict[str, Any]:
        """What a checkpoint must agree with."""
        return asdict(self)

    def batch_for(self, windows: int) -> int:
        """The columns of a text of so many windows: fewer where a pass would have fewer than 20 steps."""
        return max(1, min(self.batch, windows // _LEAST_STEPS))

    def rate(self, progress: float) -> float:
        """The share of the peak learning rate when `progress` (0..1) of the training is done."""
        if progress < self.warm_up:
            return progress / self.warm_up
        if self.schedule == "constant":
            return 1.0
        left = (1 - progress) / (1 - self.warm_up) if self.warm_up < 1 else 0.0
        return left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2

    def optimizer_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimizer, over all weights."""
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.AdamW(weights, lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=self.weight_decay, fused=True)
        return torch.optim.SGD(weights, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)
