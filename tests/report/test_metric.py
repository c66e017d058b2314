"""Values as people read them: accuracies and perplexities, their intervals and differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sample_facts import sample

from archscout.analysis.intervals import series_difference, series_interval
from archscout.report.html import render, verdict
from archscout.report.metric import METRICS

PERPLEXITY, ACCURACY = METRICS["perplexity"], METRICS["accuracy"]


def test_a_perplexity_is_the_exponential_of_what_is_lost() -> None:
    value = -math.log(84.2)
    assert PERPLEXITY.shown(value) == PERPLEXITY.figure(value) == "84.20" and PERPLEXITY.number(value) == pytest.approx(84.2)
    assert [PERPLEXITY.shown(-math.log(x)) for x in (3.14159, 512.345)] == ["3.142", "512.3"]
    low, high = -math.log(90.0), -math.log(80.0)
    assert PERPLEXITY.span((low, high)) == "80.00 to 90.00", "the smaller perplexity first"
    assert PERPLEXITY.numbers((low, high)) == pytest.approx([80.0, 90.0])
    assert PERPLEXITY.gap(math.log(100 / 95)) == "5.0\u00a0% lower" and PERPLEXITY.gap(math.log(100 / 110)) == "10.0\u00a0% higher"
    assert PERPLEXITY.number(-1e6) < math.inf


def test_an_accuracy_is_itself() -> None:
    assert (ACCURACY.shown(0.923), ACCURACY.gap(0.012), ACCURACY.number(0.5)) == ("92.3\u00a0%", "+1.2 points", 0.5)
    assert ACCURACY.of_estimate(0.5, {}, 100) == ACCURACY.interval(np.arange(100) % 2 == 0)


def test_a_few_shot_accuracy_is_a_share_with_an_interval_of_shares() -> None:
    metric, marks = METRICS["few-shot accuracy"], np.r_[np.ones(9), 0.6]
    low, high = metric.interval(marks)
    assert 0 < low < marks.mean() < high == 1.0 and metric.span((low, high)).endswith("100.0\u00a0%")
    ends = [metric.of_estimate(value, {"valid_error": 0.05}, 10) for value in (0.99, 0.01)]
    assert ends[0][1] == 1.0 and ends[1][0] == 0.0
    gap = metric.difference(marks, np.r_[np.zeros(9), 0.6])
    assert gap.low < gap.difference < gap.high and gap.difference == pytest.approx(0.9)


def test_intervals_of_a_text_hold_the_mean_as_often_as_they_say() -> None:
    held = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        noise, series = rng.normal(size=600), np.zeros(600)
        for place in range(1, 600):  # neighbours are alike, as the windows of one chapter are
            series[place] = 0.7 * series[place - 1] + noise[place]
        low, high = series_interval(series)
        held += low <= 0 <= high
    assert 0.88 < held / 300 < 0.97  # 95 % were they independent; a plain t interval would hold it about 60 % of the time


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(-5, 1, 300)
    mine, theirs = common + 0.05 + rng.normal(0, 0.02, 300), common
    gain = PERPLEXITY.difference(mine, theirs)
    assert gain.decided and gain.low < 0.05 < gain.high and gain.high - gain.low < 0.02
    apart = PERPLEXITY.of_estimates((float(mine.mean()), {"valid_error": 0.06}), (float(theirs.mean()), {"valid_error": 0.06}), 300)
    assert not apart.decided and apart.difference == pytest.approx(gain.difference)
    with pytest.raises(ValueError, match="one entry per window in both, but 300 and 299"):
        series_difference(mine, theirs[1:])
    assert series_interval(np.array([-2.0])) == (-2.0, -2.0)


def test_a_page_of_perplexities_speaks_of_texts() -> None:
    facts = sample()
    assert facts.answer is not None and facts.comparison is not None
    comparison = replace(
        facts.comparison, search_won=True, difference=math.log(100 / 95),
        interval=(math.log(100 / 97), math.log(100 / 93)),
        contestants=tuple(
            replace(c, valid_value=-5.0, valid_interval=(-5.1, -4.9), test_value=None) for c in facts.comparison.contestants
        ),
    )  # fmt: skip
    answer = replace(facts.answer, metric="perplexity", test_value=-4.0, test_interval=(-4.1, -3.9), valid_value=-4.2)
    page = render(
        replace(
            facts, metric="perplexity", answer=answer, comparison=comparison, errors=None, sample="a <b> text", trials=(),
            curves=(),
            data=replace(facts.data, shape=(35,), counts={"test": {"known words": 90, "unknown": 10}}, notes=()), notes=(),
        )
    )  # fmt: skip
    for part in (
        "54.60",
        "49.40 to 60.34",
        "5.0\u00a0% lower",
        "a &lt;b&gt; text",
        "10.00\u00a0% of the tokens are unknown",
        "148.4",
    ):
        assert part in page, part
    found = verdict(comparison, PERPLEXITY)
    assert found.word == "Yes" and "5.0\u00a0% of perplexity better than" in found.sentence
