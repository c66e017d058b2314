"""The outcome of `bench search` as files: regret curves and figures on one page, the figures as JSON, every run as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archscout.comparison.page import Cell, Section, page
from archscout.comparison.search import Contest, Floats, Outcome
from archscout.report.plots import Line, curves
from archscout.store.files import checked_folder, write_atomic, write_json

_ROLES = {"random (baseline)": "random", "regularized-evolution (baseline)": "baseline"}


def write_outcome(
    folder: Path, contest: Contest, found: Mapping[str, Any], outcomes: Mapping[str, Outcome], command: str
) -> Path:  # fmt: skip
    """Write search.html, search.json and runs.csv; gives the page's path."""
    folder = checked_folder(folder)
    write_json(folder / "search.json", dict(found) | {"command": command})
    write_atomic(folder / "runs.csv", _runs(contest, outcomes))
    write_atomic(folder / "search.html", render(found, outcomes, command))
    return folder / "search.html"


def render(found: Mapping[str, Any], outcomes: Mapping[str, Outcome], command: str) -> str:
    """The page of a search."""
    own = outcomes[found["strategy"]]
    distinct = {name: outcome for name, outcome in outcomes.items() if name == found["strategy"] or outcome is not own}
    columns = found["columns"]
    sections = [
        Section(
            f"Regret by query, {part}",
            f"The best recorded value of {columns[part]} ({found['optimum'][part]['value']:.2f}) less that of the answer so far: "
            "mean over the runs, and the middle half of them as a band.",
            _plot(distinct, part),
            [(_role(name), name) for name in distinct],
        )
        for part in ("test", "valid")
        if part == "test" or columns["test"] != columns["valid"]
    ]
    sections.append(_figures(found, distinct))
    sections.append(Section("How to repeat it", pre=command))
    spent = f"{found['queries']} queries" if found["queries"] else "an equal charged budget"
    where = f"{found['table']}, {found['dataset']}"
    lead = f"{found['seeds']} runs each of {found['strategy']} and its baselines on {where}, with {spent}."
    return page(
        "bench search",
        found["strategy"],
        " ".join([lead, *(f"{said[:1].upper()}{said[1:].rstrip('.')}." for said in found["caveats"])]),
        sections,
        "Made by archscout bench search.",
    )


def _role(name: str) -> str:
    return _ROLES.get(name, "searched")


def _plot(outcomes: Mapping[str, Outcome], part: str) -> Any:
    lines = [_line(name, getattr(outcome, f"{part}_regret")) for name, outcome in outcomes.items()]
    positive = all(value > 0 for line in lines for _, value in line.points)
    return curves(lines, "queries", f"{part} regret", y_format=lambda value: f"{value:.3g}", logarithmic=positive)


def _line(name: str, regret: Floats) -> Line:
    known = np.flatnonzero(np.isfinite(regret).any(0))
    seen = regret[:, known]
    mean = np.nanmean(seen, 0)
    low, high = np.nanquantile(seen, [0.25, 0.75], axis=0)
    at = (known + 1).astype(float)
    points = tuple(zip(at.tolist(), mean.tolist(), strict=True))
    band = tuple(zip(at.tolist(), low.tolist(), high.tolist(), strict=True))
    return Line(name, points, _role(name), strong=_role(name) == "searched", band=band)


def _figures(found: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> Section:
    head = [Cell("Strategy"), Cell("Validation", "n"), Cell("Test", "n"), Cell("Test regret", "n"), Cell("Ahead of it, test", "n")]
    rows = []
    named = {found["strategy"]: found, **{f"{name} (baseline)": row for name, row in found["baselines"].items()}}
    for name in outcomes:
        row = named[name]
        gap = row.get("difference", {}).get("test")
        ahead = Cell("–", "n") if gap is None else Cell(f"{gap[0]:+.2f}", "n", f"{gap[1]:+.2f} to {gap[2]:+.2f}")
        rows.append([Cell(name), _mean(row, "valid"), _mean(row, "test"), Cell(_shown(row["regret"][-1]), "n"), ahead])
    sub = "Means over runs with the standard deviation of single runs; differences with their 95 % bootstrap interval."
    return Section("The answers", sub, head=head, rows=rows)


def _mean(row: Mapping[str, Any], part: str) -> Cell:
    return Cell(_shown(row[f"{part}_mean"]), "n", f"± {_shown(row[f'{part}_std'])}")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _runs(contest: Contest, outcomes: Mapping[str, Outcome]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["strategy", "seed", "architecture", "valid", "test"])
    for name, outcome in outcomes.items():
        for seed, answer, valid, test in zip(contest.seeds, outcome.answers, outcome.valid, outcome.test, strict=True):
            writer.writerow([name, seed, str(answer), valid, test])
    return text.getvalue()
