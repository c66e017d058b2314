"""Shared by the strategies: which architectures were met, and random ones that were not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, enumerate_space, sample, size
from archscout.core.errors import LimitError
from archscout.core.protocols import DrawnSpace, SignatureSpace, Space

_SMALL = 100_000  # choice tuples up to which a space is enumerated at the end
_PATIENCE = 200  # repeats in a row before that
_LONG_PATIENCE = 10_000  # repeats in a row before a larger space counts as exhausted


class Known:
    """Which architectures were met, up to isomorphism where the space knows it."""

    def __init__(self, space: Space, met: Iterable[Architecture] = ()) -> None:
        self._space = space
        self._met: set[str] = set()
        for architecture in met:
            self.is_new(architecture)

    def is_new(self, architecture: Architecture) -> bool:
        """Whether it is met for the first time."""
        name = self._space.signature(architecture) if isinstance(self._space, SignatureSpace) else str(architecture)
        if name in self._met:
            return False
        self._met.add(name)
        return True

    def copy(self) -> Known:
        """Another one that has met the same."""
        found = Known(self._space)
        found._met = set(self._met)
        return found


def fresh(space: Space, rng: np.random.Generator, accept: Accept | None, seen: Collection[Architecture]) -> Iterator[Architecture]:
    """Random architectures within the limits that are not in `seen` when drawn; the caller adds each to `seen`.

    Ends when there are none left (in a large space: when none can be found). Raises LimitError where there is not even one.
    """
    small = size(space) <= _SMALL and not isinstance(space, DrawnSpace)
    repeats = 0
    while repeats < (_PATIENCE if small else _LONG_PATIENCE):
        try:
            architecture = sample(space, rng, accept)
        except LimitError:
            if not small and not seen:
                raise
            break
        repeats = repeats + 1 if architecture in seen else 0
        if not repeats:
            yield architecture
    if not small:
        return
    left = [a for a in enumerate_space(space) if a not in seen and (accept is None or accept(a))]
    if not left and not seen:
        raise LimitError(f"no architecture of '{space.name}' meets the limits; raise --max-params, --max-macs or --max-latency")
    for place in rng.permutation(len(left)):
        if left[int(place)] not in seen:
            yield left[int(place)]


def unmet(
    space: Space, rng: np.random.Generator, accept: Accept | None, known: Known, seen: Iterable[Architecture] = ()
) -> Iterator[Architecture]:
    """Random architectures within the limits that `known` has not met, also up to isomorphism; it has met each afterwards.

    seen: those that need not be drawn again.
    """
    drawn = dict.fromkeys(seen)
    for architecture in fresh(space, rng, accept, drawn):
        drawn[architecture] = None
        if known.is_new(architecture):
            yield architecture


def texts_of(architectures: Iterable[Architecture]) -> str:
    """Architectures for a snapshot."""
    return " ".join(map(str, architectures))


def architectures_of(space: Space, texts: str) -> list[Architecture]:
    """Architectures back from a snapshot."""
    return [space.architecture(Architecture.parse(text).choices) for text in texts.split()]
