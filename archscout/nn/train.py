"""The training loop, once, readable from top to bottom.

Everything is a function of (network, task, recipe, seed, epochs): the schedule follows from how far the training is, the rows and
the augmentation from the numbers of epoch and batch, what is dropped from the number of the step. So a training that is cut and
resumed from its checkpoint equals an uninterrupted one byte for byte, on a CPU at the same number of threads and lanes. Only a
`deadline` brings the clock in.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from time import monotonic, perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import NotFinite, RunError, UserError
from archscout.core.operations import AUXILIARY
from archscout.core.problem import Task
from archscout.core.seeds import derive
from archscout.nn import checkpoint as checkpoints
from archscout.nn.batches import ImageSplit, Stream
from archscout.nn.dropping import factors
from archscout.nn.evaluate import accuracy, evaluate, precision_context
from archscout.nn.lanes import Lanes
from archscout.nn.network import Network
from archscout.nn.pace import Clock, Pace
from archscout.nn.recipe import Recipe, classifier_width, initialise, new_network, optimizer_of, restore

__all__ = [
    "EpochReport", "Recipe", "TrainResult", "accuracy", "evaluate", "fit", "initialise", "new_network", "step_seconds",
]  # fmt: skip

_log = logging.getLogger(__name__)
_LOOK = 20  # steps between two looks at the clock and at the loss
_SHRINKABLE = 24  # pixels on the shorter side from which on images may be shrunk


@dataclass(frozen=True)
class EpochReport:
    """One pass over the training images (the last may be a part of one).

    epoch: passes done so far. seconds: since the training began, over all resumptions. train_loss: mean over the pass, the weighted
    loss of an auxiliary head included.
    valid_value: accuracy on the validation split, None where it was not measured (it is measured so often that it costs little).
    """

    epoch: float
    seconds: float
    train_loss: float
    valid_value: float | None


@dataclass(frozen=True)
class TrainResult:
    """What a training gave. The network itself holds the weights that were evaluated.

    valid_correct: (N,) whether each validation image was right, for paired intervals.
    stopped_early: a deadline made it shorter than asked for; its learning rate still fell to zero.
    remarks: what a person should know (a damaged checkpoint).
    """

    valid_value: float
    valid_correct: NDArray[np.bool_]
    epochs_done: float
    steps: int
    seconds: float
    history: list[EpochReport]
    stopped_early: bool
    remarks: tuple[str, ...] = ()


def fit(
    network: nn.Module, task: Task, recipe: Recipe, *, seed: int, epochs: float, checkpoint: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None, deadline: float | None = None, checkpoint_every_s: float = 30.0,
    lanes: int = 1, reserve: int = 0,
) -> TrainResult:  # fmt: skip
    """Train `network` in place on the device where it is, and evaluate it on the validation split.

    epochs: may be a fraction; at least one step is made. deadline: a value of `time.monotonic`: where the steps turn out too slow
    to be done by then, the rest of the schedule is compressed so that it ends, with a learning rate of zero, before the deadline.
    reserve: images that the caller will evaluate afterwards; the time for them is left before the deadline, too.
    checkpoint: a file; where it holds an unfinished training of this network with this recipe, seed and task, that one goes on.
    With a checkpoint, SIGINT and SIGTERM wait for the end of a step and are delivered after a save.
    lanes: threads that share each batch (`nn.lanes`); the last digits depend on their number.
    Raises NotFinite where the loss is NaN or infinite, RunError where the checkpoint is of another training, UserError where the
    recipe wants an auxiliary head or drops paths or features, and the network has none.
    """
    training = _Training(network, task, recipe, seed, epochs, deadline, reserve)
    if checkpoint is not None:
        training.resume(checkpoint)
    saved, kept = monotonic(), training.step
    with Lanes(network, lanes) as training.lanes, checkpoints.Interrupts(checkpoint is not None) as interrupts:
        while training.step < training.pace.total:
            training.one_step()
            if training.step % training.per_epoch == 0 or training.step == training.pace.total:
                training.end_epoch(on_epoch)
            if checkpoint is not None and (interrupts.pending or monotonic() - saved > checkpoint_every_s):
                training.save(checkpoint)
                saved, kept = monotonic(), training.step
                interrupts.deliver()
        if checkpoint is not None and kept < training.step:
            training.save(checkpoint)
    return training.finish(on_epoch)


class _Training:
    """The state of one training: weights, optimizer, average, place in the schedule, history."""

    def __init__(
        self, network: nn.Module, task: Task, recipe: Recipe, seed: int, epochs: float, deadline: float | None, reserve: int = 0
    ) -> None:
        self.network, self.task, self.recipe, self.seed, self.deadline = network, task, recipe, seed, deadline
        self.evaluated = len(task.splits["valid"]) + reserve
        self.device = next(network.parameters()).device
        self.depths, self.features = _droppable(network, recipe)
        images = len(task.splits["train"])
        self.batch = recipe.batch_for(images)
        self.stream = Stream(task.splits["train"], self.batch, seed=seed, augment=recipe.augment)
        self.per_epoch = self.stream.per_pass
        self.asked = max(1, round(epochs * self.per_epoch))
        self.pace = Pace(self.asked)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer_of(network, recipe)
        self.averaged = copy.deepcopy(network) if recipe.average else network
        self.step, self.validated, self.earlier = 0, 0, 0.0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.history: list[EpochReport] = []
        self.remarks: list[str] = []
        self.clock = Clock(recipe)
        self.lanes = Lanes(network, 1)
        self.began = perf_counter()

    @property
    def seconds(self) -> float:
        return self.earlier + perf_counter() - self.began

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """The batch that belongs to this step, whether or not the training was cut before it."""
        x, y = self.stream.at(self.step)
        return x.to(self.device), y.to(self.device)

    def dropped(self, progress: float, count: int) -> dict[str, Tensor]:
        """The factors of paths and features in this step of so many images, as `Network.learn` takes them; none where all are 1."""
        found = {}
        if self.depths:
            chances = [self.recipe.drop_path * progress * depth for depth in self.depths]
            found["kept"] = factors(chances, count, derive(self.seed, "drop-path", self.step)).to(self.device)
        if self.features:
            chances = [self.recipe.dropout] * self.features
            found["features"] = factors(chances, count, derive(self.seed, "dropout", self.step)).to(self.device)
        return found

    def one_step(self) -> None:
        """One batch forward and backward, one move of the weights."""
        start = perf_counter()
        progress = self.pace.at(self.step + 0.5)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self.batch / self.recipe.batch * self.recipe.rate(progress)
        x, y = self.next_batch()
        self.loss_sum += _descend(self.lanes, self.optimizer, x, y, self.recipe, progress, self.dropped(progress, len(x)))
        self.step += 1
        if self.recipe.average:
            _average(self.averaged, self.network, min(self.recipe.average, self.step / (self.step + 20)))
        if self.deadline is not None:
            self.loss_sum.item()  # waits for an accelerator, which else would seem infinitely fast
            self.clock.note(progress, perf_counter() - start)
        if self.step % _LOOK == 0 or self.step in (5, self.pace.total):
            self.look()

    def look(self) -> None:
        """Stop at a loss that is no number; shorten the schedule where the clock demands it."""
        if not math.isfinite(self.loss_sum.item()):
            raise NotFinite(
                f"the training loss was {self.loss_sum.item()} within the {_LOOK} steps up to step {self.step:,} of "
                f"{self.pace.total:,}; a smaller learning rate than {self.recipe.learning_rate} may help"
            )
        if self.deadline is None or self.step >= self.pace.total:
            return
        # The evaluations at the end (about a third of a step's work per image) and 2 % in hand come off what is left.
        evaluation = self.evaluated / self.batch / 3 * self.clock.seconds(full=True)
        left = (self.deadline - monotonic()) * 0.98 - evaluation
        steps = max(0, int(left / self.clock.mean(self.pace.at(self.step))))
        total = min(self.asked, self.step + steps)
        if total < self.pace.total * 0.995 or total > self.pace.total * 1.02:
            self.pace.turn(self.step, total)

    def end_epoch(self, on_epoch: Callable[[EpochReport], None] | None) -> None:
        """Report an epoch; measure validation accuracy where that has cost less than about 5 % of the training so far."""
        done, value = self.step >= self.pace.total, None
        valid: ImageSplit = self.task.splits["valid"]
        if not done and (self.validated + 1) * len(valid) <= 0.15 * self.step * self.batch:
            self.validated += 1
            value = float(evaluate(self.averaged, valid, precision=self.recipe.precision)[0].mean())
        loss = self.loss_sum.item() / ((self.step - 1) % self.per_epoch + 1)
        self.history.append(EpochReport(self.step / self.per_epoch, self.seconds, loss, value))
        self.loss_sum.zero_()
        if on_epoch is not None and not done:
            on_epoch(self.history[-1])

    def finish(self, on_epoch: Callable[[EpochReport], None] | None) -> TrainResult:
        """The last evaluation; the network takes over the averaged weights."""
        correct, _ = evaluate(self.averaged, self.task.splits["valid"], precision=self.recipe.precision)
        value = float(correct.mean())
        done = self.step / self.per_epoch
        if not self.history or self.history[-1].epoch < done:  # resumed with fewer epochs than were made
            self.end_epoch(None)
        self.history[-1] = replace(self.history[-1], valid_value=value, seconds=self.seconds)
        if on_epoch is not None:
            on_epoch(self.history[-1])
        if self.recipe.average:
            self.network.load_state_dict(self.averaged.state_dict())
        early = self.step < self.asked
        return TrainResult(value, correct, done, self.step, self.seconds, self.history, early, tuple(self.remarks))

    def identity(self) -> str:
        """What a checkpoint must agree with."""
        shapes = sorted((name, tuple(tensor.shape)) for name, tensor in self.network.state_dict().items())
        text = json.dumps([self.recipe.record(), self.seed, self.task.fingerprint, self.batch, shapes], sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def save(self, path: Path) -> None:
        """Write everything that the rest of the training depends on."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.recipe.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
        facts = {
            "identity": self.identity(), "recipe": asdict(self.recipe), "asked": self.asked, "pace": asdict(self.pace),
            "step": self.step, "validated": self.validated, "seconds": self.seconds,
            "history": [asdict(report) for report in self.history],
        }  # fmt: skip
        checkpoints.save(path, {**tensors, "loss_sum": self.loss_sum}, facts)

    def resume(self, path: Path) -> None:
        """Go on from the newest undamaged checkpoint at `path`, where there is one."""
        found, self.remarks = checkpoints.load(path)
        for remark in self.remarks:
            _log.warning(remark)
        if found is None:
            return
        tensors, facts = found
        if facts["identity"] != self.identity():
            raise RunError(
                f"the checkpoint '{path}' belongs to another network, recipe, seed or data set; remove it or name another file"
            )
        self.network.load_state_dict(_under("network.", tensors))
        if self.recipe.average:
            self.averaged.load_state_dict(_under("average.", tensors))
        restore(self.optimizer, _under("optimizer.", tensors))
        self.loss_sum.copy_(tensors["loss_sum"])
        self.step, self.validated, self.earlier = facts["step"], facts["validated"], facts["seconds"]
        self.history = [EpochReport(**report) for report in facts["history"]]
        self.pace = Pace(**facts["pace"])
        if facts["asked"] != self.asked and self.step < self.pace.total:
            self.pace.turn(self.step, self.asked)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average of weights and of the normalisations' statistics towards the network's."""
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _droppable(network: nn.Module, recipe: Recipe) -> tuple[list[float], int]:
    """The depths (0..1) of the paths that the recipe drops, 1 for those that it drops as often as any; and how many features.

    Raises UserError where the network lacks what the recipe wants.
    """
    graph = network.graph if isinstance(network, Network) else None
    if recipe.auxiliary and (graph is None or AUXILIARY not in graph.marks):
        raise UserError(
            "the recipe wants an auxiliary head, but the network has none; build it with one, or give recipe.auxiliary=0"
        )
    if recipe.drop_path and (graph is None or not graph.paths):
        raise UserError("the recipe drops paths, but the network has none that may be dropped; give recipe.drop_path=0")
    width = 0 if graph is None or not recipe.dropout else classifier_width(graph)
    if recipe.dropout and not width:
        raise UserError("the recipe drops features before the classifier, but the network has none; give recipe.dropout=0")
    depths = list(graph.paths.values()) if graph is not None and recipe.drop_path else []
    return depths if recipe.drop_path_by_depth else [1.0] * len(depths), width


def _descend(
    lanes: Lanes, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, recipe: Recipe, progress: float,
    dropped: Mapping[str, Tensor],
) -> Tensor:  # fmt: skip
    """One step of the optimizer; the loss. dropped: factors as `Network.learn` takes them."""
    height, width = x.shape[2:]
    if progress < recipe.small_share and min(height, width) >= _SHRINKABLE:
        size = (shrunk(height, recipe.small_scale), shrunk(width, recipe.small_scale))
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def loss(network: nn.Module, images: Tensor, labels: Tensor, *factors: Tensor) -> Tensor:
        with precision_context(recipe.precision, images.device):
            if isinstance(network, Network) and (recipe.auxiliary or factors):
                logits, auxiliary = network.learn(images, **dict(zip(dropped, factors, strict=True)))
            else:
                logits, auxiliary = network(images), None
        found = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        if auxiliary is not None:
            found = found + recipe.auxiliary * F.cross_entropy(auxiliary.float(), labels, label_smoothing=recipe.label_smoothing)
        return found

    mean = lanes.gradients(loss, x, y, *dropped.values())
    if recipe.clip:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], recipe.clip)
    optimizer.step()
    return mean


def shrunk(extent: int, scale: float) -> int:
    """About `scale` times an extent, but a multiple of 8 away from it.

    So every halving meets an odd extent where it met one before: networks whose paddings were chosen for an extent fit the other.
    """
    return max(extent % 8 + 8, extent - 8 * round(extent * (1 - scale) / 8))


def step_seconds(network: nn.Module, task: Task, recipe: Recipe, steps: int = 5, lanes: int = 1) -> float:
    """Mean seconds of a training step over a whole schedule, from the median of `steps` steps; the network stays as it is."""
    trial = _Training(copy.deepcopy(network), task, recipe, 0, 1.0, None)
    clock = Clock(recipe)
    with Lanes(trial.network, lanes) as shared:
        for progress in (0.0, 1.0) if recipe.small_share else (1.0,):
            for number in range(steps + 2):
                start = perf_counter()
                x, y = trial.next_batch()
                dropped = trial.dropped(progress, len(x))
                _descend(shared, trial.optimizer, x, y, recipe, progress, dropped).item()  # waits for an accelerator
                trial.step += 1
                if number >= 2:
                    clock.note(progress, perf_counter() - start)
    return clock.mean(0.0)
