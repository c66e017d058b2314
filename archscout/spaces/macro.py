"""NAS-Bench-Macro: a chain of eight layers, each an identity or one of two inverted residual blocks; 6,561 networks.

Su et al. 2021 (arXiv 2103.11922). A 3 x 3 convolution to 32 channels, three stages of 2, 3 and 3 layers, a 1 x 1 convolution to
1280 channels, the mean and a linear layer. The first layer of a stage halves the map and doubles the channels; its identity is a
1 x 1 convolution with that stride and a normalisation. An inverted residual block (Sandler et al. 2018, arXiv 1801.04381) widens
its input 3 or 6 times, filters each channel by 3 x 3 or 5 x 5, and narrows again, with a skip where the shape stays.

Deviations: none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.spaces._bottleneck import bottleneck, conv_norm, conv_norm_relu
from archscout.spaces._graphed import Graphed

OPERATIONS = ("identity", "mb3_k3", "mb6_k5")
STAGES = (2, 3, 3)
DECISIONS = tuple(Decision(f"layer {layer + 1}", OPERATIONS) for layer in range(sum(STAGES)))
_EXPANSION_AND_KERNEL = {"mb3_k3": (3, 3), "mb6_k5": (6, 5)}
_TEXT = re.compile(f"[0-{len(OPERATIONS) - 1}]{{{len(DECISIONS)}}}")


@dataclass(frozen=True)
class Macro(Graphed):
    """The NAS-Bench-Macro space.

    channels: of the first convolution; the three stages have 2, 4 and 8 times as many. 32 in the benchmark.
    head: channels before the classifier; 1280 in the benchmark.
    """

    channels: int = 32
    head: int = 1280

    def __post_init__(self) -> None:
        if self.channels < 1 or self.head < 1:
            raise ValueError(f"channels and head must be at least 1, but {self.channels} and {self.head} came")

    @property
    def name(self) -> str:
        """macro."""
        return "macro"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per layer, from the image to the classifier."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The network with these layers. Every tuple is legal and stands for itself."""
        return checked(self.name, DECISIONS, tuple(choices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, stage3."""
        builder = GraphBuilder(task.shape)
        with builder.scope("stem"):
            x = conv_norm_relu(builder, builder.input, self.channels, 3)
        layers = iter(architecture.choices)
        for stage, length in enumerate(STAGES, start=1):
            for layer in range(length):
                with builder.scope(f"stage{stage}.layer{layer + 1}"):
                    x = _layer(builder, x, OPERATIONS[next(layers)], self.channels << stage, 1 if layer else 2)
            builder.mark(f"stage{stage}", x)
        with builder.scope("head"):
            x = builder.global_pool(conv_norm_relu(builder, x, self.head, 1))
            return builder.finish(builder.linear(x, task.classes))

    def genotype(self, architecture: Architecture) -> str:
        """The published digits, one per layer, such as 22212202."""
        return "".join(map(str, architecture.choices))

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of published digits; None where `text` is anything else."""
        text = text.strip()
        return self.architecture([int(digit) for digit in text]) if _TEXT.fullmatch(text) else None

    def signature(self, architecture: Architecture) -> str:
        """The digits with the identities of a stage (but for its first layer) moved to its end; there are 3,969.

        Networks of one signature are the same; the benchmark trained one of them and records its values for all.
        """
        digits, parts = self.genotype(architecture), []
        for length in STAGES:
            stage, digits = digits[:length], digits[length:]
            parts.append(stage[0] + stage[1:].replace("0", "").ljust(length - 1, "0"))
        return "".join(parts)


def _layer(builder: GraphBuilder, x: int, operation: str, channels: int, stride: int) -> int:
    if operation == "identity":
        return x if stride == 1 else conv_norm(builder, x, channels, 1, stride)
    expansion, kernel = _EXPANSION_AND_KERNEL[operation]
    inner = bottleneck(builder, x, channels, kernel, expansion, stride)
    return builder.add(inner, x) if stride == 1 else inner
