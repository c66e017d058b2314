"""DARTS: a normal and a reduction cell of four nodes, each node the sum of two operations on earlier nodes.

Liu, Simonyan and Yang 2019 (arXiv 1806.09055), with the skeletons for small images and for ImageNet. The auxiliary head and the
paths of drop-path are for trainings that ask for them (`nn.recipes`).

Deviation: where the head's map is larger than the published one, its last convolution is averaged over the positions.

Choices: for each cell and node the unordered pair of sources, then the operation on the lower and on the higher source. So every
tuple of choices is legal, and genotypes that differ only in the order of a node's two edges (which changes nothing) are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.operations import GraphBuilder, OperationGraph, Pair
from archscout.core.problem import Task
from archscout.core.topology import Topology
from archscout.core.wiring import Sources
from archscout.spaces._cell_layers import (
    Terms,
    auxiliary_head,
    conv_norm,
    factorised,
    first_states,
    mixed,
    separable,
    separable_twice,
)
from archscout.spaces._genotypes import CELLS, NODES, OPERATIONS, PAIRS, Edges, choices_of, edges_of, parse, written
from archscout.spaces._graphed import Graphed


def _node_decisions(cell: str, node: int) -> tuple[Decision, ...]:
    pairs = tuple(f"{low},{high}" for low, high in PAIRS[node])
    return (
        Decision(f"{cell} node {node} sources", pairs),
        Decision(f"{cell} node {node} lower", OPERATIONS),
        Decision(f"{cell} node {node} higher", OPERATIONS),
    )


DECISIONS = tuple(decision for cell in CELLS for node in NODES for decision in _node_decisions(cell, node))
_EDGES = tuple((source, node) for node in NODES for source in range(node))
_ROWS = {(cell, *edge): row for row, (cell, edge) in enumerate((cell, edge) for cell in CELLS for edge in _EDGES)}
GATES = tuple(Decision(f"{cell} edge {source}->{node}", ("none", *OPERATIONS)) for cell, source, node in _ROWS)


@dataclass(frozen=True)
class Darts(Graphed):
    """The DARTS convolutional space.

    channels, layers: 36 and 20 for CIFAR, 48 and 14 for ImageNet; 16 and 8 are the size of the search network.
    imagenet: the skeleton that divides the extent by 8 before the first cell; for images of about 224 px.
    """

    channels: int = 36
    layers: int = 20
    imagenet: bool = False

    def __post_init__(self) -> None:
        if self.channels < 2 or self.channels % 2 or self.layers < 1:
            raise ValueError(f"channels must be even and layers at least 1, but {self.channels} and {self.layers} came")

    @property
    def name(self) -> str:
        """darts."""
        return "darts"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Per cell (normal, reduce) and node (2 to 5): the two sources, then the operation on either."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The pair of cells with these choices. Every tuple is legal and stands for itself."""
        return checked(self.name, DECISIONS, tuple(choices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, stage3 where they exist."""
        builder, logits, _ = self._network(task, _chosen(architecture))
        return builder.finish(logits)

    def with_auxiliary(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The same, then the auxiliary head, which reads the cell of the second reduction.

        Raises UserError where the images are too small for it: smaller than 32 x 32, or 224 x 224 for ImageNet's skeleton.
        """
        builder, logits, tap = self._network(task, _chosen(architecture))
        auxiliary_head(builder, tap, task, self.name, imagenet=self.imagenet)
        return builder.finish(logits)

    def supernet(self, task: Task) -> OperationGraph:
        """All cells in one network: every node is the sum of all operations on all states before it, each behind its gate.

        As published, normalisations have no scale of their own but in the stem, and poolings are normalised.
        """
        return self.partial_supernet(task, 1)

    def partial_supernet(self, task: Task, partial: int) -> OperationGraph:
        """The same, with operations that see one of `partial` channels of a state; the others go by them."""
        builder, logits, _ = self._network(task, _every(partial))
        return builder.finish(logits)

    @property
    def gates(self) -> tuple[Decision, ...]:
        """A row of gates for each of the 14 possible edges of the normal cell, then of the reduction cell; `none` comes first."""
        return GATES

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of the operation on each of the 16 edges that there are."""
        found = []
        for cell, edges in zip(CELLS, edges_of(architecture.choices), strict=True):
            for place, (operation, source) in enumerate(edges):
                found.append((_ROWS[cell, source, NODES[place // 2]], 1 + OPERATIONS.index(operation)))
        return tuple(found)

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """Per node the two edges whose strongest operation other than `none` is strongest, with that operation; (28, 8) weights.

        Of equally strong ones the earlier source and the earlier operation.
        """
        choices = []
        for cell in CELLS:
            for node in NODES:
                strengths = np.array([weights[_ROWS[cell, source, node], 1:] for source in range(node)])
                low, high = sorted(np.argsort(-strengths.max(1), kind="stable")[:2])
                choices += [PAIRS[node].index((low, high)), int(strengths[low].argmax()), int(strengths[high].argmax())]
        return self.architecture(choices)

    def sized(self, channels: int = 0, depth: int = 0) -> Darts:
        """The same space with other channels and layers; 0 for at most 16 and 8, as published."""
        return replace(self, channels=channels or min(self.channels, 16), layers=depth or min(self.layers, 8))

    def _network(self, task: Task, cell: _Cell) -> tuple[GraphBuilder, int, int]:
        """The network; the positions of its logits and of what an auxiliary head reads."""
        builder = GraphBuilder(task.shape)
        before, x = _imagenet_stem(builder, self.channels) if self.imagenet else _stem(builder, self.channels)
        channels, reduced = self.channels, self.imagenet
        cuts = {self.layers // 3, 2 * self.layers // 3} & set(range(self.layers))
        stage = 1
        for layer in range(self.layers):
            reduction = layer in cuts
            if reduction:
                builder.mark(f"stage{stage}", x)
                channels, stage = channels * 2, stage + 1
            with builder.scope(f"cell{layer + 1}", depth=(layer + 1) / self.layers):
                before, x, reduced = x, cell(builder, before, x, channels, reduction, reduced), reduction
            if layer == 2 * self.layers // 3:
                tap = x
        builder.mark(f"stage{stage}", x)
        with builder.scope("head"):
            return builder, builder.linear(builder.global_pool(x), task.classes), tap

    @property
    def wiring(self) -> Sources:
        """Two different sources for every node."""
        return Sources(OPERATIONS, len(NODES), distinct=True)

    def topologies(self, architecture: Architecture) -> dict[str, Topology]:
        """The normal and the reduction cell, whose outputs join all nodes."""
        return {
            name: Topology(tuple(zip(edges[::2], edges[1::2], strict=True)), NODES)
            for name, edges in zip(CELLS, edges_of(architecture.choices), strict=True)
        }

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of two such cells."""
        edges = ([edge for node in cells[name].nodes for edge in node] for name in CELLS)
        return self.architecture([choice for cell in edges for choice in choices_of(cell)])

    def genotype(self, architecture: Architecture) -> str:
        """The published `Genotype(normal=[...], ...)`, the edges of a node sorted by source."""
        return written(*edges_of(architecture.choices))

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a genotype or of a known name (DARTS_V1, DARTS_V2); None where `text` is no genotype.

        Raises UserError for a genotype that this space does not hold.
        """
        found = parse(text)
        return None if found is None else self.architecture([choice for edges in found for choice in choices_of(edges)])


_Cell = Callable[[GraphBuilder, int, int, int, bool, bool], int]
"""(builder, output of the cell before the last, of the last, channels, whether to reduce, whether the last did) -> output."""


def _stem(builder: GraphBuilder, channels: int) -> tuple[int, int]:
    with builder.scope("stem"):
        x = conv_norm(builder, builder.input, 3 * channels, 3)
    return x, x


def _imagenet_stem(builder: GraphBuilder, channels: int) -> tuple[int, int]:
    with builder.scope("stem1"):
        x = conv_norm(builder, builder.input, channels // 2, 3, stride=2)
    with builder.scope("stem2"):
        before = conv_norm(builder, builder.relu(x), channels, 3, stride=2)
    with builder.scope("stem3"):
        return before, conv_norm(builder, builder.relu(before), channels, 3, stride=2)


def _chosen(architecture: Architecture) -> _Cell:
    """The cells of an architecture."""
    normal, reduce = edges_of(architecture.choices)

    def cell(builder: GraphBuilder, before: int, x: int, channels: int, reduction: bool, reduced: bool) -> int:
        return _cell(builder, before, x, channels, reduce if reduction else normal, reduction, reduced)

    return cell


def _cell(builder: GraphBuilder, before: int, x: int, channels: int, edges: Edges, reduction: bool, reduced: bool) -> int:
    nodes = first_states(builder, before, x, channels, reduced)
    for place, node in enumerate(NODES):
        terms = []
        for operation, source in edges[2 * place : 2 * place + 2]:
            with builder.scope(f"edge{source}{node}"):
                found = _operation(builder, nodes[source], operation, channels, 2 if reduction and source < 2 else 1)
                terms.append(found if found == nodes[source] else builder.droppable(found))
        nodes.append(builder.add(*terms))
    return builder.concat(*nodes[2:])


def _every(partial: int) -> _Cell:
    """The cells of the supernet."""

    def cell(builder: GraphBuilder, before: int, x: int, channels: int, reduction: bool, reduced: bool) -> int:
        nodes = first_states(builder, before, x, channels, reduced, affine=False)
        for node in NODES:
            edges = []
            for source in range(node):
                stride = 2 if reduction and source < 2 else 1
                edges.append((nodes[source], stride, _every_operation(builder, source, node, reduction, stride)))
            nodes.append(mixed(builder, edges, partial))
        return builder.concat(*nodes[2:])

    return cell


def _every_operation(builder: GraphBuilder, source: int, node: int, reduction: bool, stride: int) -> Terms:
    def terms(x: int) -> list[tuple[int, Pair]]:
        found = []
        for option, operation in enumerate(OPERATIONS, 1):
            with builder.scope(f"edge{source}{node}.{operation}"):
                term = _operation(builder, x, operation, builder.shape(x)[0], stride, affine=False)
                if operation.endswith("pool_3x3"):
                    term = builder.batch_norm(term, affine=False)
                if term != x:
                    builder.droppable(term)
            found.append((term, (_ROWS["reduce" if reduction else "normal", source, node], option)))
        return found

    return terms


def _operation(builder: GraphBuilder, x: int, operation: str, channels: int, stride: int, *, affine: bool = True) -> int:
    kernel = int(operation[-1]) if operation[-1].isdigit() else 0
    match operation[:3]:
        case "max":
            return builder.max_pool(x, 3, stride=stride)
        case "avg":
            return builder.avg_pool(x, 3, stride=stride)
        case "ski":
            return x if stride == 1 else factorised(builder, x, channels, affine=affine)
        case "sep":
            return separable_twice(builder, x, channels, kernel, stride, affine=affine)
        case _:
            return separable(builder, x, channels, kernel, stride, dilation=2, affine=affine)
