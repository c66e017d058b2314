"""From a judge, or a learner that becomes one, to a judge."""

from __future__ import annotations

from collections.abc import Callable

from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, Learner, LongLearner


def fitted(judge: Estimator | Learner, problem: Problem, *, seed: int, tell: Callable[[int, int], None] | None = None) -> Estimator:
    """The judge; a learner learns first, from no evidence. tell: hears how many steps are done, and of how many."""
    if isinstance(judge, LongLearner):
        steps = judge.fitting(problem, (), seed=seed)
        while True:
            try:
                done, total = next(steps)
            except StopIteration as end:
                found: Estimator = end.value
                return found
            if tell is not None:
                tell(done, total)
    return judge.fit(problem, (), seed=seed) if isinstance(judge, Learner) else judge
