"""The steps of training a classifier of images (`nn.course`, `nn.recipe`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.operations import AUXILIARY
from archscout.core.problem import Task
from archscout.core.seeds import derive
from archscout.nn.batches import Stream
from archscout.nn.checkpoint import under
from archscout.nn.course import Marks
from archscout.nn.dropping import factors
from archscout.nn.evaluate import precision_context
from archscout.nn.lanes import Lanes
from archscout.nn.marks import marks_of
from archscout.nn.network import Network
from archscout.nn.recipe import Recipe, classifier_width, optimizer_of

_SHRINKABLE = 24  # pixels on the shorter side from which on images may be shrunk


class ImageCourse:
    """One training of a classifier: shuffled batches, shared between lanes; the average of the weights where one is kept."""

    checks_every_pass = False

    def __init__(self, network: nn.Module, task: Task, recipe: Recipe, seed: int) -> None:
        self.network, self.task, self.recipe, self.seed = network, task, recipe, seed
        self.device = next(network.parameters()).device
        self.depths, self.features = _droppable(network, recipe)
        self.batch = recipe.batch_for(len(task.splits["train"]))
        self.items = float(self.batch)
        self.stream = Stream(task.splits["train"], self.batch, seed=seed, augment=recipe.augment)
        self.per_epoch = self.stream.per_pass
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer_of(network, recipe)
        self.averaged = copy.deepcopy(network) if recipe.average else network
        self.lanes = Lanes(network, 1)

    def shared(self, lanes: int) -> Lanes:
        """Every lane gets a part of each batch; their twins of the network begin as it is now."""
        self.lanes = Lanes(self.network, lanes)
        return self.lanes

    def move(self, step: int, progress: float) -> Tensor:
        """One batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self.batch / self.recipe.batch * self.recipe.rate(progress)
        loss = self.trial(step, progress)
        if self.recipe.average:
            _average(self.averaged, self.network, min(self.recipe.average, (step + 1) / (step + 21)))
        return loss

    def trial(self, step: int, progress: float) -> Tensor:
        """One batch at the rate that the optimizer has, without the average."""
        x, y = self.stream.at(step)
        x, y = x.to(self.device), y.to(self.device)
        return _descend(self.lanes, self.optimizer, x, y, self.recipe, progress, self.dropped(step, progress, len(x)))

    def dropped(self, step: int, progress: float, count: int) -> dict[str, Tensor]:
        """The factors of paths and features in a step of so many images, as `Network.learn` takes them; none where all are 1."""
        found = {}
        if self.depths:
            chances = [self.recipe.drop_path * progress * depth for depth in self.depths]
            found["kept"] = factors(chances, count, derive(self.seed, "drop-path", step)).to(self.device)
        if self.features:
            chances = [self.recipe.dropout] * self.features
            found["features"] = factors(chances, count, derive(self.seed, "dropout", step)).to(self.device)
        return found

    def marks(self) -> Marks:
        """Whether each validation image is classified right."""
        return marks_of(self.averaged, self.task.splits["valid"], self.recipe)

    def checked(self, value: float) -> None:
        """A validation changes nothing."""

    def mended(self) -> bool:
        """There is nothing to go back to."""
        return False

    def end(self, value: float) -> bool:
        """The network takes over the averaged weights, which are those that were evaluated."""
        if self.recipe.average:
            self.network.load_state_dict(self.averaged.state_dict())
        return False

    def tensors(self) -> dict[str, Tensor]:
        """The average."""
        if not self.recipe.average:
            return {}
        return {f"average.{name}": tensor for name, tensor in self.averaged.state_dict().items()}

    def facts(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take up the average."""
        if self.recipe.average:
            found = under("average.", tensors)
            self.averaged.load_state_dict(found)


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
