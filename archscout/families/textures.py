"""Textures made by formulas: waves, noise of many spectra, stripes, checkers, dots, cells, bricks, zigzags, rings, blends.

A texture is one of ten kinds and six numbers from 0 to 1 (wavelength, direction and so on). In half of the tasks all classes are
of one kind and differ in these numbers alone, by as much as was drawn for the task; in the others each has a kind of its own. The
colours belong to the task, to the class, or to the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from archscout.core.pictures import Pictures, TaskForm
from archscout.families._drawing import Design, Part, class_count, drawn
from archscout.families._look import Floats, Look, colours, contrasting, moves, places

Kind = Callable[[Floats, Floats, Floats, np.random.Generator], Floats]
"""(u, v (N, S, S), numbers (N, 6), generator) -> heights (N, S, S), 0 to 1. Every image has random phases."""
_NUMBERS = 6


@dataclass(frozen=True)
class Textures:
    """Textures of different kinds, or of one kind with different numbers."""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number; reads no data."""
        return drawn("textures", number, form, seed, _designed)


def _designed(rng: np.random.Generator, look: Look, form: TaskForm) -> Design:
    count = class_count(rng, form)
    alike = rng.random() < 0.5
    kinds = np.full(count, rng.integers(len(KINDS))) if alike else rng.integers(len(KINDS), size=count)
    spread = rng.choice([0.35, 0.6, 1.0])
    middle = rng.uniform(spread / 2, 1 - spread / 2, _NUMBERS)
    numbers = middle + spread * (_apart(count, rng) - 0.5)
    jitter = float(rng.choice([0.01, 0.03, 0.08]))
    owner = rng.choice(["task", "class", "image"], p=[0.5, 0.2, 0.3])
    palette = _palette(count, rng)
    fixed = _palette(1, rng)
    blend = float(rng.choice([0.0, 0.0, 0.3, 0.5]))
    # Directions tell classes apart, so whole turns would mix them; and a shift is nothing, since phases are random.
    look = replace(look, turn=min(look.turn, 0.25), shift=0.0)

    def paint(part: Part, labels: NDArray[np.int64], side: int, rng: np.random.Generator) -> Floats:
        own = np.clip(numbers[labels] + rng.normal(0, jitter, (len(labels), _NUMBERS)), 0, 1).astype(np.float32)
        maps = moves(len(labels), look, rng)
        heights = np.empty((len(labels), side, side), np.float32)
        for kind in np.unique(kinds):
            chosen = np.flatnonzero(kinds[labels] == kind)
            u, v = places(maps[chosen], side)
            heights[chosen] = KINDS[kind](u, v, own[chosen], rng)
        if blend:
            heights = (1 - blend) * heights + blend * _spectrum(heights, np.full((len(labels), _NUMBERS), 0.5, np.float32), rng)
        owned = {"task": fixed[:, np.zeros_like(labels)], "class": palette[:, labels]}
        low, high = owned[owner] if owner in owned else _palette(len(labels), rng)
        painted: Floats = low[:, None, None, :] + heights[..., None] * (high - low)[:, None, None, :]
        return painted

    names = tuple(f"{KINDS[kind].__name__.strip('_')} {place}" for place, kind in enumerate(kinds, 1))
    return Design(names, paint, look)


def _palette(count: int, rng: np.random.Generator) -> Floats:
    """(2, N, 3): two colours each."""
    first = colours(count, rng)
    return np.stack([first, contrasting(first, rng)])


def _apart(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 6) from 0 to 1: equal steps of each number in random order (a Latin hypercube), so that no two fall together."""
    steps = np.stack([rng.permutation(count) for _ in range(_NUMBERS)], 1)
    return (steps + rng.uniform(0.25, 0.75, steps.shape)) / count


def _frame(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator, turns: float = 1.0) -> tuple[Floats, Floats]:
    """Places along and across the direction of a texture in wavelengths: number 0 is the wavelength, number 1 the direction."""
    waves = _column(0.8 * np.exp(1.2 * (1 - numbers[:, 0])))
    angle = _column(numbers[:, 1]) * np.float32(np.pi * turns)
    cosine, sine = np.cos(angle) * waves, np.sin(angle) * waves
    phase = rng.random((2, len(u), 1, 1), np.float32)
    return u * cosine + v * sine + phase[0], v * cosine - u * sine + phase[1]


def _waves(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Two plane waves, of which number 2 is the share of the second, 3 its wavelength and 4 its direction."""
    along, across = _frame(u, v, numbers, rng)
    share, ratio, angle = _column(numbers[:, 2]), _column(0.5 + 1.5 * numbers[:, 3]), _column(np.pi * numbers[:, 4])
    second = _sine((along * np.cos(angle) + across * np.sin(angle)) * ratio)
    return 0.5 + 0.5 * ((1 - share) * _sine(along) + share * second)


def _stripes(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Stripes with hard edges; number 2 is the width of the bright ones, 3 how much every other one is darker."""
    along, _ = _frame(u, v, numbers, rng)
    bright = _step(_column(0.2 + 0.6 * numbers[:, 2]) / 2 - np.abs(along % 1 - 0.5), along)
    darker: Floats = 1 - _column(0.8 * numbers[:, 3]) * (np.floor(along) % 2)
    return np.multiply(bright, darker)


def _checkers(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Checkers; number 2 is how long the fields are, 3 how much they are skewed."""
    along, across = _frame(u, v, numbers, rng, 0.5)
    across = across / _column(0.6 + 1.4 * numbers[:, 2]) + along * _column(numbers[:, 3] - 0.5)
    return 0.5 + 0.5 * np.clip(8 * _sine(along / 2) * _sine(across / 2), -1, 1)


def _dots(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Dots in rows; number 2 is their size, 3 how much every other row is moved, 4 whether they are rather rings or diamonds."""
    along, across = _frame(u, v, numbers, rng, 0.5)
    along = along + _column(0.5 * numbers[:, 3]) * (np.floor(across) % 2)
    x, y = along % 1 - 0.5, across % 1 - 0.5
    form, size = _column(numbers[:, 4]), _column(0.15 + 0.3 * numbers[:, 2])
    distance = (1 - form) * np.sqrt(x * x + y * y) + form * (np.abs(x) + np.abs(y))
    hole = _step(_column(0.6 * (numbers[:, 4] < 0.35)) * size - distance, along)
    return _step(size - distance, along) - hole


def _bricks(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Bricks; number 2 is their length, 3 how wide the joints are, 4 how much each differs in brightness."""
    along, across = _frame(u, v, numbers, rng, 0.5)
    length, joint = _column(1 + 2 * numbers[:, 2]), _column(0.04 + 0.25 * numbers[:, 3])
    row = np.floor(across)
    along = along / length + 0.5 * (row % 2)
    x, y = (0.5 - np.abs(along % 1 - 0.5)) * length, 0.5 - np.abs(across % 1 - 0.5)
    own = _scattered(np.floor(along), row)
    return _step(np.minimum(x, y) - joint / 2, across) * (1 - _column(0.8 * numbers[:, 4]) * own)


def _zigzags(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Stripes that go to and fro; number 2 is how steeply, 3 how often, 4 how wide they are, 5 how round."""
    along, across = _frame(u, v, numbers, rng)
    often = _column(0.4 + 0.6 * numbers[:, 3])
    sharp = 4 * np.abs((across * often) % 1 - 0.5) - 1
    bend = sharp + _column(numbers[:, 5]) * (_sine(across * often + 0.25) - sharp)
    wave = along + _column(0.1 + 0.6 * numbers[:, 2]) * bend
    return _step(_column(0.25 + 0.5 * numbers[:, 4]) / 2 - np.abs(wave % 1 - 0.5), along)


def _rings(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Rings or spirals about a random middle; number 1 is how many arms the spiral has, 2 how sharp, 3 how long the middle is."""
    middle = rng.uniform(-0.7, 0.7, (2, len(u), 1, 1)).astype(np.float32)
    x, y = u - middle[0], (v - middle[1]) * _column(1 + 1.5 * numbers[:, 3])
    waves = _column(0.8 * np.exp(1.2 * (1 - numbers[:, 0])))
    arms = _column(np.floor(numbers[:, 1] * 4.999))
    phase = rng.random((len(u), 1, 1), np.float32)
    turns = np.arctan2(y, x) / np.float32(2 * np.pi)
    wave = _sine(np.sqrt(x * x + y * y) * waves + arms * turns + phase)
    return 0.5 + 0.5 * np.clip(wave * _column(1 + 5 * numbers[:, 2]), -1, 1)


def _cells(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Cells about random points; number 0 is how many points, 1 and 2 their longer side, 3 and 4 shade, edges or spots."""
    count = len(u)
    most = 18
    points = rng.uniform(-1.3, 1.3, (most, 2, count, 1, 1)).astype(np.float32)
    shades = rng.random((most, count, 1, 1), np.float32)
    used = _column(np.round(4 + (most - 4) * (1 - numbers[:, 0])))
    angle, longer = _column(np.pi * numbers[:, 1]), _column(1 + 1.5 * numbers[:, 2])
    cosine, sine = np.cos(angle), np.sin(angle)
    along, across = u * cosine + v * sine, (v * cosine - u * sine) * longer
    nearest, second, shade = np.full_like(u, 9), np.full_like(u, 9), np.zeros_like(u)
    for place in range(most):
        x, y = points[place]
        squares = (along - x) ** 2 + (across - y) ** 2 + np.where(place < used, 0, np.float32(99))
        second = np.minimum(second, np.maximum(squares, nearest))
        shade = np.where(squares < nearest, shades[place], shade)
        nearest = np.minimum(nearest, squares)
    near = np.sqrt(nearest)
    edges = np.clip((np.sqrt(second) - near) * 5, 0, 1)
    spots = np.clip(near * np.sqrt(used) * 0.5, 0, 1)
    look, kind = _column(numbers[:, 3]), _column(numbers[:, 4])
    shaded, spotted = shade + kind * (edges * shade - shade), spots + kind * (edges - spots)
    return np.asarray(shaded + look * (spotted - shaded), np.float32)


def _noise(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Noise of a band of wavelengths and directions, seen as it is or in steps."""
    heights = _spectrum(u, numbers, rng)
    levels = _column(1 + 3 * numbers[:, 5])
    stepped = np.floor(heights * levels) / levels
    return np.where(_column(numbers[:, 5]) > 0.5, heights, np.clip(stepped * 1.5, 0, 1))


def _spectrum(u: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """White noise through a filter: numbers 0 and 2 are middle and width of its band, 1 and 3 direction and width of its fan."""
    count, side = u.shape[:2]
    size = side + 8  # the filter wraps around, so the image is cut out of more
    rows, columns = fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]
    radius = np.log2(np.sqrt(rows**2 + columns**2) * size + 1e-6).astype(np.float32)
    direction = np.arctan2(rows, columns + 1e-9).astype(np.float32)
    band = (radius - _column(0.7 + 2.1 * (1 - numbers[:, 0]))) / _column(0.2 + 1.0 * numbers[:, 2])
    fan = np.cos(2 * (direction - _column(np.pi * numbers[:, 1]))) - 1
    passed = np.exp(-0.5 * band**2 + fan * _column(6 * np.maximum(1 - 1.5 * numbers[:, 3], 0)))
    white = fft.rfft2(rng.standard_normal((count, size, size), np.float32))
    made = fft.irfft2(white * passed, s=(size, size))[:, :side, :side]
    made -= made.mean((1, 2), keepdims=True)
    return np.asarray(np.clip(0.5 + 0.25 * made / (made.std((1, 2), keepdims=True) + 1e-6), 0, 1), np.float32)


def _marble(u: Floats, v: Floats, numbers: Floats, rng: np.random.Generator) -> Floats:
    """Waves bent by smooth noise; number 2 is how much, 3 how fine the noise is, 4 how sharp the veins are."""
    along, _ = _frame(u, v, numbers, rng)
    fine = np.stack([1 - numbers[:, 3] * 0.6, numbers[:, 1], numbers[:, 3], np.ones(len(u)), *np.zeros((2, len(u)))], 1)
    bend = _spectrum(u, fine.astype(np.float32), rng) - 0.5
    wave = np.abs(_sine(along / 2 + bend * _column(0.5 + 3 * numbers[:, 2])))
    return wave ** _column(0.4 + 2.5 * numbers[:, 4])


KINDS: tuple[Kind, ...] = (_waves, _stripes, _checkers, _dots, _bricks, _zigzags, _rings, _cells, _noise, _marble)


def _column(numbers: NDArray[np.floating]) -> Floats:
    """(N,) -> (N, 1, 1), for images."""
    return numbers.astype(np.float32)[:, None, None]


def _sine(turns: Floats) -> Floats:
    return np.asarray(np.sin(turns * np.float32(2 * np.pi)))


def _step(distance: Floats, scale: Floats) -> Floats:
    """1 where the distance to an edge is positive, 0 where it is negative, smooth over about a painted pixel."""
    width = np.abs(scale[:, :1, 1:2] - scale[:, :1, :1]) + np.abs(scale[:, 1:2, :1] - scale[:, :1, :1])
    return np.asarray(np.clip(0.5 + distance / np.maximum(width, np.float32(1e-3)), 0, 1))


def _scattered(x: Floats, y: Floats) -> Floats:
    """A number from 0 to 1 for each pair of whole numbers, as if at random."""
    return np.abs(np.sin(x * np.float32(12.9898) + y * np.float32(78.233)) * np.float32(43.758)) % 1
