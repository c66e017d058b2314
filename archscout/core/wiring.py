"""How the cells of a space may be connected: which patterns there are, how often, the extreme ones, and random ones.

Two kinds are enough. In cells of `Sources` every node chooses a fixed number of sources among the nodes before it (DARTS, NAO). In
cells of `Graph` every edge is there or not (NAS-Bench-101 and 201, TransNAS-Bench-101).

Random means drawn as the space is drawn from. Patterns are counted exactly: those of `Sources` node by node, since what a new node
adds to width and depth depends only on how many nodes have which level; those of `Graph` by going through all sets of edges.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from archscout.core.topology import Topology, is_common

Accept = Callable[[Topology], bool]
"""Whether a space holds a cell."""
Listed = tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]
"""Codes of sets of edges, widths in sixtieths, depths."""
_PARTS = 60
"""Shares of up to six edges are whole numbers of sixtieths."""
_BLOCK = 1 << 17
_TRIES = 200
_EXTREMES = 2_000


@dataclass(frozen=True)
class Patterns:
    """How many random cells have which width and depth.

    counts: by (width, depth). common: those of the common pattern, each for its own number of nodes. what: the cells that were
    counted, for a sentence. exact: False where they are a sample.
    """

    counts: Mapping[tuple[Fraction, int], int]
    common: int
    what: str
    exact: bool = True

    @property
    def total(self) -> int:
        """How many cells."""
        return sum(self.counts.values())

    def share(self, accept: Callable[[Fraction, int], bool]) -> float:
        """The share of the cells whose width and depth meet a test."""
        return sum(count for pattern, count in self.counts.items() if accept(*pattern)) / self.total

    def top_share(self, cell: Topology) -> float:
        """The share of the cells that rank at least as high: wider, or as wide and at most as deep."""
        return self.share(lambda width, depth: (width, -depth) >= cell.rank)

    def percentile(self, cell: Topology) -> float:
        """The percentage of the cells that rank lower."""
        return 100 * self.share(lambda width, depth: (width, -depth) < cell.rank)

    def middle_percentile(self, cell: Topology) -> float:
        """The percentage that ranks lower, those that rank alike counted half; 50 is the mean over random cells."""
        return 100 * (1 - self.top_share(cell)) + 50 * self.share(lambda width, depth: (width, -depth) == cell.rank)

    def shares(self, place: int) -> dict[float, float]:
        """The share of the cells with each width (place 0) or depth (1)."""
        found: defaultdict[float, float] = defaultdict(float)
        for pattern, count in self.counts.items():
            found[float(pattern[place])] += count / self.total
        return dict(found)

    def mean(self) -> tuple[float, float]:
        """The mean width and depth."""
        width = sum(count * pattern[0] for pattern, count in self.counts.items()) / self.total
        depth = sum(count * pattern[1] for pattern, count in self.counts.items()) / self.total
        return float(width), float(depth)


class Wiring(Protocol):
    """How cells may be connected."""

    @property
    def operations(self) -> tuple[str, ...]:
        """Those of an edge, or of a node; nothing at all is none of them."""
        ...

    def patterns(self) -> Patterns | None:
        """Those of random cells; None where they are too many, so that cells must be drawn."""
        ...

    def reconnected(self, cell: Topology, rng: np.random.Generator) -> Topology:
        """The same operations, in their order, with random connections."""
        ...

    def extreme(self, cell: Topology, *, widest: bool, accept: Accept = lambda cell: True) -> Topology | None:
        """The same operations connected so that the cell ranks highest or lowest; None where none is accepted."""
        ...

    def reworked(self, cell: Topology, rng: np.random.Generator) -> Topology:
        """The same connections with random operations."""
        ...


@dataclass(frozen=True)
class Sources:
    """Every node reads so many sources, 1 or 2, among the inputs and the nodes before it.

    distinct: whether the sources of a node differ, and every set of them is equally likely; else each is drawn alone.
    """

    operations: tuple[str, ...]
    nodes: int
    inputs: int = 2
    each: int = 2
    distinct: bool = False

    def patterns(self) -> Patterns:
        """All of them."""
        return _counted(self.nodes, self.inputs, self.each, self.distinct)

    def reconnected(self, cell: Topology, rng: np.random.Generator) -> Topology:
        """Every node's sources drawn anew."""

        def drawn(node: int) -> tuple[int, ...]:
            if not self.distinct:
                return tuple(map(int, rng.integers(node, size=self.each)))
            return tuple(sorted(map(int, rng.permutation(node)[: self.each])))

        return cell.with_sources(tuple(drawn(node) for node in range(self.inputs, self.inputs + self.nodes)))

    def extreme(self, cell: Topology, *, widest: bool, accept: Accept = lambda cell: True) -> Topology | None:
        """All nodes read the inputs; or each reads the one before it, twice or with the one before that where sources differ."""
        sources = []
        for node in range(self.inputs, self.inputs + self.nodes):
            if widest or node == self.inputs:
                found = tuple(place % self.inputs for place in range(self.each))
            elif self.distinct:
                found = tuple(range(node - self.each, node))
            else:
                found = (node - 1,) * self.each
            sources.append(found)
        made = cell.with_sources(tuple(sources))
        return made if accept(made) else None

    def reworked(self, cell: Topology, rng: np.random.Generator) -> Topology:
        """Every edge's operation drawn anew."""
        return cell.with_operations(tuple(str(operation) for operation in rng.choice(self.operations, len(cell.edges))))


@dataclass(frozen=True)
class Graph:
    """Every edge between two of so many vertices is there or not; the first vertex is the input, the last one the output.

    on_edges: whether operations are those of edges, and the output a node like the others; else they are those of the vertices
    between. most: edges that may be left when vertices on no path from input to output are taken away. listed: whether random
    cells are all sets of edges, each as often as it can be labelled; else patterns are not known.
    """

    operations: tuple[str, ...]
    vertices: int
    on_edges: bool
    most: int = 1_000
    listed: bool = True

    def patterns(self) -> Patterns | None:
        """Those of all sets of edges."""
        return _labelled(self.vertices, self.on_edges, self.most, len(self.operations)) if self.listed else None

    def reconnected(self, cell: Topology, rng: np.random.Generator) -> Topology:
        """As many edges in other places, all of them on paths from input to output."""
        codes = self._candidates(cell)[0]
        return self._made(cell, int(codes[rng.integers(len(codes))]))

    def extreme(self, cell: Topology, *, widest: bool, accept: Accept = lambda cell: True) -> Topology | None:
        """The same, with the highest or lowest rank; of equal ones the first."""
        codes, width, depth = self._candidates(cell)
        rank = width.astype(np.int64) * (self.vertices + 1) - depth
        for place in np.argsort(-rank if widest else rank, kind="stable")[:_EXTREMES]:
            made = self._made(cell, int(codes[place]))
            if accept(made):
                return made
        return None

    def reworked(self, cell: Topology, rng: np.random.Generator) -> Topology:
        """Every edge's, or vertex's, operation drawn anew."""
        if self.on_edges:
            return cell.with_operations(tuple(str(operation) for operation in rng.choice(self.operations, len(cell.edges))))
        drawn = [str(operation) for operation in rng.choice(self.operations, len(cell.nodes))]
        return cell.with_operations(tuple(drawn[node - cell.inputs] for _, _, node in cell.edges))

    def _candidates(self, cell: Topology) -> Listed:
        """All sets of as many edges without dead vertices: their codes, widths and depths."""
        if self.on_edges:
            return _whole(self.vertices, True, len(cell.edges), False)
        return _whole(len(cell.nodes) + 2, False, len(cell.edges) + len(cell.outputs), True)

    def _made(self, cell: Topology, code: int) -> Topology:
        vertices = self.vertices if self.on_edges else len(cell.nodes) + 2
        chosen = [pair for place, pair in enumerate(_pairs(vertices)) if code >> place & 1]
        if self.on_edges:
            operations = iter(operation for operation, _, _ in cell.edges)
            found: list[list[tuple[str, int]]] = [[] for _ in cell.nodes]
            for source, node in chosen:
                found[node - 1].append((next(operations), source))
            return Topology(tuple(map(tuple, found)), cell.outputs, cell.inputs, cell.joined)
        names = [edges[0][0] for edges in cell.nodes]
        nodes = tuple(tuple((name, source) for source, node in chosen if node == place) for place, name in enumerate(names, 1))
        return Topology(nodes, tuple(source for source, node in chosen if node == vertices - 1), cell.inputs)


def different(wiring: Wiring, cell: Topology, rng: np.random.Generator, accept: Accept) -> Topology | None:
    """Random connections other than the cell's own, that are accepted; None where two hundred draws find none."""
    for _ in range(_TRIES):
        made = wiring.reconnected(cell, rng)
        if made.nodes != cell.nodes and accept(made):
            return made
    return None


def _pairs(vertices: int) -> tuple[tuple[int, int], ...]:
    """(source, node) by node: the order of edges in which spaces number them."""
    return tuple((source, node) for node in range(vertices) for source in range(node))


@lru_cache
def _counted(nodes: int, inputs: int, each: int, distinct: bool) -> Patterns:
    """State after some nodes: how many have level 1, 2, ..., and how many edges came from inputs."""
    ways: dict[tuple[tuple[int, ...], int], int] = {((0,) * nodes, 0): 1}
    choose = comb if distinct else lambda count, taken: count**taken
    for _ in range(nodes):
        following: defaultdict[tuple[tuple[int, ...], int], int] = defaultdict(int)
        for (levels, wide), count in ways.items():
            before = 0
            following[_raised(levels, 0), wide + each] += count * choose(inputs, each)
            for level, here in enumerate(levels[:-1], 1):
                if here:
                    for taken in range(1, each + 1):
                        mixed = choose(inputs, each - taken) * (1 if distinct else comb(each, taken))
                        new = mixed * (choose(before + here, taken) - choose(before, taken))
                        following[_raised(levels, level), wide + each - taken] += count * new
                before += here
        ways = {state: count for state, count in following.items() if count}
    found: Counter[tuple[Fraction, int]] = Counter()
    for (levels, wide), count in ways.items():
        found[Fraction(wide, each), 1 + sum(bool(here) for here in levels)] += count
    sources = "different sources" if distinct else "sources that may repeat"
    kind = "one source" if each == 1 else sources
    common = sum(count for (width, depth), count in found.items() if is_common(width, depth, nodes))
    return Patterns(dict(found), common, f"topologies of {nodes} nodes with {kind}")


def _raised(levels: tuple[int, ...], level: int) -> tuple[int, ...]:
    """One node more, just above a level."""
    return (*levels[:level], levels[level] + 1, *levels[level + 1 :])


@lru_cache
def _labelled(vertices: int, on_edges: bool, most: int, operations: int) -> Patterns:
    found: Counter[tuple[Fraction, int]] = Counter()
    common, base = 0, vertices + 1
    for start in range(0, 1 << len(_pairs(vertices)), _BLOCK):
        codes = np.arange(start, min(start + _BLOCK, 1 << len(_pairs(vertices))), dtype=np.int64)
        edges, kept, live, width, depth = _measured(codes, vertices, on_edges)
        legal = (kept <= most) & (on_edges | (kept > 0))
        nodes = np.full(len(codes), vertices - 1) if on_edges else np.maximum(live - 2, 0)
        weights = float(operations) ** edges if on_edges else np.ones(len(codes))
        sums = np.bincount((width.astype(np.int64) * base + depth) * base + nodes, np.where(legal, weights, 0.0))
        for place in np.flatnonzero(sums):
            rest, count = divmod(int(place), base)
            wide, deep, cells = Fraction(rest // base, _PARTS), rest % base, round(sums[place])
            found[wide, deep] += cells
            common += cells * is_common(wide, deep, count)
    what = "cells" if on_edges else f"matrices of {vertices} vertices"
    return Patterns(dict(found), common, what)


@lru_cache
def _whole(vertices: int, on_edges: bool, edges: int, every: bool) -> Listed:
    """Codes, widths and depths of all sets of so many edges that lie on paths; every: which leave out no vertex."""
    size = len(_pairs(vertices))
    parts = []
    for start in range(0, 1 << size, _BLOCK):
        codes = np.arange(start, min(start + _BLOCK, 1 << size), dtype=np.int64)
        found, kept, live, width, depth = _measured(codes, vertices, on_edges)
        right = (found == edges) & (kept == edges) & ((live == vertices) | (not every))
        parts.append((codes[right], width[right], depth[right]))
    codes, width, depth = (np.concatenate(column) for column in zip(*parts, strict=True))
    return codes, width, depth


def _measured(codes: NDArray[np.int64], vertices: int, on_edges: bool) -> tuple[NDArray[Any], ...]:
    """Of graphs whose bits are edges (N,): edges; edges and vertices on paths; width in sixtieths; depth; 0 without a path."""
    pairs, last = _pairs(vertices), vertices - 1
    edge = {pair: (codes >> place & 1).astype(np.int8) for place, pair in enumerate(pairs)}
    count = len(codes)
    reached = [np.ones(count, np.int8)] + [np.zeros(count, np.int8) for _ in range(last)]
    useful = [np.zeros(count, np.int8) for _ in range(last)] + [np.ones(count, np.int8)]
    for source, node in pairs:
        reached[node] |= edge[source, node] & reached[source]
    for source, node in sorted(pairs, reverse=True):
        useful[source] |= edge[source, node] & useful[node]
    live = [a & b for a, b in zip(reached, useful, strict=True)]
    parts = np.array([0, *(_PARTS // number for number in range(1, vertices))], np.int16)
    width, depths = np.zeros(count, np.int16), [np.zeros(count, np.int8) for _ in range(vertices)]
    total, whole = np.zeros(count, np.int8), np.zeros(count, np.int8)
    for node in range(1, vertices):
        coming = np.zeros(count, np.int8)
        for source in range(node):
            kept = edge[source, node] & live[source] & live[node]
            coming += kept
            total += edge[source, node]
            depths[node] = np.maximum(depths[node], kept * (depths[source] + 1))
            if source == 0:
                direct = kept
        whole += coming
        if node < last or on_edges:
            width += parts[coming] * direct
    return total, whole, sum(live[1:], live[0].copy()), width, depths[last]
