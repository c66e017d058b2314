"""What can be read from a loss surface on a grid, and from a curve of losses by epoch.

Surfaces are (N, N), the rows along the first direction; the axis (N,) is that of both. Losses that are no number count as very
high. Compare shapes, not losses: every network has directions of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_LOWEST, _HIGHEST = 1e-12, 1e12
_RISE = 1.0
_LEAST_POINTS = 9


@dataclass(frozen=True)
class Shape:
    """Of a surface.

    basin_area: share of the grid with a loss below the lowest plus 1. roundness: the smaller curvature of a quadratic through the
    middle half over the larger one; 1 for round, negative where it falls somewhere, NaN for a plane. variation: the integral of
    |d log L / da| + |d log L / db|. minima: points lower than all around them.
    """

    basin_area: float
    roundness: float
    variation: float
    minima: float

    def record(self) -> dict[str, float | None]:
        """As JSON takes it."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def shape_of(surface: ArrayLike, axis: Sequence[float]) -> Shape:
    """Of a surface (N, N), N at least 3."""
    values = _finite(surface)
    step = float(axis[1] - axis[0])
    logs = np.log(values)
    variation = step * float(np.abs(np.diff(logs, axis=0)).sum() + np.abs(np.diff(logs, axis=1)).sum())
    return Shape(float((values < values.min() + _RISE).mean()), _roundness(values, np.asarray(axis)), variation, _minima(values))


def mean_shape(shapes: Sequence[Shape]) -> Shape:
    """The mean over several pairs of directions."""
    return Shape(*(float(np.mean([getattr(shape, name) for shape in shapes])) for name in Shape.__dataclass_fields__))


def curve_area(losses: Sequence[float]) -> float:
    """The mean of the losses after epoch 1, 2, ... over the logarithm of the epoch: small for what converges fast."""
    if len(losses) == 1:
        return float(losses[0])
    logs = np.log(np.arange(1, len(losses) + 1))
    return float(np.trapezoid(losses, logs) / logs[-1])


def _finite(surface: ArrayLike) -> Floats:
    values = np.asarray(surface, np.float64)
    return np.clip(np.nan_to_num(values, nan=_HIGHEST, posinf=_HIGHEST), _LOWEST, _HIGHEST)


def _roundness(values: Floats, axis: Floats) -> float:
    """A quadratic by least squares, on the points within half the reach, or on the 3 x 3 in the middle where those are few."""
    near = np.abs(axis) <= np.abs(axis).max() / 2 + 1e-9
    if near.sum() ** 2 < _LEAST_POINTS:
        near = np.argsort(np.argsort(np.abs(axis), kind="stable")) < 3
    a, b = (part.ravel() for part in np.meshgrid(axis[near], axis[near], indexing="ij"))
    columns = np.stack([np.ones_like(a), a, b, a * a / 2, a * b, b * b / 2], axis=1)
    _, _, _, aa, ab, bb = np.linalg.lstsq(columns, values[np.ix_(near, near)].ravel(), rcond=None)[0]
    low, high = np.linalg.eigvalsh(np.array([[aa, ab], [ab, bb]]))
    largest = max(abs(low), abs(high))
    return float(low / largest) if largest > 1e-9 else float("nan")


def _minima(values: Floats) -> int:
    padded = np.pad(values, 1, constant_values=np.inf)
    count = len(values)
    around = [
        padded[1 + down : 1 + down + count, 1 + right : 1 + right + count]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if down or right
    ]
    return int((values < np.min(around, axis=0)).sum())
