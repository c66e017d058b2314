"""The report page: facts in, one self-contained HTML text out. No network, no fonts from elsewhere; readable without its script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from archscout.report import web, words
from archscout.report.brief import Verdict, in_short, verdict
from archscout.report.caveats import caveats
from archscout.report.drawing import draw, draw_cell, fold
from archscout.report.facts import Calibration, Cell, Comparison, Contestant, Errors, ReportFacts, StageTime, Trial
from archscout.report.metric import METRICS, Metric
from archscout.report.plots import Bar, Dot, Line, bars, confusion, curves, part_names, scatter, stacked, trace

__all__ = ["Verdict", "best_first", "class_rows", "compared", "failures", "render", "verdict"]

TRIED = 30
SKIPPED = 20
MISTAKES = 24
MOST_CLASSES = 40
BROAD = 12
"""Nodes above which the drawing of a cell takes the whole width."""


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
    return web.render(
        web.HOME / "run.html",
        facts=facts,
        answer=facts.answer,
        comparison=facts.comparison,
        verdict=verdict(facts.comparison, METRICS[facts.metric]),
        metric=METRICS[facts.metric],
        short=in_short(facts),
        drawing=draw(facts.network) if facts.network else Markup(""),
        cells=[(_called(cell), _about(cell), len(cell.nodes) > BROAD, draw_cell(cell.nodes, cell.name)) for cell in facts.cells],
        kinds={block.kind for block in (*facts.network, *(node for cell in facts.cells for node in cell.nodes))},
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
        searched=_searched(facts),
        race=_race(facts),
        calibrations=[(calibration, _calibration(calibration, METRICS[facts.metric])) for calibration in facts.calibrations],
        spent=stacked([("", _spent(facts))], form=words.duration),
        spent_names=part_names([("", _spent(facts))]),
        failures=failures(facts.trials),
        labels=_labels(facts),
        caveats=caveats(facts),
        skipped_shown=SKIPPED,
        longest=max((stage.seconds for stage in facts.stages), default=1.0) or 1.0,
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


def _sizes(facts: ReportFacts, group: Sequence[Trial]) -> list[tuple[str, Markup]]:
    """(title, plot) of value against parameters, MACs and latency, for trials that may be compared."""
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
            value = f"validation {metric.name}" if trained else f"score ({group[0].judge})"
            found.append(
                (f"{value[0].upper()}{value[1:]} against {label.split(',')[0]}", scatter(dots, label, value, y_format=form))
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


def _searched(facts: ReportFacts) -> Markup:
    """The screening, candidate by candidate."""
    found = facts.trace
    if found is None:
        return Markup("")
    trained = found.judge.startswith("train")
    metric = METRICS[facts.metric]
    label = f"validation {metric.name}" if trained else f"score ({found.judge})"
    form = metric.shown if trained else words.short
    return trace(found.points, found.best, found.levels, found.count, "candidates judged", label, y_format=form)


def _race(facts: ReportFacts) -> Markup:
    """The comparison, rung by rung; empty where there was one rung."""
    metric, chosen = METRICS[facts.metric], facts.answer.architecture if facts.answer else ""
    runs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for t in facts.trials:
        if t.stage == "compare" and t.value is not None and t.fidelity is not None:
            runs.setdefault((t.architecture, t.role, t.name), []).append((t.fidelity, t.value))
    if max(map(len, runs.values()), default=0) < 2:
        return Markup("")
    lines = [Line(name or a, tuple(sorted(points)), role, a == chosen) for (a, role, name), points in runs.items()]
    return curves(lines, "epochs (at the plan's bound)", f"validation {metric.name}", y_format=metric.shown)


def _calibration(found: Calibration, metric: Metric) -> Markup:
    dots = [
        Dot(score, value, role, f"{name}: {metric.shown(value)}, score {words.short(score)}")
        for name, role, score, value in found.points
    ]
    return scatter(dots, found.judge, f"validation {metric.name}", front=False, y_format=metric.shown)


def _spent(facts: ReportFacts) -> list[tuple[str, float]]:
    """Seconds by stage, and what was none of theirs: opening data, timing, export, this page."""
    stages: list[StageTime] = [stage for stage in facts.stages if stage.seconds > 0]
    rest = facts.seconds - sum(stage.seconds for stage in stages)
    return [(stage.name, stage.seconds) for stage in stages] + ([("all else", rest)] if stages and rest > 0 else [])


def _called(cell: Cell) -> str:
    return cell.name if cell.times == 1 else f"{cell.name}, and {words.count(cell.times - 1, 'more like it', 'more like it')}"


def _about(cell: Cell) -> str:
    share = sum(node.params for node in cell.nodes)
    if not share:
        return ""
    again = "; the others may have other channels" if cell.times > 1 else ""
    return f"{words.short(share)} parameters{again}"


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
