"""Trains untrained networks briefly to regress signals, all on one fixed batch.

Li, Hao, Li, Xiong and Chen 2021 (arXiv 2108.01899). A network is cut off behind its last stage; where a stage ends, a head
(normalisation, 1 x 1 convolution) makes the channels of the target out of the feature map, which is brought to 8 x 8 by its nearest
pixels. A recurrent network gets a linear layer in front and one behind.

    loss = sum over stages k of w_k * mean (head_k(f_k(x + noise)) - y_k)^2,   w = 0.25, 0.5, 1 for three stages, 1 for a sequence
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from archscout.core.errors import NotFinite, UnknownName, UserError, suggestion
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.core.seeds import derive
from archscout.core.signals import SIDE, SignalTask
from archscout.nn.batches import one_batch
from archscout.nn.executor import Program, Statistics, WeightBank, Weights
from archscout.nn.recurrent import LanguageModel, LockedDropout
from archscout.nn.signals import noise
from archscout.nn.threads import torch_threads

Evaluation = Literal["running", "batch"]
"""What normalisations use when the error is evaluated: their running statistics, or those of the batch."""
STAGES = 3
STAGE_WEIGHTS = (0.25, 0.5, 1.0)


class Regressor(Protocol):
    """A network with its heads."""

    def optimiser(self) -> torch.optim.Optimizer:
        """Moves its weights."""
        ...

    def errors(self, x: Tensor, targets: Sequence[Tensor], *, training: bool) -> Tensor:
        """The weighted sum of the mean squared errors."""
        ...


@dataclass(frozen=True)
class Schedule:
    """steps: of training. every: steps between two evaluations; the last step is always evaluated."""

    steps: int = 100
    every: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or self.every < 1:
            raise ValueError(f"steps and every are at least 1, but {self.steps} and {self.every} came")


def regress(
    regressor: Regressor, task: SignalTask, x: Tensor, targets: Sequence[Tensor], schedule: Schedule, seed: int
) -> dict[int, float]:
    """The error at every evaluated step, without those (never the last) that are no number. seed: of the noise.

    One thread computes, because training amplifies what other orders of summation round differently. Raises NotFinite as soon as
    the error of a training step is no number, or that of the last evaluation.
    """
    sources = [torch.Generator().manual_seed(derive(seed, name)) for name in ("noise", "noise of evaluations")]
    optimiser = regressor.optimiser()
    trace: dict[int, float] = {}
    with torch_threads(1):
        for step in range(1, schedule.steps + 1):
            with torch.enable_grad():
                error = regressor.errors(_noisy(x, task, sources[0]), targets, training=True)
            _check(float(error.detach()), step)
            optimiser.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if step % schedule.every == 0 or step == schedule.steps:
                with torch.no_grad():
                    trace[step] = float(regressor.errors(_noisy(x, task, sources[1]), targets, training=False))
    _check(trace[schedule.steps], schedule.steps)
    return {step: error for step, error in trace.items() if isfinite(error)}


def _check(error: float, step: int) -> None:
    if not isfinite(error):
        raise NotFinite(f"the error at step {step} of the regression is {error}")


def _noisy(x: Tensor, task: SignalTask, source: torch.Generator) -> Tensor:
    return x + noise(task, x, source) if task.noise_level else x


def regressed_images(task: Task, signals: SignalTask, draw: int = 0, split: str = "train", resolution: int = 0) -> Tensor:
    """The batch (B, C, H, W) that all networks of a task see; Gaussian noise where the task has no images.

    draw: another number gives another batch. resolution: brought to so many pixels a side; 0 leaves them as they are.
    """
    seed = derive(draw, "signal-regression", task.fingerprint)
    if task.splits:
        if split not in task.splits:
            raise UnknownName(f"the task has no split '{split}'; {suggestion(split, task.splits)}")
        images, _ = one_batch(task, split, signals.batch, seed=seed)
    else:
        images = torch.randn(signals.batch, *task.shape, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(images, (resolution, resolution), mode="area") if resolution else images


class MapRegressor:
    """The network of a graph, with heads where its last three stages end.

    rate, momentum, decay: of stochastic gradient descent; weights of convolutions decay, the others do not.
    statistics: what normalisations use at an evaluation: their running statistics, or those of the batch.
    """

    def __init__(
        self, graph: OperationGraph, channels: Sequence[int], seed: int, *, dtype: torch.dtype = torch.float32, device: str = "cpu",
        rate: float = 0.1, momentum: float = 0.9, decay: float = 4e-5, statistics: Evaluation = "running",
    ) -> None:  # fmt: skip
        taps = stage_ends(graph)
        heads = [
            _head(graph.operations[tap].shape[0], count, number)
            for number, (tap, count) in enumerate(zip(taps, channels, strict=True))
        ]
        self._programs = [Program(graph, taps), *map(Program, heads)]
        drawn: dict[str, Tensor] = {}
        for number, part in enumerate((graph, *heads)):
            bank = WeightBank(dtype, device)
            drawn |= bank.draw(part, derive(seed, "head", number) if number else seed)
        self.weights: Weights = {name: weight.detach().requires_grad_() for name, weight in drawn.items()}
        like = torch.empty(0, dtype=dtype, device=device)
        self._statistics = [Statistics(part, like) if statistics == "running" else None for part in (graph, *heads)]
        self._rate, self._momentum, self._decay = rate, momentum, decay

    def optimiser(self) -> torch.optim.Optimizer:
        """Stochastic gradient descent."""
        filters = [weight for weight in self.weights.values() if weight.dim() > 1]
        others = [weight for weight in self.weights.values() if weight.dim() == 1]
        groups = [{"params": filters, "weight_decay": self._decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.SGD(groups, self._rate, self._momentum, fused=True)

    def errors(self, x: Tensor, targets: Sequence[Tensor], *, training: bool) -> Tensor:
        """The weighted sum over the stages. training: normalise by the batch, and move the running statistics."""
        total = x.new_zeros(())
        for part, weight, target in zip(self.outputs(x, training=training), STAGE_WEIGHTS, targets, strict=True):
            total = total + weight * F.mse_loss(part, target)
        return total

    def outputs(self, x: Tensor, *, training: bool) -> list[Tensor]:
        """What the heads make of images (B, C, H, W): (B, channels, 8, 8) each."""
        backbone, *heads = self._programs
        for statistics in self._statistics:
            if statistics is not None:
                statistics.moving = training
        first, *others = self._statistics
        maps = backbone.run(self.weights, x, statistics=first)
        return [
            head.run(self.weights, F.interpolate(value, (SIDE, SIDE)), statistics=statistics)[0]
            for head, value, statistics in zip(heads, maps, others, strict=True)
        ]


def stage_ends(graph: OperationGraph) -> list[int]:
    """The positions of the last feature maps of the last three resolutions; where there are fewer (small images), of three stages.

    Raises UserError where the graph marks fewer than three stages.
    """
    stages = sorted((int(name[5:]), place) for name, place in graph.marks.items() if name[:5] == "stage" and name[5:].isdigit())
    if len(stages) < STAGES:
        raise UserError(
            f"signals are regressed where the last {STAGES} stages of a network end, but this one marks {len(stages)}; "
            "mark them with `GraphBuilder.mark('stage1', ...)`, or choose another judge"
        )
    ends = {graph.operations[place].shape[1:]: place for _, place in stages}  # of one resolution the last
    return (list(ends.values()) if len(ends) >= STAGES else [place for _, place in stages])[-STAGES:]


def _head(inputs: int, channels: int, number: int) -> OperationGraph:
    builder = GraphBuilder((inputs, SIDE, SIDE))
    with builder.scope(f"signal_head{number + 1}"):
        return builder.finish(builder.conv(builder.batch_norm(builder.input), channels, 1, bias=True))


class SequenceRegressor:
    """A recurrent network between two linear layers; its dropout and initial weights come from torch's global generator.

    rate, decay: of Adam. dropouts: between the layers, and behind the last one. weight_drop: the share of the weights on previous
    hidden states that is left out, other ones at every step. train_recurrent: False leaves those weights as they were drawn.
    """

    def __init__(
        self, model: LanguageModel, width: int, *, rate: float = 1e-3, decay: float = 1.2e-6,
        dropouts: tuple[float, float] = (0.25, 0.1), weight_drop: float = 0.1, train_recurrent: bool = True,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        for layer, share in zip(model.dropouts, (0.0, *dropouts), strict=True):
            assert isinstance(layer, LockedDropout)
            layer.p = share
        self._network = _Between(model, width).to(device)
        self._recurrent = {f"model.{name}": columns.to(device) for name, columns in model.recurrent_weights().items()}
        self._rate, self._decay, self._weight_drop, self._train_recurrent = rate, decay, weight_drop, train_recurrent

    def optimiser(self) -> torch.optim.Optimizer:
        """Adam. What is not trained does not decay either: Adam makes full steps of the smallest gradient."""
        groups: dict[float, list[Tensor]] = {}
        for name, weight in self._network.named_parameters():
            still = name in self._recurrent and not self._train_recurrent
            groups.setdefault(0.0 if still else self._decay, []).append(weight)
        return torch.optim.Adam([{"params": some, "weight_decay": decay} for decay, some in groups.items()], self._rate, fused=True)

    def errors(self, x: Tensor, targets: Sequence[Tensor], *, training: bool) -> Tensor:
        """The mean squared error of (B, L, D) to one target of the same shape."""
        weights = dict(self._network.named_parameters())
        self._network.train(training)
        changed = {name: self._changed(weights[name], columns) for name, columns in self._recurrent.items()} if training else {}
        found = functional_call(self._network, changed, (x,))
        [target] = targets
        return F.mse_loss(found, target)

    def _changed(self, weight: Tensor, columns: Tensor) -> Tensor:
        if not self._train_recurrent:
            weight = torch.where(columns, weight.detach(), weight)
        kept = F.dropout(torch.ones_like(weight), self._weight_drop)
        return weight * torch.where(columns, kept, 1.0)


class _Between(nn.Module):
    """A recurrent network between two linear layers: (B, L, D) -> (B, L, D)."""

    def __init__(self, model: LanguageModel, width: int) -> None:
        super().__init__()
        size = model.embedding.embedding_dim
        model.embedding, model.bias = None, None  # type: ignore[assignment]
        self.front, self.model, self.behind = nn.Linear(width, size), model, nn.Linear(size, width)
        for layer in (self.front, self.behind):
            nn.init.uniform_(layer.weight, -0.1, 0.1)
        nn.init.zeros_(self.behind.bias)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.model.hidden(self.front(x))
        found: Tensor = self.behind(outputs)
        return found
