"""How well scores rank: Kendall's tau-b, Spearman's rho, the regret of the best-scored, and bootstrap intervals of them.

Scores that are not finite (failures) are tied below all others. Intervals are percentiles over resamples of the architectures
(Efron 1979). A resample is a vector w of multiplicities, so that Kendall's tau-b of all resamples is one matrix product: with
s_ij = sign(x_i - x_j) sign(y_i - y_j), sum over the groups g of equal x, and n the number of architectures,

    tau = w'Sw / sqrt(T_x T_y)        T_x = n^2 - sum_g (sum_{i in g} w_i)^2        (T_y alike)

in which repeated architectures tie with themselves, as they should.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from archscout.core.seeds import generator

Statistic = Literal["kendall", "spearman"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROWS_AT_ONCE = 1024
_LARGE = 10_000
"""Architectures from which the resamples are taken one by one: the matrix has the square of them."""


class Agreement(NamedTuple):
    """How two rankings agree.

    interval: of `kendall`, or of `spearman` where that was asked for. failed: unusable scores. Correlations are NaN where one side
    is all ties.
    """

    kendall: float
    spearman: float
    interval: tuple[float, float]
    failed: int


class Gap(NamedTuple):
    """A difference of two correlations with the same values (first less second), and its interval."""

    difference: float
    low: float
    high: float


def ordered(scores: ArrayLike) -> Ints:
    """Scores (N,) as whole numbers in the same order; all that are not finite become one tie below the others."""
    values = np.asarray(scores, float)
    values = np.where(np.isfinite(values), values, -np.inf)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def correlation(scores: ArrayLike, values: ArrayLike, statistic: Statistic = "kendall") -> float:
    """Kendall's tau-b or Spearman's rho of scores and recorded values (N,), both higher is better; NaN where one is all ties.

    Raises ValueError where the two do not go together, or a recorded value is not finite.
    """
    x, y = _pair(scores, values)
    if len(x) < 2 or not x.any() or not y.any():
        return float("nan")
    return float(stats.kendalltau(x, y).statistic if statistic == "kendall" else stats.spearmanr(x, y).statistic)


def agreement(
    scores: ArrayLike, values: ArrayLike,
    *, statistic: Statistic = "kendall", seed: int = 0, resamples: int = 1000, level: float = 0.95,
) -> Agreement:  # fmt: skip
    """Both correlations of scores with recorded values (N,), and the bootstrap interval of one of them."""
    x, y = _pair(scores, values)
    failed = int((~np.isfinite(np.asarray(scores, float))).sum())
    kendall, spearman = (correlation(x, y, statistic) for statistic in ("kendall", "spearman"))
    low, high = _percentiles(_resampled(x, y, _multiplicities(len(x), resamples, seed), statistic), level)
    return Agreement(kendall, spearman, (low, high), failed)


def gap(
    first: ArrayLike, second: ArrayLike, values: ArrayLike,
    *, statistic: Statistic = "kendall", seed: int = 0, resamples: int = 1000, level: float = 0.95,
) -> Gap:  # fmt: skip
    """By how much the first scores rank better than the second, on the same architectures: every resample serves both."""
    counts = _multiplicities(len(np.asarray(values)), resamples, seed)
    pairs = [_pair(scores, values) for scores in (first, second)]
    one, other = (_resampled(x, y, counts, statistic) for x, y in pairs)
    here = [correlation(x, y, statistic) for x, y in pairs]
    return Gap(here[0] - here[1], *_percentiles(one - other, level))


def regret(scores: ArrayLike, values: ArrayLike, tops: Sequence[int] = (1, 5, 10)) -> dict[int, float]:
    """For each k: the best recorded value less the best among the k best-scored (of equal scores the earlier ones)."""
    x, y = ordered(scores), np.asarray(values, float)
    order = np.argsort(-x, kind="stable")
    return {k: float(y.max() - y[order[:k]].max()) for k in tops if k <= len(y)}


def mean_gap(
    first: ArrayLike, second: ArrayLike, *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> Gap:  # fmt: skip
    """By how much the mean of the first sample exceeds that of the second (independent samples), with its bootstrap interval."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    rng = generator(seed, "bootstrap of means")
    means = [sample[rng.integers(len(sample), size=(resamples, len(sample)))].mean(1) for sample in (a, b)]
    return Gap(float(a.mean() - b.mean()), *_percentiles(means[0] - means[1], level))


def _pair(scores: ArrayLike, values: ArrayLike) -> tuple[Ints, Ints]:
    x, y = np.asarray(scores, float), np.asarray(values, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"one score per recorded value is needed, but {x.shape} and {y.shape} came")
    if not np.isfinite(y).all():
        raise ValueError("recorded values must be finite; leave out the architectures without one")
    return ordered(x), ordered(y)


def _multiplicities(count: int, resamples: int, seed: int) -> Ints:
    """How often each of N architectures occurs in each resample: (R, N)."""
    rng = generator(seed, "bootstrap", count)
    return np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples)])


def _percentiles(found: Floats, level: float) -> tuple[float, float]:
    """The interval over resamples; those in which one side is all ties tell nothing. NaN where all are so."""
    usable = found[np.isfinite(found)]
    if not len(usable):
        return float("nan"), float("nan")
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(x: Ints, y: Ints, counts: Ints, statistic: Statistic) -> Floats:
    """The statistic of every resample (R,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if statistic == "spearman":
            return _spearman(x, y, counts)
        if len(x) > _LARGE:
            return np.array([stats.kendalltau(np.repeat(x, w), np.repeat(y, w)).statistic for w in counts])
        return _concordance(x, y, counts) / np.sqrt(_untied(x, counts) * _untied(y, counts))


def _concordance(x: Ints, y: Ints, counts: Ints) -> Floats:
    """w'Sw for every resample; exact, since the sums of whole numbers stay below 2**24."""
    weights = counts.astype(np.float32)
    total = np.zeros(len(counts))
    for rows in _blocks(len(x)):
        signs = (np.sign(x[rows, None] - x) * np.sign(y[rows, None] - y)).astype(np.float32)
        total += np.einsum("rn,rn->r", weights[:, rows], weights @ signs.T, dtype=np.float64)
    return total


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE))


def _groups(x: Ints, counts: Ints) -> Floats:
    """How many of each resample have each value: (R, values), in order of the values."""
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.diff(x[order], prepend=-1))
    return np.add.reduceat(counts[:, order], starts, axis=1).astype(float)


def _untied(x: Ints, counts: Ints) -> Floats:
    untied: Floats = counts.sum(1).astype(float) ** 2 - (_groups(x, counts) ** 2).sum(1)
    return untied


def _spearman(x: Ints, y: Ints, counts: Ints) -> Floats:
    """The correlation of the mean ranks within each resample."""
    middle = (counts.sum(1, keepdims=True) + 1) / 2
    ranks = []
    for values in (x, y):
        groups = _groups(values, counts)
        ranks.append((np.cumsum(groups, 1) - (groups - 1) / 2)[:, values] - middle)
    a, b = ranks
    rho: Floats = (counts * a * b).sum(1) / np.sqrt((counts * a * a).sum(1) * (counts * b * b).sum(1))
    return rho
