"""The training of a supernet's weights: its schedule, its data, one step, and the way back from a snapshot.

Everything random follows from the seed and the number of the step, so a training that goes on from a snapshot equals an
uninterrupted one, on a CPU byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from archscout.core.checks import check_least
from archscout.core.errors import NotFinite, UserError
from archscout.core.problem import LANGUAGE_MODELLING, Problem, TaskKind
from archscout.core.seeds import derive
from archscout.nn.batches import ImageSplit, Stream, halved
from archscout.nn.bilevel import Tensors
from archscout.nn.checkpoint import under
from archscout.nn.dropping import factors
from archscout.nn.recipe import restore
from archscout.nn.supernet import Execute, Supernet
from archscout.nn.tokens import TokenSplit

Batch = tuple[Tensor, Tensor]
"""Images (B, C, H, W) and labels (B,), or tokens (B, L) and those that follow (B, L)."""
_FOR_TEXTS = {"batch": 16, "learning_rate": 20.0, "last_rate": 0.0, "momentum": 0.0, "weight_decay": 5e-7, "clip": 0.25}
_SCORED_IMAGES, _SCORED_WINDOWS, _IMAGES_PER_WINDOW = 256, 32, 32


@dataclass(frozen=True)
class Schedule:
    """How a supernet's weights are trained: SGD with momentum, a cosine from `learning_rate` to `last_rate`, clipped gradients.

    batch: images, or windows of text, a step. share: of the training data that the weights see; the gates (or scores) see the rest.
    drop_path: probability with which, at the end, an operation of the last cell is dropped for an image when weights are trained
        (never an identity; what is kept is scaled up); it rises linearly from 0 during the training, and from cell to cell.

    The values are those for images; one that is left at its default is another one for texts (`of_kind`).
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
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if not self.epochs > 0 or self.batch < 2 or not self.learning_rate > 0 or not 0 < self.share < 1:
            raise ValueError(
                "epochs and learning_rate are above 0, batch is at least 2 and share between 0 and 1, "
                f"but {self.epochs}, {self.learning_rate}, {self.batch} and {self.share} came"
            )
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path is at least 0 and less than 1, but {self.drop_path} came")
        check_least(self, last_rate=0, momentum=0, weight_decay=0, clip=0)

    def of_kind(self, kind: TaskKind) -> Self:
        """The schedule for a kind of task: for texts, what has the default of images becomes as in DARTS, in batches of 16."""
        if kind is not LANGUAGE_MODELLING:
            return self
        own = {field.name: field.default for field in fields(Schedule)}
        changed: Any = {name: value for name, value in _FOR_TEXTS.items() if getattr(self, name) == own[name]}
        return replace(self, **changed)

    def rate(self, progress: float) -> float:
        """The learning rate when `progress` (0..1) of the training is done."""
        return self.last_rate + (self.learning_rate - self.last_rate) * (1 + math.cos(math.pi * progress)) / 2


@dataclass
class Training:
    """The weights of a supernet in training.

    weighed, judged: the batches that move the weights, and those that the gates or scores see; disjoint parts of the training
    data. A window of text is read with a hidden state of nought, whatever came before: the next step may train another cell.
    Raises UserError where paths are to be dropped, and the supernet has none.
    """

    net: Supernet
    problem: Problem
    schedule: Schedule
    seed: int
    weighed: Stream = field(init=False)
    judged: Stream = field(init=False)
    judged_data: ImageSplit | TokenSplit = field(init=False)
    optimizer: torch.optim.SGD = field(init=False)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.schedule = schedule = self.schedule.of_kind(self.problem.task.kind)
        if schedule.drop_path and not self.net.depths:
            raise UserError(f"the supernet of '{self.problem.space.name}' has no paths that may be dropped; leave drop_path at 0")
        data: Any = self.problem.task.splits["train"]
        weighed, self.judged_data = halved(data, schedule.share, derive(self.seed, "split"))
        self.weighed = Stream(weighed, schedule.batch, seed=derive(self.seed, "weighed"), augment=schedule.augment)
        self.judged = Stream(self.judged_data, schedule.batch, seed=derive(self.seed, "judged"), augment=schedule.augment)
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

    def noise(self, step: int, count: int) -> dict[str, Any]:
        """What a step of the weights leaves out, for the supernet: paths of so many images, or units of a text."""
        if self.problem.task.kind is LANGUAGE_MODELLING:
            return {"generator": torch.Generator().manual_seed(derive(self.seed, "dropout", step))}
        if not self.schedule.drop_path:
            return {}
        chances = [self.schedule.drop_path * step / self.steps * depth for depth in self.net.depths]
        return {"kept": factors(chances, count, derive(self.seed, "drop-path", step)).to(self.problem.device)}

    def loss(self, weights: Tensors, gates: Tensor, batch: Batch, execute: Execute = "selected", step: int | None = None) -> Tensor:
        """The mean cross-entropy of a batch. step: of the weights, with its `noise`, the same in every call."""
        noise = {} if step is None else self.noise(step, len(batch[1]))
        logits = self.net(batch[0], gates, weights=weights, execute=execute, **noise)
        return F.cross_entropy(logits.flatten(0, -2), batch[1].flatten())

    def learn(self, gates: Tensor, batch: Batch, step: int, execute: Execute = "selected") -> float:
        """Move the weights by one batch; its loss. Weights that no gate leads to stay. Raises NotFinite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.weights, gates.detach(), batch, execute, step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFinite(
                f"the supernet's loss was {value} at step {step + 1:,} of {self.steps:,}; a smaller learning_rate than "
                f"{self.schedule.learning_rate} may help"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.schedule.clip)
        self.optimizer.step()
        return value

    def score(self, gates: Tensor, items: int) -> float:
        """Of gates, on about so many images of the other part, or a 32nd as many windows, two at least, which normalise each other.

        The same for all gates, higher is better: for images the accuracy (0..1), where the statistics of batches of 256 normalise
        them; for texts minus the mean loss.
        """
        text = self.problem.task.kind is LANGUAGE_MODELLING
        items = max(2, items // _IMAGES_PER_WINDOW) if text else items
        size = min(items, _SCORED_WINDOWS if text else _SCORED_IMAGES)
        stream = Stream(self.judged_data, size, seed=derive(self.seed, "scored"))
        total, seen = 0.0, 0
        with torch.no_grad():
            for number in range(min(max(1, items // size), stream.per_pass)):
                x, y = self.batch(stream, number)
                logits = self.net(x, gates)
                right = (
                    -F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="sum") if text else (logits.argmax(1) == y).sum()
                )
                total, seen = total + float(right), seen + y.numel()
        return total / seen

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


def kept(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, NDArray[Any]]:
    """Tensors for a snapshot."""
    return {f"{prefix}{name}": tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def kept_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, NDArray[Any]]:
    """What an optimizer remembers, for a snapshot."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}{number}.{name}": value.detach().cpu().numpy().copy()
        for number, parts in state.items()
        for name, value in parts.items()
        if isinstance(value, Tensor)
    }


def back(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors of a snapshot under a prefix."""
    return {name: torch.as_tensor(np.asarray(value)) for name, value in under(prefix, state).items()}


def put_back(parameters: Mapping[str, Tensor], state: Mapping[str, Any], prefix: str) -> None:
    """Give parameters the values of a snapshot, in their own memory layout."""
    found = back(state, prefix)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(found[name])


def put_back_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], prefix: str) -> None:
    """Give an optimizer the memory of a snapshot."""
    restore(optimizer, back(state, prefix))
