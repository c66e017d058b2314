"""A strategy that depends on every result in its order."""

from archscout.core.draw import mutate, sample
from archscout.core.moves import Propose
from archscout.core.seeds import generator


class Climb:
    """Mutates the best so far, for ever."""

    def search(self, problem, *, seed, state=None):
        rng = generator(seed)
        best, value = sample(problem.space, rng), -1.0
        while True:
            for seen in (yield Propose(mutate(problem.space, best, rng))):
                if seen.value >= value:
                    best, value = seen.architecture, seen.value
