"""Networks that stand for tasks: small ones of one kind, trained from the same initial weights, and the images that compare them.

The papers call a network an epsilon-approximation of a task where its accuracy is at least 1 - epsilon. No epsilon is published:
networks train for a fixed number of passes, their accuracy is told, and one that did not learn stands for nothing (`learned`).

The network: two 3 x 3 convolutions of 16 channels, maximum over 2 x 2, a layer of 32, the classes; ReLU between. All networks of a
seed start from the same weights and see their images in the same order, since Fisher vectors are compared entry by entry: networks
of different starts differ by an arbitrary order of their units. The last layer is drawn last, and has ten outputs at the least, so
that the other weights start alike whatever the number of classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor, inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import bdtrc
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.problem import Task
from archscout.core.seeds import derive, generator, seeded
from archscout.nn.batches import ImageSplit, Stream
from archscout.nn.evaluate import evaluate

LEAST_OUTPUTS = 10
BASELINE_SHAPE = 3, 16, 16
"""Of images in the dictionary of baseline tasks, where the data that come later are not known."""
MOST_SIDE = 32
_CHANCE = 1e-3
"""How probable an accuracy may be by chance, so that a network counts as one that learned."""
_BLOCK = 1024
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class NetworkPlan:
    """How networks for tasks are made; distances are between networks of one plan.

    shape: (C, H, W) to which all images are brought. outputs: of the last layer, more where a task has more classes. epochs, batch,
    rate: of the training with Adam. images: of the training part that are used at most. samples: of the validation part, on which
    Fisher information is taken.
    """

    shape: tuple[int, int, int]
    outputs: int = LEAST_OUTPUTS
    epochs: float = 15.0
    batch: int = 64
    rate: float = 1e-3
    images: int = 10_000
    samples: int = 2_000

    def __post_init__(self) -> None:
        if not 0 < self.epochs < inf or not 0 < self.rate < inf or self.batch < 1 or self.images < 2 or self.samples < 2:
            raise UserError(
                "epochs and rate are above 0, batch is at least 1, images and samples at least 2, "
                f"but {self.epochs}, {self.rate}, {self.batch}, {self.images} and {self.samples} came"
            )

    def record(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> NetworkPlan:
        """What `record` wrote."""
        return cls(**{**record, "shape": tuple(record["shape"])})


Build = Callable[[tuple[int, int, int], int], nn.Module]
"""(shape, outputs) -> a fresh network."""


@dataclass(frozen=True, eq=False)
class TaskImages:
    """A task in the form of a plan.

    train, valid: the images that networks learn from and those that judge them. x (n, C, H, W), y (n,): the samples.
    """

    task: Task
    train: ImageSplit
    valid: ImageSplit
    x: Tensor
    y: Tensor

    @property
    def chance(self) -> float:
        """The accuracy of always saying the most frequent class."""
        labels = self.valid.labels[self.valid.rows]
        return float(np.bincount(labels).max() / len(labels))

    def learned(self, accuracy: float) -> bool:
        """Whether an accuracy on the validation part is one that mere chance would hardly reach."""
        count = len(self.valid)
        return bool(bdtrc(round(accuracy * count) - 1, count, self.chance) < _CHANCE)


def small_network(shape: tuple[int, int, int], outputs: int) -> nn.Module:
    """The network of the head of this file: (B, C, H, W) -> (B, outputs)."""
    channels, height, width = shape
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(channels, 16, 3, padding=1)), ("relu1", nn.ReLU()), ("conv2", nn.Conv2d(16, 16, 3, padding=1)),
        ("relu2", nn.ReLU()), ("pool", nn.MaxPool2d(2)), ("flat", nn.Flatten()),
        ("hidden", nn.Linear(16 * (height // 2) * (width // 2), 32)), ("relu3", nn.ReLU()), ("head", nn.Linear(32, outputs)),
    ]  # fmt: skip
    return nn.Sequential(OrderedDict(layers))


def common_shape(shapes: Sequence[Sequence[int]], side: int = 0) -> tuple[int, int, int]:
    """The form of images of several data sets: their own where they have one; else the most channels, and square.

    side: in pixels; 0 for the longest of their shorter sides, at most 32.
    """
    if not side and len(set(map(tuple, shapes))) == 1:
        channels, height, width = shapes[0]
        return channels, height, width
    side = side or min(MOST_SIDE, max(min(shape[1:]) for shape in shapes))
    return max(shape[0] for shape in shapes), side, side


def images_of(task: Task, plan: NetworkPlan) -> TaskImages:
    """A task of images in the form of a plan; which of the images are used is the same whenever it is asked."""
    train, valid = (brought(task.splits[name], plan.shape, most) for name, most in (("train", plan.images), ("valid", 0)))
    rows = generator(0, "samples").permutation(len(valid))[: plan.samples]
    images, labels = valid.take(np.sort(rows))
    return TaskImages(task, train, valid, valid.normalise(images).contiguous(), labels)


def brought(split: ImageSplit, shape: tuple[int, int, int], most: int = 0) -> ImageSplit:
    """The images of a split, or so many at random, in another form, and in memory.

    Grey ones become coloured by repetition, coloured ones grey as luma; the shorter side is scaled, and the middle cut out.
    """
    rows = split.rows
    if most and len(rows) > most:
        rows = np.sort(rows[generator(0, "images").permutation(len(rows))[:most]])
    parts = [_formed(np.asarray(split.images[rows[start : start + _BLOCK]]), shape) for start in range(0, len(rows), _BLOCK)]
    mean, std = (_channels(np.array(values), shape[0]) for values in (split.mean, split.std))
    labels = split.labels[rows]
    return ImageSplit(np.concatenate(parts), labels, np.arange(len(rows)), tuple(mean.tolist()), tuple(std.tolist()))


def trained(
    images: TaskImages, plan: NetworkPlan, seed: int, build: Build = small_network, tell: Callable[[], None] = lambda: None
) -> nn.Module:
    """A network for the task, in evaluation mode. tell: is called after every pass over the images."""
    with seeded(derive(seed, "weights")):
        network = build(plan.shape, max(plan.outputs, images.task.classes))
    stream = Stream(images.train, plan.batch, seed=derive(seed, "batches"))
    optimizer = torch.optim.Adam(network.parameters(), plan.rate)
    network.train()
    for step in range(max(1, round(plan.epochs * stream.per_pass))):
        x, y = stream.at(step)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % stream.per_pass == 0:
            tell()
    return network.eval()


def restored(build: Build, plan: NetworkPlan, classes: int, state: Mapping[str, Tensor]) -> nn.Module:
    """The trained network of a task with so many classes, in evaluation mode, from its state dictionary."""
    with torch.device("meta"):  # where weights are drawn from no generator
        network = build(plan.shape, max(plan.outputs, classes))
    network.load_state_dict(state, assign=True)
    return network.eval()


def accuracy_of(network: nn.Module, images: TaskImages) -> float:
    """The share of the validation images that a network gets right."""
    return float(evaluate(network, images.valid)[0].mean())


def _formed(images: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(N, H, W, C) -> (N, *) of another form."""
    channels, height, width = shape
    if images.shape[1:] == (height, width, channels):
        return images
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if x.shape[1] != channels:
        x = x.expand(-1, channels, -1, -1) if x.shape[1] == 1 else (x * torch.tensor(_GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    scale = max(height / x.shape[2], width / x.shape[3])
    if scale != 1:
        size = max(height, round(x.shape[2] * scale)), max(width, round(x.shape[3] * scale))
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    top, left = floor((x.shape[2] - height) / 2), floor((x.shape[3] - width) / 2)
    x = x[:, :, top : top + height, left : left + width].round().clamp(0, 255)
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def _channels(values: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    if len(values) == channels:
        return values
    return np.repeat(values, channels) if len(values) == 1 else np.array([float(values @ np.array(_GREY))])
