"""Which cells a strategy finds: their widths and depths over many seeds, beside those of random cells.

Random cells have a mean percentile of 50 (cells that rank alike counted half), whatever the space; a strategy that favours wide and
shallow cells lies above.

Every run has a folder with a record of its own (`store.runs`), so that a killed comparison goes on within the run that it was in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Any

from archscout.analysis.cells import patterns_of
from archscout.analysis.intervals import mean_interval
from archscout.catalogue import plain_record
from archscout.comparison.search import run_once
from archscout.comparison.telling import Countdown
from archscout.core.architecture import Architecture
from archscout.core.errors import Interrupted
from archscout.core.problem import Problem
from archscout.core.protocols import CellSpace, Estimator, Strategy
from archscout.engine.budget import Budget
from archscout.store.contents import DATABASE
from archscout.store.runs import RunStore

_STAGE = "search"


@dataclass(frozen=True, eq=False)
class Hunt:
    """A strategy that searches with many seeds. judges: `main`, and perhaps `proxy`. budget: of one run."""

    name: str
    strategy: Strategy
    problem: Problem
    judges: Mapping[str, Estimator]
    budget: Budget
    seeds: range

    def record(self, seed: int) -> dict[str, Any]:
        """What a run's folder belongs to."""
        return {
            "part_of": "explain",
            "strategy": plain_record(self.strategy),
            "space": plain_record(self.problem.space),
            "data": self.problem.task.fingerprint,
            "judges": {name: plain_record(judge) for name, judge in self.judges.items()},
            "budget": asdict(self.budget),
            "seed": seed,
        }

    def run(self, seed: int, folder: Path) -> Architecture:
        """The answer of one run, made or gone on with."""
        asked = self.record(seed)
        place = folder / f"{self.name}-{seed}-{blake2b(str(asked).encode(), digest_size=4).hexdigest()}"
        opened = RunStore.open(place) if (place / DATABASE).exists() else RunStore.create(place, request=asked, seed=seed)
        with opened as store:
            answer, _ = run_once(self.problem, self.judges, self.budget, self.strategy, seed, store.stage(_STAGE))
        return answer


def hunt(asked: Hunt, folder: Path, minutes_are_up: Callable[[], bool] = lambda: False) -> dict[int, Architecture]:
    """What each seed found, as far as the time allows."""
    countdown = Countdown(f"{asked.name}: runs", len(asked.seeds))
    found: dict[int, Architecture] = {}
    try:
        for done, seed in enumerate(asked.seeds, 1):
            if minutes_are_up():
                break
            found[seed] = asked.run(seed, folder)
            countdown.at(done)
    except Interrupted as stop:
        stop.hint = "Go on with the same command."
        raise
    finally:
        countdown.close()
    return found


def bias(space: CellSpace, found: Mapping[int, Architecture]) -> dict[str, Any]:
    """Of each cell the distribution of width and depth of what was found, beside that of random cells."""
    patterns = patterns_of(space)
    topologies = {seed: space.topologies(architecture) for seed, architecture in found.items()}
    cells: dict[str, Any] = {}
    for name in next(iter(topologies.values())):
        own = [cells[name] for cells in topologies.values()]
        ranks = [patterns.middle_percentile(cell) for cell in own]
        cells[name] = {
            "width": _told([float(cell.width) for cell in own], patterns.mean()[0]),
            "depth": _told([float(cell.depth) for cell in own], patterns.mean()[1]),
            "percentile": _told(ranks, 50.0, most=100.0),
            "common_pattern": {
                "share": sum(cell.is_common_pattern for cell in own) / len(own),
                "random": patterns.common / patterns.total,
            },
            "skip_edges": sum(cell.is_skip(operation) for cell in own for operation, _, _ in cell.edges) / len(own),
        }
    return {
        "found": [
            {
                "seed": seed, "architecture": str(architecture),
                "cells": {name: {"width": float(cell.width), "depth": cell.depth} for name, cell in topologies[seed].items()},
            }
            for seed, architecture in found.items()
        ],
        "compared_with": {"cells": patterns.total, "what": patterns.what, "exact": patterns.exact},
        "cells": cells,
    }  # fmt: skip


def lines(facts: Mapping[str, Any]) -> list[str]:
    """For a person."""
    where = facts["compared_with"]
    text = [
        f"{facts['strategy']} in '{facts['space']}', {len(facts['found'])} seeds, beside {where['cells']:,} {where['what']}"
        f"{'' if where['exact'] else ' (a sample)'}"
    ]
    for name, cell in facts["cells"].items():
        parts = [
            f"{part} {_number(cell[part])} (random cells: {cell[part]['random']:.2f})" for part in ("width", "depth", "percentile")
        ]
        common = cell["common_pattern"]
        parts.append(f"common pattern {common['share']:.0%} (random cells: {common['random']:.1%})")
        text.append(f"  {name:8}{'; '.join(parts)}")
    return text


def _told(values: Sequence[float], random: float, most: float = inf) -> dict[str, Any]:
    """most: of a value that cannot be larger, nor below nought, however wide an interval of few seeds is."""
    interval = [min(max(end, 0.0), most) for end in mean_interval(values)] if len(values) > 1 else None
    return {"mean": sum(values) / len(values), "interval": interval, "random": random, "values": list(values)}


def _number(part: Mapping[str, Any]) -> str:
    shown = f"{part['mean']:.2f}"
    return shown if part["interval"] is None else f"{shown} [{part['interval'][0]:.2f}, {part['interval'][1]:.2f}]"
