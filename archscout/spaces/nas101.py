"""NAS-Bench-101: cells of up to seven vertices and nine edges, 423,624 up to isomorphism, in a chain of nine.

Ying, Klein, Christiansen, Real, Murphy and Hutter 2019 (arXiv 1902.09635). A vertex applies one of three operations to the sum of
its incoming edges; edges from the cell's input pass a 1 x 1 convolution; the output joins the channels of its sources, and a
direct edge from the input is added to that.

Choices: the 21 possible edges of seven vertices (0->1, 0->2, 1->2, 0->3, ...; 6 is the output), then the operations of the vertices
1 to 5. They are normalised: vertices on no path from input to output lose their edges and operation, the others move to the
front in their order. Choices without any path, or with more than nine edges left, are illegal.

Deviations: mutation acts on the normalised choices, while the published one keeps the edges of vertices that lead nowhere; it
never gives the parent back. Normalisations keep statistics with PyTorch's momentum 0.1 (published: 0.003), and weights start as
PyTorch draws them (published: truncated normal). Where an extent is odd, the halving maximum reads its row of padding before the
first pixel, not after the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.draw import legal
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.spaces._graphed import Graphed
from archscout.spaces._nas101_cell import MOST_EDGES, MOST_VERTICES, OPERATIONS, Cell, isomorphism_classes, pairs

EDGES = pairs(MOST_VERTICES)
_INNER = MOST_VERTICES - 2
DECISIONS = (
    *(Decision(f"edge {source}->{target}", ("absent", "present")) for source, target in EDGES),
    *(Decision(f"operation {vertex}", OPERATIONS) for vertex in range(1, _INNER + 1)),
)
_LONGEST = 2_000


@dataclass(frozen=True)
class Nas101(Graphed):
    """The NAS-Bench-101 space.

    stem: channels of the stem and of the first stack; each further stack has twice as many. 128 in the benchmark.
    stacks, cells: how many stacks, and cells in each; 3 and 3 in the benchmark.
    mutation_rate: edges flip with a chance of a seventh of it, operations change with a fifth; 1 in the benchmark.
    """

    stem: int = 128
    stacks: int = 3
    cells: int = 3
    mutation_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.stem < 4:
            raise ValueError(f"stem must be at least 4, since up to four vertices share the channels, but {self.stem} came")
        if self.stacks < 1 or self.cells < 1:
            raise ValueError(f"stacks and cells must be at least 1, but {self.stacks} and {self.cells} came")
        if not 0 < self.mutation_rate <= _INNER:
            raise ValueError(f"mutation_rate must be above 0 and at most {_INNER}, but {self.mutation_rate} came")

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
        return Architecture(self.name, _choices_of(cell))

    def smallest(self) -> Architecture:
        """The cell of fewest parameters and MACs: one narrow projection, shared by four maxima."""
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

    def classes(self) -> Iterator[Architecture]:
        """One architecture of each of the 423,624 classes of isomorphic cells, by ascending number of vertices."""
        for vertices in range(2, MOST_VERTICES + 1):
            yield from map(self.of_cell, isomorphism_classes(vertices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, ... (the ends of the stacks)."""
        cell = self.cell(architecture)
        builder = GraphBuilder(task.shape)
        with builder.scope("stem"):
            x = _conv(builder, builder.input, self.stem, 3)
        for stack in range(self.stacks):
            with builder.scope(f"stage{stack + 1}"):
                if stack:
                    _, height, width = builder.shape(x)
                    x = builder.max_pool(x, 2, stride=2, padding=(height % 2, width % 2))
                for number in range(self.cells):
                    with builder.scope(f"cell{number + 1}"):
                        x = _cell(builder, x, self.stem << stack, cell)
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

    def signature(self, architecture: Architecture) -> str:
        """The benchmark's key: the module hash, equal for isomorphic cells."""
        return self.cell(architecture).hash()

    def sample(self, rng: Any) -> Architecture:
        """Every edge with a chance of one half, every operation uniform, until that is legal."""
        while True:
            choices = [*rng.integers(2, size=len(EDGES)), *rng.integers(len(OPERATIONS), size=_INNER)]
            found = legal(self, [int(choice) for choice in choices])
            if found is not None:
                return found

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """Every edge flips, and every operation changes, with its chance (`mutation_rate`), until that is legal and new."""
        chances = [self.mutation_rate / MOST_VERTICES] * len(EDGES) + [self.mutation_rate / _INNER] * _INNER
        while True:
            choices = list(architecture.choices)
            for place, chance in enumerate(chances):
                if rng.random() < chance:
                    options = len(DECISIONS[place].options)
                    choices[place] = (choices[place] + 1 + int(rng.integers(options - 1))) % options
            child = legal(self, choices)
            if child is not None and child != architecture:
                return child


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


def _cell(builder: GraphBuilder, x: int, channels: int, cell: Cell) -> int:
    last = len(cell.matrix) - 1
    values = [x]
    for vertex, (width, operation) in enumerate(zip(cell.channels(channels), cell.operations, strict=True), start=1):
        with builder.scope(f"vertex{vertex}"):
            # Shares that differ by one channel: a wider source loses its last one.
            terms = [builder.narrow(values[source], width) for source in range(1, vertex) if cell.matrix[source][vertex]]
            if cell.matrix[0][vertex]:
                terms.append(_projection(builder, x, width))
            joined = builder.add(*terms)
            name = OPERATIONS[operation]
            if name == "maxpool3x3":
                values.append(builder.max_pool(joined, 3))
            else:
                values.append(_conv(builder, joined, width, 1 if name == "conv1x1-bn-relu" else 3))
    with builder.scope("output"):
        shares = [values[vertex] for vertex in range(1, last) if cell.matrix[vertex][last]]
        terms = [builder.concat(*shares)] if shares else []
        if cell.matrix[0][last]:
            terms.append(_projection(builder, x, channels))
        return builder.add(*terms)
