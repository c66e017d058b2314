import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_ind

from archscout.analysis.intervals import difference, mcnemar, mean_interval, welch, wilson


def test_wilson_gives_the_textbook_interval() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I, method 3
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    low, high = wilson(20, 20)
    assert high == 1.0 and low < 0.85


@given(total=st.integers(1, 10_000), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy(total: int, share: float, level: float) -> None:
    correct = round(share * total)
    theirs = binomtest(correct, total).proportion_ci(confidence_level=level, method="wilson")
    assert wilson(correct, total, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="0 <= correct <= total"):
        wilson(correct, total)


def test_a_lower_level_is_narrower() -> None:
    wide, narrow = wilson(50, 80), wilson(50, 80, 0.5)
    assert wide[0] < narrow[0] < 50 / 80 < narrow[1] < wide[1]


def test_independent_difference_gives_the_published_interval() -> None:
    assert difference((56, 70), (48, 80)) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)  # Newcombe 1998, method 10


def test_pairs_that_err_together_give_a_narrower_interval() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(1000) < 0.2
    a = ~(hard & (rng.random(1000) < 0.9))
    b = ~(hard & (rng.random(1000) < 0.95))
    paired = difference(a, b)
    independent = difference((int(a.sum()), 1000), (int(b.sum()), 1000))
    assert paired.difference == pytest.approx(independent.difference)
    assert paired.high - paired.low < 0.8 * (independent.high - independent.low)


def test_the_order_of_a_pair_only_flips_the_sign() -> None:
    a, b = np.array([1, 1, 1, 0, 1, 0, 1, 1]), np.array([1, 0, 1, 0, 0, 0, 1, 1])
    there, back = difference(a, b), difference(b, a)
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))


def test_equal_vectors_are_undecided_and_clear_ones_decided() -> None:
    same = np.ones(50, dtype=bool)
    assert not difference(same, same).decided
    assert difference(np.ones(50), np.zeros(50)).decided


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_hold_the_truth_about_as_often_as_they_say(paired: bool) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        shared = rng.random(120)
        a = shared < 0.9
        b = (shared if paired else rng.random(120)) + 0.15 * rng.random(120) < 0.9
        found = difference(a, b) if paired else difference((int(a.sum()), 120), (int(b.sum()), 120))
        held += found.low <= 0.075 <= found.high
    assert held / 400 >= 0.92


def test_mean_interval() -> None:
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)


@pytest.mark.parametrize(("first", "second"), [((1, 2), [1, 0]), ([1, 0, 1], [1, 0]), ([0.5], [1]), ([], [])])
def test_what_does_not_go_together_is_refused(first: object, second: object) -> None:
    with pytest.raises(ValueError, match="came"):
        difference(first, second)  # type: ignore[arg-type]


def test_mean_of_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([1.0])


def test_mcnemar_counts_and_gives_the_exact_chance() -> None:
    first, second = [1] * 5 + [0] + [1] * 10 + [0] * 4, [0] * 5 + [1] + [1] * 10 + [0] * 4
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (5, 1)
    assert found.p == pytest.approx(2 * 7 / 64)  # twice the chance of at most 1 of 6
    assert mcnemar(first, first) == (0, 0, 1.0) and mcnemar(second, first).p == pytest.approx(found.p)
    with pytest.raises(ValueError, match="20 and 19"):
        mcnemar(first, second[1:])


@given(some=st.integers(0, 60), other=st.integers(0, 60))
def test_mcnemar_agrees_with_the_binomial_test(some: int, other: int) -> None:
    found = mcnemar([1] * some + [0] * other + [1], [0] * some + [1] * other + [1])
    assert found.p == pytest.approx(binomtest(some, some + other).pvalue if some + other else 1.0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_welch_agrees_with_scipy(first: list[float], second: list[float]) -> None:
    found = welch(first, second)
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))
    if min(np.std(first), np.std(second)) > 1e-3:
        theirs = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_single_value_is_taken_to_vary_as_the_others_do() -> None:
    # Half the width: t(0.975, 2) s sqrt(1 + 1/3), with s = 1 and t = 4.3027.
    found = welch([5.0], [1.0, 2.0, 3.0])
    assert found == pytest.approx((3.0, 3 - 4.30265 * (4 / 3) ** 0.5, 3 + 4.30265 * (4 / 3) ** 0.5), abs=1e-4)
    assert welch([1.0, 2.0, 3.0], [5.0]) == pytest.approx((-3.0, -found.high, -found.low))
    with pytest.raises(ValueError, match="1 and 1"):
        welch([1.0], [2.0])
