"""What a value means to a person, by the metric of the task: how it is written, how sure it is, and how two of them compare.

Values are as trainings give them, higher for better networks: an accuracy, or the mean log-likelihood of a token, of which
perplexity is the exponential of the negative. So intervals and differences of perplexities are computed on the logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from markupsafe import Markup

from archscout.analysis.intervals import Difference, difference, mean_interval, series_difference, series_interval, wilson
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING
from archscout.nn.course import Marks
from archscout.report import words

Interval = tuple[float, float]


class Metric(Protocol):
    """One metric.

    name, plural: of the metric. item, items: of a split. input: what a network takes at once. data: what the items are made of.
    share: whether values are shares, told in percent and points. elsewhere: what an interval knows nothing of, in words.
    """

    name: str
    plural: str
    item: str
    items: str
    input: str
    data: str
    share: bool
    elsewhere: str

    def shown(self, value: float) -> str:
        """The metric that a value stands for, as written in tables."""
        ...

    def figure(self, value: float) -> Markup:
        """The same as the figure at the top of the page."""
        ...

    def span(self, interval: Interval, between: str = " to ") -> str:
        """An interval of values, as an interval of the metric, the smaller number first."""
        ...

    def gap(self, difference: float) -> str:
        """A difference of two values with its sign, in words."""
        ...

    def number(self, value: float) -> float:
        """The metric as a number, for JSON."""
        ...

    def numbers(self, interval: Interval) -> list[float]:
        """An interval of the metric, the smaller number first, for JSON."""
        ...

    def interval(self, marks: Marks) -> Interval:
        """Of the mean of marks, 95 %."""
        ...

    def difference(self, first: Marks, second: Marks) -> Difference:
        """Of two networks on the same items."""
        ...

    def of_estimate(self, value: float, metrics: Mapping[str, float], count: int) -> Interval:
        """The interval of a value of which only the estimate is left."""
        ...

    def of_estimates(
        self, first: tuple[float, Mapping[str, float]], second: tuple[float, Mapping[str, float]], count: int
    ) -> Difference:
        """The difference of two such values, as if from different items."""
        ...


class Accuracy:
    """The share of images that are classified right."""

    name, plural, item, items = "accuracy", "accuracies", "image", "images"
    input, data, share = "image", "images", True
    elsewhere = "other seeds, other cameras, or data that differ from these"

    def shown(self, value: float) -> str:
        """92.3 %."""
        return words.percent(value)

    def figure(self, value: float) -> Markup:
        """92.3 with a small sign."""
        return Markup(f"{value * 100:.1f}<small>%</small>")

    def span(self, interval: Interval, between: str = " to ") -> str:
        """90.0 % to 94.0 %."""
        return between.join(map(words.percent, interval))

    def gap(self, difference: float) -> str:
        """+1.2 points."""
        return f"{words.points(difference)} points"

    def number(self, value: float) -> float:
        """Itself."""
        return value

    def numbers(self, interval: Interval) -> list[float]:
        """Itself."""
        return list(interval)

    def interval(self, marks: Marks) -> Interval:
        """Wilson's."""
        return wilson(int(marks.sum()), len(marks))

    def difference(self, first: Marks, second: Marks) -> Difference:
        """Newcombe's, paired."""
        return difference(first, second)

    def of_estimate(self, value: float, metrics: Mapping[str, float], count: int) -> Interval:
        """Wilson's, of so many images."""
        return wilson(round(value * count), count)

    def of_estimates(
        self, first: tuple[float, Mapping[str, float]], second: tuple[float, Mapping[str, float]], count: int
    ) -> Difference:
        """Newcombe's, of independent samples."""
        return difference((round(first[0] * count), count), (round(second[0] * count), count))


class EpisodeAccuracy(Accuracy):
    """The mean over episodes of the share of queries that a network classifies right once it has adapted to the support."""

    name, plural, item, items = "few-shot accuracy", "few-shot accuracies", "episode", "episodes"
    data, elsewhere = "episodes", "other seeds of the meta-training, other classes than these, or other images of them"

    def interval(self, marks: Marks) -> Interval:
        """Of the mean of independent episodes."""
        return _share(mean_interval(marks.tolist())) if len(marks) > 1 else (0.0, 1.0)

    def difference(self, first: Marks, second: Marks) -> Difference:
        """Of the mean of the differences, episode by episode."""
        gap = first.astype(np.float64) - second.astype(np.float64)
        return Difference(float(gap.mean()), *(mean_interval(gap.tolist()) if len(gap) > 1 else (-1.0, 1.0)))

    def of_estimate(self, value: float, metrics: Mapping[str, float], count: int) -> Interval:
        """By the standard error that the training noted."""
        return _share(by_error(value, metrics.get("valid_error", 0.0)))

    def of_estimates(
        self, first: tuple[float, Mapping[str, float]], second: tuple[float, Mapping[str, float]], count: int
    ) -> Difference:
        """By both standard errors."""
        return difference_by_errors(first, second)


class Perplexity:
    """The exponential of the mean negative log-likelihood of a token: among so many equally likely ones the network would guess."""

    name, plural, item, items = "perplexity", "perplexities", "window", "windows of text"
    input, data, share = "window", "texts", False
    elsewhere = "other seeds, other authors, or texts that differ from this one"

    def shown(self, value: float) -> str:
        """84.2."""
        found = self.number(value)
        return f"{found:.1f}" if found >= 100 else f"{found:.2f}" if found >= 10 else f"{found:.3f}"

    def figure(self, value: float) -> Markup:
        """The number; the lower, the better."""
        return Markup(self.shown(value))

    def span(self, interval: Interval, between: str = " to ") -> str:
        """80.1 to 88.5."""
        return between.join(self.shown(value) for value in reversed(interval))

    def gap(self, difference: float) -> str:
        """2.1 % lower."""
        share = 1 - math.exp(-difference)
        return f"{words.percent(abs(share))} {'lower' if share >= 0 else 'higher'}"

    def number(self, value: float) -> float:
        """exp(-value)."""
        return LANGUAGE_MODELLING.measured(value)

    def numbers(self, interval: Interval) -> list[float]:
        """Of the perplexity."""
        return [self.number(value) for value in reversed(interval)]

    def interval(self, marks: Marks) -> Interval:
        """That of a series whose neighbours are alike."""
        return series_interval(marks)

    def difference(self, first: Marks, second: Marks) -> Difference:
        """The same, of the differences window by window."""
        return series_difference(first, second)

    def of_estimate(self, value: float, metrics: Mapping[str, float], count: int) -> Interval:
        """By the standard error that the training noted."""
        return by_error(value, metrics.get("valid_error", 0.0))

    def of_estimates(
        self, first: tuple[float, Mapping[str, float]], second: tuple[float, Mapping[str, float]], count: int
    ) -> Difference:
        """By both standard errors."""
        return difference_by_errors(first, second)


_TWO_SIDED = 2.05
"""The 97.5 % point of Student's t with about 29 degrees of freedom, as many as pieces of a series leave."""


def _share(interval: Interval) -> Interval:
    """What of an interval lies between 0 and 1."""
    return max(0.0, interval[0]), min(1.0, interval[1])


def by_error(value: float, error: float) -> Interval:
    """The interval of a value of this standard error."""
    return value - _TWO_SIDED * error, value + _TWO_SIDED * error


def error_of(interval: Interval) -> float:
    """The standard error that `by_error` makes this interval of."""
    return (interval[1] - interval[0]) / 2 / _TWO_SIDED


def difference_by_errors(first: tuple[float, Mapping[str, float]], second: tuple[float, Mapping[str, float]]) -> Difference:
    """Of two values, each with its `valid_error`."""
    gap = first[0] - second[0]
    return Difference(gap, *by_error(gap, math.hypot(first[1].get("valid_error", 0.0), second[1].get("valid_error", 0.0))))


METRICS: Mapping[str, Metric] = {
    IMAGE_CLASSIFICATION.metric: Accuracy(),
    LANGUAGE_MODELLING.metric: Perplexity(),
    FEW_SHOT.metric: EpisodeAccuracy(),
}
