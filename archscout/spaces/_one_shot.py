"""The three sub-spaces of NAS-Bench-101 that one network can hold: cells whose vertices have fixed numbers of parents.

Zela, Siems and Hutter 2020 (arXiv 2001.10422), NAS-Bench-1Shot1. A cell has four or five choice blocks; each takes one of the three
operations and a set of parents, of fixed size, among the input and the blocks before it; so does the output, without an operation.
Blocks that lead nowhere are pruned, as everywhere in NAS-Bench-101.

How many there are (sub-spaces 1, 2, 3), by enumeration:
    tuples of answers                        14,580    29,160    1,312,200
    cells without what leads nowhere          3,288    11,826      118,524
    classes of isomorphic cells               2,685     7,773       55,854
The published counts are 6,240, 29,160 and 363,648 with loose ends, and 2,487, 3,609 and 24,066 without; they mix conventions.
29,160 are all tuples, while 6,240 and 363,648 leave out the operations of blocks that nothing reads. The other three come out of
the published enumeration (written anew to find that out): it walks back from the output, and reaches only 49, 65 and 234 of the 66,
190 and 876 graphs that are left when loose ends are cut off, isomorphic ones included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

from archscout.core.architecture import Decision
from archscout.spaces._nas101_cell import OPERATIONS, Cell

Asked = tuple[str, int]


@dataclass(frozen=True)
class Blocks:
    """A sub-space. parents: how many each block has, in their order, and at last the output; vertex 0 is the input."""

    parents: tuple[int, ...]

    @cached_property
    def sets(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Of each block, and at last of the output, every set of vertices that can be its parents."""
        return tuple(tuple(combinations(range(vertex), count)) for vertex, count in enumerate(self.parents, start=1))

    @cached_property
    def rows(self) -> Mapping[Asked, int]:
        """The number of each question: ("operation", 1), ("parents", 3), ...; parents that leave no choice are no question."""
        asked: list[Asked] = []
        for vertex, sets in enumerate(self.sets, start=1):
            if vertex < len(self.sets):
                asked.append(("operation", vertex))
            if len(sets) > 1:
                asked.append(("parents", vertex))
        return {key: row for row, key in enumerate(asked)}

    @cached_property
    def questions(self) -> tuple[Decision, ...]:
        """The questions in words: per block its operation, then its parents; at last the parents of the output."""
        found = []
        for kind, vertex in self.rows:
            sets = tuple(",".join(map(str, chosen)) for chosen in self.sets[vertex - 1])
            of = f"block {vertex}" if vertex < len(self.sets) else "output"
            found.append(Decision(f"{of} {kind}", OPERATIONS if kind == "operation" else sets))
        return tuple(found)

    def cell(self, answers: Sequence[int]) -> Cell:
        """The cell of these answers, with the blocks that lead nowhere. Every tuple of answers gives one."""
        answer = dict(zip(self.rows, answers, strict=True))
        parents = [sets[answer.get(("parents", vertex), 0)] for vertex, sets in enumerate(self.sets, start=1)]
        vertices = range(len(self.sets) + 1)
        matrix = tuple(tuple(int(y > 0 and x in parents[y - 1]) for y in vertices) for x in vertices)
        return Cell(matrix, tuple(option for (kind, _), option in answer.items() if kind == "operation"))

    def answers(self, cell: Cell) -> tuple[int | None, ...] | None:
        """The answers that give a pruned cell, with None for blocks that it does without; None where no answers give it.

        Every vertex is the first block that it can be, so that there is one way to see a cell.
        """
        *inner, output = [tuple(x for x, row in enumerate(cell.matrix) if row[y]) for y in range(1, len(cell.matrix))]
        if len(output) != self.parents[-1]:
            return None
        blocks = iter(range(1, len(self.parents)))
        places = [0]
        for sources in inner:
            block = next((block for block in blocks if self.parents[block - 1] == len(sources)), None)
            if block is None:
                return None
            places.append(block)
        found = {("operation", block): operation for block, operation in zip(places[1:], cell.operations, strict=True)}
        for block, sources in zip([*places[1:], len(self.parents)], [*inner, output], strict=True):
            found["parents", block] = self.sets[block - 1].index(tuple(places[source] for source in sources))
        return tuple(found.get(key) for key in self.rows)

    def every(self) -> Iterator[Cell]:
        """All pruned cells, each once."""
        graphs = (range(len(self.sets[vertex - 1])) if kind == "parents" else (0,) for kind, vertex in self.rows)
        for answers in product(*graphs):
            cell = self.cell(answers).pruned()
            assert cell is not None, "every block leads back to the input"
            placed = self.answers(cell)
            assert placed is not None
            # Of all answers that leave the same graph, those that answer with the first option what does not matter.
            if answers == tuple(answer or 0 for answer in placed):
                for operations in product(range(len(OPERATIONS)), repeat=len(cell.operations)):
                    yield Cell(cell.matrix, operations)


SUBSPACES = {1: Blocks((1, 2, 2, 2, 2)), 2: Blocks((1, 1, 2, 2, 3)), 3: Blocks((1, 1, 1, 2, 2, 2))}
