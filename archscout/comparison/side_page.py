"""The page of `archscout compare`: values, differences, costs and searches, and the networks side by side."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from archscout.comparison.entrants import Entrant, Group
from archscout.comparison.page import Cell, Section, page
from archscout.comparison.side_by_side import Compared, helped, judged_by, notes_of, record
from archscout.report.drawing import draw
from archscout.report.plots import Bar, Dot, Line, bars, curves, part_names, scatter, stacked
from archscout.report.web import Point
from archscout.report.words import count, duration, milliseconds, points, short
from archscout.store.files import checked_folder, write_atomic, write_json


def write_comparison(folder: Path, found: Compared, command: str) -> Path:
    """Write compare.html and compare.json; gives the page's path."""
    folder = checked_folder(folder)
    write_json(folder / "compare.json", record(found) | {"command": command})
    write_atomic(folder / "compare.html", render(found, command, folder))
    return folder / "compare.html"


def render(found: Compared, command: str, folder: Path) -> str:
    """The page, which is to lie in `folder`: links to the reports of the runs start there."""
    sections = [
        _values(found), _differences(found), _runs(found, folder), _settings(found), _costs(found), _sizes(found), _searches(found),
        _training(found),
        _networks(found), _repeat(found, command),
        Section("What not to believe", "What these numbers do not say.", notes=notes_of(found)),
    ]  # fmt: skip
    groups = len(found.groups)
    made = f" of {count(groups, 'setting')}" if groups < len(found.runs) else ""
    lead = f"{count(len(found.runs), 'run')}{made} on {found.data}, by test {found.metric.name}; all are held against the first."
    title = " against ".join(group.name for group in found.groups) if groups == 2 else f"{groups} searches compared"
    return page(
        "compare",
        title,
        lead,
        [section for section in sections if section is not None],
        "Made by archscout compare.",
        _short(found),
    )


def _short(found: Compared) -> list[Point]:
    metric = found.metric
    tone = {"better": "good", "worse": "bad", "open": "open"}
    said = []
    for one in found.contrasts:
        heading = f"Undecided: {one.second.name} or {one.first.name}"
        if one.verdict != "open":
            heading = f"{one.second.name} is {one.verdict}"
        said.append(Point(heading, f"{one.sentence()} {one.basis}", tone[one.verdict]))
    ranked = sorted((group for group in found.groups if group.mean is not None), key=lambda group: -(group.mean or 0.0))
    if len(ranked) > 2:
        best = ranked[0]
        assert best.mean is not None
        more = "The best of several looks better than it is; the differences below say what is sure."
        said.insert(0, Point(f"{best.name} did best", f"{metric.shown(best.mean)} test {metric.name}. {more}"))
    return said


def _key(found: Compared, group: Group) -> str:
    return f"run{found.groups.index(group) % 8}"


def _legend(found: Compared) -> list[tuple[str, str]]:
    return [(_key(found, group), group.name) for group in found.groups]


def _values(found: Compared) -> Section | None:
    rows = []
    for group in found.groups:
        if len(group.runs) > 1 and group.mean is not None and group.interval is not None:
            rows.append(Bar(f"{group.name}, mean", group.mean, *group.interval, _key(found, group), True))
        for run in group.runs:
            span = run.facts.answer.test_interval if run.facts.answer else None
            if run.value is not None and span is not None:
                rows.append(Bar(run.folder.name, run.value, *span, _key(found, group)))
    metric = found.metric
    if not rows:
        return None
    sub = f"Test {metric.plural} with their 95 % intervals: of single runs from their test {metric.items}, of means from the seeds."
    return Section(f"Test {metric.name}", sub, bars(rows, form=metric.shown), _legend(found))


def _differences(found: Compared) -> Section | None:
    if not found.contrasts:
        return None
    metric, first = found.metric, found.groups[0].name
    share = metric.share
    rows = [
        [
            Cell(one.second.name, "claim", key=_key(found, one.second)),
            Cell(metric.gap(one.gain.difference), {"better": "n good", "worse": "n bad", "open": "n"}[one.verdict], one.verdict),
            Cell(f"{metric.gap(one.gain.low)} to {metric.gap(one.gain.high)}", "n"),
            Cell(one.basis, "claim"),
        ]
        for one in found.contrasts
    ]
    marks = [
        Bar(one.second.name, one.gain.difference, one.gain.low, one.gain.high, _key(found, one.second), one.verdict != "open")
        for one in found.contrasts
    ]
    head = [Cell(f"Against {first}"), Cell("Difference", "n"), Cell("95 % interval", "n"), Cell("What was paired")]
    sub = f"How much better than {first} each is. Where the interval holds nought (the dashed line), either may be the better one."
    return Section(
        "Differences", sub, bars(marks, form=points if share else metric.gap, nought=True), head=head, rows=rows
    )  # fmt: skip


def _runs(found: Compared, folder: Path) -> Section:
    metric = found.metric
    latency = any(run.facts.answer and run.facts.answer.latency_ms is not None for run in found.runs)
    head = [
        Cell("Run"), Cell("Seed", "n"), Cell(f"Test {metric.name}", "n"), Cell("Parameters", "n"), Cell("MACs", "n"),
        *([Cell("Latency", "n")] if latency else []), Cell("Judged", "n"), Cell("Time", "n"), Cell("Did search help?"),
    ]  # fmt: skip
    rows = []
    for group in found.groups:
        for run in group.runs:
            answer = run.facts.answer
            assert answer is not None
            link = quote(os.path.relpath(run.folder / "report.html", folder.resolve()))
            speed = [Cell("–" if answer.latency_ms is None else milliseconds(answer.latency_ms), "n")] if latency else []
            value = "–" if run.value is None else metric.shown(run.value)
            span = metric.span(answer.test_interval, " – ") if answer.test_interval else ""
            rows.append([
                Cell(run.folder.name, "brief", group.name if len(group.runs) > 1 else "", key=_key(found, group), link=link),
                Cell(str(run.seed), "n"), Cell(value, "n", span), Cell(short(answer.params), "n"), Cell(short(answer.macs), "n"),
                *speed, Cell(f"{judged_by(run.facts):,}", "n"), Cell(duration(run.facts.seconds), "n"), Cell(helped(run.facts)),
            ])  # fmt: skip
    return Section("The runs", "The name of a run leads to its own report.", head=head, rows=rows)


def _settings(found: Compared) -> Section:
    if not found.apart:
        return Section("What they were asked", "All runs have the same settings; they differ in their seeds alone.")
    head = [Cell("Setting"), *(Cell(group.name) for group in found.groups)]
    rows = [
        [Cell(name.replace("_", " ")), *(Cell(group.runs[0].settings.get(name, "–")) for group in found.groups)]
        for name in found.apart
    ]
    chosen = [Cell("space of the answer"), *(Cell(", ".join(sorted(set(map(_space, group.runs))))) for group in found.groups)]
    return Section(
        "What they were asked", "The settings in which they differ; all others are the same.", head=head, rows=[*rows, chosen]
    )


def _space(run: Entrant) -> str:
    assert run.facts.answer is not None
    return run.facts.answer.architecture.split(":")[0]


def _costs(found: Compared) -> Section:
    rows = []
    for run in found.runs:
        stages = [(stage.name, stage.seconds) for stage in run.facts.stages if stage.seconds > 0]
        rest = run.facts.seconds - sum(seconds for _, seconds in stages)
        rows.append((run.folder.name, [*stages, *([("all else", rest)] if rest > 0 else [])]))
    sub = "Seconds on the machine of each run, stage by stage."
    machines = {(run.facts.repeat.machine.get("processor", ""), run.facts.repeat.machine.get("cores", "")) for run in found.runs}
    if len(machines) > 1:
        sub += " The runs were made on different machines, so their times are not comparable."
    return Section("What it cost", sub, stacked(rows, form=duration), part_names(rows))


def _sizes(found: Compared) -> Section | None:
    metric = found.metric
    figures = []
    for title, name in (("parameters", "params"), (f"MACs per {metric.input}", "macs"), ("latency, ms", "latency_ms")):
        dots = []
        for group in found.groups:
            for run in group.runs:
                size = getattr(run.facts.answer, name)
                if size is not None and run.value is not None:
                    title_of = f"{run.folder.name}: {metric.shown(run.value)}, {short(size)} {title}"
                    dots.append(Dot(float(size), run.value, _key(found, group), title_of))
        if len(dots) > 1:
            plot = scatter(dots, title, f"test {metric.name}", y_format=metric.shown)
            figures.append((f"Test {metric.name} against {title.split(',')[0]}", "", plot))
    sub = "The networks that the runs answered with. The dashed line is the Pareto front: nothing smaller is better."
    return Section("What size buys", sub, legend=_legend(found), figures=figures) if figures else None


def _searches(found: Compared) -> Section | None:
    """The best so far in the screenings, a figure for each judge: values of different ones cannot be compared."""
    traced: dict[str, list[Line]] = {}
    for group in found.groups:
        for run in group.runs:
            if (trace := run.facts.trace) is not None and trace.best:
                ends = (*trace.best, (float(trace.count), trace.best[-1][1]))
                stairs = [ends[0]]
                for place, value in ends[1:]:
                    stairs += [(place, stairs[-1][1]), (place, value)]
                traced.setdefault(trace.judge, []).append(Line(run.folder.name, tuple(stairs), _key(found, group)))
    figures = [
        (f"Best so far by {judge}", "", curves(drawn, "candidates judged", "score", y_format=short))
        for judge, drawn in traced.items()
    ]
    sub = "The screening, candidate by candidate. Scores of different judges cannot be compared, so each has a figure."
    return Section("How they searched", sub, legend=_legend(found), figures=figures) if figures else None


def _training(found: Compared) -> Section | None:
    metric = found.metric
    loss, valid = [], []
    for group in found.groups:
        for run in group.runs:
            for curve in run.facts.curves:
                if curve.stage == "finish":
                    points = list(zip(curve.epochs, curve.valid, strict=True))
                    loss.append(Line(run.folder.name, tuple(zip(curve.epochs, curve.loss, strict=True)), _key(found, group)))
                    valid.append(Line(run.folder.name, tuple((x, y) for x, y in points if y is not None), _key(found, group)))
    plots: list[tuple[str, str, Markup]] = [
        ("Training loss", "", curves(loss, "epoch", "training loss", y_format=short)),
        (f"Validation {metric.name}", "", curves(valid, "epoch", f"validation {metric.name}", y_format=metric.shown)),
    ]
    figures = [figure for figure in plots if figure[2]]
    return (
        Section("How training went", "The final training of each run.", legend=_legend(found), figures=figures) if figures else None
    )


def _networks(found: Compared) -> Section:
    drawings, rows = [], []
    met: dict[str, str] = {}
    for run in found.runs:
        answer = run.facts.answer
        assert answer is not None
        same = met.get(answer.architecture)
        rows.append(
            [
                Cell(run.folder.name),
                Cell(answer.name),
                Cell(answer.architecture, code=True, small=f"the same as {same}" if same else ""),
            ]
        )
        met.setdefault(answer.architecture, run.folder.name)
        if run.facts.network and same is None:
            about = f"{short(answer.params)} parameters, {short(answer.macs)} MACs"
            drawings.append((run.folder.name, about, draw(run.facts.network, narrow=True)))
    head = [Cell("Run"), Cell("Network"), Cell("Architecture")]
    sub = "Boxes are as wide as they have channels. Every drawing can be zoomed; the reports of the runs show cells in detail."
    return Section("The networks", sub, drawings=drawings, head=head, rows=rows)


def _repeat(found: Compared, command: str) -> Section:
    every = [text for run in found.runs for text, _ in run.facts.repeat.commands]
    searches = [text for text in every if text.split()[:2] == ["archscout", "search"]]  # runs of arrays have none
    said = "The searches, each with an --out of its own, then this comparison." if searches else ""
    return Section("How to repeat it", said, pre="\n".join([*searches, command]))


def command_of(folders: Sequence[Path], out: Path) -> str:
    """The command that makes the page again."""
    return shlex.join(["archscout", "compare", *map(str, folders), "--out", str(out)])
