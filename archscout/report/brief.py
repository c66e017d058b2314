"""The verdict of a run in plain words: whether search helped, and what a newcomer should know before anything else."""

from __future__ import annotations

from typing import NamedTuple

from archscout.report.facts import Comparison, ReportFacts
from archscout.report.metric import METRICS, Metric
from archscout.report.web import Point
from archscout.report.words import count, duration, percent


class Verdict(NamedTuple):
    """Did search help? A word, a sentence, and a class for its colour."""

    word: str
    sentence: str
    tone: str


def verdict(comparison: Comparison | None, metric: Metric = METRICS["accuracy"]) -> Verdict:
    """Whether search helped, in words."""
    if comparison is None or comparison.difference is None:
        return Verdict(
            "Not compared", "No searched network and no other network were trained alike, so there is no saying.", "open"
        )
    gap, accuracy = metric.gap(comparison.difference), metric.share
    points = gap.lstrip("+−") if accuracy else f"{gap.rsplit(' ', 1)[0]} of perplexity"
    where = f"on the {comparison.count:,} {comparison.split} {metric.items}, after {comparison.cost}"
    if comparison.search_won is None:
        return Verdict(
            "Undecided",
            f"The searched network and {comparison.against} differ by {points} {where}; the interval holds nought, "
            "so either may be the better one.",
            "open",
        )
    way = "better" if comparison.search_won else "worse"
    return Verdict(
        "Yes" if comparison.search_won else "No",
        f"The searched network is {points} {way} than the best network that took no search ({comparison.against}) {where}.",
        "good" if comparison.search_won else "bad",
    )


def in_short(facts: ReportFacts) -> list[Point]:
    """What the run comes to, at most four points: how good, whether search helped, what is weakest, what would help."""
    answer = facts.answer
    if answer is None:
        return []
    found = [_how_good(facts)] if answer.test_value is not None else []
    said = verdict(facts.comparison, METRICS[facts.metric])
    heading = {"Yes": "Searching paid", "No": "Searching did not pay", "Undecided": "Whether searching paid is open"}
    if said.word in heading:
        found.append(Point(heading[said.word], said.sentence, said.tone))
    return [*found, *_weakest(facts), *_next(facts)]


def _how_good(facts: ReportFacts) -> Point:
    answer, metric = facts.answer, METRICS[facts.metric]
    assert answer is not None and answer.test_value is not None
    low, high = answer.test_interval or (answer.test_value, answer.test_value)
    if metric.item == "image":
        sentence = f"Of 100 new images like these it labels about {answer.test_value * 100:.0f} right"
        return Point("How good it is", f"{sentence}; between {low * 100:.0f} and {high * 100:.0f} is what sampling leaves open.")
    if metric.item == "episode":
        sentence = f"Shown a few images of classes it has never met, it labels {percent(answer.test_value, 0)} of others right"
        return Point("How good it is", f"{sentence} ({metric.span((low, high))}).")
    guess = f"{metric.number(answer.test_value):,.0f}"
    return Point("How good it is", f"At each word or byte it is as unsure as if it had {guess} equally likely ones to choose from.")


def _weakest(facts: ReportFacts) -> list[Point]:
    """The class that suffers most, where one stands out."""
    if facts.errors is None or len(facts.errors.labels) < 3:
        return []
    rows = [(row[i] / sum(row), i) for i, row in enumerate(facts.errors.confusion) if sum(row) >= 10]
    overall = facts.answer.test_value if facts.answer else None
    if not rows or overall is None or min(rows)[0] > overall - 0.05:
        return []
    share, worst = min(rows)
    row = facts.errors.confusion[worst]
    most = max((number, j) for j, number in enumerate(row) if j != worst)
    taken = f", most often taken for '{facts.errors.labels[most[1]]}'" if most[0] else ""
    return [Point("Where it is weakest", f"Of '{facts.errors.labels[worst]}' only {percent(share, 0)} are right{taken}.")]


def _next(facts: ReportFacts) -> list[Point]:
    """What would make it better, or surer."""
    answer, comparison = facts.answer, facts.comparison
    assert answer is not None
    if not answer.epochs:
        return [Point("What next", "Nothing was trained: run it again without --screen-only to get a network.")]
    if facts.stopped == "time":
        sentence = f"The clock ended the final training after {duration(answer.train_seconds)} ({count(answer.epochs, 'epoch')})"
        return [Point("What would help", f"{sentence}, so a longer --budget is likely to give a better network.")]
    if comparison is not None and comparison.search_won is None:
        return [
            Point("What would help", "More validation data or --verify, full trainings of all rivals, would decide who is better.")
        ]
    return []
