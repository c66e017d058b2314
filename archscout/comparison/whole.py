"""The architectures of a whole space or table, in an order that makes every part of them a random sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archscout.core.architecture import Architecture
from archscout.core.draw import enumerate_space, size
from archscout.core.errors import UserError
from archscout.core.protocols import ListedSpace, SignatureSpace, Space, Table
from archscout.core.seeds import generator

MOST = 2_000_000
"""Choice tuples up to which a space is enumerated."""


def whole(space: Space, table: Table | None, seed: int) -> list[Architecture]:
    """All architectures of a table, or else of the space, shuffled by `seed`. Raises UserError for a space that is too large."""
    if table is not None:
        found = [table.architecture(space, row) for row in range(table.facts.rows)]
    elif isinstance(space, ListedSpace):
        found = list(space.every())
    elif size(space) <= MOST:
        found = list(enumerate_space(space))
    else:
        raise UserError(
            f"the space '{space.name}' has {size(space):.3g} choice tuples, but at most {MOST:,} are enumerated; "
            "name architectures, or a table of the space with --table"
        )
    return [found[int(place)] for place in generator(seed, "order", space.name).permutation(len(found))]


def by_class(space: Space, architectures: Sequence[Architecture]) -> Mapping[Architecture, Sequence[Architecture]]:
    """The members of each isomorphism class by their first. Raises UserError where the space knows no classes."""
    if not isinstance(space, SignatureSpace):
        raise UserError(f"the space '{space.name}' cannot tell which architectures are isomorphic; leave out --per-class")
    classes: dict[str, list[Architecture]] = {}
    for architecture in architectures:
        classes.setdefault(space.signature(architecture), []).append(architecture)
    return {members[0]: members for members in classes.values()}
