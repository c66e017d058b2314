"""TransNAS-Bench-101, cells: 4,096 cells of four nodes and six edges in one skeleton.

Duan et al. 2021 (arXiv 2105.11871). A node is the sum of its incoming edges; each edge is nothing, a skip, or a
ReLU-convolution-normalisation of 1 x 1 or 3 x 3. The skeleton 64-41414 has five modules of two cells, of which the first, third and
fifth double the channels and halve the map. In the first cell of such a module the edges out of the cell's input do both; a skip is
then DARTS' factorised reduction.

Written as `64-41414-1_02_333`: the channels, the skeleton, and per node the operations of its edges (0 nothing, 1 skip, 2 conv1x1,
3 conv3x3), from the first node on.

Deviations: weights begin as PyTorch draws them by default, not by He's rule for fan-out. The head is the benchmark's for
classification; its other five tasks have heads of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.core.topology import Topology
from archscout.core.wiring import Graph
from archscout.spaces._edge_cells import operations_of, topology_of
from archscout.spaces._graphed import Graphed
from archscout.spaces._transnas import check_channels, network, relu_conv_norm

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
DECISIONS = tuple(Decision(f"edge {source}->{target}", OPERATIONS) for source, target in EDGES)
SKELETON = "41414"
_TEXT = re.compile(rf"(\d+)-{SKELETON}-([0-3])_([0-3]{{2}})_([0-3]{{3}})")


@dataclass(frozen=True)
class TransnasCell(Graphed):
    """The cell space of TransNAS-Bench-101.

    channels: after the stem; 64 in the benchmark. They are part of the published strings.
    """

    channels: int = 64

    def __post_init__(self) -> None:
        check_channels(self.channels)

    @property
    def name(self) -> str:
        """transnas-cell."""
        return "transnas-cell"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per edge: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The cell with these operations. Every tuple is legal and stands for itself."""
        return checked(self.name, DECISIONS, tuple(choices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1 to stage5."""

        def block(builder: GraphBuilder, x: int, channels: int, stride: int) -> int:
            return _cell(builder, x, architecture.choices, channels, stride)

        return network(task, self.channels, SKELETON, block)

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
        """The published string."""
        digits = "".join(map(str, architecture.choices))
        return f"{self.channels}-{SKELETON}-{digits[0]}_{digits[1:3]}_{digits[3:]}"

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a published string with the space's channels; None where `text` is none."""
        match = _TEXT.fullmatch(text.strip())
        if match is None or int(match[1]) != self.channels:
            return None
        return self.architecture([int(digit) for digit in "".join(match.groups()[1:])])

    def sample(self, rng: Any) -> Architecture:
        """Every edge's operation uniform."""
        return self.architecture([int(choice) for choice in rng.integers(len(OPERATIONS), size=len(EDGES))])

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """One edge, drawn uniformly, gets a different operation."""
        choices = list(architecture.choices)
        place = int(rng.integers(len(EDGES)))
        choices[place] = (choices[place] + 1 + int(rng.integers(len(OPERATIONS) - 1))) % len(OPERATIONS)
        return self.architecture(choices)


def _cell(builder: GraphBuilder, x: int, choices: Sequence[int], channels: int, stride: int) -> int:
    nodes, chosen = [x], iter(zip(EDGES, choices, strict=True))
    for target in (1, 2, 3):
        terms = []
        for (source, _), choice in [next(chosen) for _ in range(target)]:
            with builder.scope(f"edge{source}{target}"):
                operation, step = OPERATIONS[choice], stride if source == 0 else 1
                if operation == "skip":
                    terms.append(_skip(builder, nodes[source], channels, step))
                elif operation != "none":
                    terms.append(relu_conv_norm(builder, nodes[source], channels, int(operation[-1]), step))
        # Adding nought changes nothing, so a `none` is written only where a node has nothing else.
        nodes.append(builder.add(*terms) if terms else _nothing(builder, x, channels, stride))
    return nodes[-1]


def _skip(builder: GraphBuilder, x: int, channels: int, stride: int) -> int:
    """The input; where its shape changes, two 1 x 1 convolutions, one of them a pixel further down and right."""
    if stride == 1 and builder.shape(x)[0] == channels:
        return x
    x = builder.relu(x)
    even = builder.conv(x, channels // 2, stride=stride, name="even")
    odd = builder.conv(builder.shift(x), channels - channels // 2, stride=stride, name="odd")
    return builder.batch_norm(builder.concat(even, odd))


def _nothing(builder: GraphBuilder, x: int, channels: int, stride: int) -> int:
    zero = builder.zero(x, stride=stride)
    return builder.concat(*[zero] * (channels // builder.shape(x)[0]))
