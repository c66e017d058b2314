"""Local search: go to a better neighbour until there is none, then start again elsewhere.

White, Nolen, Savani (2021), "Exploring the loss landscape in neural architecture search", arXiv 2005.02960, algorithm 1: judge the
neighbours (one decision changed) in random order, move to an improvement, stop at a local optimum.

Deviations: restarts from a new random architecture at a local optimum (the paper does so in its experiments); nothing is proposed
twice; with several workers the results still in flight are counted when they land. In a space that draws in a way of its own the
neighbours are found by repeated mutation.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, mutate, neighbours
from archscout.core.errors import LimitError
from archscout.core.evidence import Observation
from archscout.core.moves import Move, Search
from archscout.core.problem import Problem
from archscout.core.protocols import DrawnSpace, Snapshot, Space
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance
from archscout.strategies._desk import Desk
from archscout.strategies._fresh import fresh


@dataclass(frozen=True)
class LocalSearch:
    """Local search with restarts.

    first_improvement: move as soon as a neighbour is better; otherwise judge all neighbours and move to the best of them.
    """

    first_improvement: bool = True

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Climb and restart until nothing new is left; the best observation is the answer."""
        space, accept, rng = problem.space, acceptance(problem), generator(seed, "local")
        values: dict[Architecture, float | None] = {}  # None while in flight
        desk = Desk()
        for start in fresh(space, rng, accept, values):
            yield from _judge(desk, values, start)
            _note(values, (yield from desk.settle()))
            here, value = start, values[start]
            while value is not None and value != float("-inf"):
                ring: list[Architecture] = []
                for neighbour in _neighbours(space, here, rng, accept):
                    ring.append(neighbour)
                    yield from _judge(desk, values, neighbour)
                    if self.first_improvement and _best(values, ring)[1] > value:
                        break
                else:
                    _note(values, (yield from desk.settle()))
                better, best = _best(values, ring)
                if better is None or best <= value:
                    break
                here, value = better, best
        return None


def _judge(
    desk: Desk, values: dict[Architecture, float | None], architecture: Architecture
) -> Generator[Move, Sequence[Observation], None]:
    """Propose what has not been proposed before."""
    if architecture not in values:
        values[architecture] = None
        _note(values, (yield from desk.judge(architecture)))


def _note(values: dict[Architecture, float | None], landed: Sequence[Observation]) -> None:
    values.update((observation.architecture, observation.value) for observation in landed)


def _best(values: dict[Architecture, float | None], ring: Sequence[Architecture]) -> tuple[Architecture | None, float]:
    """The best landed architecture of a ring (the earliest of equals) and its value."""
    known = [(value, architecture) for architecture in ring if (value := values.get(architecture)) is not None]
    value, architecture = max(known, key=lambda pair: pair[0], default=(float("-inf"), None))
    return architecture, value


def _neighbours(space: Space, here: Architecture, rng: np.random.Generator, accept: Accept | None) -> Iterator[Architecture]:
    """The neighbours within the limits in random order, each tested when it is its turn."""
    if not isinstance(space, DrawnSpace):
        found = neighbours(space, here)
        order = (found[int(place)] for place in rng.permutation(len(found)))
        yield from (neighbour for neighbour in order if accept is None or accept(neighbour))
        return
    seen: set[Architecture] = set()
    for _ in range(3 * sum(len(decision.options) - 1 for decision in space.decisions)):
        try:
            neighbour = mutate(space, here, rng, accept)
        except LimitError:
            return
        if neighbour not in seen:
            seen.add(neighbour)
            yield neighbour
