"""Aging evolution: the best of a random few breeds, the oldest dies.

Real, Aggarwal, Huang, Le (2019), arXiv 1802.01548, algorithm 1.

Deviations: rivals are drawn without replacement; failures never enter the population, and failed members of the start population
are drawn again; with several workers, parents are drawn from what has landed so far; a parent without a neighbour within the
limits is replaced by a random architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.moves import Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance
from archscout.strategies._aging import Population, child, evolve
from archscout.strategies._desk import Desk
from archscout.strategies._fresh import Known

_TRIES = 100


@dataclass(frozen=True)
class RegularizedEvolution:
    """Aging evolution.

    population: living architectures; 10 for budgets of hundreds, 100 for thousands.
    tournament: how many rivals a parent must beat; 3 for a population of 10, 25 for 100.
    skip_duplicates: try 100 times for an architecture that (up to isomorphism, where the space knows it) was not proposed before.
    """

    population: int = 10
    tournament: int = 3
    skip_duplicates: bool = False

    def __post_init__(self) -> None:
        if self.population < 1 or self.tournament < 1:
            raise ValueError(f"population and tournament are at least 1, but {self.population} and {self.tournament} came")

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Evolve for ever; the best observation is the answer."""
        space, accept, rng = problem.space, acceptance(problem), generator(seed, "regularized-evolution")
        known = Known(space)

        def newcomer() -> Architecture:
            for _ in range(_TRIES):
                drawn = sample(space, rng, accept)
                if not self.skip_duplicates or known.is_new(drawn):
                    break
            return drawn

        def offspring(parent: Architecture) -> Architecture:
            for _ in range(_TRIES):
                drawn = child(space, parent, rng, accept)
                if not self.skip_duplicates or known.is_new(drawn):
                    break
            return drawn

        alive = Population(self.population, self.tournament, rng)
        yield from evolve(Desk(), alive, self.population, newcomer, offspring)
        return None
