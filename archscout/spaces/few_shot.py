"""Small networks for few-shot tasks: a normal and a reduction cell, each node the sum of two operations on earlier states.

The space of AT-NAS (Rong, Yu, Zhang and Ou 2021, arXiv 2110.05842), of whose networks nothing is published. It is put together from
T-NAS (Lian et al. 2020: stem, two cells, four nodes, twice the channels after a reduction) and from MetaNAS (Elsken et al. 2020,
arXiv 1911.11090: the seven operations, and the text form). MetaNAS' own networks are channels=28, cells=4, nodes=3, doubling=false.

Cells are normal and reducing in turn, and all of a sort have the same genome but weights of their own. States 0 and 1 of a cell are
the outputs of the two cells before it. Its output joins the channels of its nodes; a mean over positions and a linear layer follow.

Choices: for each cell and node the unordered pair of sources, then the operation on the lower and on the higher one. So every tuple
of choices is legal, the two sources of a node differ, and its branches are in order of source and operation. A mutation is AT-NAS':
each source and operation is drawn anew with a chance, at least one of all.

As in the search networks of both, normalisations inside cells have no scale of their own (those of the stem do), and poolings are
normalised. Since the meta-learned weights are those of the answer, a network alone is no different from its path in the supernet.

The published stem pools twice, for images of 84 pixels; at 28 the cells are left with 7, which costs half of what 14 do and is the
default here. With stem="fitted" it pools just as often as brings the side down to 24 pixels or fewer: 84, 32 and 28 give 21, 16
and 14.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, Task, TaskKind
from archscout.core.topology import Topology
from archscout.core.wiring import Sources
from archscout.spaces._cell_layers import conv_norm, factorised, first_states, separable, separable_twice
from archscout.spaces._graphed import Graphed

CELLS = ("normal", "reduce")
OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "conv_1x5_5x1", "conv_3x3", "sep_conv_3x3", "dil_conv_3x3",
)  # fmt: skip
LARGEST_ENTRY = 24
STEMS = ("fitted", "pooled", "plain")
_BRANCH = r"\(\s*([a-z0-9_]{1,40})\s*,\s*(\d{1,3})\s*\)"
_NODE = re.compile(rf"\s*{_BRANCH}\s*{_BRANCH}\s*")

Node = tuple[tuple[int, int], tuple[int, int]]
"""The (source, operation) of both branches, ascending."""


@dataclass(frozen=True)
class FewShot(Graphed):
    """Cells for few-shot tasks.

    channels, cells, nodes: of the first cell; normal and reduction cells in turn; nodes of a cell.
    stem: "pooled" pools twice as published, "fitted" as often as leaves the cells 13 to 24 pixels, "plain" never.
    doubling: whether a reduction cell doubles the channels. mutation: the chance that a source or operation is drawn anew.
    """

    INITIALISATION: ClassVar[str] = "he"

    channels: int = 16
    cells: int = 2
    nodes: int = 4
    stem: Literal["fitted", "pooled", "plain"] = "pooled"
    doubling: bool = True
    mutation: float = 0.1

    def __post_init__(self) -> None:
        if self.channels < 2 or self.channels % 2 or self.cells < 1 or self.nodes < 1:
            came = f"{self.channels}, {self.cells} and {self.nodes}"
            raise ValueError(f"channels must be even, cells and nodes at least 1, but {came} came")
        if self.stem not in STEMS:
            raise ValueError(f"stem must be one of {', '.join(STEMS)}, but '{self.stem}' came")
        if not 0 < self.mutation <= 1:
            raise ValueError(f"mutation is a chance above 0 and at most 1, but {self.mutation:g} came")

    @property
    def name(self) -> str:
        """few-shot."""
        return "few-shot"

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Image classification, of data sets and of few-shot tasks."""
        return (IMAGE_CLASSIFICATION, FEW_SHOT)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Per cell (normal, reduce) and node (2, 3, ...): the two sources, then the operation on either."""
        return _decisions(self.nodes)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The pair of cells with these choices. Every tuple is legal and stands for itself."""
        return checked(self.name, self.decisions, tuple(choices))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Every decision uniform, so that all pairs of sources and all operations are equally likely."""
        return self.architecture([int(rng.integers(len(decision.options))) for decision in self.decisions])

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Each source and operation with a chance of `mutation` another one, at least one of all.

        A new source is none that the node has. The two of node 2 have no other.
        """
        while True:
            changes = rng.random((len(CELLS), self.nodes, 2, 2)) < self.mutation
            cells: list[list[Node]] = []
            for number, cell in enumerate(self._genome(architecture)):
                cells.append([_mutated(branches, 2 + place, changes[number, place], rng) for place, branches in enumerate(cell)])
            child = self._of(cells)
            if child != architecture:
                return child

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, ... where parts of stem and body end."""
        return self._network(task, self._chosen(architecture))

    def supernet(self, task: Task) -> OperationGraph:
        """All cells in one network: every node is the sum of all operations on all states before it, each behind its gate."""
        return self._network(task, self._every_node)

    @property
    def gates(self) -> tuple[Decision, ...]:
        """A row for each possible edge of the normal cell, then of the reduction cell; `none` comes first."""
        return _gates(self.nodes)

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of the operation on each edge that there is: two for each node."""
        rows = _rows(self.nodes)
        return tuple(
            (rows[number, source, node], 1 + operation)
            for number, cell in enumerate(self._genome(architecture))
            for node, branches in enumerate(cell, 2)
            for source, operation in branches
        )

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """Per node the two edges whose strongest operation is strongest, with that operation; (28, 8) weights with four nodes.

        Of equally strong ones the earlier source and the earlier operation.
        """
        rows = _rows(self.nodes)
        cells: list[list[Node]] = []
        for number in range(len(CELLS)):
            cells.append([])
            for node in range(2, 2 + self.nodes):
                strengths = np.array([weights[rows[number, source, node], 1:] for source in range(node)])
                low, high = sorted(np.argsort(-strengths.max(1), kind="stable")[:2].tolist())
                cells[-1].append(((low, int(strengths[low].argmax())), (high, int(strengths[high].argmax()))))
        return self._of(cells)

    def sized(self, channels: int = 0, depth: int = 0) -> FewShot:
        """The same space with other channels and cells; 0 for its own, since the supernet's weights are those of the answer."""
        return replace(self, channels=channels or self.channels, cells=depth or self.cells)

    @property
    def wiring(self) -> Sources:
        """Two different sources for every node."""
        return Sources(OPERATIONS, self.nodes, distinct=True)

    def topologies(self, architecture: Architecture) -> dict[str, Topology]:
        """The normal and the reduction cell, whose outputs join all nodes."""
        return {
            name: Topology(
                tuple(tuple((OPERATIONS[operation], source) for source, operation in node) for node in cell),
                tuple(range(2, 2 + self.nodes)),
            )
            for name, cell in zip(CELLS, self._genome(architecture), strict=True)
        }

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of two such cells."""
        found = []
        for name in CELLS:
            nodes = [sorted((source, OPERATIONS.index(operation)) for operation, source in node) for node in cells[name].nodes]
            found.append([(first, second) for first, second in nodes])
        return self._of(found)

    def genotype(self, architecture: Architecture) -> str:
        """As MetaNAS prints cells: `(operation,source)(operation,source) | ... / ...`, the normal cell before the bar across."""
        return " / ".join(
            " | ".join("".join(f"({OPERATIONS[operation]},{source})" for source, operation in node) for node in cell)
            for cell in self._genome(architecture)
        )

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of such a text; None where `text` is none.

        Raises UserError for cells that this space does not hold.
        """
        found = [[_NODE.fullmatch(node) for node in cell.split("|")] for cell in text.split("/")]
        if len(found) != len(CELLS) or not all(node for cell in found for node in cell):
            return None
        cells = []
        for name, cell in zip(CELLS, found, strict=True):
            if len(cell) != self.nodes:
                raise UserError(
                    f"a cell of few-shot has {self.nodes} nodes here, but the cell '{name}' has {len(cell)}; "
                    f"give the space as many (--set space.nodes={len(cell)})"
                )
            cells.append([_read(match.groups(), f"{name} node {node}", node) for node, match in enumerate(cell, 2) if match])
        return self._of(cells)

    def _genome(self, architecture: Architecture) -> list[list[Node]]:
        """The nodes of the normal cell and of the reduction cell."""
        rest = iter(architecture.choices)
        cells: list[list[Node]] = []
        for _ in CELLS:
            cells.append([])
            for node in range(2, 2 + self.nodes):
                low, high = _pairs(node)[next(rest)]
                cells[-1].append(((low, next(rest)), (high, next(rest))))
        return cells

    def _of(self, cells: Sequence[Sequence[Node]]) -> Architecture:
        """The architecture of these nodes."""
        choices: list[int] = []
        for cell in cells:
            for node, ((low, first), (high, second)) in enumerate(cell, 2):
                choices += [_pairs(node).index((low, high)), first, second]
        return self.architecture(choices)

    def _network(self, task: Task, wired: _Wiring) -> OperationGraph:
        builder = GraphBuilder(task.shape)
        x, blocks = self._stem(builder)
        before, channels, reduced = x, self.channels, False
        for number in range(1, self.cells + 1):
            reduces = number % 2 == 0
            channels *= 2 if reduces and self.doubling else 1
            with builder.scope(f"cell{number}", depth=number / self.cells):
                states = first_states(builder, before, x, channels, reduced, affine=False)
                wired(builder, states, channels, reduces)
                before, x, reduced = x, builder.concat(*states[2:]), reduces
            builder.mark(f"stage{blocks + number}", x)
        with builder.scope("head"):
            return builder.finish(builder.linear(builder.global_pool(x), task.classes))

    def _stem(self, builder: GraphBuilder) -> tuple[int, int]:
        """Convolutions with normalisations, each perhaps with a pooling: two, or one for each pooling. The end, and how many."""
        poolings = self._poolings(min(builder.shape(builder.input)[1:]))
        blocks = max(2, poolings)
        x = builder.input
        for block in range(1, blocks + 1):
            with builder.scope(f"stem{block}"):
                x = builder.relu(x) if block > 1 else x
                x = conv_norm(builder, x, 3 * self.channels // (1 if block == blocks else 2), 3)
                builder.mark(f"stage{block}", x)
                x = builder.max_pool(x, 2, stride=2, padding=0) if block <= poolings else x
        return x, blocks

    def _poolings(self, extent: int) -> int:
        """How often the stem halves a side of that many pixels; a pooling that would leave nothing is left out."""
        most = extent.bit_length() - 1
        if self.stem == "fitted":
            return next(count for count in range(most + 1) if extent >> count <= LARGEST_ENTRY)
        return min(most, 2 if self.stem == "pooled" else 0)

    def _chosen(self, architecture: Architecture) -> _Wiring:
        genome = self._genome(architecture)

        def wired(builder: GraphBuilder, states: list[int], channels: int, reduces: bool) -> None:
            for branches in genome[reduces]:
                terms = [_term(builder, states, *branch, channels, reduces) for branch in branches]
                states.append(builder.add(*terms))

        return wired

    def _every_node(self, builder: GraphBuilder, states: list[int], channels: int, reduces: bool) -> None:
        rows = _rows(self.nodes)
        for node in range(2, 2 + self.nodes):
            terms = []
            for source in range(node):
                for operation in range(len(OPERATIONS)):
                    term = _term(builder, states, source, operation, channels, reduces)
                    terms.append((term, (rows[int(reduces), source, node], 1 + operation)))
            states.append(builder.mix(terms))


_Wiring = Callable[[GraphBuilder, list[int], int, bool], None]
"""(builder, the states 0 and 1, to which the nodes are added, channels, whether to reduce)."""


@lru_cache
def _pairs(node: int) -> tuple[tuple[int, int], ...]:
    """The sources that a node can have."""
    return tuple(combinations(range(node), 2))


@lru_cache
def _decisions(nodes: int) -> tuple[Decision, ...]:
    found = []
    for cell in CELLS:
        for node in range(2, 2 + nodes):
            found += [
                Decision(f"{cell} node {node} sources", tuple(f"{low},{high}" for low, high in _pairs(node))),
                Decision(f"{cell} node {node} lower", OPERATIONS),
                Decision(f"{cell} node {node} higher", OPERATIONS),
            ]
    return tuple(found)


@lru_cache
def _rows(nodes: int) -> Mapping[tuple[int, int, int], int]:
    """The row of gates of each (cell, source, node)."""
    edges = [(cell, source, node) for cell in range(len(CELLS)) for node in range(2, 2 + nodes) for source in range(node)]
    return {edge: row for row, edge in enumerate(edges)}


@lru_cache
def _gates(nodes: int) -> tuple[Decision, ...]:
    return tuple(Decision(f"{CELLS[cell]} edge {source}->{node}", ("none", *OPERATIONS)) for cell, source, node in _rows(nodes))


def _mutated(branches: Node, node: int, changes: NDArray[np.bool_], rng: np.random.Generator) -> Node:
    """The branches of a node, of which `changes` (branch, part) says which get another source (part 0) or operation (part 1)."""
    found = list(branches)
    for place, (other_source, other_operation) in enumerate(changes.tolist()):
        source, operation = found[place]
        free = sorted(set(range(node)) - {source for source, _ in found})
        if other_source and free:
            source = free[int(rng.integers(len(free)))]
        if other_operation:
            operation = (operation + 1 + int(rng.integers(len(OPERATIONS) - 1))) % len(OPERATIONS)
        found[place] = source, operation
    first, second = sorted(found)
    return first, second


def _read(text: Sequence[str], where: str, node: int) -> Node:
    """The branches of a node from its operations and sources in turn. Raises UserError where there is no such node."""
    operations, sources = text[::2], [int(source) for source in text[1::2]]
    if len(set(sources)) < len(sources) or max(sources) >= node:
        raise UserError(
            f"the {where} of few-shot reads two different states of 0 to {node - 1}, but {sources[0]} and {sources[1]} came"
        )
    for operation in operations:
        if operation not in OPERATIONS:
            raise UserError(f"a cell of few-shot has the operations {', '.join(OPERATIONS)}, but '{operation}' came")
    first, second = sorted(zip(sources, map(OPERATIONS.index, operations), strict=True))
    return first, second


def _term(builder: GraphBuilder, states: Sequence[int], source: int, operation: int, channels: int, reduces: bool) -> int:
    """An operation on a state, as a term of the node that comes next."""
    name = OPERATIONS[operation]
    with builder.scope(f"edge{source}to{len(states)}.{name}"):
        term = _operation(builder, states[source], name, channels, 2 if reduces and source < 2 else 1)
    return term if term == states[source] else builder.droppable(term)


def _operation(builder: GraphBuilder, x: int, name: str, channels: int, stride: int) -> int:
    match name:
        case "max_pool_3x3":
            return builder.batch_norm(builder.max_pool(x, 3, stride=stride), affine=False)
        case "avg_pool_3x3":
            return builder.batch_norm(builder.avg_pool(x, 3, stride=stride), affine=False)
        case "skip_connect":
            return x if stride == 1 else factorised(builder, x, channels, affine=False)
        case "conv_1x5_5x1":
            x = builder.conv(builder.relu(x), channels, (1, 5), stride=(1, stride), name="across")
            return builder.batch_norm(builder.conv(x, channels, (5, 1), stride=(stride, 1), name="down"), affine=False)
        case "conv_3x3":
            return conv_norm(builder, builder.relu(x), channels, 3, stride, affine=False)
        case "sep_conv_3x3":
            return separable_twice(builder, x, channels, 3, stride, affine=False)
        case "dil_conv_3x3":
            return separable(builder, x, channels, 3, stride, dilation=2, affine=False)
        case _:
            raise AssertionError(name)
