"""Hand-made networks for few-shot tasks, as a space: the four convolutions of MAML.

Finn, Abbeel and Levine 2017 (arXiv 1703.03400) and its code: four times a 3 x 3 convolution, normalisation, ReLU and a halving,
then a linear layer. Halved is by strided convolutions (with 64 filters for Omniglot), whose last map is averaged, or by the maximum
over 2 x 2 pixels (with 32 filters for miniImageNet), of whose last map the linear layer reads every pixel. The convolutions have a
bias, as published, although the normalisation after each takes it out again.

A linear layer on a map of several pixels is written as the convolution that it is, without padding. A pooling that would leave
nothing of a small image is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, Problem, Task, TaskKind
from archscout.nn.measure import counts
from archscout.spaces._graphed import Graphed

BLOCKS = 4
WIDTHS = (16, 32, 64)
FAMILIES = (("stride", "MAML's network, strided", 64), ("max-pool", "MAML's network, pooled", 32))
"""How a family halves, its name, and the filters that it has in the published network."""
_DECISIONS = (Decision("width", tuple(map(str, WIDTHS))), Decision("downsampling", tuple(family for family, _, _ in FAMILIES)))


@dataclass(frozen=True)
class HandmadeFewShot(Graphed):
    """The four convolutions of MAML, at several widths, strided or pooled."""

    @property
    def name(self) -> str:
        """handmade-few-shot."""
        return "handmade-few-shot"

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Image classification, of few-shot tasks and of data sets."""
        return (FEW_SHOT, IMAGE_CLASSIFICATION)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The filters of every convolution, and how maps are halved."""
        return _DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with these choices. Every pair is legal."""
        return checked(self.name, _DECISIONS, tuple(choices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The network as a graph: images (C, H, W) of the task -> its K logits. Marks: stage1 to stage4, the ends of the blocks."""
        width, family = architecture.choices
        pooled = FAMILIES[family][0] == "max-pool"
        builder = GraphBuilder(task.shape)
        x = builder.input
        for block in range(1, BLOCKS + 1):
            with builder.scope(f"block{block}"):
                x = builder.conv(x, WIDTHS[width], 3, stride=1 if pooled else 2, bias=True)
                x = builder.relu(builder.batch_norm(x))
                if pooled and min(builder.shape(x)[1:]) > 1:
                    x = builder.max_pool(x, 2, stride=2, padding=0)
            builder.mark(f"stage{block}", x)
        _, *extent = builder.shape(x)
        if pooled and math.prod(extent) > 1:
            x = builder.conv(x, task.classes, (extent[0], extent[1]), padding=0, bias=True, name="classifier")
            return builder.finish(builder.global_pool(x))
        return builder.finish(builder.linear(builder.global_pool(x), task.classes, name="classifier"))

    def baselines(self, problem: Problem) -> tuple[tuple[str, Architecture], ...]:
        """A name and an architecture of each family: the published width, or the largest below it that meets the counted limits.

        Where no width keeps to `work`, the plan's own bound, the smallest stands for the family. A family of which no member meets
        the user's limits is left out.
        """
        found = []
        for family, (_, name, published) in enumerate(FAMILIES):
            narrow = [self.architecture((width, family)) for width, filters in enumerate(WIDTHS) if filters <= published]
            allowed = [one for one in narrow if _meets(self, one, problem, ("params", "macs"))]
            if allowed:
                found.append((name, ([one for one in allowed if _meets(self, one, problem, ("work",))] or allowed[:1])[-1]))
        return tuple(found)


def _meets(space: HandmadeFewShot, architecture: Architecture, problem: Problem, limits: Sequence[str]) -> bool:
    size = counts(space, architecture, problem.task)
    return all(size[name] <= problem.limits.get(name, math.inf) for name in limits)
