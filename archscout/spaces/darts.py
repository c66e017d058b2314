"""DARTS: a normal and a reduction cell of four nodes, each node the sum of two operations on earlier nodes.

Liu, Simonyan and Yang 2019 (arXiv 1806.09055), with the skeletons for small images and for ImageNet. The auxiliary head and the
paths of drop-path are for trainings that ask for them (`nn.recipes`).

Deviation: where the head's map is larger than the published one, its last convolution is averaged over the positions.

Choices: for each cell and node the unordered pair of sources, then the operation on the lower and on the higher source. So every
tuple of choices is legal, and genotypes that differ only in the order of a node's two edges (which changes nothing) are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import UserError
from archscout.core.operations import AUXILIARY, GraphBuilder, OperationGraph
from archscout.core.problem import Task
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
        builder, logits, _ = self._write(architecture, task)
        return builder.finish(logits)

    def with_auxiliary(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The same, then the auxiliary head, which reads the cell of the second reduction.

        Raises UserError where the images are too small for it: smaller than 32 x 32, or 224 x 224 for ImageNet's skeleton.
        """
        builder, logits, tap = self._write(architecture, task)
        _, height, width = builder.shape(tap)
        least = 7 if self.imagenet else 8
        if min(height, width) < least:
            raise UserError(
                f"the auxiliary head of '{self.name}' needs {least} x {least} pixels after the second reduction, but images of "
                f"{task.shape[1]} x {task.shape[2]} leave {height} x {width}; only larger images (--image-size) can have one"
            )
        with builder.scope(AUXILIARY):
            builder.mark(AUXILIARY, _auxiliary(builder, tap, task.classes, self.imagenet))
        return builder.finish(logits)

    def _write(self, architecture: Architecture, task: Task) -> tuple[GraphBuilder, int, int]:
        """The network; the positions of its logits and of what an auxiliary head reads."""
        normal, reduce = edges_of(architecture.choices)
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
            with builder.scope(f"cell{layer + 1}"):
                edges = reduce if reduction else normal
                before, x, reduced = x, _cell(builder, before, x, channels, edges, reduction, reduced), reduction
            if layer == 2 * self.layers // 3:
                tap = x
        builder.mark(f"stage{stage}", x)
        with builder.scope("head"):
            return builder, builder.linear(builder.global_pool(x), task.classes), tap

    def genotype(self, architecture: Architecture) -> str:
        """The published `Genotype(normal=[...], ...)`, the edges of a node sorted by source."""
        return written(*edges_of(architecture.choices))

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a genotype or of a known name (DARTS_V1, DARTS_V2); None where `text` is no genotype.

        Raises UserError for a genotype that this space does not hold.
        """
        found = parse(text)
        return None if found is None else self.architecture([choice for edges in found for choice in choices_of(edges)])


def _conv(builder: GraphBuilder, x: int, channels: int, kernel: int = 1, stride: int = 1) -> int:
    return builder.batch_norm(builder.conv(x, channels, kernel, stride=stride))


def _stem(builder: GraphBuilder, channels: int) -> tuple[int, int]:
    with builder.scope("stem"):
        x = _conv(builder, builder.input, 3 * channels, 3)
    return x, x


def _imagenet_stem(builder: GraphBuilder, channels: int) -> tuple[int, int]:
    with builder.scope("stem1"):
        x = _conv(builder, builder.input, channels // 2, 3, stride=2)
    with builder.scope("stem2"):
        before = _conv(builder, builder.relu(x), channels, 3, stride=2)
    with builder.scope("stem3"):
        return before, _conv(builder, builder.relu(before), channels, 3, stride=2)


def _cell(builder: GraphBuilder, before: int, x: int, channels: int, edges: Edges, reduction: bool, reduced: bool) -> int:
    with builder.scope("input0"):
        first = _factorised(builder, before, channels) if reduced else _conv(builder, builder.relu(before), channels)
    with builder.scope("input1"):
        nodes = [first, _conv(builder, builder.relu(x), channels)]
    for place, node in enumerate(NODES):
        terms = []
        for operation, source in edges[2 * place : 2 * place + 2]:
            with builder.scope(f"edge{source}{node}"):
                found = _operation(builder, nodes[source], operation, channels, 2 if reduction and source < 2 else 1)
                terms.append(found if found == nodes[source] else builder.droppable(found))
        nodes.append(builder.add(*terms))
    return builder.concat(*nodes[2:])


def _operation(builder: GraphBuilder, x: int, operation: str, channels: int, stride: int) -> int:
    kernel = int(operation[-1]) if operation[-1].isdigit() else 0
    match operation[:3]:
        case "max":
            return builder.max_pool(x, 3, stride=stride)
        case "avg":
            return builder.avg_pool(x, 3, stride=stride)
        case "ski":
            return x if stride == 1 else _factorised(builder, x, channels)
        case "sep":
            for name, step in (("first", stride), ("second", 1)):
                with builder.scope(name):
                    x = _separable(builder, x, channels, kernel, step, dilation=1)
            return x
        case _:
            return _separable(builder, x, channels, kernel, stride, dilation=2)


def _separable(builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int, dilation: int) -> int:
    x = builder.relu(x)
    x = builder.conv(x, channels, kernel, stride=stride, dilation=dilation, groups=channels, name="depthwise")
    return builder.batch_norm(builder.conv(x, channels, name="pointwise"))


def _factorised(builder: GraphBuilder, x: int, channels: int) -> int:
    """Halve the extent by two 1 x 1 convolutions, one of them a pixel further down and right."""
    x = builder.relu(x)
    even = builder.conv(x, channels // 2, stride=2, name="even")
    odd = builder.conv(builder.shift(x), channels // 2, stride=2, name="odd")
    return builder.batch_norm(builder.concat(even, odd))


def _auxiliary(builder: GraphBuilder, x: int, classes: int, imagenet: bool) -> int:
    """A second classifier. ImageNet's lacks the second normalisation: a slip of the published code, kept by those who use it."""
    x = builder.avg_pool(builder.relu(x), 5, stride=2 if imagenet else 3, padding=0)
    x = builder.relu(_conv(builder, x, 128))
    x = builder.conv(x, 768, 2, padding=0, name="wide")
    x = builder.relu(x if imagenet else builder.batch_norm(x))
    return builder.linear(builder.global_pool(x), classes)
