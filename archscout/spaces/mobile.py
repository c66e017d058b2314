"""Networks for your own images: stages of residual or inverted residual blocks, sized for one machine.

A network is a stem, three stages and a linear classifier on the pooled map. Each stage begins with a transition, which sets its
width and halves the map, and goes on with `depth` blocks:

- `residual` (He et al. 2016, arXiv 1512.03385): the transition is a 3 x 3 convolution, a block two of them around a skip;
- `inverted` (Sandler et al. 2018, arXiv 1801.04381): transition and blocks are expansion, depthwise convolution and projection.

`stem` is a convolution at full resolution before the first stage, or none: then the first transition is a strided convolution that
reads the image. `reduction` is how a convolution halves the map: by its stride, or at full extent and a 2 x 2 maximum after it,
before the normalisation. The gate is squeeze-and-excite (Hu et al. 2018, arXiv 1709.01507).

Which map sizes come follows from the image: as many strided 3 x 3 convolutions as bring the shorter side to at most 48 pixels, then
one halving per stage; a halving that would leave fewer than 3 pixels on the shorter side is left out (its convolution stays). So
28 and 32 pixels end at 3 or 4, 64 at 4, 256 at 4, 8 at 4.

Drawing: every option can come, but those that trained better in minutes come more often (`_PRIOR`; short trainings on CIFAR-10 and
Fashion-MNIST, docs/decisions/004-screening.md): halving by maxima, residual blocks, late depth. Mutation treats all options alike.

Deviations: ReLU throughout, which costs least on a CPU; no dropout; no extra 1 x 1 convolution before the pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.spaces._graphed import Graphed

STAGES = 3
SMALLEST_MAP = 3
LARGEST_ENTRY = 48
_PER_STAGE = ("block", "width", "depth", "kernel", "expansion", "gate")
_WIDTHS = (
    ("8", "16", "24", "32", "48", "64"),
    ("16", "32", "48", "64", "96", "128"),
    ("24", "48", "64", "96", "128", "192", "256"),
)
# Chances of the options of a decision, in order; a decision that is not named is uniform.
_PRIOR = {
    "reduction": (0.25, 0.75),
    "block": (0.75, 0.25),
    "kernel": (0.7, 0.3),
    "gate": (0.7, 0.3),
    "stage1.depth": (0.7, 0.2, 0.1),
    "stage2.depth": (0.45, 0.4, 0.15),
    "stage3.depth": (0.25, 0.5, 0.25),
}


@dataclass(frozen=True)
class Mobile(Graphed):
    """Stages of residual or inverted residual blocks for images of 8 to 256 pixels; the default.

    stems, depths: the options for the width of the stem and for the number of blocks after a stage's transition.
    """

    INITIALISATION: ClassVar[str] = "he"
    stems: tuple[str, ...] = ("none", "8", "12", "16", "24", "32")
    depths: tuple[str, ...] = ("0", "1", "2")

    @property
    def name(self) -> str:
        """`mobile`."""
        return "mobile"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Stem and reduction, then block, width, depth, kernel, expansion and gate of each stage."""
        found = [Decision("stem", self.stems), Decision("reduction", ("stride", "pool"))]
        for stage in range(STAGES):
            options = {
                "block": ("residual", "inverted"),
                "width": _WIDTHS[stage],
                "depth": self.depths,
                "kernel": ("3", "5"),
                "expansion": ("1", "2", "4", "6"),
                "gate": ("none", "squeeze"),
            }
            found += [Decision(f"stage{stage + 1}.{part}", options[part]) for part in _PER_STAGE]
        return tuple(found)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with these choices; those without effect become 0.

        Without effect are: kernel and expansion of a residual stage, and its gate where it has no block; block (with kernel,
        expansion and gate) of a first stage without stem and blocks; the reduction where no plain transition follows a stem.
        """
        decided = checked(self.name, self.decisions, tuple(choices))
        kept = list(decided.choices)
        stemless = self.stems[kept[0]] == "none"
        pools = False
        for stage in range(STAGES):
            first = 2 + stage * len(_PER_STAGE)
            block, _, depth = kept[first : first + 3]
            if stage == 0 and stemless and self.depths[depth] == "0":
                kept[first] = block = 0
            if block == 0:
                kept[first + 3 : first + 5] = [0, 0]
                kept[first + 5] = 0 if self.depths[depth] == "0" else kept[first + 5]
                pools = pools or not (stage == 0 and stemless)
        kept[1] = kept[1] if pools else 0
        return Architecture(self.name, tuple(kept))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random architecture under the prior."""
        choices = []
        for decision in self.decisions:
            chances = _PRIOR.get(decision.name) or _PRIOR.get(decision.name.split(".")[-1])
            fits = chances is not None and len(chances) == len(decision.options)
            choices.append(int(rng.choice(len(decision.options), p=chances if fits else None)))
        return self.architecture(choices)

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """The architecture with another option in one decision that has an effect."""
        while True:
            choices = list(architecture.choices)
            place = int(rng.integers(len(choices)))
            options = len(self.decisions[place].options)
            choices[place] = (choices[place] + 1 + int(rng.integers(options - 1))) % options
            child = self.architecture(choices)
            if child != architecture:
                return child

    def settings(self, architecture: Architecture) -> dict[str, str]:
        """The choices as decision name -> option."""
        return {d.name: d.options[c] for d, c in zip(self.decisions, architecture.choices, strict=True)}

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The network as a graph; marks `stage1` .. `stage3` are the ends of the stages."""
        chosen = self.settings(architecture)
        g = GraphBuilder(task.shape)
        pool = chosen["reduction"] == "pool"
        stem = chosen["stem"]
        x = _entry(g, int(chosen["stage1.width"] if stem == "none" else stem), full=stem != "none")
        for stage in range(1, STAGES + 1):
            block, width = chosen[f"stage{stage}.block"], int(chosen[f"stage{stage}.width"])
            kernel, expansion = int(chosen[f"stage{stage}.kernel"]), int(chosen[f"stage{stage}.expansion"])
            gate = chosen[f"stage{stage}.gate"] == "squeeze"
            with g.scope(f"stage{stage}"):
                if stage > 1 or stem != "none":
                    with g.scope("transition"):
                        if block == "residual":
                            x = _convolution(g, x, width, halve=True, pool=pool)
                        else:
                            x = _inverted(g, x, width, kernel, expansion, gate, halve=True)
                for number in range(1, int(chosen[f"stage{stage}.depth"]) + 1):
                    with g.scope(f"block{number}"):
                        if block == "residual":
                            x = _residual(g, x, gate)
                        else:
                            x = _inverted(g, x, width, kernel, expansion, gate)
            g.mark(f"stage{stage}", x)
        return g.finish(g.linear(g.global_pool(x), task.classes, name="classifier"))


def _entry(g: GraphBuilder, width: int, *, full: bool) -> int:
    """Strided convolutions down to 48 pixels, then one at full resolution, or one more strided one in its place."""
    x = g.input
    with g.scope("stem"):
        while min(g.shape(x)[1:]) > LARGEST_ENTRY:
            x = _convolution(g, x, width, halve=True)
        if full:
            return x if x != g.input else _convolution(g, x, width)
        return _convolution(g, x, width, halve=True)


def _convolution(g: GraphBuilder, x: int, width: int, kernel: int = 3, *, halve: bool = False, pool: bool = False) -> int:
    """Convolution, normalisation, ReLU; halving, where the map is large enough, by stride or by a maximum."""
    side = min(g.shape(x)[1:])
    halve = halve and (side // 2 if pool else (side + 1) // 2) >= SMALLEST_MAP
    x = g.conv(x, width, kernel, stride=2 if halve and not pool else 1)
    if halve and pool:
        x = g.max_pool(x, 2, stride=2)
    return g.relu(g.batch_norm(x))


def _residual(g: GraphBuilder, x: int, gate: bool) -> int:
    """relu(x + two 3 x 3 convolutions)."""
    width = g.shape(x)[0]
    inner = g.batch_norm(g.conv(_convolution(g, x, width), width, 3))
    return g.relu(g.add(_gated(g, inner) if gate else inner, x))


def _inverted(g: GraphBuilder, x: int, width: int, kernel: int, expansion: int, gate: bool, *, halve: bool = False) -> int:
    """Expansion, depthwise convolution, gate, projection; with a skip where input and output have one shape."""
    channels, *sides = g.shape(x)
    inner = x
    if expansion > 1:
        inner = g.relu(g.batch_norm(g.conv(x, channels * expansion, 1, name="expand"), name="expand_norm"))
    stride = 2 if halve and (min(sides) + 1) // 2 >= SMALLEST_MAP else 1
    hidden = g.shape(inner)[0]
    inner = g.relu(
        g.batch_norm(g.conv(inner, hidden, kernel, stride=stride, groups=hidden, name="depthwise"), name="depthwise_norm")
    )
    if gate:
        inner = _gated(g, inner)
    inner = g.batch_norm(g.conv(inner, width, 1, name="project"), name="project_norm")
    return g.add(inner, x) if g.shape(inner) == g.shape(x) else inner


def _gated(g: GraphBuilder, x: int) -> int:
    """The map times a gate per channel that is computed from its mean."""
    width = g.shape(x)[0]
    with g.scope("gate"):
        squeezed = g.relu(g.conv(g.global_pool(x, keep=True), max(4, width // 4), 1, bias=True, name="squeeze"))
        return g.multiply(x, g.activation(g.conv(squeezed, width, 1, bias=True, name="excite"), "sigmoid"))
