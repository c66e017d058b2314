"""Cells as graphs: which node reads which, and how wide and deep that is.

Shu, Wang and Cai 2020 (arXiv 1909.09569). With level 0 for the inputs and f(v) the share of a node's edges that come from inputs:

    level(v) = 1 + max over sources u of level(u)
    width = c * sum over nodes of f(v)      depth = 1 + max over nodes of level(v)

so that depth counts the edges of the longest path, the one into the output included. Widths are told in multiples of c, the
channels of a node. Where the last node is the output itself (NAS-Bench-201), depth is its level.

A node is live where it reads something and the output depends on it. Effective width and depth are those of the live nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from archscout.core.errors import UserError

Edge = tuple[str, int]
"""(operation, source)."""
SKIPS = ("skip_connect", "skip", "identity")
_WIDE, _SHALLOW = Fraction(17, 20), 3
"""Least share of the largest width, and most depth, of the common pattern."""


@dataclass(frozen=True)
class Topology:
    """A cell.

    nodes: of each node after the inputs, its incoming edges; several may come from one source.
    outputs: the nodes that the output joins. inputs: how many nodes read nothing; they have the first numbers.
    joined: whether the output is a node of its own; else it is the last node, the only one of `outputs`.
    weighted: whether all edges have weights, whatever their operation (recurrent cells).
    Raises UserError where a node reads a later one, or the output joins one that is not there.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    outputs: tuple[int, ...]
    inputs: int = 2
    joined: bool = True
    weighted: bool = False

    def __post_init__(self) -> None:
        for node, edges in enumerate(self.nodes, self.inputs):
            for _, source in edges:
                if not 0 <= source < node:
                    raise UserError(f"node {node} of a cell reads one of the nodes 0 to {node - 1}, but {source} came")
        if not self.outputs or not all(0 <= node < self.inputs + len(self.nodes) for node in self.outputs):
            last = self.inputs + len(self.nodes) - 1
            raise UserError(f"the output of a cell joins some of its nodes 0 to {last}, but {list(self.outputs)} came")

    @cached_property
    def edges(self) -> tuple[tuple[str, int, int], ...]:
        """(operation, source, node) of all edges, by node."""
        return tuple((operation, source, node) for node, edges in enumerate(self.nodes, self.inputs) for operation, source in edges)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The level of each node, the inputs first; 0 for a node that reads nothing."""
        levels = [0] * self.inputs
        for edges in self.nodes:
            levels.append(max((1 + levels[source] for _, source in edges), default=0))
        return tuple(levels)

    @cached_property
    def shares(self) -> tuple[Fraction, ...]:
        """f of each node after the inputs; 0 for a node that reads nothing."""
        return tuple(
            Fraction(sum(source < self.inputs for _, source in edges), len(edges)) if edges else Fraction(0) for edges in self.nodes
        )

    @cached_property
    def live(self) -> frozenset[int]:
        """The nodes after the inputs that read something and that the output depends on."""
        wanted = set(self.outputs)
        for node in range(self.inputs + len(self.nodes) - 1, self.inputs - 1, -1):
            if node in wanted:
                wanted.update(source for _, source in self.nodes[node - self.inputs])
        return frozenset(node for node in wanted if node >= self.inputs and self.nodes[node - self.inputs])

    @property
    def dead(self) -> tuple[int, ...]:
        """The nodes after the inputs that are not live."""
        return tuple(node for node in range(self.inputs, self.inputs + len(self.nodes)) if node not in self.live)

    @cached_property
    def width(self) -> Fraction:
        """In multiples of a node's channels."""
        return sum(self.shares, Fraction(0))

    @cached_property
    def depth(self) -> int:
        """Edges on the longest path."""
        return (
            max((self.levels[node] for node in range(self.inputs, len(self.levels))), default=0) + 1 if self.joined else self.ends
        )

    @property
    def ends(self) -> int:
        """The highest level among the nodes that the output joins."""
        return max(self.levels[node] for node in self.outputs)

    @property
    def effective_width(self) -> Fraction:
        """The width of the live nodes."""
        return sum((share for node, share in enumerate(self.shares, self.inputs) if node in self.live), Fraction(0))

    @property
    def effective_depth(self) -> int:
        """Edges on the longest path that reaches the output."""
        return self.ends + self.joined

    @cached_property
    def longest_path(self) -> tuple[int, ...]:
        """The nodes of a longest path that reaches the output, from an input on; the output itself is left out where it joins."""
        node = min(self.outputs, key=lambda node: (-self.levels[node], node))
        path = [node]
        while self.levels[node]:
            sources = [source for _, source in self.nodes[node - self.inputs] if self.levels[source] == self.levels[node] - 1]
            node = min(sources)
            path.append(node)
        return tuple(reversed(path))

    @cached_property
    def operative_depth(self) -> int:
        """Edges on the path that reaches the output with most of them, skips not counted."""
        found = [0] * self.inputs
        for edges in self.nodes:
            found.append(max((found[source] + (not self.is_skip(operation)) for operation, source in edges), default=0))
        return max(found[node] for node in self.outputs) + self.joined

    @property
    def is_common_pattern(self) -> bool:
        """Whether the cell is wide and shallow, as those are that searches favour."""
        return is_common(self.width, self.depth, len(self.nodes))

    @property
    def rank(self) -> tuple[Fraction, int]:
        """By which cells are ordered: the wide and shallow ones are higher."""
        return self.width, -self.depth

    def is_skip(self, operation: str) -> bool:
        """Whether an operation hands on what it reads."""
        return operation in SKIPS and not self.weighted

    def is_free(self, operation: str) -> bool:
        """Whether an operation has no parameters."""
        return not self.weighted and (operation in SKIPS or "pool" in operation)

    def with_sources(self, sources: tuple[tuple[int, ...], ...]) -> Topology:
        """The same operations with other connections. sources: of each node, as many as it has."""
        return self._with(
            tuple((operation, new) for (operation, _), new in zip(edges, others, strict=True))
            for edges, others in zip(self.nodes, sources, strict=True)
        )

    def with_operations(self, operations: tuple[str, ...]) -> Topology:
        """The same connections with other operations, in the order of `edges`."""
        rest = iter(operations)
        return self._with(tuple((next(rest), source) for _, source in edges) for edges in self.nodes)

    def _with(self, nodes: object) -> Topology:
        return Topology(tuple(nodes), self.outputs, self.inputs, self.joined, self.weighted)  # type: ignore[arg-type]


def is_common(width: Fraction, depth: int, nodes: int) -> bool:
    """Whether a cell of so many nodes is wide and shallow: at least 85 % of the largest width, and at most 3 deep."""
    return nodes > 0 and width >= _WIDE * nodes and depth <= _SHALLOW
