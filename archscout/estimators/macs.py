"""The number of multiply-accumulates for one input (convolutions and linear layers): as a judge, more is better.

Among networks of one space the size is a proxy for accuracy that many training-free scores fail to beat (Krishnakumar et
al. 2022, arXiv 2210.03230), and it costs microseconds. What a network may cost is said with limits, not with this judge; `sign=-1`
(or a negative weight in `blend`) looks for small networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.estimators._counted import check_sign, counted


@dataclass(frozen=True)
class Macs:
    """The MACs.

    sign: 1 where more is better (the default), -1 where fewer are.
    """

    sign: int = 1

    def __post_init__(self) -> None:
        check_sign(self.sign)

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All."""
        return tuple(TASK_KINDS.values())

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The count times the sign; the seed has no effect."""
        return counted(problem, architecture, "macs", self.sign)
