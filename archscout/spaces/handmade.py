"""Hand-made networks for small images, as a space: what a search has to beat.

- `resnet`: the network of He et al. 2016 (arXiv 1512.03385, section 4.2) for CIFAR: a 3 x 3 convolution, three stages of basic
  blocks with 16, 32 and 64 channels times the multiplier, halving before the second and third; projected skips.
  Depth n means n blocks per stage, so 6 n + 2 layers.
- `mobilenetv2`: the network of Sandler et al. 2018 (arXiv 1801.04381, table 2) as it is used for CIFAR: inverted residual blocks of
  expansion 6 with 16, 24, 32, 64, 96, 160 and 320 channels times the multiplier, the first two halvings left out, and a 1 x 1
  convolution before the pooling. Depth n caps the repetitions 1, 2, 3, 4, 3, 3, 1 of the published table at n.

Larger images are halved by strided convolutions of the stem until the first stage sees at
most 48 pixels; a halving that would leave fewer than 3 pixels is left out.

Deviations: the classifiers have no dropout; ReLU in place of ReLU6 (the cap serves fixed-point arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.draw import enumerate_space
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Problem, Task
from archscout.nn.measure import counts
from archscout.spaces._graphed import Graphed

SMALLEST_MAP = 3
LARGEST_ENTRY = 48
FAMILIES = (("resnet", "ResNet-type"), ("mobilenetv2", "MobileNetV2-type"))
_MULTIPLIERS = tuple(f"{percent / 100:g}" for percent in (12.5, 25, 37.5, 50, 62.5, 75, 87.5, 100, 125, 150, 175, 200))
_GROUPS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class Handmade(Graphed):
    """The hand-made baselines: residual networks and MobileNetV2, at several depths and widths."""

    INITIALISATION: ClassVar[str] = "he"

    @property
    def name(self) -> str:
        """`handmade`."""
        return "handmade"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Family, depth (blocks per stage) and width multiplier."""
        families = tuple(family for family, _ in FAMILIES)
        return Decision("family", families), Decision("depth", ("1", "2", "3", "4", "5")), Decision("width", _MULTIPLIERS)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with these choices; `mobilenetv2` has no depth above 4, so 5 becomes 4 there."""
        found = checked(self.name, self.decisions, tuple(choices))
        family, depth, width = found.choices
        return Architecture(self.name, (family, min(depth, 3) if FAMILIES[family][0] == "mobilenetv2" else depth, width))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The network as a graph; the ends of the stages are marked."""
        family, depth, width = architecture.choices
        draw = _resnet if FAMILIES[family][0] == "resnet" else _mobilenet
        return draw(task, depth + 1, float(_MULTIPLIERS[width]))

    def baselines(self, problem: Problem) -> tuple[tuple[str, Architecture], ...]:
        """A name and an architecture of each family: the member with most parameters that meets the problem's counted limits.

        Where no member of a family keeps to `work`, the plan's own bound, the one with least work stands for it, so that it is
        trained at least as long as the others. A family of which no member meets the user's limits is left out.
        """
        hard = {name: problem.limits.get(name, math.inf) for name in ("params", "macs")}
        work = problem.limits.get("work", math.inf)
        found: dict[str, tuple[tuple[bool, int], Architecture]] = {}
        for architecture in enumerate_space(self):
            size = counts(self, architecture, problem.task)
            if any(size[name] > bound for name, bound in hard.items()):
                continue
            name = FAMILIES[architecture.choices[0]][1]
            within = size["work"] <= work
            rank = (within, size["params"] if within else -size["work"])
            if name not in found or rank > found[name][0]:
                found[name] = rank, architecture
        return tuple((name, architecture) for name, (_, architecture) in found.items())


def _width(channels: int, multiplier: float) -> int:
    """The multiplied width, rounded to a multiple of 4, at least 4."""
    return max(4, round(channels * multiplier / 4) * 4)


def _convolution(g: GraphBuilder, x: int, width: int, kernel: int = 3, stride: int = 1, groups: int = 1, name: str = "conv") -> int:
    """Convolution, normalisation, ReLU."""
    return g.relu(g.batch_norm(g.conv(x, width, kernel, stride=stride, groups=groups, name=name), name=f"{name}_norm"))


def _stem(g: GraphBuilder, width: int) -> int:
    with g.scope("stem"):
        x = _convolution(g, g.input, width, stride=2 if min(g.shape(g.input)[1:]) > LARGEST_ENTRY else 1)
        while min(g.shape(x)[1:]) > LARGEST_ENTRY:
            x = _convolution(g, x, width, stride=2)
    return x


def _stride(g: GraphBuilder, x: int, wanted: int) -> int:
    """The wanted stride where it leaves enough of the map, else 1."""
    return wanted if (min(g.shape(x)[1:]) + 1) // 2 >= SMALLEST_MAP else 1


def _resnet(task: Task, depth: int, multiplier: float) -> OperationGraph:
    g = GraphBuilder(task.shape)
    x = _stem(g, _width(16, multiplier))
    for stage, channels in enumerate((16, 32, 64), start=1):
        width = _width(channels, multiplier)
        for block in range(1, depth + 1):
            with g.scope(f"stage{stage}.block{block}"):
                stride = _stride(g, x, 2) if stage > 1 and block == 1 else 1
                inner = _convolution(g, x, width, stride=stride, name="conv1")
                inner = g.batch_norm(g.conv(inner, width, 3, name="conv2"), name="conv2_norm")
                skip = x
                if g.shape(inner) != g.shape(x):
                    skip = g.batch_norm(g.conv(x, width, 1, stride=stride, name="skip"), name="skip_norm")
                x = g.relu(g.add(inner, skip))
        g.mark(f"stage{stage}", x)
    return g.finish(g.linear(g.global_pool(x), task.classes, name="classifier"))


def _mobilenet(task: Task, depth: int, multiplier: float) -> OperationGraph:
    g = GraphBuilder(task.shape)
    x = _stem(g, _width(32, multiplier))
    for stage, (expansion, channels, repeats, stride) in enumerate(_GROUPS, start=1):
        width = _width(channels, multiplier)
        for block in range(1, min(depth, repeats) + 1):
            with g.scope(f"stage{stage}.block{block}"):
                hidden = g.shape(x)[0] * expansion
                inner = _convolution(g, x, hidden, 1, name="expand") if expansion > 1 else x
                step = _stride(g, x, stride) if block == 1 else 1
                inner = _convolution(g, inner, hidden, 3, step, groups=hidden, name="depthwise")
                inner = g.batch_norm(g.conv(inner, width, 1, name="project"), name="project_norm")
                x = g.add(inner, x) if g.shape(inner) == g.shape(x) else inner
        g.mark(f"stage{stage}", x)
    with g.scope("head"):
        x = _convolution(g, x, _width(1280, min(1.0, multiplier)), 1)
    return g.finish(g.linear(g.global_pool(x), task.classes, name="classifier"))
