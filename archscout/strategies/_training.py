"""Shared by the strategies that train a supernet: data, weights, the logits of the gates, and the way back from a snapshot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.core.errors import NotFinite
from archscout.core.problem import Problem
from archscout.core.seeds import derive
from archscout.nn import gates as gating
from archscout.nn.batches import Stream, halved
from archscout.nn.bilevel import Tensors
from archscout.nn.supernet import Execute, Supernet
from archscout.strategies._folded import SKIPS, kept, kept_optimizer, pick, put_back, put_back_optimizer

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) and labels (B,)."""
_START = 1e-3
_FADING = 0.1
"""What is left of the dropout of skip connections at the end of a search."""


@dataclass(frozen=True)
class Schedule:
    """How a supernet's weights are trained: SGD with momentum, a cosine from `learning_rate` to `last_rate`, clipped gradients.

    batch: images a step. share: of the training images that the weights see; the gates (or scores) see the others.
    """

    epochs: float = 50.0
    batch: int = 64
    learning_rate: float = 0.025
    last_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    share: float = 0.5
    augment: bool = True

    def __post_init__(self) -> None:
        if not self.epochs > 0 or self.batch < 2 or not self.learning_rate > 0 or not 0 < self.share < 1:
            raise ValueError(
                "epochs and learning_rate are above 0, batch is at least 2 and share between 0 and 1, "
                f"but {self.epochs}, {self.learning_rate}, {self.batch} and {self.share} came"
            )

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0..1) of the training is done."""
        return self.last_rate + (self.learning_rate - self.last_rate) * (1 + math.cos(math.pi * progress)) / 2


@dataclass
class Training:
    """The weights of a supernet in training.

    weighed, judged: the batches that move the weights, and those that the gates or scores see; disjoint parts of the training
    images.
    """

    net: Supernet
    problem: Problem
    schedule: Schedule
    seed: int
    weighed: Stream = field(init=False)
    judged: Stream = field(init=False)
    optimizer: torch.optim.SGD = field(init=False)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        parts = halved(self.problem.task.splits["train"], self.schedule.share, derive(self.seed, "split"))
        batch, augment = self.schedule.batch, self.schedule.augment
        self.weighed = Stream(parts[0], batch, seed=derive(self.seed, "weighed"), augment=augment)
        self.judged = Stream(parts[1], batch, seed=derive(self.seed, "judged"), augment=augment)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), self.schedule.learning_rate, self.schedule.momentum, weight_decay=self.schedule.weight_decay
        )
        self.steps = max(1, round(self.schedule.epochs * self.weighed.per_pass))

    @property
    def weights(self) -> dict[str, Tensor]:
        """By name, shared with the supernet."""
        return dict(self.net.named_parameters())

    def batch(self, stream: Stream, step: int) -> Batch:
        """A batch on the device of the problem."""
        x, y = stream.at(step)
        return x.to(self.problem.device), y.to(self.problem.device)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.schedule.rate(step / self.steps)

    def loss(self, weights: Tensors, gates: Tensor, batch: Batch, execute: Execute = "selected") -> Tensor:
        """The mean cross-entropy of a batch."""
        return F.cross_entropy(self.net(batch[0], gates, weights=weights, execute=execute), batch[1])

    def learn(self, gates: Tensor, batch: Batch, step: int, execute: Execute = "selected") -> float:
        """Move the weights by one batch; its loss. Weights that no gate leads to stay. Raises NotFinite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.weights, gates.detach(), batch, execute)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFinite(
                f"the supernet's loss was {value} at step {step + 1:,} of {self.steps:,}; a smaller learning rate than "
                f"{self.schedule.learning_rate} may help (--set strategy.learning_rate=...)"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.schedule.clip)
        self.optimizer.step()
        return value

    def buffers(self) -> dict[str, Tensor]:
        """The momentum of every weight that has moved."""
        state = self.optimizer.state
        names = {id(weight): name for name, weight in self.net.named_parameters()}
        found = {names[id(weight)]: parts.get("momentum_buffer") for weight, parts in state.items()}
        return {name: buffer for name, buffer in found.items() if buffer is not None}

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {**kept(self.weights, "weights."), **kept_optimizer(self.optimizer, "sgd.")}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        put_back(self.weights, state, "weights.")
        put_back_optimizer(self.optimizer, state, "sgd.")


class Logits:
    """The logits of the gates, and Adam for them."""

    def __init__(self, valid: Tensor, seed: int, rate: float, decay: float, device: str = "cpu") -> None:
        noise = torch.randn(valid.shape, generator=torch.Generator().manual_seed(seed))
        self.valid = valid.to(device)
        self.values = (_START * noise).to(device).requires_grad_()
        self._optimizer = torch.optim.Adam([self.values], rate, betas=(0.5, 0.999), weight_decay=decay)

    def gates(self) -> Tensor:
        """The softmax of every row, (G, O)."""
        return gating.softmax(self.values, self.valid)

    def entropy(self) -> float:
        """The mean over the rows, in nats."""
        return float(gating.entropy(self.gates().detach()).mean())

    def move(self, found: Tensor) -> None:
        """A step down a gradient (G, O)."""
        self.values.grad = found
        self._optimizer.step()
        self.values.grad = None

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {**kept({"values": self.values}, "logits."), **kept_optimizer(self._optimizer, "adam.")}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        put_back({"values": self.values}, state, "logits.")
        put_back_optimizer(self._optimizer, state, "adam.")


class SkipDropout:
    """Shuts single skip connections for a batch, less and less often.

    chance: at the start; at the end of the search a tenth of it is left.
    """

    def __init__(self, net: Supernet, chance: float, seed: int, device: str = "cpu") -> None:
        self._skips = torch.zeros(net.gate_shape, device=device)
        for row, decision in enumerate(net.space.gates):
            self._skips[row, pick(decision.options, SKIPS)] = 1.0
        self._chance, self._seed = chance, seed

    def factors(self, step: int, steps: int) -> Tensor:
        """Of the gates (G, O): 0 for a skip connection that is shut, more than 1 for the others, so that the mean is 1; else 1."""
        chance = self._chance * _FADING ** (step / steps)
        if not chance:
            return torch.ones_like(self._skips)
        draws = torch.rand(self._skips.shape, generator=torch.Generator().manual_seed(derive(self._seed, step)))
        open_ = (draws >= chance).to(self._skips)
        factors: Tensor = 1 - self._skips + self._skips * open_ / (1 - chance)
        return factors
