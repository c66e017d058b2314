"""A small network that turns images into features, and how it is trained: to tell apart the classes of many tasks.

Snell, Swersky and Zemel 2017 (prototypical networks, arXiv 1703.05175): of some classes of a task a few images each are shown,
their features are averaged, and other images must lie nearest to the mean of their class. So the features must serve whatever tasks
ask for, and nothing but them is learned:

    p(class k | image x) ~ exp(-s |f(x) - mean of f over the images shown of k|^2)        s is learned, too

Deviation: classes, images and s are ours; features are means of the maps of three stages.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.moves import Lecture
from archscout.core.protocols import Snapshot
from archscout.core.seeds import derive, generator, seeded
from archscout.nn.checkpoint import under
from archscout.nn.recipe import restore
from archscout.nn.threads import torch_threads

SIDE = 16
"""Pixels: images of other sizes are scaled."""
_WIDTHS = (24, 48, 96)
_TASKS, _CLASSES, _SHOTS = 8, 8, 3
"""How many tasks a step sees, of how many classes at the most, and how many images of a class are shown, and asked for."""
_RATE, _DECAY, _WARM_UP = 3e-3, 1e-4, 0.1
_REPORT = 20


class ImageFeatures(nn.Module):
    """Images (N, 3, 16, 16), normalised over their data set -> features (N, 168): the means of the maps after three stages."""

    width = sum(_WIDTHS)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU())
        before = (_WIDTHS[0], *_WIDTHS[:-1])
        self.stages = nn.ModuleList(
            _Block(one, other, stride=1 if place == 0 else 2)
            for place, (one, other) in enumerate(zip(before, _WIDTHS, strict=True))
        )

    def forward(self, images: Tensor) -> Tensor:
        """The features, (N, 168)."""
        x, found = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            found.append(x.mean((2, 3)))
        return torch.cat(found, 1)


class _Block(nn.Module):
    """Two convolutions around a skip."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.skip = nn.Identity() if before == width else nn.Conv2d(before, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = F.relu(self.inner(x) + self.skip(x))
        return found


def thumbnails(images: NDArray[np.uint8], side: int) -> Tensor:
    """(N, H, W, C) bytes -> (N, 3, side, side), scaled, with mean 0 and deviation 1 of each channel over all of them."""
    parts = [_scaled(images[start : start + 2048], side) for start in range(0, len(images), 2048)]
    x = torch.cat(parts)
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True).clamp_min(1.0)
    return ((x - mean) / deviation).expand(-1, 3, -1, -1)


def _scaled(images: NDArray[np.uint8], side: int) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    if x.shape[2:] == (side, side):
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def training(
    tasks: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]], steps: int, *, seed: int, state: Snapshot | None = None
) -> Generator[Lecture, None, None]:
    """Train on the images (N, H, W, C) and labels (N,) of tasks; a lecture every 20 steps.

    Its state holds the features' weights as `learned.*`; with it, and the same arguments, the training goes on.
    """
    inputs = [(thumbnails(images, SIDE), _by_class(labels)) for images, labels in tasks]
    with seeded(derive(seed, "weights")):
        net = ImageFeatures()
    sharpness = nn.Parameter(torch.tensor(-1.0))
    optimizer = torch.optim.AdamW([*net.parameters(), sharpness], lr=_RATE, weight_decay=_DECAY)
    first = 0
    if state is not None:
        tensors = {name: torch.as_tensor(value) for name, value in state.items() if name != "step"}
        first = int(state["step"])
        net.load_state_dict(under("learned.", tensors))
        sharpness.data.copy_(tensors["sharpness"])
        restore(optimizer, under("optimizer.", tensors))
    told: list[tuple[float, float]] = []
    with torch_threads(1):
        for step in range(first, steps):
            rng = generator(seed, "step", step)
            progress = step / steps
            rate = progress / _WARM_UP if progress < _WARM_UP else (1 - progress) / (1 - _WARM_UP)
            for group in optimizer.param_groups:
                group["lr"] = _RATE * rate
            images, counts = [], []
            for task in rng.choice(len(inputs), min(_TASKS, len(inputs)), replace=False):
                x, rows = inputs[task]
                classes = rng.permutation(len(rows))[:_CLASSES]
                chosen = np.concatenate(
                    [rng.choice(rows[label], 2 * _SHOTS, replace=len(rows[label]) < 2 * _SHOTS) for label in classes]
                )
                images.append(_moved(x[torch.from_numpy(chosen)], rng))
                counts.append(len(classes))
            features, losses, right = net(torch.cat(images)), [], []
            for count, found in zip(counts, features.split([2 * _SHOTS * count for count in counts]), strict=True):
                shown, asked = found.unflatten(0, (count, 2 * _SHOTS)).split(_SHOTS, 1)
                distances = torch.cdist(asked.flatten(0, 1), shown.mean(1)).square()
                labels = torch.arange(count).repeat_interleave(_SHOTS)
                losses.append(F.cross_entropy(-sharpness.exp() * distances, labels))
                right.append((distances.argmin(1) == labels).float().mean())
            loss = torch.stack(losses).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            told.append((float(loss.detach()), float(torch.stack(right).mean())))
            if (step + 1) % _REPORT == 0 or step + 1 == steps:
                metrics = dict(zip(("loss", "accuracy"), np.mean(told, 0).tolist(), strict=True))
                told = []
                yield Lecture(step + 1, steps, metrics, {"step": step + 1, **_state(net, sharpness, optimizer)})


def _by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]


def _moved(images: Tensor, rng: np.random.Generator) -> Tensor:
    """All images of a task, shifted alike by up to a pixel."""
    down, right = rng.integers(-1, 2, 2).tolist()
    return torch.roll(images, (down, right), (2, 3))


def _state(net: nn.Module, sharpness: Tensor, optimizer: torch.optim.Optimizer) -> Mapping[str, Any]:
    found: dict[str, Any] = {f"learned.{name}": tensor.clone() for name, tensor in net.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{name}": tensor.clone() for name, tensor in state.items() if isinstance(tensor, Tensor)}
    return {**found, "sharpness": sharpness.detach().clone()}
