"""Shared by NAO's strategies: new architectures from those known, by climbing in the space of a controller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil
from typing import Literal, get_args

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.draw import Accept
from archscout.core.encoding import architecture_of
from archscout.core.errors import LimitError
from archscout.core.protocols import Space
from archscout.core.seeds import derive, generator
from archscout.nn.controller import ControllerSettings, Trained, written
from archscout.strategies._aging import child
from archscout.strategies._fresh import Known

Moves = Literal["gradient", "random", "mutation", "both"]
_MUTATIONS = 200
"""Of every one of 100 seeds, at the most; so many in all where there are fewer."""


@dataclass(frozen=True)
class ClimbSettings(ControllerSettings):
    """How a controller is trained, and how new architectures are made with it.

    seeds: the best known architectures, from which it climbs. moves: "gradient", as published; "random", directions of the same
    lengths; "mutation", which climbs not at all, but changes up to three decisions; or "both", gradients and mutations in turn.
    increment: by which the step grows from pass to pass. furthest: passes. relative: the mean row of a gradient counts as 1.
    rescore: make `surplus` times as many as are wanted, and keep those of the best prediction when they are encoded again.
    """

    seeds: int = 100
    moves: Moves = "both"
    increment: float = 0.25
    relative: bool = True
    furthest: int = 20
    rescore: bool = True
    surplus: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.moves not in get_args(Moves):
            raise ValueError(f"moves is {', '.join(get_args(Moves))}, but '{self.moves}' came")
        check_least(self, seeds=1, furthest=1, surplus=1)
        if not self.increment > 0:
            raise ValueError(f"increment is above 0, but {self.increment} came")


def climbed(
    space: Space,
    trained: Trained,
    best: Sequence[Architecture],
    wanted: int,
    known: Known,
    accept: Accept | None,
    settings: ClimbSettings,
    seed: int,
) -> list[Architecture]:
    """Up to `wanted` new architectures, from the best ones (best first); fewer where no more are found.

    With `rescore` those of the highest prediction, else those that were found first: of the shortest steps.
    """
    met, found = known.copy(), list[Architecture]()
    enough = wanted * settings.surplus if settings.rescore else wanted
    for architecture in _made(space, trained, best, accept, settings, seed):
        if (accept is None or accept(architecture)) and met.is_new(architecture):
            found.append(architecture)
        if len(found) >= enough:
            break
    if settings.rescore and found:
        order = np.argsort(-trained.predict(written(space, found)), kind="stable")
        found = [found[int(place)] for place in order]
    return found[:wanted]


def _made(
    space: Space, trained: Trained, best: Sequence[Architecture], accept: Accept | None, settings: ClimbSettings, seed: int
) -> Iterator[Architecture]:
    if settings.moves == "mutation":
        return _mutated(space, best, accept, seed)
    decoded = _decoded(space, trained, best, settings, seed)
    if settings.moves != "both":
        return decoded
    in_turn = zip_longest(decoded, _mutated(space, best, accept, seed))
    return (architecture for pair in in_turn for architecture in pair if architecture is not None)


def _decoded(
    space: Space, trained: Trained, best: Sequence[Architecture], settings: ClimbSettings, seed: int
) -> Iterator[Architecture]:
    tokens = written(space, best)
    direction: Literal["gradient", "random"] = "random" if settings.moves == "random" else "gradient"
    for number in range(settings.furthest):
        step = settings.increment * (number + 1)
        written_again = trained.climb(tokens, [step], direction, relative=settings.relative, seed=derive(seed, number))
        for row in dict.fromkeys(map(tuple, written_again.tolist())):
            architecture = architecture_of(space, row)
            if architecture is not None:
                yield architecture


def _mutated(space: Space, best: Sequence[Architecture], accept: Accept | None, seed: int) -> Iterator[Architecture]:
    """Ends early where the limits leave nothing to mutate to."""
    rng = generator(seed, "mutations")
    for _ in range(_MUTATIONS * ceil(100 / len(best))):
        for parent in best:
            found = parent
            try:
                for _ in range(int(rng.integers(1, 4))):
                    found = child(space, found, rng, accept)
            except LimitError:
                return
            yield found
