"""The report page: facts in, one self-contained HTML text out. No script, no network, no fonts from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from archscout.report import words
from archscout.report.caveats import caveats
from archscout.report.drawing import draw, fold
from archscout.report.facts import Comparison, Contestant, Errors, ReportFacts, Trial
from archscout.report.metric import METRICS, Metric
from archscout.report.plots import Bar, Dot, Line, bars, confusion, curves, scatter

TRIED = 30
SKIPPED = 20
MISTAKES = 24
MOST_CLASSES = 40


class Verdict(NamedTuple):
    """Did search help? A word, a sentence, and a class for its colour."""

    word: str
    sentence: str
    tone: str


class ClassRow(NamedTuple):
    """How one class fared on the test split."""

    label: str
    right: int
    images: int
    share: float
    confused: str


class FailureRow(NamedTuple):
    """Failures of one kind with one message."""

    kind: str
    message: str
    times: int
    example: str


def render(facts: ReportFacts) -> str:
    """The page. All text that comes from the run is escaped."""
    group = compared(facts.trials)
    return _template().render(
        facts=facts,
        answer=facts.answer,
        comparison=facts.comparison,
        verdict=verdict(facts.comparison, METRICS[facts.metric]),
        metric=METRICS[facts.metric],
        drawing=draw(facts.network) if facts.network else Markup(""),
        folded=len(fold(facts.network)) < len(facts.network),
        whiskers=_whiskers(facts.comparison, METRICS[facts.metric]),
        sizes=_sizes(facts, group),
        group=group[0] if group else None,
        curves=_curves(facts),
        matrix=_matrix(facts.errors),
        classes=class_rows(facts.errors),
        mistakes=facts.errors.mistakes[:MISTAKES] if facts.errors else (),
        tried=best_first(facts.trials)[:TRIED],
        judged=sum(trial.value is not None for trial in facts.trials),
        screened=_screened(facts.trials, METRICS[facts.metric]),
        failures=failures(facts.trials),
        labels=_labels(facts),
        caveats=caveats(facts),
        skipped_shown=SKIPPED,
        longest=max((stage.seconds for stage in facts.stages), default=1.0) or 1.0,
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    for name in ("percent", "points", "short", "duration", "milliseconds", "bytes_of", "count"):
        environment.filters[name] = getattr(words, name)
    return environment.from_string((Path(__file__).parent / "template.html").read_text("utf8"))


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
            f"{comparison.searched} and {comparison.against} differ by {points} {where}; the interval holds nought, "
            "so either may be the better one.",
            "open",
        )
    way = "better" if comparison.search_won else "worse"
    return Verdict(
        "Yes" if comparison.search_won else "No",
        f"{comparison.searched} is {points} {way} than the best network that took no search ({comparison.against}) {where}.",
        "good" if comparison.search_won else "bad",
    )


def compared(trials: Iterable[Trial]) -> list[Trial]:
    """The largest set of trainings that may be compared with each other (same stage, judge and fidelity); at a tie the longest.

    Without trainings, that of the screening.
    """
    groups: dict[tuple[str, str, float], list[Trial]] = {}
    for trial in trials:
        if trial.value is not None:
            groups.setdefault((trial.stage, trial.judge, trial.fidelity or 0.0), []).append(trial)
    trained = {key: group for key, group in groups.items() if key[0] != "screen"} or groups
    return max(trained.items(), key=lambda item: (len(item[1]), item[0][2]))[1] if trained else []


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """What was judged: the longest trainings first, the best first among those that may be compared; screening last."""
    judged = [trial for trial in trials if trial.value is not None]
    return sorted(judged, key=lambda trial: (trial.stage == "screen", -(trial.fidelity or 0.0), trial.judge, -(trial.value or 0.0)))


def failures(trials: Iterable[Trial]) -> list[FailureRow]:
    """Failures counted by kind and message, the most frequent first."""
    counted: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for trial in trials:
        if trial.failure is not None:
            key = (trial.failure, trial.message)
            counted[key] += 1
            example.setdefault(key, trial.architecture)
    return [FailureRow(*key, number, example[key]) for key, number in counted.most_common(20)]


def class_rows(errors: Errors | None) -> list[ClassRow]:
    """One row per class with test images, the worst first."""
    if errors is None:
        return []
    found = []
    for i, row in enumerate(errors.confusion):
        total = sum(row)
        if total:
            wrong = sorted(((number, j) for j, number in enumerate(row) if j != i and number), key=lambda pair: (-pair[0], pair[1]))
            confused = ", ".join(f"{errors.labels[j]} ({number})" for number, j in wrong[:2])
            found.append(ClassRow(errors.labels[i], row[i], total, row[i] / total, confused))
    return sorted(found, key=lambda row: row.share)


def _matrix(errors: Errors | None) -> Markup:
    if errors is None or not 0 < len(errors.labels) <= MOST_CLASSES:
        return Markup("")
    return confusion(errors.labels, errors.confusion)


def _whiskers(comparison: Comparison | None, metric: Metric) -> Markup:
    if comparison is None:
        return Markup("")
    return bars(
        [_bar(c) for c in comparison.contestants if c.valid_value is not None and c.valid_interval is not None], form=metric.shown
    )


def _bar(contestant: Contestant) -> Bar:
    assert contestant.valid_value is not None and contestant.valid_interval is not None
    return Bar(contestant.name, contestant.valid_value, *contestant.valid_interval, contestant.role, contestant.chosen)


def _sizes(facts: ReportFacts, group: Sequence[Trial]) -> list[Markup]:
    """Value against parameters, MACs and latency, for trials that may be compared."""
    if not group:
        return []
    trained = group[0].stage != "screen"
    chosen = facts.answer.architecture if facts.answer else None
    found = []
    metric = METRICS[facts.metric]
    for label, name in (("parameters", "params"), (f"MACs per {metric.input}", "macs"), ("latency, ms", "latency_ms")):
        dots = [
            Dot(
                float(getattr(t, name)),
                t.value,
                t.role,
                f"{t.name or t.architecture}: {_value(t, metric)}",
                t.architecture == chosen,
            )
            for t in group
            if getattr(t, name) is not None and t.value is not None
        ]
        if len(dots) > 1:
            form = metric.shown if trained else words.short
            found.append(
                scatter(dots, label, f"validation {metric.name}" if trained else f"score ({group[0].judge})", y_format=form)
            )
    return found


def _value(trial: Trial, metric: Metric) -> str:
    value = trial.value or 0.0
    return words.short(value) if trial.stage == "screen" else metric.shown(value)


def _screened(trials: Iterable[Trial], metric: Metric) -> Markup:
    """The scores of the screening against MACs."""
    group = compared(trial for trial in trials if trial.stage == "screen")
    dots = [Dot(float(t.macs), t.value, t.role, t.architecture) for t in group if t.macs is not None and t.value is not None]
    if len(dots) < 2:
        return Markup("")
    trained = group[0].judge == "train"
    label = f"validation {metric.name}" if trained else f"score ({group[0].judge})"
    return scatter(dots, f"MACs per {metric.input}", label, y_format=metric.shown if trained else words.short)


def _curves(facts: ReportFacts) -> list[tuple[str, Markup]]:
    final = [curve for curve in facts.curves if curve.stage != "compare"]
    short = [curve for curve in facts.curves if curve.stage == "compare"]
    chosen = facts.answer.name if facts.answer else ""
    found = []
    for title, group in (("Final training", final), ("Compare stage", short)):
        strong = [curve.stage == "finish" or (curve.stage == "compare" and curve.name == chosen) for curve in group]
        loss = [Line(c.name, tuple(zip(c.epochs, c.loss, strict=True)), c.role, s) for c, s in zip(group, strong, strict=True)]
        valid = [
            Line(c.name, tuple((x, y) for x, y in zip(c.epochs, c.valid, strict=True) if y is not None), c.role, s)
            for c, s in zip(group, strong, strict=True)
        ]
        found.append((f"{title}: training loss", curves(loss, "epoch", "training loss", y_format=words.short)))
        metric = METRICS[facts.metric]
        label = f"validation {metric.name}"
        found.append((f"{title}: {label}", curves(valid, "epoch", label, y_format=metric.shown)))
    return [(title, plot) for title, plot in found if plot]


def _labels(facts: ReportFacts) -> list[tuple[str, dict[str, Any]]]:
    """Every class with its number of images by split."""
    names: dict[str, None] = {}
    for counts in facts.data.counts.values():
        names.update(dict.fromkeys(counts))
    return [(name, {split: counts.get(name, 0) for split, counts in facts.data.counts.items()}) for name in names]
