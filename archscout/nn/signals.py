"""Draws the signals of a signal task: what a network reads, what it shall regress, and the noise on its input.

Li, Hao, Li, Xiong and Chen 2021 (arXiv 2108.01899). Rows r and columns c count from 1. With ten frequencies b and 32 phases p each:

    sin1d         sin or cos (2 pi b r + p), constant along the columns; and the same of c, constant along the rows: 640 maps
    sin2d         sin or cos (2 pi (b r + b' c) + 2 p) for all 100 ordered pairs, and the same upside down: 6,400 maps
    dots          a share of the cells, each +1 or -1
    blurred_dots  dots through a Gaussian of one pixel, divided by the largest magnitude
    resized       the input itself at 8 x 8, over the whole batch scaled to -1 .. 1

sin for even, cos for odd phases. Of the waves, as many different ones are chosen at random as there are channels. Everything
follows from the seed alone, each signal from a sub-seed of its own, and only the chosen waves are computed.

Deviation: blurred dots without a dot are zero (a division of nought by nought in the released code).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from archscout.core.seeds import generator
from archscout.core.signals import SIDE, Dots, SignalTask, Sines, Stage

Maps = NDArray[np.float64]
_PHASES = 32
_MOST_RESIZED = 1_000


def targets(task: SignalTask, images: Tensor, seed: int) -> list[Tensor]:
    """What each stage of a network shall regress: (B, channels of the stage, 8, 8), for images (B, C, H, W)."""
    return [_stage(stage, images, seed, number) for number, stage in enumerate(task.stages)]


def sequences(task: SignalTask, seed: int) -> tuple[Tensor, Tensor]:
    """What a recurrent network reads and shall write: (B, 8 steps, D) each, D the channels of the stages."""
    read, written = (
        torch.from_numpy(_sum(stage, seed, number, (task.batch, 1, SIDE, stage.channels))).float().squeeze(1)
        for number, stage in enumerate(task.stages)
    )
    return read, written


def noise(task: SignalTask, like: Tensor, source: torch.Generator) -> Tensor:
    """Fresh noise of the shape and type of `like`, drawn on the CPU: U(-a, a), or N(0, a^2)."""
    drawn = torch.empty(like.shape, dtype=like.dtype)
    if task.noise == "uniform":
        drawn.uniform_(-task.noise_level, task.noise_level, generator=source)
    else:
        drawn.normal_(0.0, task.noise_level, generator=source)
    return drawn.to(like.device)


def _stage(stage: Stage, images: Tensor, seed: int, number: int) -> Tensor:
    total = _sum(stage, seed, number, (len(images), stage.channels, SIDE, SIDE))
    if stage.resized is not None:
        order = generator(seed, "signals", number, "resized").permutation(_MOST_RESIZED)
        total += stage.resized.level * resized(images)[:, order[: stage.channels] % images.shape[1]]
    # As the networks' maps lie in memory: between unlike layouts the error takes several times as long.
    return torch.from_numpy(total).to(images.device, images.dtype).contiguous(memory_format=torch.channels_last)


def _sum(stage: Stage, seed: int, number: int, shape: tuple[int, int, int, int]) -> Maps:
    """The drawn signals of a stage, without the resized input: (B, C, H, W)."""
    batch, channels, *size = shape
    total = np.zeros(shape)
    for name, draw in _DRAWN.items():
        signal: Any = getattr(stage, name)
        if signal is not None:
            rng = generator(seed, "signals", number, name)
            total += signal.level * draw(signal, batch if signal.per_sample else 1, channels, tuple(size), rng)
    return total


def sin1d(signal: Sines, draws: int, channels: int, size: tuple[int, ...], rng: np.random.Generator) -> Maps:
    """Waves along one axis: (draws, channels, H, W)."""
    phases = rng.uniform(0, 2 * pi, (draws, len(signal.betas), _PHASES))
    chosen = _choose(rng, draws, channels, 2 * phases[0].size)
    beta, phase, along_columns = np.unravel_index(chosen, (*phases.shape[1:], 2))
    angle = np.take_along_axis(phases.reshape(draws, -1), beta * _PHASES + phase, 1)
    height, width = size
    place = np.where(along_columns[..., None, None], np.arange(1, width + 1), np.arange(1, height + 1)[:, None])
    return _wave(2 * pi * np.array(signal.betas)[beta][..., None, None] * place + angle[..., None, None], phase)


def sin2d(signal: Sines, draws: int, channels: int, size: tuple[int, ...], rng: np.random.Generator) -> Maps:
    """Waves across both axes: (draws, channels, H, W)."""
    betas = np.array(signal.betas)
    phases = rng.uniform(0, 2 * pi, (draws, len(betas) ** 2, _PHASES))
    chosen = _choose(rng, draws, channels, 2 * phases[0].size)
    first, second, phase, flipped = np.unravel_index(chosen, (len(betas), len(betas), _PHASES, 2))
    angle = np.take_along_axis(phases.reshape(draws, -1), (first * len(betas) + second) * _PHASES + phase, 1)
    height, width = size
    rows = np.arange(1, height + 1)[:, None]
    rows = np.where(flipped[..., None, None], max(size) + 1 - rows, rows)  # upside down on a square, of which this is a part
    across = betas[first][..., None, None] * rows + betas[second][..., None, None] * np.arange(1, width + 1)
    return _wave(2 * pi * across + 2 * angle[..., None, None], phase)


def dots(signal: Dots, draws: int, channels: int, size: tuple[int, ...], rng: np.random.Generator) -> Maps:
    """Points of +1 and -1 on exactly int(share * H * W) cells: (draws, channels, H, W)."""
    cells = prod(size)
    count = int(signal.share * cells)
    order = rng.random((draws * channels, cells)).argsort(1)
    found = np.where(order < count, rng.choice((-1.0, 1.0), order.shape), 0.0)  # as many ranks as cells lie below the count
    return found.reshape(draws, channels, *size)


def blurred_dots(signal: Dots, draws: int, channels: int, size: tuple[int, ...], rng: np.random.Generator) -> Maps:
    """Dots through a Gaussian of one pixel (nine taps, mirrored at the edge), the largest magnitude 1: (draws, channels, H, W)."""
    blurred: Maps = gaussian_filter(dots(signal, draws, channels, size, rng), (0, 0, 1, 1), mode="reflect", truncate=4)
    peak = np.abs(blurred).max((2, 3), keepdims=True)
    return blurred / np.where(peak > 0, peak, 1.0)


def resized(images: Tensor) -> Maps:
    """The nearest pixels at 8 x 8, scaled to -1 .. 1 over the whole batch: (B, C, 8, 8). Equal pixels give zeros."""
    small = F.interpolate(images.double(), (SIDE, SIDE), mode="nearest").cpu().numpy()
    low, high = small.min(), small.max()
    return 2 * (small - low) / (high - low) - 1 if high > low else np.zeros_like(small)


_DRAWN: dict[str, Callable[[Any, int, int, tuple[int, ...], np.random.Generator], Maps]] = {
    "sin1d": sin1d, "sin2d": sin2d, "dots": dots, "blurred_dots": blurred_dots,
}  # fmt: skip


def _choose(rng: np.random.Generator, draws: int, channels: int, count: int) -> NDArray[np.intp]:
    """For each draw, `channels` different numbers below `count`."""
    return np.argpartition(rng.random((draws, count)), min(channels, count - 1), 1)[:, :channels]


def _wave(angle: Maps, phase: NDArray[np.intp]) -> Maps:
    return np.where((phase % 2 == 0)[..., None, None], np.sin(angle), np.cos(angle))
