"""Scores that were written down before: one look into a file of `archscout score --all`.

With it a search by a training-free score takes as long as a search in a table. Architectures that were not scored are refused,
which costs no part of the budget; a recorded failure is a failure again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError, NotFinite, UserError
from archscout.core.evidence import Estimate
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.core.scores import ScoreTable, check_space, read_scores


@dataclass(frozen=True)
class Scored:
    """Looks scores up.

    path: the score file. judge: whose scores, where the file holds those of several.
    """

    path: str = ""
    judge: str = ""

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All: the task was looked at when the scores were made."""
        return tuple(TASK_KINDS.values())

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The recorded score; the cost is what judging took in the mean. The seed has no effect.

        Raises NotFinite or CandidateError where the judge had failed, or the architecture was not scored.
        """
        table, column = self._table(problem)
        row = table.row(architecture)
        if row is None:
            raise CandidateError(f"'{architecture}' {_UNSCORED}")
        failure = table.failure(row, column)
        if failure is not None:
            what = f"the recorded judgement of '{architecture}' is a failure ({failure})"
            raise NotFinite(what) if failure == "nan" else CandidateError(what)
        return Estimate(float(table.values[row, column]), float(table.facts.get("seconds", {}).get(table.judges[column], 0.0)))

    def refusal(self, problem: Problem, architecture: Architecture) -> str | None:
        """As `RefusingEstimator`. Raises UserError for a file that cannot be used here."""
        table, _ = self._table(problem)
        return _UNSCORED if table.row(architecture) is None else None

    def _table(self, problem: Problem) -> tuple[ScoreTable, int]:
        if not self.path:
            raise UserError("the judge 'scored' needs a score file; give it as --estimator scores.npz, or as its setting 'path'")
        try:
            changed = os.stat(self.path).st_mtime_ns
        except OSError:
            changed = 0  # reading says what is wrong
        table = _opened(self.path, changed)
        check_space(table, problem.space.name, self.path)
        return table, table.column(self.judge)


_UNSCORED = "is not in the score file"


@lru_cache(maxsize=8)
def _opened(path: str, changed: int) -> ScoreTable:
    return read_scores(path)
