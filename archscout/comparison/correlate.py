"""How well a judge ranks the architectures of a table: Kendall's tau, Spearman's rho and the regret of the best-scored.

Rows are drawn uniformly among those with a value; a smaller sample is the beginning of a larger one. Parameters and MACs are
always correlated on the same architectures: a score that ranks no better than they do has found nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.analysis.ranks import agreement, regret
from archscout.comparison.telling import say
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.problem import Task
from archscout.core.protocols import Space, Table
from archscout.core.scores import ScoreTable
from archscout.core.seeds import generator
from archscout.core.tables import Recorded
from archscout.nn.measure import counts

BASELINES = ("params", "macs")


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a table with their architectures and recorded values. dataset: as asked for; against: "valid" or "test"."""

    table: Table
    space: Space
    dataset: str
    against: str
    recorded: Recorded
    rows: NDArray[np.int64]

    @property
    def architectures(self) -> list[Architecture]:
        """In the order of the rows."""
        return [self.table.architecture(self.space, int(row)) for row in self.rows]

    @property
    def values(self) -> NDArray[np.float64]:
        """The recorded values, higher is better."""
        return self.recorded.scores[self.rows]


def draw(
    table: Table, space: Space, recorded: Recorded, count: int, *, dataset: str, against: str = "valid", seed: int = 0,
    scored: ScoreTable | None = None,
) -> Sample:  # fmt: skip
    """`count` rows with a value, or all where there are fewer (which is said); of `scored`, where given, only what it holds."""
    usable = np.flatnonzero(np.isfinite(recorded.scores))
    if scored is not None:
        usable = np.array([row for row in usable if scored.row(table.architecture(space, int(row))) is not None], np.int64)
    if len(usable) < 2:
        where = " and a score in the file" if scored is not None else ""
        raise UserError(
            f"{len(usable)} rows of '{table.name}' have a value of {recorded.column.name}{where}; a correlation needs at least 2"
        )
    if count > len(usable):
        say(f"{table.name}: only {len(usable):,} rows have a value, so all of them are taken instead of {count:,}")
    order = generator(seed, "sample", table.name).permutation(len(usable))[:count]
    return Sample(table, space, dataset, against, recorded, usable[order])


def correlations(sample: Sample, scores: ScoreTable, task: Task, *, seed: int = 0) -> list[dict[str, Any]]:
    """One row per judge of `scores`, with the keys that `archscout bench correlate --json` prints.

    Architectures of the sample that are not in `scores` (the time was up) are left out of all rows.
    """
    places = [scores.row(architecture) for architecture in sample.architectures]
    kept = [number for number, place in enumerate(places) if place is not None]
    if len(kept) < 2:
        raise UserError(f"{len(kept)} of the drawn architectures were judged, but a correlation needs at least 2")
    values = sample.values[kept]
    found = scores.values[[place for place in places if place is not None]]
    sizes = _sizes(sample, kept, task)
    baselines = {name: _agreement(column, values, seed) for name, column in sizes.items()}
    seconds = scores.facts.get("seconds", {})
    return [
        {
            "estimator": judge,
            "table": sample.table.name,
            "dataset": sample.dataset,
            "sample": len(kept),
            **_agreement(found[:, place], values, seed),
            "seconds_per_architecture": seconds.get(judge),
            "failed": int((~np.isfinite(found[:, place])).sum()),
            "against": sample.against,
            "column": sample.recorded.column.name,
            "epochs": sample.recorded.column.epochs,
            "regret": {str(k): value for k, value in regret(found[:, place], values).items()},
            "baselines": baselines,
            "caveat": sample.recorded.column.caveat,
        }
        for place, judge in enumerate(scores.judges)
    ]


def _agreement(scores: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> dict[str, Any]:
    found = agreement(scores, values, seed=seed)
    return {"kendall": _finite(found.kendall), "spearman": _finite(found.spearman), "interval": [*map(_finite, found.interval)]}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _sizes(sample: Sample, kept: Sequence[int], task: Task) -> dict[str, NDArray[np.float64]]:
    """Parameters and MACs as the table has them, else as the space counts them; what neither knows is left out."""
    sizes: dict[str, NDArray[np.float64]] = {}
    for name in BASELINES:
        column = [_size(sample, int(sample.rows[number]), name, task) for number in kept]
        if all(value is not None for value in column):
            sizes[name] = np.array(column, float)
    return sizes


def _size(sample: Sample, row: int, name: str, task: Task) -> float | None:
    known: Mapping[str, float] = sample.table.metrics(row)
    if isfinite(known.get(name, inf)):
        return known[name]
    try:
        return float(counts(sample.space, sample.table.architecture(sample.space, row), task)[name])
    except Exception:  # what cannot be built here has no count; the judges' own failures are reported with them
        return None


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows for a person."""
    first = rows[0]
    text = [f"{first['table']}, {first['dataset']} ({first['column']}): {first['sample']:,} architectures"]
    text.append(f"{'':24}{'Kendall':>9}   95 % interval      {'Spearman':>9}   failed   s each")
    for name, row in [*((r["estimator"], r) for r in rows), *((f"({name})", row) for name, row in first["baselines"].items())]:
        interval = " to ".join(map(_shown, row["interval"]))
        cost = f"{row['failed']:>9,}{row['seconds_per_architecture'] or 0:>9.3g}" if "failed" in row else ""
        text.append(f"{name:24}{_shown(row['kendall']):>9}   {interval:18}{_shown(row['spearman']):>9}{cost}")
    return text


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
