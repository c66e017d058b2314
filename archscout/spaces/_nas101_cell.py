"""Cells of NAS-Bench-101: graphs of 2 to 7 vertices with labels, pruned, hashed and listed.

Vertex 0 is the input, the last one the output, and every edge leads to a later vertex. Definitions: Ying et al. 2019
(arXiv 1902.09635).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
MOST_VERTICES = 7
MOST_EDGES = 9
Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell. `matrix[source][target]` is 1 for an edge, else 0; `operations` are option numbers of the vertices between."""

    matrix: Matrix
    operations: tuple[int, ...]

    @property
    def edges(self) -> int:
        """How many."""
        return sum(map(sum, self.matrix))

    def pruned(self) -> Cell | None:
        """The cell without vertices that are on no path from input to output, in their order; None where there is no path."""
        matrix, last = self.matrix, len(self.matrix) - 1
        reached, useful = {0}, {last}
        for vertex in range(1, last + 1):
            if any(matrix[source][vertex] for source in reached):
                reached.add(vertex)
        for vertex in reversed(range(last)):
            if any(matrix[vertex][target] for target in useful):
                useful.add(vertex)
        kept = sorted(reached & useful)
        if not kept:
            return None
        rows = tuple(tuple(matrix[source][target] for target in kept) for source in kept)
        return Cell(rows, tuple(self.operations[vertex - 1] for vertex in kept[1:-1]))

    def channels(self, total: int) -> tuple[int, ...]:
        """The width of every vertex between input and output of a pruned cell that gives `total` channels.

        The vertices before the output share them out, the first ones taking one more where that does not come out even; any
        other vertex is as wide as the widest that it feeds.
        """
        last = len(self.matrix) - 1
        before_output = [vertex for vertex in range(1, last) if self.matrix[vertex][last]]
        widths = dict.fromkeys(range(1, last), 0)
        for place, vertex in enumerate(before_output):
            widths[vertex] = total // len(before_output) + (place < total % len(before_output))
        for vertex in reversed(range(1, last)):
            if vertex not in before_output:
                widths[vertex] = max(widths[target] for target in range(vertex + 1, last) if self.matrix[vertex][target])
        return tuple(widths.values())

    def hash(self) -> str:
        """The benchmark's key of a pruned cell: 32 hexadecimal digits, equal for isomorphic cells."""
        size = len(self.matrix)
        sources = [[x for x in range(size) if self.matrix[x][y]] for y in range(size)]
        targets = [[y for y in range(size) if self.matrix[x][y]] for x in range(size)]
        labels = (-1, *map(int, self.operations), -2)
        names = [_md5(str((len(targets[v]), len(sources[v]), labels[v]))) for v in range(size)]
        for _ in range(size):
            before = ["".join(sorted(names[x] for x in sources[v])) for v in range(size)]
            after = ["".join(sorted(names[y] for y in targets[v])) for v in range(size)]
            names = [_md5(f"{before[v]}|{after[v]}|{names[v]}") for v in range(size)]
        return _md5(str(sorted(names)))


def isomorphism_classes(vertices: int) -> Iterator[Cell]:
    """One pruned cell of every class of isomorphic cells with this many vertices and at most 9 edges.

    First the graphs without labels, each as a number whose bits are its edges: the one that stands for its class is the
    smallest that a renaming of inner vertices gives. Then, for each, the labels up to the renamings that leave the graph alone.
    """
    inner = vertices - 2
    graphs = _graphs(vertices)
    smallest = np.min([image for _, image in _renamed(graphs, vertices)], axis=0)
    graphs = graphs[graphs == smallest]
    symmetries = [(renaming, image == graphs) for renaming, image in _renamed(graphs, vertices)]
    labels = np.array(list(product(range(len(OPERATIONS)), repeat=inner)), dtype=np.int64).reshape(len(OPERATIONS) ** inner, inner)
    weights = len(OPERATIONS) ** np.arange(inner)
    for place, graph in enumerate(graphs):
        codes = [labels[:, [v - 1 for v in renaming[1:-1]]] @ weights for renaming, kept in symmetries if kept[place]]
        matrix = _matrix(int(graph), vertices)
        for row in labels[codes[0] == np.min(codes, axis=0)]:
            yield Cell(matrix, tuple(map(int, row)))


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def pairs(vertices: int) -> tuple[tuple[int, int], ...]:
    """All possible edges: 0->1, 0->2, 1->2, 0->3, ..., ordered by target, then source."""
    return tuple((source, target) for target in range(vertices) for source in range(target))


def _matrix(graph: int, vertices: int) -> Matrix:
    bits = {pair: graph >> k & 1 for k, pair in enumerate(pairs(vertices))}
    return tuple(tuple(bits.get((x, y), 0) for y in range(vertices)) for x in range(vertices))


def _graphs(vertices: int) -> NDArray[np.int32]:
    """All graphs of at most 9 edges in which every vertex is on a path from input to output, in ascending order."""
    edges = pairs(vertices)
    graphs = np.arange(1 << len(edges), dtype=np.int32)
    graphs = graphs[sum((graphs >> k & 1 for k in range(len(edges))), np.zeros_like(graphs)) <= MOST_EDGES]
    for vertex in range(vertices - 1):
        # A way out of every vertex and one into the next suffice, because edges only lead forwards.
        leaving = sum(1 << k for k, (source, _) in enumerate(edges) if source == vertex)
        entering = sum(1 << k for k, (_, target) in enumerate(edges) if target == vertex + 1)
        graphs = graphs[(graphs & leaving != 0) & (graphs & entering != 0)]
    return graphs


def _renamed(graphs: NDArray[np.int32], vertices: int) -> Iterator[tuple[Sequence[int], NDArray[np.int32]]]:
    """Every renaming of the inner vertices, the identity first, and what it makes of the graphs.

    Where an edge would lead backwards the result is a number larger than any graph.
    """
    edges = pairs(vertices)
    number = {edge: k for k, edge in enumerate(edges)}
    for order in permutations(range(1, vertices - 1)):
        renaming = (0, *order, vertices - 1)
        images = np.zeros_like(graphs)
        for k, (source, target) in enumerate(edges):
            place = number.get((renaming[source], renaming[target]), len(edges))
            images |= (graphs >> k & 1) << place
        yield renaming, images
