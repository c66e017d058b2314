"""The judges that count: their estimates."""

from __future__ import annotations

from time import perf_counter

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.measure import counts


def check_sign(sign: int) -> None:
    """Raises ValueError for anything but 1 and -1."""
    if sign not in (1, -1):
        raise ValueError(f"sign is 1 (more is better) or -1 (fewer is better), but {sign} came")


def counted(problem: Problem, architecture: Architecture, name: str, sign: int) -> Estimate:
    """The count of this name times the sign; metrics: all counts."""
    start = perf_counter()
    found = {key: float(count) for key, count in counts(problem.space, architecture, problem.task).items()}
    return Estimate(sign * found[name], perf_counter() - start, found)
