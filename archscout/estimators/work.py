"""Minus the cost of a training step per image, in equivalent MACs of a full convolution: cheap networks see more images.

`OperationGraph.work` says how it is counted. Alone it prefers the smallest network; in a `blend` it is the price: among networks of
one price, those with more parameters and MACs make better use of the minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.estimators._counted import counted


@dataclass(frozen=True)
class Work:
    """Minus the cost of a training step."""

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All."""
        return tuple(TASK_KINDS.values())

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Minus the work; less work is higher. The seed has no influence."""
        return counted(problem, architecture, "work", -1)
