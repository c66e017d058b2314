"""Shared by the evolutions: the living, and how they breed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, mutate, sample
from archscout.core.errors import LimitError
from archscout.core.evidence import Observation
from archscout.core.moves import Move
from archscout.core.protocols import Space
from archscout.strategies._desk import Desk


class Population:
    """The living of aging evolution, oldest first: judged architectures without failures."""

    def __init__(self, capacity: int, tournament: int, rng: np.random.Generator) -> None:
        self._alive: deque[Observation] = deque(maxlen=capacity)
        self._tournament = tournament
        self._rng = rng

    def __len__(self) -> int:
        return len(self._alive)

    def extend(self, landed: Iterable[Observation]) -> None:
        """Take in what the main judge could judge; the oldest fall off."""
        self._alive.extend(o for o in landed if o.estimate is not None and o.judge == "main")

    def parent(self) -> Architecture:
        """The best of `tournament` different living ones drawn at random."""
        count = min(self._tournament, len(self._alive))
        rivals = [self._alive[int(place)] for place in self._rng.choice(len(self._alive), count, replace=False)]
        return max(rivals, key=lambda observation: observation.value).architecture


def child(space: Space, parent: Architecture, rng: np.random.Generator, accept: Accept | None) -> Architecture:
    """A mutation of `parent`; a random architecture where no neighbour meets the limits."""
    try:
        return mutate(space, parent, rng, accept)
    except LimitError:
        return sample(space, rng, accept)


def evolve(
    desk: Desk,
    alive: Population,
    capacity: int,
    newcomer: Callable[[], Architecture],
    offspring: Callable[[Architecture], Architecture],
) -> Generator[Move, Sequence[Observation], None]:
    """Fill the population with newcomers, then breed for ever.

    Failed newcomers are replaced. With several workers breeding starts while the last newcomers are in flight.
    """
    while len(alive) + desk.in_flight < capacity:
        alive.extend((yield from desk.judge(newcomer())))
    while True:
        while not alive:
            # Everything so far has failed or is in flight.
            alive.extend((yield from (desk.wait() if desk.in_flight else desk.judge(newcomer()))))
        alive.extend((yield from desk.judge(offspring(alive.parent()))))
