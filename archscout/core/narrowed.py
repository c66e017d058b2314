"""A part of a space: what the good architectures of like tasks have in common with their near relations.

For each decision some options are candidates: those that one of the given architectures takes; where these are operations, also a
skip connection and the same operations with a kernel that is larger or smaller by 2. Decisions that say where an operation reads
from keep what the given architectures have. So a draw recombines the given architectures, node by node, and varies their
operations. This construction is ours; the papers say that the space is the union of the cells and operations of the nearest tasks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from archscout.core.architecture import Architecture, Decision
from archscout.core.draw import Accept, legal, sample
from archscout.core.errors import LimitError
from archscout.core.protocols import Space

SKIPS = ("skip_connect", "identity", "skip")
"""What spaces call the operation that hands its input on; the first word of an option."""
_KERNEL = re.compile(r"(\d+)x\1|(?<![a-z])k(\d+)")
_TRIES = 2_000


@dataclass(frozen=True)
class Narrowed:
    """candidates: for each decision of the space, the numbers of the options that may be drawn."""

    space: Space
    candidates: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """How many tuples of choices there are."""
        return prod(map(len, self.candidates))

    def sample(self, rng: Any, accept: Accept | None = None) -> Architecture:
        """A random architecture whose choices are candidates. Raises LimitError where none that was drawn meets the limits."""
        for _ in range(_TRIES):
            found = legal(self.space, [options[int(rng.integers(len(options)))] for options in self.candidates])
            if found is not None and (accept is None or accept(found)):
                return found
        raise LimitError(f"none of {_TRIES:,} architectures near those of like tasks meets the limits; raise them")


@dataclass(frozen=True)
class Whole:
    """A whole space, drawn from as it draws itself."""

    space: Space

    @property
    def size(self) -> int:
        """How many tuples of choices there are."""
        return prod(len(decision.options) for decision in self.space.decisions)

    def sample(self, rng: Any, accept: Accept | None = None) -> Architecture:
        """A random architecture."""
        return sample(self.space, rng, accept)


def narrowed(space: Space, architectures: Sequence[Architecture]) -> Narrowed:
    """The part of a space around some of its architectures. Raises ValueError where none is given."""
    if not architectures:
        raise ValueError("a space is narrowed to the surroundings of architectures, but none came")
    taken = zip(*(architecture.choices for architecture in architectures), strict=True)
    return Narrowed(space, tuple(_candidates(decision, set(used)) for decision, used in zip(space.decisions, taken, strict=True)))


def _candidates(decision: Decision, used: set[int]) -> tuple[int, ...]:
    skips = {number for number, option in enumerate(decision.options) if option.split()[0] in SKIPS}
    kin = {number for number, option in enumerate(decision.options) if any(_related(option, decision.options[n]) for n in used)}
    return tuple(sorted(used | skips | kin))


def _related(one: str, other: str) -> bool:
    """Whether two options are one operation with kernels that differ by 2."""
    first, second = _KERNEL.search(one), _KERNEL.search(other)
    if first is None or second is None:
        return False
    sizes = [int(next(filter(None, match.groups()))) for match in (first, second)]
    rest = [_KERNEL.sub("", option, count=1) for option in (one, other)]
    return rest[0] == rest[1] and abs(sizes[0] - sizes[1]) == 2
