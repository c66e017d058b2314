"""A small network that turns images into features, and how it is trained: to classify the images of many tasks at once.

Every task has a linear classifier of its own on shared features, so that the features must tell apart whatever tasks ask for:
textures, shapes, characters, things. After the training the classifiers are thrown away.
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
_TASKS, _IMAGES = 8, 32
"""How many tasks a step sees, and how many images of each."""
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
    inputs = [(thumbnails(images, SIDE), torch.from_numpy(labels)) for images, labels in tasks]
    with seeded(derive(seed, "weights")):
        net = ImageFeatures()
        heads = nn.ModuleList(nn.Linear(net.width, int(labels.max()) + 1) for _, labels in inputs)
    optimizer = torch.optim.AdamW([*net.parameters(), *heads.parameters()], lr=_RATE, weight_decay=_DECAY)
    first = 0
    if state is not None:
        tensors = {name: torch.as_tensor(value) for name, value in state.items() if name != "step"}
        first = int(state["step"])
        net.load_state_dict(under("learned.", tensors))
        heads.load_state_dict(under("heads.", tensors))
        restore(optimizer, under("optimizer.", tensors))
    right = seen = 0
    loss_sum = 0.0
    with torch_threads(1):
        for step in range(first, steps):
            rng = generator(seed, "step", step)
            chosen = rng.choice(len(inputs), min(_TASKS, len(inputs)), replace=False)
            rows = [rng.choice(len(inputs[task][1]), min(_IMAGES, len(inputs[task][1])), replace=False) for task in chosen]
            x = torch.cat([_moved(inputs[task][0][torch.from_numpy(r)], rng) for task, r in zip(chosen, rows, strict=True)])
            progress = step / steps
            rate = progress / _WARM_UP if progress < _WARM_UP else (1 - progress) / (1 - _WARM_UP)
            for group in optimizer.param_groups:
                group["lr"] = _RATE * rate
            features, loss, start = net(x), torch.zeros(()), 0
            for task, r in zip(chosen, rows, strict=True):
                labels = inputs[task][1][torch.from_numpy(r)]
                logits = heads[task](features[start : start + len(r)])
                loss = loss + F.cross_entropy(logits, labels) / len(chosen)
                right += int((logits.argmax(1) == labels).sum())
                seen, start = seen + len(r), start + len(r)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.item()
            if (step + 1) % _REPORT == 0 or step + 1 == steps:
                metrics = {"loss": loss_sum / ((step % _REPORT) + 1), "accuracy": right / max(1, seen)}
                right, seen, loss_sum = 0, 0, 0.0
                yield Lecture(step + 1, steps, metrics, {"step": step + 1, **_state(net, heads, optimizer)})


def _moved(images: Tensor, rng: np.random.Generator) -> Tensor:
    """All images of a task, shifted alike by up to a pixel."""
    down, right = rng.integers(-1, 2, 2).tolist()
    return torch.roll(images, (down, right), (2, 3))


def _state(net: nn.Module, heads: nn.Module, optimizer: torch.optim.Optimizer) -> Mapping[str, Any]:
    found: dict[str, Any] = {f"learned.{name}": tensor.clone() for name, tensor in net.state_dict().items()}
    found |= {f"heads.{name}": tensor.clone() for name, tensor in heads.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{name}": tensor.clone() for name, tensor in state.items() if isinstance(tensor, Tensor)}
    return found
