"""Draw, mutate, cross and enumerate the architectures of any space.

Everything here follows from `Space.decisions` and `Space.architecture`; a space that is drawn in a way of its own (DARTS
cells, where sources must differ) offers `sample` and `mutate` itself, and what a `PartialSpace` refuses is left out.

`accept` is the test for limits; one that also says by how much an architecture exceeds them (`Measured`) lets a draw be mended
instead of drawn again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import LimitError, UserError
from archscout.core.protocols import DrawnSpace, PartialSpace, Space

Accept = Callable[[Architecture], bool]
_TRIES = 10_000
_PATIENCE = 100
"""Rejected draws before a draw is mended."""


@runtime_checkable
class Measured(Protocol):
    """A test for limits that knows how far an architecture is from meeting them."""

    def __call__(self, architecture: Architecture) -> bool:
        """Whether the limits are met."""
        ...

    def excess(self, architecture: Architecture) -> float:
        """0 where the limits are met; else the more, the further away."""
        ...


def size(space: Space) -> int:
    """The number of choice tuples (before normalisation)."""
    return prod(len(decision.options) for decision in space.decisions)


def legal(space: Space, choices: Sequence[int]) -> Architecture | None:
    """The architecture with these choices, or None where a `PartialSpace` refuses them."""
    if not isinstance(space, PartialSpace):
        return space.architecture(choices)
    try:
        return space.architecture(choices)
    except UserError:
        return None


def enumerate_space(space: Space) -> Iterator[Architecture]:
    """Every architecture of the space once, in lexicographic order of the choices."""
    seen: set[Architecture] = set()
    for choices in product(*(range(len(decision.options)) for decision in space.decisions)):
        architecture = legal(space, choices)
        if architecture is not None and architecture not in seen:
            seen.add(architecture)
            yield architecture


def _until(draw: Callable[[], Architecture | None], accept: Accept | None, space: Space, tries: int = _TRIES) -> Architecture:
    for _ in range(tries):
        architecture = draw()
        if architecture is not None and (accept is None or accept(architecture)):
            return architecture
    raise LimitError(
        f"none of {tries:,} architectures drawn from '{space.name}' meets the limits; raise them (--max-params, --max-macs)"
    )


def _mended(space: Space, architecture: Architecture, rng: np.random.Generator, accept: Measured) -> Architecture | None:
    """Change single decisions, in random order, wherever that lowers the excess, until the limits are met; None at a dead end."""
    excess = accept.excess(architecture)
    improved = True
    while improved and excess > 0:
        improved = False
        for place in rng.permutation(len(space.decisions)):
            for option in rng.permutation(len(space.decisions[place].options)):
                choices = [*architecture.choices[:place], int(option), *architecture.choices[place + 1 :]]
                trial = legal(space, choices)
                if trial is not None and accept.excess(trial) < excess:
                    architecture, excess, improved = trial, accept.excess(trial), True
                    break
            if excess == 0:
                return architecture
    return architecture if excess == 0 else None


def sample(space: Space, rng: np.random.Generator, accept: Accept | None = None) -> Architecture:
    """A random architecture: every decision uniform, or as the space itself draws."""

    def draw() -> Architecture | None:
        if isinstance(space, DrawnSpace):
            return space.sample(rng)
        return legal(space, [int(rng.integers(len(decision.options))) for decision in space.decisions])

    if accept is None or not isinstance(accept, Measured):
        return _until(draw, accept, space)
    for _ in range(_PATIENCE):
        architecture = draw()
        if architecture is not None and accept(architecture):
            return architecture
    for _ in range(_PATIENCE):
        mended = _mended(space, _until(draw, None, space), rng, accept)
        if mended is not None:
            return mended
    raise LimitError(f"no architecture of '{space.name}' was found that meets all limits at once; raise one of them")


def mutate(space: Space, architecture: Architecture, rng: np.random.Generator, accept: Accept | None = None) -> Architecture:
    """A random neighbour: one decision gets a different option; never the architecture itself.

    Raises LimitError where no neighbour is found, as for the only architecture that meets the limits.
    """

    def draw() -> Architecture | None:
        if isinstance(space, DrawnSpace):
            return space.mutate(architecture, rng)
        choices = list(architecture.choices)
        place = int(rng.integers(len(choices)))
        options = len(space.decisions[place].options)
        if options > 1:
            choices[place] = (choices[place] + 1 + int(rng.integers(options - 1))) % options
        return legal(space, choices)

    # A changed choice without effect normalises back to the parent: draw again.
    return _until(draw, lambda child: child != architecture and (accept is None or accept(child)), space, tries=1_000)


def crossover(space: Space, one: Architecture, other: Architecture, rng: np.random.Generator) -> Architecture:
    """Every choice from either parent with equal chance; drawn again where that is illegal, at last the first parent."""
    for _ in range(_PATIENCE):
        child = legal(space, [int(a if rng.random() < 0.5 else b) for a, b in zip(one.choices, other.choices, strict=True)])
        if child is not None:
            return child
    return one


def neighbours(space: Space, architecture: Architecture) -> list[Architecture]:
    """All legal architectures that differ in one decision, without repetition, in order of the decisions."""
    found: dict[Architecture, None] = {}
    for place, decision in enumerate(space.decisions):
        for option in range(len(decision.options)):
            choices = [*architecture.choices[:place], option, *architecture.choices[place + 1 :]]
            neighbour = legal(space, choices)
            if neighbour is not None:
                found.setdefault(neighbour)
    found.pop(architecture, None)
    return list(found)
