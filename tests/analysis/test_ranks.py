from __future__ import annotations

import time
from math import isnan

import numpy as np
import pytest
from commandline import SLOWNESS
from scipy import stats

from archscout.analysis import ranks


def noisy(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    return values + noise * rng.normal(size=count), values


def test_small_cases_by_hand() -> None:
    assert ranks.correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert ranks.correlation([4, 3, 2, 1], [10, 20, 30, 40], "spearman") == pytest.approx(-1)
    # pairs of (1, 2, 3, 4) and (1, 3, 2, 4): five agree, one does not
    assert ranks.correlation([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    # one tie in x: 5 of 6 pairs untied there, all of them agree; tau-b = 5 / sqrt(5 * 6)
    assert ranks.correlation([1, 1, 2, 3], [1, 2, 3, 4]) == pytest.approx(5 / np.sqrt(30))


def test_failures_are_the_worst_ties() -> None:
    scores = [np.nan, 2.0, -np.inf, 3.0, np.inf]
    assert ranks.ordered(scores).tolist() == [0, 1, 0, 2, 0]
    values = [1.0, 4.0, 2.0, 5.0, 3.0]
    found = ranks.agreement(scores, values)
    assert found.failed == 3
    assert found.kendall == pytest.approx(stats.kendalltau([-9, 2, -9, 3, -9], values).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr([-9, 2, -9, 3, -9], values).statistic)


def test_where_all_scores_tie_there_is_no_correlation() -> None:
    found = ranks.agreement([np.nan] * 5, [1, 2, 3, 4, 5])
    assert isnan(found.kendall) and isnan(found.spearman) and isnan(found.interval[0]) and found.failed == 5


@pytest.mark.parametrize("statistic", ["kendall", "spearman"])
@pytest.mark.parametrize("large", [False, True])
def test_resamples_equal_those_written_out(statistic: ranks.Statistic, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(ranks, "_LARGE", 10)
    monkeypatch.setattr(ranks, "_ROWS_AT_ONCE", 7)
    scores, values = noisy(40, 1.0)
    x, y = ranks.ordered(scores.round(0)), ranks.ordered(values.round(1))  # with ties
    counts = ranks._multiplicities(40, 25, 3)
    assert counts.shape == (25, 40) and (counts.sum(1) == 40).all()
    there = stats.kendalltau if statistic == "kendall" else stats.spearmanr
    expected = [there(np.repeat(x, w), np.repeat(y, w)).statistic for w in counts]
    assert ranks._resampled(x, y, counts, statistic) == pytest.approx(expected, abs=1e-12)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Kendall's tau of a bivariate normal with correlation r is 2/pi asin r."""
    truth = 2 / np.pi * np.arcsin(1 / np.sqrt(2))
    inside = 0
    for seed in range(100):
        low, high = ranks.agreement(*noisy(150, 1.0, seed), resamples=300).interval
        inside += low < truth < high
    assert 88 <= inside <= 100


def test_the_seed_decides_the_interval_and_the_order_of_labels_does_not_matter() -> None:
    pair = noisy(60, 1.0)
    assert ranks.agreement(*pair, seed=1) == ranks.agreement(*pair, seed=1)
    assert ranks.agreement(*pair, seed=1).interval != ranks.agreement(*pair, seed=2).interval


def test_a_thousand_architectures_take_a_moment() -> None:
    pair = noisy(1000, 1.0)
    began = time.perf_counter()
    ranks.agreement(*pair)
    assert time.perf_counter() - began < 1.5 * SLOWNESS


@pytest.mark.parametrize("statistic", ["kendall", "spearman"])
def test_a_paired_gap_is_narrower_than_independent_intervals(statistic: ranks.Statistic) -> None:
    scores, values = noisy(300, 1.0)
    nearly = scores + 0.1 * np.random.default_rng(1).normal(size=300)
    found = ranks.gap(scores, nearly, values, statistic=statistic)
    low, high = ranks.agreement(scores, values).interval
    assert found.low <= found.difference <= found.high
    assert found.high - found.low < (high - low) / 2
    same = ranks.gap(scores, scores, values, statistic=statistic)
    assert same == (0.0, 0.0, 0.0)
    better = ranks.gap(values, scores, values, statistic=statistic)
    assert better.low > 0


def test_regret() -> None:
    values = [1.0, 5.0, 3.0, 4.0]
    assert ranks.regret([9, 1, 2, 3], values, (1, 2, 4, 9)) == {1: 4.0, 2: 1.0, 4: 0.0}
    assert ranks.regret([np.nan] * 4, values, (1,)) == {1: 4.0}, "of equal scores the earlier ones"


def test_the_gap_of_two_means() -> None:
    rng = np.random.default_rng(0)
    found = ranks.mean_gap(rng.normal(1.0, 1.0, 200), rng.normal(0.0, 1.0, 100))
    assert found.low < 1.0 < found.high
    width = 2 * 1.96 * np.sqrt(1 / 200 + 1 / 100)
    assert found.high - found.low == pytest.approx(width, rel=0.15)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="one score per recorded value"):
        ranks.correlation([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="must be finite"):
        ranks.correlation([1, 2], [1, np.nan])
