"""Shared by the strategies: random architectures that have not been proposed yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, enumerate_space, sample, size
from archscout.core.errors import LimitError
from archscout.core.protocols import DrawnSpace, Space

_SMALL = 100_000  # choice tuples up to which a space is enumerated at the end
_PATIENCE = 200  # repeats in a row before that
_LONG_PATIENCE = 10_000  # repeats in a row before a larger space counts as exhausted


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
