"""Random search: judge random architectures, each once.

Li, Talwalkar (2019), arXiv 1902.07638: the baseline that any other strategy has to beat. Ends by itself once a space that can be
enumerated (100,000 choice tuples) is exhausted.

Deviations: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.moves import Propose, Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance
from archscout.strategies._fresh import fresh


@dataclass(frozen=True)
class RandomSearch:
    """Random search. No settings; never looks at results, so the number of workers changes nothing but the speed."""

    BEATS_RANDOM: ClassVar[bool] = False

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Propose until nothing new is left; the best observation is the answer."""
        seen: set[Architecture] = set()
        for architecture in fresh(problem.space, generator(seed, "random"), acceptance(problem), seen):
            seen.add(architecture)
            yield Propose(architecture)
        return None
