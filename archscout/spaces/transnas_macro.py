"""TransNAS-Bench-101, macro: 3,256 residual networks that differ in depth and in where they widen and shrink.

Duan et al. 2021 (arXiv 2105.11871). A network has four to six modules of two residual blocks; a block is ReLU, 3 x 3 convolution
and normalisation, twice, beside a skip. A module of type 1 keeps channels and map, 2 doubles the channels, 3 halves the map, 4 does
both. One to three modules double, one to four halve.

Written as `64-1233-basic`: the channels after the stem, the types of the modules, the kind of block.

Deviations: weights begin as PyTorch draws them by default, not by He's rule for fan-out. The head is the benchmark's for
classification; its other five tasks have heads of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.spaces._graphed import Graphed
from archscout.spaces._transnas import TYPES, check_channels, doubles, halves, network, relu_conv_norm

DEPTHS = (4, 5, 6)
DOUBLINGS, HALVINGS = (1, 3), (1, 4)
"""The fewest and the most modules that double the channels, and that halve the map."""
DECISIONS = (
    Decision("modules", tuple(map(str, DEPTHS))),
    *(Decision(f"module {number}", TYPES) for number in range(1, DEPTHS[-1] + 1)),
)
_TEXT = re.compile(r"(\d+)-([1-4]{4,6})-basic")


@dataclass(frozen=True)
class TransnasMacro(Graphed):
    """The macro space of TransNAS-Bench-101.

    channels: after the stem; 64 in the benchmark. They are part of the published strings.
    """

    channels: int = 64

    def __post_init__(self) -> None:
        check_channels(self.channels)

    @property
    def name(self) -> str:
        """transnas-macro."""
        return "transnas-macro"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """How many modules, then the type of each of six."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The network with these modules; the types of modules that it does not have become 0.

        Raises UserError where fewer or more modules than the benchmark allows double the channels or halve the map.
        """
        decided = checked(self.name, DECISIONS, tuple(choices)).choices
        depth = DEPTHS[decided[0]]
        modules = "".join(TYPES[choice] for choice in decided[1 : depth + 1])
        for wanted, (least, most), what in ((doubles, DOUBLINGS, "double the channels"), (halves, HALVINGS, "halve the map")):
            count = sum(map(wanted, modules))
            if not least <= count <= most:
                raise UserError(
                    f"in '{self.name}' {least} to {most} modules {what}, but in '{modules}' {count} do; change their types"
                )
        return Architecture(self.name, (*decided[: depth + 1], *[0] * (DEPTHS[-1] - depth)))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, ... are the modules' ends."""
        return network(task, self.channels, _modules(architecture), _block)

    def genotype(self, architecture: Architecture) -> str:
        """The published string."""
        return f"{self.channels}-{_modules(architecture)}-basic"

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a published string with the space's channels; None where `text` is none.

        Raises UserError for a string of the right form that the space does not hold.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None or int(match[1]) != self.channels:
            return None
        return self.architecture(_choices(match[2]))

    def sample(self, rng: Any) -> Architecture:
        """Uniform over the 3,256 architectures, so that most have six modules."""
        return self.architecture(_choices(_legal()[int(rng.integers(len(_legal())))]))

    def smallest(self) -> Architecture:
        """Four modules of which the last alone doubles the channels and halves the map."""
        return self.architecture(_choices("1114"))

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """Another number of modules (the last ones go, or new ones of type 1 come), or another type of one module."""
        while True:
            choices = list(architecture.choices)
            place = int(rng.integers(1 + DEPTHS[choices[0]]))
            options = len(DECISIONS[place].options)
            choices[place] = (choices[place] + 1 + int(rng.integers(options - 1))) % options
            try:
                return self.architecture(choices)
            except UserError:
                continue


def _modules(architecture: Architecture) -> str:
    depth, *types = architecture.choices
    return "".join(TYPES[choice] for choice in types[: DEPTHS[depth]])


def _choices(modules: str) -> list[int]:
    unused = [0] * (DEPTHS[-1] - len(modules))
    return [DEPTHS.index(len(modules)), *(TYPES.index(kind) for kind in modules), *unused]


@lru_cache(maxsize=1)
def _legal() -> tuple[str, ...]:
    """The module types of all architectures, short ones first."""
    candidates = ("".join(types) for depth in DEPTHS for types in product(TYPES, repeat=depth))
    return tuple(
        modules
        for modules in candidates
        if DOUBLINGS[0] <= sum(map(doubles, modules)) <= DOUBLINGS[1] and HALVINGS[0] <= sum(map(halves, modules)) <= HALVINGS[1]
    )


def _block(builder: GraphBuilder, x: int, channels: int, stride: int) -> int:
    """Two 3 x 3 convolutions beside a skip, which is a 1 x 1 convolution where the shape changes."""
    with builder.scope("first"):
        inner = relu_conv_norm(builder, x, channels, 3, stride)
    with builder.scope("second"):
        inner = relu_conv_norm(builder, inner, channels, 3)
    if stride > 1 or builder.shape(x)[0] != channels:
        with builder.scope("skip"):
            x = builder.batch_norm(builder.conv(x, channels, 1, stride=stride))
    return builder.add(inner, x)
