"""NAS-Bench-201: cells of four nodes and six edges, 15,625 networks of ResNet shape.

Dong and Yang 2020 (arXiv 2001.00326); the topology space of NATS-Bench. A node is the sum of its incoming edges; each edge is
`none`, a skip, a ReLU-convolution-normalisation of 1 x 1 or 3 x 3, or a 3 x 3 mean.

Deviations: none for images of even extent. Where an extent is odd, the mean pooling of a residual block's shortcut reads one
row or column of (uncounted) padding, so that both paths keep the same shape.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph, Pair
from archscout.core.problem import Task
from archscout.core.topology import Topology
from archscout.core.vertices import INPUT, OUTPUT, VertexEncoding
from archscout.core.wiring import Graph
from archscout.spaces._cell_layers import Terms, mixed
from archscout.spaces._edge_cells import operations_of, topology_of
from archscout.spaces._graphed import Graphed

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
DECISIONS = tuple(Decision(f"edge {source}->{target}", OPERATIONS) for source, target in EDGES)
_GROUPS = tuple(tuple(place for place, edge in enumerate(EDGES) if edge[1] == node) for node in (1, 2, 3))
_FIRST_TYPE = OUTPUT + 1
_REFERENCE_GRAPH = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (1, 3), (1, 5), (2, 6), (3, 6))
_TEXT = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


@dataclass(frozen=True)
class Nas201(Graphed):
    """The NAS-Bench-201 topology space.

    channels: of the first stage (the second and third have two and four times as many); 16 in the benchmark.
    cells: per stage; 5 in the benchmark.
    mutation: "node-then-edge" draws a node, then one of its edges (the benchmark's evolution: edge 0->1 changes in a third of
    all mutations); "uniform" draws an edge.
    """

    channels: int = 16
    cells: int = 5
    mutation: Literal["node-then-edge", "uniform"] = "node-then-edge"

    def __post_init__(self) -> None:
        if self.channels < 1 or self.cells < 1:
            raise ValueError(f"channels and cells must be at least 1, but {self.channels} and {self.cells} came")
        if self.mutation not in ("node-then-edge", "uniform"):
            raise ValueError(f"mutation must be 'node-then-edge' or 'uniform', but '{self.mutation}' came")

    @property
    def name(self) -> str:
        """nas201."""
        return "nas201"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per edge: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The cell with these operations. Every tuple is legal and stands for itself."""
        return checked(self.name, DECISIONS, tuple(choices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, stage3."""
        return self._network(task, lambda builder, x: _cell(builder, x, architecture.choices))

    def supernet(self, task: Task) -> OperationGraph:
        """All cells in one network: every node is the sum of all operations on all nodes before it, each behind its gate.

        The normalisations of its operations have no scale of their own, as in the benchmark's searches.
        """
        return self.partial_supernet(task, 1)

    def partial_supernet(self, task: Task, partial: int) -> OperationGraph:
        """The same, with operations that see one of `partial` channels of a node; the others go by them."""
        return self._network(task, lambda builder, x: _every_cell(builder, x, partial))

    @property
    def gates(self) -> tuple[Decision, ...]:
        """A row of gates per edge."""
        return DECISIONS

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of each edge's operation."""
        return tuple(enumerate(architecture.choices))

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """The strongest operation of each edge, (6, 5) weights; of equal ones the first."""
        return self.architecture([int(choice) for choice in weights.argmax(1)])

    def sized(self, channels: int = 0, depth: int = 0) -> Nas201:
        """The same space with other channels and cells a stage; 0 for at most 16, and for one cell."""
        return replace(self, channels=channels or min(self.channels, 16), cells=depth or 1)

    def _network(self, task: Task, cell: Callable[[GraphBuilder, int], int]) -> OperationGraph:
        builder = GraphBuilder(task.shape)
        with builder.scope("stem"):
            x = builder.batch_norm(builder.conv(builder.input, self.channels, 3))
        for stage in range(3):
            with builder.scope(f"stage{stage + 1}"):
                if stage:
                    with builder.scope("reduction"):
                        x = _residual_block(builder, x, self.channels << stage)
                for number in range(self.cells):
                    with builder.scope(f"cell{number + 1}", depth=(stage * self.cells + number + 1) / (3 * self.cells)):
                        x = cell(builder, x)
            builder.mark(f"stage{stage + 1}", x)
        with builder.scope("head"):
            x = builder.global_pool(builder.relu(builder.batch_norm(x)))
            return builder.finish(builder.linear(x, task.classes))

    @property
    def wiring(self) -> Graph:
        """Every edge is there or not."""
        return Graph(OPERATIONS[1:], 4, on_edges=True)

    def topologies(self, architecture: Architecture) -> dict[str, Topology]:
        """The cell without edges that are `none` or lie on no path from its input to its output."""
        return {"cell": topology_of(EDGES, [OPERATIONS[choice] for choice in architecture.choices])}

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of such a cell; edges that it lacks are `none`."""
        return self.architecture([OPERATIONS.index(operation) for operation in operations_of(EDGES, cells["cell"])])

    def genotype(self, architecture: Architecture) -> str:
        """The published architecture string, one group of edges per node."""
        groups = (
            "|" + "".join(f"{OPERATIONS[architecture.choices[place]]}~{EDGES[place][0]}|" for place in group) for group in _GROUPS
        )
        return "+".join(groups)

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a published string; None where `text` is none."""
        match = _TEXT.fullmatch(text.strip())
        if match is None or not set(match.groups()) <= set(OPERATIONS):
            return None
        return self.architecture([OPERATIONS.index(name) for name in match.groups()])

    def vertex_encoding(self, graph: str) -> VertexEncoding:
        """A vertex per edge of the cell, whose type is 2 and the operation; as MetaD2A writes cells.

        Vertices are joined where one edge of the cell leads on from another. The "reference" has the edges of MetaD2A's published
        database: a chain instead of some of those.
        """
        return _vertex_encoding(graph)

    def vertices(self, architecture: Architecture) -> tuple[int, ...]:
        """The input, the six operations, the output."""
        return INPUT, *(choice + _FIRST_TYPE for choice in architecture.choices), OUTPUT

    def from_vertices(self, types: Sequence[int]) -> Architecture | None:
        """The cell with these operations; every legal sequence is one."""
        return self.architecture([kind - _FIRST_TYPE for kind in types[1:-1]])

    def signature(self, architecture: Architecture) -> str:
        """The benchmark's isomorphism string ("consider_zero"), of which there are 6,466 in all.

        It is finer than equality of functions: a sum keeps its zero terms.
        """
        nodes = ["0"]
        for group in _GROUPS:
            terms = []
            for place in group:
                source, operation = nodes[EDGES[place][0]], OPERATIONS[architecture.choices[place]]
                if operation == "none" or source == "#":
                    terms.append("#")
                else:
                    terms.append(source if operation == "skip_connect" else f"({source})@{operation}")
            nodes.append("+".join(sorted(terms)))
        return nodes[-1]

    def index(self, architecture: Architecture) -> int:
        """The benchmark's number of the architecture, 0 to 15,624."""
        return _numbers()[architecture.choices]

    def at(self, index: int) -> Architecture:
        """The architecture with the benchmark's number `index`. Raises UserError outside 0 to 15,624."""
        if not 0 <= index < len(_order()):
            raise UserError(f"nas201 numbers its architectures 0 to {len(_order()) - 1:,}, but {index} came")
        return self.architecture(_order()[index])

    def sample(self, rng: Any) -> Architecture:
        """Every edge's operation uniform."""
        return self.architecture([int(choice) for choice in rng.integers(len(OPERATIONS), size=len(EDGES))])

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """One edge gets a different operation; the setting `mutation` says which."""
        if self.mutation == "uniform":
            place = int(rng.integers(len(EDGES)))
        else:
            group = _GROUPS[int(rng.integers(len(_GROUPS)))]
            place = group[int(rng.integers(len(group)))]
        choices = list(architecture.choices)
        choices[place] = (choices[place] + 1 + int(rng.integers(len(OPERATIONS) - 1))) % len(OPERATIONS)
        return self.architecture(choices)


def _conv(builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int = 1, *, affine: bool = True) -> int:
    return builder.batch_norm(builder.conv(builder.relu(x), channels, kernel, stride=stride), affine=affine)


def _residual_block(builder: GraphBuilder, x: int, channels: int) -> int:
    _, height, width = builder.shape(x)
    with builder.scope("first"):
        main = _conv(builder, x, channels, 3, stride=2)
    with builder.scope("second"):
        main = _conv(builder, main, channels, 3)
    with builder.scope("shortcut"):
        pooled = builder.avg_pool(x, 2, stride=2, padding=(height % 2, width % 2))
        shortcut = builder.conv(pooled, channels, 1)
    return builder.add(shortcut, main)


def _cell(builder: GraphBuilder, x: int, choices: Sequence[int]) -> int:
    nodes = [x]
    for group in _GROUPS:
        terms = []
        for place in group:
            source, operation = nodes[EDGES[place][0]], OPERATIONS[choices[place]]
            with builder.scope(f"edge{EDGES[place][0]}{EDGES[place][1]}"):
                if operation == "skip_connect":
                    terms.append(source)
                elif operation == "avg_pool_3x3":
                    terms.append(builder.avg_pool(source, 3))
                elif operation != "none":
                    terms.append(_conv(builder, source, builder.shape(x)[0], 1 if operation == "nor_conv_1x1" else 3))
        # Adding nought changes nothing, so a `none` is written only where a node has nothing else.
        nodes.append(builder.add(*terms) if terms else builder.zero(x))
    return nodes[-1]


def _every_cell(builder: GraphBuilder, x: int, partial: int) -> int:
    nodes = [x]
    for group in _GROUPS:
        edges = [(nodes[EDGES[place][0]], 1, _every_branch(builder, place)) for place in group]
        nodes.append(mixed(builder, edges, partial))
    return nodes[-1]


def _every_branch(builder: GraphBuilder, place: int) -> Terms:
    def terms(x: int) -> list[tuple[int, Pair]]:
        found = []
        for option, operation in enumerate(OPERATIONS):
            if operation != "none":
                with builder.scope("edge{}{}.{}".format(*EDGES[place], operation)):
                    term = _branch(builder, x, operation, affine=False)
                found.append((term if term == x else builder.droppable(term), (place, option)))
        return found

    return terms


def _branch(builder: GraphBuilder, x: int, operation: str, *, affine: bool = True) -> int:
    """What an edge with this operation (not `none`) makes of a node."""
    if operation == "skip_connect":
        return x
    if operation == "avg_pool_3x3":
        return builder.avg_pool(x, 3)
    return _conv(builder, x, builder.shape(x)[0], 1 if operation == "nor_conv_1x1" else 3, affine=affine)


@lru_cache(maxsize=2)
def _vertex_encoding(graph: str) -> VertexEncoding:
    if graph not in ("dataflow", "reference"):
        raise ValueError(f"graph is dataflow or reference, but '{graph}' came")
    places, last = dict(enumerate(EDGES, 1)), len(EDGES) + 1
    edges = [(0, place) for place, (source, _) in places.items() if source == 0]
    edges += [(one, other) for one, (_, met) in places.items() for other, (source, _) in places.items() if source == met]
    edges += [(place, last) for place, (_, target) in places.items() if target == EDGES[-1][1]]
    inner = tuple(range(_FIRST_TYPE, _FIRST_TYPE + len(OPERATIONS)))
    allowed = ((INPUT,), *(inner for _ in EDGES), (OUTPUT,))
    return VertexEncoding(inner[-1] + 1, allowed, _REFERENCE_GRAPH if graph == "reference" else tuple(edges))


@lru_cache(maxsize=1)
def _order() -> tuple[tuple[int, ...], ...]:
    order = list(product(range(len(OPERATIONS)), repeat=len(EDGES)))
    random.Random(88).shuffle(order)
    return tuple(order)


@lru_cache(maxsize=1)
def _numbers() -> dict[tuple[int, ...], int]:
    return {choices: number for number, choices in enumerate(_order())}
