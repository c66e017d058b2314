"""Architectures as graphs of typed vertices, which networks read and write (MetaD2A: Lee, Hyung and Hwang 2021, arXiv 2107.00860).

A `VertexSpace` has an encoding of its own. All other spaces are written as a chain: a vertex per token of `core.encoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture
from archscout.core.encoding import architecture_of, encoding_of, tokens_of
from archscout.core.protocols import Space, VertexSpace

INPUT, OUTPUT = 0, 1
"""The types of the first vertex and of the last."""


@dataclass(frozen=True)
class VertexEncoding:
    """How the architectures of a space are written as graphs of V vertices in topological order.

    types: number of types T; 0 is the input, 1 the output, the others are of inner vertices.
    allowed: for each of the V vertices, the types that it may have, ascending; of the first only 0, of the last only 1.
    edges: (from, to) with from < to, the same for all architectures.
    """

    types: int
    allowed: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.allowed) < 3 or self.allowed[0] != (INPUT,) or self.allowed[-1] != (OUTPUT,):
            raise ValueError(f"a graph has an input, inner vertices and an output, but vertices of {self.allowed} came")
        for types in self.allowed[1:-1]:
            if list(types) != sorted(set(types)) or not types or types[0] <= OUTPUT or types[-1] >= self.types:
                raise ValueError(f"inner types are 2 to {self.types - 1}, ascending, at least one a vertex, but {types} came")
        if not all(0 <= source < target < self.count for source, target in self.edges):
            raise ValueError(f"edges lead from earlier to later ones of {self.count} vertices, but {self.edges} came")

    @property
    def count(self) -> int:
        """V."""
        return len(self.allowed)

    def mask(self) -> NDArray[np.bool_]:
        """Which type a vertex may have, (V, T)."""
        found = np.zeros((self.count, self.types), dtype=np.bool_)
        for vertex, types in enumerate(self.allowed):
            found[vertex, list(types)] = True
        return found

    def adjacency(self) -> NDArray[np.bool_]:
        """Which vertex (row) has an edge to which (column), (V, V)."""
        found = np.zeros((self.count, self.count), dtype=np.bool_)
        for source, target in self.edges:
            found[source, target] = True
        return found

    def is_legal(self, types: Sequence[int]) -> bool:
        """Whether there are V types, each of which its vertex may have. A space may refuse the architecture all the same."""
        return len(types) == self.count and all(kind in may for kind, may in zip(types, self.allowed, strict=True))


def vertex_encoding_of(space: Space, graph: str = "dataflow") -> VertexEncoding:
    """How the architectures of a space are written. graph: "dataflow", or "reference" for the edges of the released code."""
    if isinstance(space, VertexSpace):
        return space.vertex_encoding(graph)
    tokens = encoding_of(space)
    return _chain(tokens.vocabulary, tokens.allowed)


def vertices_of(space: Space, architecture: Architecture) -> tuple[int, ...]:
    """The types of the V vertices of an architecture of this space."""
    if isinstance(space, VertexSpace):
        return space.vertices(architecture)
    return INPUT, *(token + 1 for token in tokens_of(space, architecture)), OUTPUT


def of_vertices(space: Space, types: Sequence[int]) -> Architecture | None:
    """The architecture that V types stand for, normalised; None where they are not legal, or the space refuses it."""
    if not vertex_encoding_of(space).is_legal(types):
        return None
    if isinstance(space, VertexSpace):
        return space.from_vertices(types)
    tokens = [kind - 1 for kind in types[1:-1]]
    return architecture_of(space, tokens) if encoding_of(space).is_legal(tokens) else None


@lru_cache(maxsize=32)
def _chain(vocabulary: int, allowed: tuple[tuple[int, ...], ...]) -> VertexEncoding:
    inner = tuple(tuple(token + 1 for token in tokens) for tokens in allowed)
    edges = tuple((vertex, vertex + 1) for vertex in range(len(allowed) + 1))
    return VertexEncoding(vocabulary + 1, ((INPUT,), *inner, (OUTPUT,)), edges)
