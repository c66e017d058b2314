"""How sure a counted accuracy or a mean over a text is: intervals from sampling alone.

One proportion: Wilson (1927). Two proportions: the hybrid score intervals of Newcombe 1998 (Statistics in Medicine 17, 873-890
for independent samples, method 10; 17, 2635-2650 for paired ones, method 10). Series whose neighbours are alike, such as the
windows of a text: t intervals over the means of long pieces (batch means). Means over seeds: t intervals, of Welch (1947) for two
groups. No bootstrap, so nothing here is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archscout.nn.language import batch_means

_Series = NDArray[np.bool_] | NDArray[np.float64]


class Difference(NamedTuple):
    """A difference of two accuracies (first less second) and its interval, all on the scale -1..1."""

    difference: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves nought out."""
        return self.low > 0 or self.high < 0


def wilson(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson interval of `correct` out of `total`, both ends in 0..1.

    level: the share of such intervals that hold the true accuracy. Raises ValueError for total 0 or correct outside 0..total.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"an accuracy needs 0 <= correct <= total and a total above 0, but {correct} of {total} came")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, pull = correct / total, z * z / total
    middle = (share + pull / 2) / (1 + pull)
    half = z * sqrt(share * (1 - share) / total + pull / (4 * total)) / (1 + pull)
    return 0.0 if correct == 0 else middle - half, 1.0 if correct == total else middle + half


def difference(first: ArrayLike | tuple[int, int], second: ArrayLike | tuple[int, int], level: float = 0.95) -> Difference:
    """How much more often the first is right than the second.

    Each is either a vector of 0/1 (N,), one entry per image in the same order (N must then agree: the interval is the paired
    one, which is narrower where both err on the same images), or a tuple (correct, total) of independent samples.
    Raises ValueError where the two do not go together.
    """
    if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second) == 2:
        return _independent((int(first[0]), int(first[1])), (int(second[0]), int(second[1])), level)
    if isinstance(first, tuple) or isinstance(second, tuple):
        raise ValueError("a difference takes two (correct, total) tuples or two vectors of 0/1, but one of each came")
    a, b = _vector(first), _vector(second)
    if len(a) != len(b):
        raise ValueError(f"paired vectors need one entry per image in both, but {len(a)} and {len(b)} entries came")
    return _paired(a, b, level)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The t interval of the mean of a few values (seeds). Raises ValueError for fewer than two."""
    from scipy.special import stdtrit  # seconds would pass with all of scipy.stats

    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two values, but {len(values)} came")
    data = np.asarray(values, dtype=float)
    half = float(stdtrit(len(data) - 1, (1 + level) / 2)) * float(data.std(ddof=1)) / sqrt(len(data))
    return float(data.mean()) - half, float(data.mean()) + half


def series_interval(values: _Series, level: float = 0.95) -> tuple[float, float]:
    """The interval of the mean of a series whose neighbours are alike, (N,). Of fewer than two values, the mean itself twice."""
    mean, means = float(np.mean(values)), batch_means(values)
    if len(means) < 2:
        return mean, mean
    low, high = mean_interval(means.tolist(), level)
    half = (high - low) / 2
    return mean - half, mean + half


def series_difference(first: _Series, second: _Series, level: float = 0.95) -> Difference:
    """The mean of first less second, two series (N,) over the same windows, with its interval: paired, so narrower than apart."""
    if first.shape != second.shape:
        raise ValueError(f"paired series need one entry per window in both, but {len(first)} and {len(second)} entries came")
    gap = first.astype(np.float64) - second.astype(np.float64)
    return Difference(float(gap.mean()), *series_interval(gap, level))


class Discordance(NamedTuple):
    """On how many items only the first is right, and only the second; p: the chance of such a split if both are as good."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> Discordance:
    """The exact two-sided test of McNemar (1947) of two vectors of 0/1 (N,) over the same items.

    Raises ValueError where the two do not go together.
    """
    from scipy.special import bdtr

    a, b = _vector(first), _vector(second)
    if len(a) != len(b):
        raise ValueError(f"paired vectors need one entry per image in both, but {len(a)} and {len(b)} entries came")
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    both = only_a + only_b
    return Discordance(only_a, only_b, min(1.0, 2 * float(bdtr(min(only_a, only_b), both, 0.5))) if both else 1.0)


def welch(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """The mean of the first less that of the second, independent samples of at least one and together at least three values.

    With two or more values on each side the interval of Welch (1947). A single value is taken to vary as the other side does: then
    it is the t interval of a further observation less the mean. Raises ValueError for fewer values.
    """
    from scipy.special import stdtrit

    a, b = np.asarray(first, float), np.asarray(second, float)
    if min(len(a), len(b)) < 1 or max(len(a), len(b)) < 2:
        raise ValueError(f"a difference of means needs two values on one side at least, but {len(a)} and {len(b)} came")
    gap = float(a.mean() - b.mean())
    if min(len(a), len(b)) == 1:
        many = a if len(a) > 1 else b
        error, freedom = float(many.std(ddof=1)) * sqrt(1 + 1 / len(many)), float(len(many) - 1)
    else:
        one, other = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
        error = sqrt(one + other)
        parts = one**2 / (len(a) - 1) + other**2 / (len(b) - 1)
        freedom = (one + other) ** 2 / parts if parts else float(len(a) + len(b) - 2)
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return Difference(gap, gap - half, gap + half)


def _vector(values: ArrayLike) -> NDArray[np.bool_]:
    vector = np.asarray(values)
    if vector.ndim != 1 or not len(vector) or not np.isin(vector, (0, 1)).all():
        raise ValueError(f"correctness is a vector of 0/1 with at least one entry, but {vector.dtype} {vector.shape} came")
    return vector.astype(bool)


def _independent(first: tuple[int, int], second: tuple[int, int], level: float) -> Difference:
    p, q = first[0] / first[1], second[0] / second[1]
    (p_low, p_high), (q_low, q_high) = wilson(*first, level), wilson(*second, level)
    return Difference(p - q, p - q - sqrt((p - p_low) ** 2 + (q_high - q) ** 2), p - q + sqrt((p_high - p) ** 2 + (q - q_low) ** 2))


def _paired(a: NDArray[np.bool_], b: NDArray[np.bool_], level: float) -> Difference:
    n = len(a)
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    neither = n - both - only_a - only_b
    p, q = (both + only_a) / n, (both + only_b) / n
    (p_low, p_high), (q_low, q_high) = wilson(both + only_a, n, level), wilson(both + only_b, n, level)
    # phi is the correlation of the two outcomes, with Newcombe's correction towards nought.
    product = both * neither - only_a * only_b
    product_corrected = max(product - n / 2, 0.0) if product > 0 else float(product)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    phi = product_corrected / sqrt(margins) if margins else 0.0

    def reach(x: float, y: float) -> float:
        return sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))

    return Difference(p - q, p - q - reach(p - p_low, q_high - q), p - q + reach(p_high - p, q - q_low))
