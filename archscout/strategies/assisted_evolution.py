"""Assisted regularised evolution (AREA): a cheap proxy picks the start population, then aging evolution on the real judge.

Mellor, Turner, Storkey, Crowley (2021), arXiv 2006.04647, section 5: draw 20 random architectures, score them untrained (judge
"proxy"), train the best 10 (judge "main"), and evolve from them.

Deviations: the paper does not state the size of the tournament; 3 of 10 is that of its baseline. The candidates are drawn without
repetition. Otherwise as `regularized-evolution`; where fewer candidates than the population have a proxy score or survive the main
judge, random architectures fill the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.moves import Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance
from archscout.strategies._aging import Population, child, evolve
from archscout.strategies._desk import Desk
from archscout.strategies._fresh import fresh


@dataclass(frozen=True)
class AssistedEvolution:
    """Aging evolution from a start population that a proxy has picked. Needs the judges "main" and "proxy".

    candidates: random architectures that the proxy scores.
    population: living architectures; so many of the best candidates are judged first.
    tournament: how many rivals a parent must beat.
    """

    candidates: int = 20
    population: int = 10
    tournament: int = 3

    def __post_init__(self) -> None:
        if not (self.candidates >= self.population >= 1 <= self.tournament):
            raise ValueError(
                "candidates >= population >= 1 and tournament >= 1 are needed, "
                f"but {self.candidates}, {self.population} and {self.tournament} came"
            )

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Evolve for ever; the best observation of the main judge is the answer."""
        space, accept, rng = problem.space, acceptance(problem), generator(seed, "assisted-evolution")
        desk, alive = Desk(), Population(self.population, self.tournament, rng)
        drawn: dict[Architecture, None] = {}
        for architecture in islice(fresh(space, rng, accept, drawn), self.candidates):
            drawn[architecture] = None
        scores = yield from desk.judge_all(drawn, judge="proxy")
        scored = [score for score in scores if score.estimate]
        for score in sorted(scored, key=lambda score: -score.value)[: self.population]:
            alive.extend((yield from desk.judge(score.architecture)))
        yield from evolve(
            desk, alive, self.population, lambda: sample(space, rng, accept), lambda parent: child(space, parent, rng, accept)
        )
        return None
