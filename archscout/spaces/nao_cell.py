"""NAO: a normal and a reduction cell of five nodes, each the sum of two operations on earlier states.

Luo, Tian, Qin, Chen and Liu 2018 (arXiv 1808.07233). States 0 and 1 of a cell are the outputs of the two cells before it; node k
(2 to 6) adds two branches, each an operation on an earlier state. The output joins the channels of the loose ends, the states that
no node reads; the last node always is one. A network for small images is three stacks of normal cells with a reduction cell between
them.

Choices: for each cell and node the source and operation of the first branch, then of the second: the published sequence. Every
tuple is legal; the two branches of a node are sorted, since their order changes nothing.

What the paper's summary leaves open is as in DARTS (Liu, Simonyan and Yang 2019): the stem of three times the channels; separable
convolutions twice; in a reduction cell stride 2 on the states 0 and 1, for an identity as a factorised reduction; a factorised
reduction of state 0 after a reduction cell; convolutions k x 1 after 1 x k under one normalisation; poolings without one; the
auxiliary head, for trainings that ask for one (`nn.recipes`, as do those with dropped paths or features).

Deviations: in a reduction cell a loose state 0 or 1 is halved by a factorised reduction before it is joined. The padding of a mean
does not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.encoding import TokenEncoding
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.core.topology import Topology
from archscout.core.wiring import Sources
from archscout.spaces._cell_layers import auxiliary_head, conv_norm, factorised, first_states, separable_twice
from archscout.spaces._graphed import Graphed

CELLS = ("normal", "reduction")
NODES = (2, 3, 4, 5, 6)
PLACES = ("first", "second")
STATES = 7
OPERATIONS = {
    "small": ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity"),
    "full": (
        "identity", "conv_1x1", "conv_3x3", "conv_1x3_3x1", "conv_1x7_7x1",
        "max_pool_2x2", "max_pool_3x3", "max_pool_5x5", "avg_pool_2x2", "avg_pool_3x3", "avg_pool_5x5",
    ),
}  # fmt: skip
_FIRST_NUMBER = {"small": 0, "full": 5}
"""The published number of the first operation of a set; the others follow."""
_TOKENS = {
    "small": ((7,), (8,), (9,), (10,), (11,)),
    "full": ((7, 14), (9, 14), (9, 16), (9, 19), (9, 20), (12, 15), (12, 16), (12, 17), (11, 15), (11, 16), (11, 17)),
}
"""The published tokens of the operations: one each in the small set; type and kernel in the full one, which leaves some out."""
_KNOWN = {
    "NAO_A": "0 7 1 15 2 8 1 7 0 6 1 7 0 8 4 7 1 5 0 7 | 0 7 1 13 0 6 0 14 0 9 1 10 0 14 2 6 1 11 0 7",
    "NAO_B": "0 1 0 2 0 1 2 2 1 3 0 2 4 0 1 3 2 1 0 3 | 1 1 1 0 2 1 2 4 1 0 2 3 3 1 2 2 0 2 0 2",
}
_PER_NODE = 4
_PER_CELL = _PER_NODE * len(NODES)
_TEXT = re.compile(rf"(\d{{1,2}}(?: +\d{{1,2}}){{{_PER_CELL - 1}}}) *\| *(\d{{1,2}}(?: +\d{{1,2}}){{{_PER_CELL - 1}}})")
_BRANCH_ROWS = len(CELLS) * len(NODES) * len(PLACES)
_LOOSE, _USED = 0, 1

Cell = tuple[tuple[tuple[int, str], tuple[int, str]], ...]
"""Per node the (source, operation) of both branches."""


@dataclass(frozen=True)
class NaoCell(Graphed):
    """The cells of NAO.

    channels, layers: of the first stack, and normal cells per stack; 36 and 6 for CIFAR, 20 and 3 in the search network.
    operation_set: "small", of the search with shared weights, or "full", of the published network NAO_A.
    join: how a cell joins its loose ends: "concat", as published for networks of their own, or "conv", the same followed by a
    ReLU, a 1 x 1 convolution and a normalisation, as in the supernet.
    """

    channels: int = 36
    layers: int = 6
    operation_set: Literal["small", "full"] = "small"
    join: Literal["concat", "conv"] = "concat"

    def __post_init__(self) -> None:
        if self.channels < 2 or self.channels % 2 or self.layers < 1:
            raise ValueError(f"channels must be even and layers at least 1, but {self.channels} and {self.layers} came")
        if self.operation_set not in OPERATIONS:
            raise ValueError(f"operation_set must be 'small' or 'full', but '{self.operation_set}' came")
        if self.join not in ("concat", "conv"):
            raise ValueError(f"join must be 'concat' or 'conv', but '{self.join}' came")

    @property
    def name(self) -> str:
        """nao-cell."""
        return "nao-cell"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Per cell (normal, reduction), node (2 to 6) and branch: its source, then its operation."""
        return _decisions(self.operation_set)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The pair of cells with these choices, the branches of each node sorted by source and operation. Every tuple is legal."""
        decided = checked(self.name, self.decisions, tuple(choices)).choices
        kept: list[int] = []
        for start in range(0, len(decided), _PER_NODE):
            middle, end = start + _PER_NODE // 2, start + _PER_NODE
            for branch in sorted((decided[start:middle], decided[middle:end])):
                kept += branch
        return Architecture(self.name, tuple(kept))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, stage3."""
        builder, logits, _ = self._network(task, self._chosen(architecture))
        return builder.finish(logits)

    def with_auxiliary(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The same, then the auxiliary head, which reads the second reduction cell.

        Raises UserError where the images are too small for it: smaller than 32 x 32.
        """
        builder, logits, tap = self._network(task, self._chosen(architecture))
        auxiliary_head(builder, tap, task, self.name)
        return builder.finish(logits)

    def supernet(self, task: Task) -> OperationGraph:
        """All cells in one network: both branches of every node are sums of all operations on all states before it.

        Each of these has weights of its own, and a gate. All states have a 1 x 1 convolution, whose sum over the loose ones is that
        of their joined channels: an architecture's path is its network of `join` "conv", whatever this space has.
        """
        builder, logits, _ = self._network(task, self._every_cell)
        return builder.finish(logits)

    @property
    def gates(self) -> tuple[Decision, ...]:
        """For each cell, node and branch a row of operations on states; then for each cell and state whether it is loose."""
        return _gates(self.operation_set)

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of each branch, and of each state."""
        names = OPERATIONS[self.operation_set]
        branches, states = [], []
        for cell in self._cells(architecture):
            branches += [source * len(names) + names.index(operation) for pair in cell for source, operation in pair]
            loose = _loose(cell)
            states += [_LOOSE if state in loose else _USED for state in range(STATES)]
        return tuple(enumerate([*branches, *states]))

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """The strongest operation and source of each branch, from (34, 30) or (34, 66) weights; of equal ones the first.

        Which states are loose follows; the rows that say so are not read.
        """
        choices: list[int] = []
        for row, decision in enumerate(self.gates[:_BRANCH_ROWS]):
            strongest = int(weights[row, : len(decision.options)].argmax())
            choices += divmod(strongest, len(OPERATIONS[self.operation_set]))
        return self.architecture(choices)

    def sized(self, channels: int = 0, depth: int = 0) -> NaoCell:
        """The same space with other channels and normal cells per stack; 0 for at most 20 and 3, as published."""
        return replace(self, channels=channels or min(self.channels, 20), layers=depth or min(self.layers, 3))

    @property
    def wiring(self) -> Sources:
        """Two sources for every node, which may be one."""
        return Sources(OPERATIONS[self.operation_set], len(NODES))

    def topologies(self, architecture: Architecture) -> dict[str, Topology]:
        """The normal and the reduction cell (`reduce`), whose outputs join the loose ends."""
        return {
            name: Topology(tuple(tuple((operation, source) for source, operation in pair) for pair in cell), tuple(_loose(cell)))
            for name, cell in zip(("normal", "reduce"), self._cells(architecture), strict=True)
        }

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of two such cells; what their outputs join follows."""
        names = OPERATIONS[self.operation_set]
        edges = (edge for name in ("normal", "reduce") for node in cells[name].nodes for edge in node)
        return self.architecture([choice for operation, source in edges for choice in (source, names.index(operation))])

    def genotype(self, architecture: Architecture) -> str:
        """The published numbers: per node source and operation of both branches; the normal cell, a bar, the reduction cell."""
        first = _FIRST_NUMBER[self.operation_set]
        numbers = [str(choice + first * (place % 2)) for place, choice in enumerate(architecture.choices)]
        return f"{' '.join(numbers[:_PER_CELL])} | {' '.join(numbers[_PER_CELL:])}"

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of published numbers or of a known name (NAO_A, NAO_B); None where `text` is neither.

        Raises UserError for cells that this space does not hold.
        """
        match = _TEXT.fullmatch(_KNOWN.get(text.strip().upper(), text.strip()))
        if match is None:
            return None
        numbers = [int(number) for cell in match.groups() for number in cell.split()]
        first, count = _FIRST_NUMBER[self.operation_set], len(OPERATIONS[self.operation_set])
        strange = [number for number in numbers[1::2] if not first <= number < first + count]
        if strange:
            raise UserError(
                f"nao-cell with operation_set '{self.operation_set}' numbers its operations {first} to {first + count - 1}, but "
                f"{strange[0]} came; small cells have 0 to 4, full ones 5 to 15: give the set of this one (space.operation_set)"
            )
        return self.architecture([number - first * (place % 2) for place, number in enumerate(numbers)])

    @property
    def encoding(self) -> TokenEncoding:
        """The published tokens, a branch at a time: its source, then its operation. The branches of a node may change places."""
        return _encoding(self.operation_set)

    def tokens(self, architecture: Architecture) -> tuple[int, ...]:
        """40 tokens for the small set, 60 for the full one, whose operations have two: type and kernel."""
        written, choices = _TOKENS[self.operation_set], iter(architecture.choices)
        found: list[int] = []
        for source, operation in zip(choices, choices, strict=True):
            found += (source + 1, *written[operation])
        return tuple(found)

    def from_tokens(self, tokens: Sequence[int]) -> Architecture:
        """The pair of cells that legal tokens stand for."""
        written, step = _TOKENS[self.operation_set], self.encoding.step
        choices: list[int] = []
        for start in range(0, len(tokens), step):
            choices += (tokens[start] - 1, written.index(tuple(tokens[start + 1 : start + step])))
        return self.architecture(choices)

    def _cells(self, architecture: Architecture) -> tuple[Cell, Cell]:
        names, rest = OPERATIONS[self.operation_set], iter(architecture.choices)

        def cell() -> Cell:
            return tuple(((next(rest), names[next(rest)]), (next(rest), names[next(rest)])) for _ in NODES)

        return cell(), cell()

    def _chosen(self, architecture: Architecture) -> _Wiring:
        normal, reduction = self._cells(architecture)

        def wired(builder: GraphBuilder, states: list[int], channels: int, reduces: bool) -> int:
            return _cell(builder, states, reduction if reduces else normal, channels, reduces, self.join)

        return wired

    def _network(self, task: Task, wired: _Wiring) -> tuple[GraphBuilder, int, int]:
        """The network; the positions of its logits and of what an auxiliary head reads."""
        builder = GraphBuilder(task.shape)
        with builder.scope("stem"):
            x = conv_norm(builder, builder.input, 3 * self.channels, 3)
        before, channels, reduced, number, tap = x, self.channels, False, 0, x
        for stage in (1, 2, 3):
            for reduces in [True] * (stage > 1) + [False] * self.layers:
                number += 1
                channels = channels * 2 if reduces else channels
                with builder.scope(f"cell{number}", depth=number / (3 * self.layers + 2)):
                    states = first_states(builder, before, x, channels, reduced)
                    before, x, reduced = x, wired(builder, states, channels, reduces), reduces
                tap = x if reduces else tap
            builder.mark(f"stage{stage}", x)
        with builder.scope("head"):
            return builder, builder.linear(builder.global_pool(x), task.classes), tap

    def _every_cell(self, builder: GraphBuilder, states: list[int], channels: int, reduces: bool) -> int:
        names = OPERATIONS[self.operation_set]
        row = _BRANCH_ROWS // len(CELLS) * reduces
        for node in NODES:
            terms = []
            for place in PLACES:
                for source in range(node):
                    for option, operation in enumerate(names):
                        with builder.scope(f"node{node}.{place}.{source}.{operation}"):
                            term = _operation(builder, states[source], operation, channels, 2 if reduces and source < 2 else 1)
                        gate = (row, source * len(names) + option)
                        terms.append((term if term == states[source] else builder.droppable(term), gate))
                row += 1
            states.append(builder.mix(terms))
        row = _BRANCH_ROWS + STATES * reduces
        ends = [_end(builder, states, state, channels, reduces) for state in range(STATES)]
        return builder.batch_norm(builder.mix([(end, (row + state, _LOOSE)) for state, end in enumerate(ends)]))


_Wiring = Callable[[GraphBuilder, list[int], int, bool], int]
"""(builder, the states 0 and 1, channels, whether to reduce) -> output of the cell."""


@lru_cache
def _decisions(operation_set: str) -> tuple[Decision, ...]:
    return tuple(
        Decision(f"{cell} node {node} {place} {part}", options)
        for cell in CELLS
        for node in NODES
        for place in PLACES
        for part, options in (("source", tuple(map(str, range(node)))), ("operation", OPERATIONS[operation_set]))
    )


@lru_cache
def _gates(operation_set: str) -> tuple[Decision, ...]:
    def options(node: int) -> tuple[str, ...]:
        return tuple(f"{operation} of {source}" for source in range(node) for operation in OPERATIONS[operation_set])

    branches = [Decision(f"{cell} node {n} {place}", options(n)) for cell in CELLS for n in NODES for place in PLACES]
    ends = [(cell, state, ("loose", "used") if state < STATES - 1 else ("loose",)) for cell in CELLS for state in range(STATES)]
    return (*branches, *(Decision(f"{cell} state {state}", found) for cell, state, found in ends))


@lru_cache
def _encoding(operation_set: str) -> TokenEncoding:
    written = _TOKENS[operation_set]
    parts = [tuple(sorted(set(part))) for part in zip(*written, strict=True)]
    follows: dict[int, tuple[int, ...]] = {}
    for kind, *kernels in sorted(written):
        if kernels:
            follows[kind] = (*follows.get(kind, ()), *kernels)
    allowed = [tokens for _ in CELLS for node in NODES for _ in PLACES for tokens in (tuple(range(1, node + 1)), *parts)]
    step = 1 + len(parts)
    nodes = [(start, start + step, step) for start in range(0, len(allowed), len(PLACES) * step)]
    return TokenEncoding(
        vocabulary=1 + parts[-1][-1],
        allowed=tuple(allowed),
        step=step,
        follows=follows,
        swaps=(tuple(nodes[: len(NODES)]), tuple(nodes[len(NODES) :])),
    )


def _loose(cell: Cell) -> list[int]:
    """The states that no node reads, ascending."""
    read = {source for pair in cell for source, _ in pair}
    return [state for state in range(STATES) if state not in read]


def _cell(builder: GraphBuilder, states: list[int], cell: Cell, channels: int, reduces: bool, join: str) -> int:
    for node, pair in zip(NODES, cell, strict=True):
        terms = []
        for place, (source, operation) in zip(PLACES, pair, strict=True):
            with builder.scope(f"node{node}.{place}"):
                found = _operation(builder, states[source], operation, channels, 2 if reduces and source < 2 else 1)
            terms.append(found if found == states[source] else builder.droppable(found))
        states.append(builder.add(*terms))
    loose = _loose(cell)
    if join == "concat":
        return builder.concat(*(_at_the_end(builder, states, state, channels, reduces) for state in loose))
    return builder.batch_norm(builder.add(*(_end(builder, states, state, channels, reduces) for state in loose)))


def _at_the_end(builder: GraphBuilder, states: list[int], state: int, channels: int, reduces: bool) -> int:
    """A state at the extent of the cell's output."""
    with builder.scope(f"end{state}"):
        return factorised(builder, states[state], channels) if reduces and state < 2 else states[state]


def _end(builder: GraphBuilder, states: list[int], state: int, channels: int, reduces: bool) -> int:
    """The part of a state in the 1 x 1 convolution of all loose ends."""
    x = _at_the_end(builder, states, state, channels, reduces)
    with builder.scope(f"end{state}.joined"):
        return builder.conv(builder.relu(x), channels)


def _operation(builder: GraphBuilder, x: int, operation: str, channels: int, stride: int) -> int:
    match operation.split("_"):
        case ["identity"]:
            return x if stride == 1 else factorised(builder, x, channels)
        case ["sep", _, size]:
            return separable_twice(builder, x, channels, int(size[0]), stride)
        case ["conv", size]:
            return conv_norm(builder, builder.relu(x), channels, int(size[0]), stride)
        case ["conv", _, size]:
            length = int(size[0])
            x = builder.conv(builder.relu(x), channels, (1, length), stride=(1, stride), name="across")
            return builder.batch_norm(builder.conv(x, channels, (length, 1), stride=(stride, 1), name="down"))
        case [kind, _, size]:
            return _pooling(builder, x, kind, int(size[0]), stride)
        case _:
            raise AssertionError(operation)


def _pooling(builder: GraphBuilder, x: int, kind: str, size: int, stride: int) -> int:
    """The maximum or mean over a window in the middle, or over the 2 x 2 pixels that begin with it."""
    pool = builder.max_pool if kind == "max" else builder.avg_pool
    if size > 2:
        return pool(x, size, stride=stride)
    if stride == 1:
        return builder.crop(pool(x, size, padding=1))
    _, height, width = builder.shape(x)
    return pool(x, size, stride=stride, padding=(height % 2, width % 2))
