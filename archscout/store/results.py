"""The results of a run as CSV: what was judged, in the order it was proposed.

`results.csv` holds nothing that depends on the clock, so an interrupted and resumed run writes the same bytes as an undisturbed
one; the seconds lie in `timings.csv` beside it.
"""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from archscout.store.files import write_atomic
from archscout.store.runs import RunStore

COLUMNS = ("stage", "move", "architecture", "judge", "fidelity", "value", "failure", "message", "params", "macs")


def write_results(store: RunStore, path: Path | str) -> None:
    """Write results.csv at `path` and timings.csv in the same folder."""
    path = Path(path)
    rows, timings = [], []
    for landed in store.observations():
        seen = landed.observation
        metrics = seen.estimate.metrics if seen.estimate else {}
        fidelity = "" if seen.fidelity is None else f"{seen.fidelity:g}"
        rows.append(
            [
                landed.stage,
                landed.move,
                seen.architecture,
                seen.judge,
                fidelity,
                repr(seen.estimate.value) if seen.estimate else "",
                seen.failure.kind if seen.failure else "",
                seen.failure.message if seen.failure else "",
                _count(metrics.get("params")),
                _count(metrics.get("macs")),
            ]
        )
        cost = f"{seen.estimate.cost_seconds:.6f}" if seen.estimate else ""
        timings.append([landed.stage, landed.move, seen.architecture, f"{landed.seconds:.6f}", cost])
    write_atomic(path, _table(COLUMNS, rows))
    write_atomic(path.with_name("timings.csv"), _table(("stage", "move", "architecture", "seconds", "cost_seconds"), timings))


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _table(columns: tuple[str, ...], rows: list[list[Any]]) -> str:
    out = StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return out.getvalue()
