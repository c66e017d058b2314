"""What was recorded: one look into a table of trained networks instead of a training.

With a recorded benchmark a search of days replays in seconds, and many seeds can be compared (Ying et al. 2019, arXiv 1902.09635).
The cost of an estimate is what the training took where the table says so; else every query costs one second of the charged clock.

A row without a value, and an architecture that the table does not hold, are refused, which costs no part of the budget. Test values
are not looked at: `benchmarks.verdict` does that, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from archscout.benchmarks._open import open_table, stamp
from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError, UserError
from archscout.core.evidence import Estimate
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.core.protocols import Table
from archscout.core.tables import Recorded


@dataclass(frozen=True)
class Tabular:
    """Looks recorded values up.

    table: its name. dataset: of the table. epochs: of the recorded training; those of the data set's first column where None.
    """

    table: str = "nas201"
    dataset: str = "cifar10"
    epochs: int | None = None

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All: the space of the table says which, and the task is not looked at."""
        return tuple(TASK_KINDS.values())

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The recorded value, negated where lower is better. The seed has no effect.

        Metrics: what the table records of the row (params, macs), the epochs, and the seconds where they are known. Raises
        CandidateError where there is no value, UserError for a table that does not fit the problem, UnknownName.
        """
        found, row = self._look_up(problem, architecture)
        if row is None or not found.usable[row]:
            raise CandidateError(f"'{architecture}' {self._missing(found, row)}")
        metrics = {**found.table.metrics(row), "epochs": float(found.recorded.column.epochs)}
        if found.recorded.seconds is None:
            return Estimate(float(found.scores[row]), 1.0, metrics)
        seconds = float(found.recorded.seconds[row])
        return Estimate(float(found.scores[row]), seconds, {**metrics, "seconds": seconds})

    def refusal(self, problem: Problem, architecture: Architecture) -> str | None:
        """As `RefusingEstimator`: no value in the row, or no row. Raises as `estimate` does."""
        found, row = self._look_up(problem, architecture)
        return self._missing(found, row) if row is None or not found.usable[row] else None

    def _look_up(self, problem: Problem, architecture: Architecture) -> tuple[_Opened, int | None]:
        found = _opened(self.table, self.dataset, self.epochs, stamp(self.table))
        if problem.space.name != found.space:
            raise UserError(
                f"the table '{self.table}' holds architectures of the space '{found.space}', "
                f"but '{problem.space.name}' is searched; search that space, or choose another table"
            )
        return found, found.table.row(problem.space, architecture)

    def _missing(self, found: _Opened, row: int | None) -> str:
        if row is None:
            return f"is not in the table '{self.table}', so nothing is recorded for '{self.dataset}'"
        what = "seconds of training" if np.isfinite(found.scores[row]) else "value"
        return f"has no recorded {what} for '{self.dataset}' in the table '{self.table}'"


@dataclass(frozen=True, eq=False)
class _Opened:
    """An open table. scores: per row, higher is better. usable: where there is one, and its seconds if those are charged."""

    table: Table
    space: str
    recorded: Recorded
    scores: NDArray[np.float64]
    usable: NDArray[np.bool_]


@lru_cache(maxsize=16)
def _opened(table: str, dataset: str, epochs: int | None, changed: tuple[str, int]) -> _Opened:
    opened = open_table(table)
    recorded = opened.objective(dataset, epochs)
    usable = np.isfinite(recorded.values)
    if recorded.seconds is not None:
        usable &= np.isfinite(recorded.seconds)
    return _Opened(opened, opened.facts.space, recorded, recorded.scores, usable)
