"""NAS-Bench-101: cells of up to seven vertices and nine edges, 423,624 up to isomorphism, in a chain of nine.

Ying, Klein, Christiansen, Real, Murphy and Hutter 2019 (arXiv 1902.09635). A vertex applies one of three operations to the sum of
its incoming edges; edges from the cell's input pass a 1 x 1 convolution; the output joins the channels of its sources, and a
direct edge from the input is added to that.

Choices: the 21 possible edges of seven vertices (0->1, 0->2, 1->2, 0->3, ...; 6 is the output), then the operations of the vertices
1 to 5. They are normalised: vertices on no path from input to output lose their edges and operation, the others move to the
front in their order. Choices without any path, or with more than nine edges left, are illegal.

The sub-spaces are those of NAS-Bench-1Shot1 (Zela, Siems and Hutter 2020, arXiv 2001.10422; see `_one_shot`), each of which fits
into one network. Their cells keep choices, hash and genotype, so that records of the whole space are theirs too.

Deviations: mutation acts on the normalised choices, while the published one keeps the edges of vertices that lead nowhere; it
never gives the parent back. Normalisations keep statistics with PyTorch's momentum 0.1 (published: 0.003), and weights start as
PyTorch draws them (published: truncated normal). Where an extent is odd, the halving maximum reads its row of padding before the
first pixel, not after the last. The published one-shot network weights single parents, makes every block as wide as the stack and
joins them all, so that no path of it is a network of the benchmark; ours weights sets of parents (so that every path is an
architecture) and has the benchmark's widths.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.draw import legal
from archscout.core.encoding import TokenEncoding
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.core.topology import Topology
from archscout.core.wiring import Graph
from archscout.spaces._graphed import Graphed
from archscout.spaces._nas101_cell import MOST_EDGES, MOST_VERTICES, OPERATIONS, Cell, isomorphism_classes, pairs
from archscout.spaces._one_shot import SUBSPACES, Blocks

EDGES = pairs(MOST_VERTICES)
_INNER = MOST_VERTICES - 2
DECISIONS = (
    *(Decision(f"edge {source}->{target}", ("absent", "present")) for source, target in EDGES),
    *(Decision(f"operation {vertex}", OPERATIONS) for vertex in range(1, _INNER + 1)),
)
_LONGEST = 2_000
# The published tokens: 1 and 2 for an edge that is absent and present, 3 to 5 for an operation, 6 for the output.
_OPERATION_TOKENS = (4, 3, 5)
_OUTPUT_TOKEN = 6
ENCODING = TokenEncoding(
    vocabulary=7,
    allowed=tuple(
        tokens
        for target in range(1, MOST_VERTICES)
        for tokens in (*[(1, 2)] * target, (3, 4, 5) if target < MOST_VERTICES - 1 else (_OUTPUT_TOKEN,))
    ),
)


@dataclass(frozen=True)
class Nas101(Graphed):
    """The NAS-Bench-101 space.

    stem: channels of the stem and of the first stack; each further stack has twice as many. 128 in the benchmark.
    stacks, cells: how many stacks, and cells in each; 3 and 3 in the benchmark.
    mutation_rate: edges flip with a chance of a seventh of it, operations change with a fifth; 1 in the benchmark. In a sub-space
    it is the number of changed operations and sets of parents in the mean.
    subspace: 1, 2 or 3 for those of NAS-Bench-1Shot1, which have supernets; 0 for all cells.
    """

    stem: int = 128
    stacks: int = 3
    cells: int = 3
    mutation_rate: float = 1.0
    subspace: int = 0

    def __post_init__(self) -> None:
        if self.stem < 4:
            raise ValueError(f"stem must be at least 4, since up to four vertices share the channels, but {self.stem} came")
        if self.stacks < 1 or self.cells < 1:
            raise ValueError(f"stacks and cells must be at least 1, but {self.stacks} and {self.cells} came")
        if not 0 < self.mutation_rate <= _INNER:
            raise ValueError(f"mutation_rate must be above 0 and at most {_INNER}, but {self.mutation_rate} came")
        if self.subspace not in (0, *SUBSPACES):
            raise ValueError(f"subspace must be 0 (all cells), 1, 2 or 3, but {self.subspace} came")

    @property
    def name(self) -> str:
        """nas101."""
        return "nas101"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The 21 edges, ordered by target, then source; then the operations of the vertices 1 to 5."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The cell with these choices, normalised. Raises UserError where they are illegal."""
        asked = _cell_of(checked(self.name, DECISIONS, tuple(choices)).choices)
        cell = asked.pruned()
        if cell is None:
            raise UserError("a cell of 'nas101' needs a path from vertex 0 to vertex 6, but these edges make none; add one")
        if cell.edges > MOST_EDGES:
            raise UserError(
                f"a cell of 'nas101' has at most {MOST_EDGES} edges on paths from vertex 0 to vertex 6, "
                f"but {cell.edges} came; leave some out"
            )
        if self.subspace and self._blocks.answers(cell) is None:
            *blocks, output = self._blocks.parents
            *came, last = (sum(column) for column in list(zip(*cell.matrix, strict=True))[1:])
            raise UserError(
                f"in sub-space {self.subspace} of 'nas101' the output has {output} parents, and the vertices have some of "
                f"{blocks} in this order, but {last} and {came} came; change the edges, or take all cells (subspace 0)"
            )
        return Architecture(self.name, _choices_of(cell))

    def smallest(self) -> Architecture:
        """The cell of fewest parameters and MACs: one narrow projection, shared by four maxima.

        In a sub-space, maxima that read the input only where they have too few blocks before them.
        """
        if self.subspace:
            return self._answered([len(question.options) - 1 for question in self._blocks.questions])
        edges = {(0, 1), *((1, vertex) for vertex in range(2, 6)), *((vertex, 6) for vertex in range(2, 6))}
        return self.architecture([*(int(edge in edges) for edge in EDGES), *([OPERATIONS.index("maxpool3x3")] * _INNER)])

    def cell(self, architecture: Architecture) -> Cell:
        """The pruned cell of an architecture."""
        cell = _cell_of(architecture.choices).pruned()
        assert cell is not None, "architectures of this space are legal"
        return cell

    def of_cell(self, cell: Cell) -> Architecture:
        """The architecture of a cell of 2 to 7 vertices, pruned or not. Raises UserError where it is illegal."""
        return self.architecture(_choices_of(cell))

    @property
    def wiring(self) -> Graph:
        """Every edge is there or not. In a sub-space some sets of edges are no cells, and which are drawn is not written down."""
        return Graph(OPERATIONS, MOST_VERTICES, on_edges=False, most=MOST_EDGES, listed=not self.subspace)

    def topologies(self, architecture: Architecture) -> dict[str, Topology]:
        """The pruned cell; the edges into a vertex carry its operation."""
        cell = self.cell(architecture)
        *inner, output = [[source for source in range(node) if cell.matrix[source][node]] for node in range(1, len(cell.matrix))]
        names = [OPERATIONS[operation] for operation in cell.operations]
        nodes = tuple(tuple((name, source) for source in sources) for name, sources in zip(names, inner, strict=True))
        return {"cell": Topology(nodes, tuple(output), inputs=1)}

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of such a cell."""
        cell = cells["cell"]
        size = len(cell.nodes) + 2
        edges = {(source, node) for _, source, node in cell.edges} | {(source, size - 1) for source in cell.outputs}
        matrix = tuple(tuple(int((source, node) in edges) for node in range(size)) for source in range(size))
        return self.of_cell(Cell(matrix, tuple(OPERATIONS.index(node[0][0]) for node in cell.nodes)))

    def classes(self) -> Iterator[Architecture]:
        """One architecture of each class of isomorphic cells; of the 423,624 of all cells by ascending number of vertices."""
        if self.subspace:
            yield from {self.signature(architecture): architecture for architecture in self.every()}.values()
            return
        for vertices in range(2, MOST_VERTICES + 1):
            yield from map(self.of_cell, isomorphism_classes(vertices))

    def every(self) -> Iterator[Architecture]:
        """All architectures of a sub-space, each once. Raises UserError for the whole space, which nobody goes through."""
        if not self.subspace:
            raise UserError(
                "'nas101' has too many cells to go through; take a sub-space (space.subspace=1, 2 or 3), or the cells of its table "
                "(--table nas101)"
            )
        yield from map(self.of_cell, self._blocks.every())

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, ... (the ends of the stacks)."""
        cell = self.cell(architecture)
        return self._network(task, lambda builder, x, channels: _cell(builder, x, channels, cell))

    def supernet(self, task: Task) -> OperationGraph:
        """All cells of a sub-space in one network.

        A block applies the mixture of its operations to the mixture of its sets of parents, each the sum of its vertices. The
        output joins as many shares as it has parents: the first share is the mixture of the first vertices of all sets, and so
        on, where the input stands for its projection. Everything is as wide as a share; normalisations have scales, as in the
        networks.

        So the path of an architecture has the layers of its network, unless the input feeds the output directly (the network adds
        that, and leaves wider shares to the others) or the shares do not come out even. Raises UserError for the whole space.
        """
        if not self.subspace:
            raise UserError(
                "all cells of 'nas101' do not fit into a supernet; take one of its sub-spaces (space.subspace=1, 2 or 3)"
            )
        blocks = self._blocks
        return self._network(task, lambda builder, x, channels: _every_cell(builder, x, channels // blocks.parents[-1], blocks))

    def path_is_exact(self, architecture: Architecture) -> bool:
        """Whether no edge leads from input to output, and the output's parents share the stem's channels evenly."""
        return not self.cell(architecture).matrix[0][-1] and self.stem % self._blocks.parents[-1] == 0

    @property
    def gates(self) -> tuple[Decision, ...]:
        """Per block a row for its operation and one for its set of parents, where there is a choice; at last the output's parents.

        None for the whole space.
        """
        return self._blocks.questions if self.subspace else ()

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gates of operations and sets of parents; none of blocks that the cell does without."""
        answers = self._blocks.answers(self.cell(architecture))
        assert answers is not None, "architectures of this space are legal"
        return tuple((row, answer) for row, answer in enumerate(answers) if answer is not None)

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """The strongest operation and the strongest set of parents of each block; of equal ones the first.

        Published are the strongest single parents, as many as a block has; here sets are what is weighted.
        """
        return self._answered([int(answer) for answer in weights.argmax(1)])

    def sized(self, channels: int = 0, depth: int = 0) -> Nas101:
        """The same space with other channels of the stem and cells in a stack; 0 for at most 16 (18 where three share) and 3."""
        usual = 18 if self.subspace == 2 else 16
        return replace(self, stem=channels or min(self.stem, usual), cells=depth or min(self.cells, 3))

    @property
    def _blocks(self) -> Blocks:
        return SUBSPACES[self.subspace]

    def _answered(self, answers: Sequence[int]) -> Architecture:
        return self.of_cell(self._blocks.cell(answers))

    def _network(self, task: Task, cell: Callable[[GraphBuilder, int, int], int]) -> OperationGraph:
        """cell: (builder, its input, channels) -> its output."""
        builder = GraphBuilder(task.shape)
        with builder.scope("stem"):
            x = _conv(builder, builder.input, self.stem, 3)
        for stack in range(self.stacks):
            with builder.scope(f"stage{stack + 1}"):
                if stack:
                    _, height, width = builder.shape(x)
                    x = builder.max_pool(x, 2, stride=2, padding=(height % 2, width % 2))
                for number in range(self.cells):
                    depth = (stack * self.cells + number + 1) / (self.stacks * self.cells)
                    with builder.scope(f"cell{number + 1}", depth=depth):
                        x = cell(builder, x, self.stem << stack)
            builder.mark(f"stage{stack + 1}", x)
        with builder.scope("head"):
            return builder.finish(builder.linear(builder.global_pool(x), task.classes))

    def genotype(self, architecture: Architecture) -> str:
        """The published specification of the pruned cell as JSON: `{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}`."""
        cell = self.cell(architecture)
        names = ["input", *(OPERATIONS[operation] for operation in cell.operations), "output"]
        return json.dumps({"matrix": cell.matrix, "ops": names})

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a specification, pruned or not; None where `text` is none.

        Raises UserError for a specification that this space does not hold.
        """
        text = text.strip()
        if not text.startswith("{") or len(text) > _LONGEST:
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return self.of_cell(_specified(found["matrix"], found["ops"])) if found.keys() == {"matrix", "ops"} else None

    @property
    def encoding(self) -> TokenEncoding:
        """The published tokens: for each vertex after the input its edges from the vertices before, then its operation."""
        return ENCODING

    def tokens(self, architecture: Architecture) -> tuple[int, ...]:
        """27 tokens, of which those of vertices that the cell does without say no edges and the first operation."""
        edges, operations = iter(architecture.choices[: len(EDGES)]), architecture.choices[len(EDGES) :]
        found: list[int] = []
        for target in range(1, MOST_VERTICES):
            found += (1 + edge for edge in islice(edges, target))
            found.append(_OPERATION_TOKENS[operations[target - 1]] if target <= _INNER else _OUTPUT_TOKEN)
        return tuple(found)

    def from_tokens(self, tokens: Sequence[int]) -> Architecture | None:
        """The cell, pruned; None where it has no path, more than nine edges, or is not of the sub-space."""
        edges = [token - 1 for token in tokens if token <= 2]
        operations = [_OPERATION_TOKENS.index(token) for token in tokens if 2 < token < _OUTPUT_TOKEN]
        return legal(self, (*edges, *operations))

    def signature(self, architecture: Architecture) -> str:
        """The benchmark's key: the module hash, equal for isomorphic cells."""
        return self.cell(architecture).hash()

    def sample(self, rng: Any) -> Architecture:
        """Every edge with a chance of one half, every operation uniform, until that is legal.

        In a sub-space, every operation and every set of parents uniform.
        """
        if self.subspace:
            return self._answered([int(rng.integers(len(question.options))) for question in self._blocks.questions])
        while True:
            choices = [*rng.integers(2, size=len(EDGES)), *rng.integers(len(OPERATIONS), size=_INNER)]
            found = legal(self, [int(choice) for choice in choices])
            if found is not None:
                return found

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """Every edge flips, and every operation changes, with its chance (`mutation_rate`), until that is legal and new.

        In a sub-space, operations and sets of parents change; blocks that the cell does without start from a random state.
        """
        while True:
            child = self._mutant(architecture, rng)
            if child is not None and child != architecture:
                return child

    def _mutant(self, architecture: Architecture, rng: Any) -> Architecture | None:
        if not self.subspace:
            chances = [self.mutation_rate / MOST_VERTICES] * len(EDGES) + [self.mutation_rate / _INNER] * _INNER
            return legal(self, _changed(architecture.choices, DECISIONS, chances, rng))
        questions = self._blocks.questions
        known = dict(self.opened(architecture))
        answers = [known.get(row, int(rng.integers(len(question.options)))) for row, question in enumerate(questions)]
        return self._answered(_changed(answers, questions, [self.mutation_rate / len(questions)] * len(questions), rng))


def _changed(choices: Sequence[int], decisions: Sequence[Decision], chances: Sequence[float], rng: Any) -> list[int]:
    """The choices, of which each becomes a different one with its chance."""
    changed = list(choices)
    for place, chance in enumerate(chances):
        if rng.random() < chance:
            options = len(decisions[place].options)
            changed[place] = (changed[place] + 1 + int(rng.integers(options - 1))) % options
    return changed


def _cell_of(choices: tuple[int, ...]) -> Cell:
    edges = dict(zip(EDGES, choices, strict=False))
    vertices = range(MOST_VERTICES)
    return Cell(tuple(tuple(edges.get((x, y), 0) for y in vertices) for x in vertices), choices[len(EDGES) :])


def _choices_of(cell: Cell) -> tuple[int, ...]:
    """The choices whose output is vertex 6 and whose vertices beyond the cell's have neither edges nor operation."""
    last = len(cell.matrix) - 1
    place = {vertex: vertex for vertex in range(last)} | {MOST_VERTICES - 1: last}
    edges = (cell.matrix[place[x]][place[y]] if x in place and y in place else 0 for x, y in EDGES)
    return (*edges, *cell.operations, *([0] * (_INNER - len(cell.operations))))


def _specified(matrix: Any, names: Any) -> Cell:
    """The cell of a published specification; raises UserError where it is none."""
    size = len(matrix) if isinstance(matrix, list) else 0
    rows_fit = 2 <= size <= MOST_VERTICES and all(isinstance(row, list) and len(row) == size for row in matrix)
    if not rows_fit or not all(
        type(value) is int and 0 <= value <= (x < y) for x, row in enumerate(matrix) for y, value in enumerate(row)
    ):
        raise UserError(
            f"the matrix of a 'nas101' cell has 2 to {MOST_VERTICES} rows of as many numbers, 0 or 1, and 0 on and below the "
            f"diagonal, but {matrix} came"
        )
    if not isinstance(names, list) or len(names) != size or [names[0], names[-1]] != ["input", "output"]:
        raise UserError(f"the ops of a 'nas101' cell name its {size} vertices, from 'input' to 'output', but {names} came")
    for name in names[1:-1]:
        if name not in OPERATIONS:
            raise UserError(f"a 'nas101' cell has the operations {', '.join(OPERATIONS)}, but '{name}' came")
    return Cell(tuple(map(tuple, matrix)), tuple(OPERATIONS.index(name) for name in names[1:-1]))


def _conv(builder: GraphBuilder, x: int, channels: int, kernel: int) -> int:
    return builder.relu(builder.batch_norm(builder.conv(x, channels, kernel)))


def _projection(builder: GraphBuilder, x: int, channels: int) -> int:
    with builder.scope("projection"):
        return _conv(builder, x, channels, 1)


def _operation(builder: GraphBuilder, x: int, name: str) -> int:
    if name == "maxpool3x3":
        return builder.max_pool(x, 3)
    return _conv(builder, x, builder.shape(x)[0], 1 if name == "conv1x1-bn-relu" else 3)


def _cell(builder: GraphBuilder, x: int, channels: int, cell: Cell) -> int:
    last = len(cell.matrix) - 1
    values = [x]
    for vertex, (width, operation) in enumerate(zip(cell.channels(channels), cell.operations, strict=True), start=1):
        with builder.scope(f"vertex{vertex}"):
            # Shares that differ by one channel: a wider source loses its last one.
            terms = [builder.narrow(values[source], width) for source in range(1, vertex) if cell.matrix[source][vertex]]
            if cell.matrix[0][vertex]:
                terms.append(_projection(builder, x, width))
            values.append(_operation(builder, builder.add(*terms), OPERATIONS[operation]))
    with builder.scope("output"):
        shares = [values[vertex] for vertex in range(1, last) if cell.matrix[vertex][last]]
        terms = [builder.concat(*shares)] if shares else []
        if cell.matrix[0][last]:
            terms.append(_projection(builder, x, channels))
        return builder.add(*terms)


def _every_cell(builder: GraphBuilder, x: int, width: int, blocks: Blocks) -> int:
    *inner, output = blocks.sets
    values: list[int] = []
    for vertex, sets in enumerate(inner, start=1):
        with builder.scope(f"block{vertex}"):
            sources = [_projection(builder, x, width), *values]
            if len(sets) == 1:
                joined = builder.add(*(sources[source] for source in sets[0]))
            else:
                row = blocks.rows["parents", vertex]
                joined = builder.mix([(sources[s], (row, option)) for option, chosen in enumerate(sets) for s in chosen])
            terms = []
            for option, name in enumerate(OPERATIONS):
                with builder.scope(name):
                    term = builder.droppable(_operation(builder, joined, name))
                terms.append((term, (blocks.rows["operation", vertex], option)))
            values.append(builder.mix(terms))
    with builder.scope("output"):
        sources, row = [_projection(builder, x, width), *values], blocks.rows["parents", len(blocks.sets)]
        # Sets list their vertices in order, so a share is filled by those that come first (second, ...) in theirs.
        shares = zip(*output, strict=True)
        return builder.concat(*(builder.mix([(sources[s], (row, k)) for k, s in enumerate(share)]) for share in shares))
