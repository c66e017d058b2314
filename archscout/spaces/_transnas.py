"""What the two spaces of TransNAS-Bench-101 share: stem, modules of two blocks, classifier.

Duan et al. 2021 (arXiv 2105.11871). A module's type says what its first block does: 1 nothing, 2 doubles the channels, 3 halves the
map, 4 both. The second block keeps both.
"""

from __future__ import annotations

from collections.abc import Callable

from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task

TYPES = ("1", "2", "3", "4")
BLOCKS = 2
"""Per module."""
Block = Callable[[GraphBuilder, int, int, int], int]
"""(builder, input, channels, stride) -> output."""


def doubles(kind: str) -> bool:
    """Whether a module of this type doubles the channels."""
    return kind in "24"


def halves(kind: str) -> bool:
    """Whether a module of this type halves the map."""
    return kind in "34"


def network(task: Task, channels: int, modules: str, block: Block) -> OperationGraph:
    """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, ... are the ends of the modules.

    channels: after the stem, which quarters the map. modules: their types, such as "41414".
    """
    builder = GraphBuilder(task.shape)
    with builder.scope("stem"):
        x = builder.batch_norm(builder.conv(builder.input, channels // 2, 3, stride=2))
        x = relu_conv_norm(builder, x, channels, 3, stride=2)
    for number, kind in enumerate(modules, start=1):
        channels = channels * 2 if doubles(kind) else channels
        for position in range(1, BLOCKS + 1):
            with builder.scope(f"module{number}.block{position}"):
                x = block(builder, x, channels, 2 if halves(kind) and position == 1 else 1)
        builder.mark(f"stage{number}", x)
    with builder.scope("head"):
        return builder.finish(builder.linear(builder.global_pool(x), task.classes))


def relu_conv_norm(builder: GraphBuilder, x: int, channels: int, kernel: int, stride: int = 1) -> int:
    """ReLU, convolution without bias, normalisation."""
    return builder.batch_norm(builder.conv(builder.relu(x), channels, kernel, stride=stride))


def check_channels(channels: int) -> None:
    """Raises ValueError where the stem cannot have half of so many channels."""
    if channels < 2 or channels % 2:
        raise ValueError(f"channels must be even and at least 2, but {channels} came")
