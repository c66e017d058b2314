"""ProxylessNAS-type mobile networks: a chain of inverted residual blocks of fixed widths; kernels and expansions are searched.

Cai, Zhu and Han 2019 (arXiv 1812.00332), as searched by Zheng et al. 2019 (MDENAS, arXiv 1905.07529). A 3 x 3 convolution, stages
of blocks (Sandler et al. 2018, arXiv 1801.04381), a 1 x 1 convolution, the mean and a linear layer. Each block filters its channels
by 3 x 3, 5 x 5 or 7 x 7, and widens its input 1, 3 or 6 times before; where input and output have one shape it has a skip.

Skeletons: `gpu` (14 blocks) and `cpu` (20) have the widths and strides that ProxylessNAS found for those devices at 224 pixels.
`small`, which is ours, has three stages for images of 28 to 64 pixels, each of which halves the map; widths double, and the last
convolution has four times the channels of the last stage, as in `gpu`.

How many blocks a stage has, and the 1,432 channels at the end of `cpu`, are from memory of ProxylessNAS' figure. They agree with
the 14 and 20 blocks of MDENAS, and give ProxylessNAS' own networks 7.1 and 4.4 million parameters, as published.

Deviations: ReLU, not ReLU6. Normalisations add 1e-5 to the variance (published: 1e-3). There is no dropout before the classifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Task
from archscout.spaces._bottleneck import bottleneck, conv_norm_relu
from archscout.spaces._graphed import Graphed

BLOCKS = tuple((kernel, expansion) for kernel in (3, 5, 7) for expansion in (1, 3, 6))
SKIP = "skip"
_OPTIONS = tuple(f"{kernel}x{kernel} x{expansion}" for kernel, expansion in BLOCKS)
_NO_BLOCK = (0, 0)
"""How a gene writes a skip."""
_KNOWN = {"MDENAS_GPU": "(7,6)(5,6)(7,3)(3,6)(5,6)(3,1)(7,3)(7,6)(3,3)(3,6)(7,3)(3,3)(3,3)(5,6)"}
_GENE = re.compile(r"\((\d),(\d)\)")
_TEXT = re.compile(rf"(?:{_GENE.pattern}){{1,100}}")


class _Stage(NamedTuple):
    channels: int
    blocks: int
    stride: int


class _Skeleton(NamedTuple):
    """Channels of the first convolution and its stride, the stages, channels of the last convolution."""

    stem: int
    stride: int
    stages: tuple[_Stage, ...]
    head: int


class _Position(NamedTuple):
    """Where a block stands: stage and place in it, both from 1."""

    stage: int
    place: int


_PUBLISHED = {
    "gpu": _Skeleton(
        40, 2, (_Stage(24, 1, 1), _Stage(32, 1, 2), _Stage(56, 2, 2), _Stage(112, 2, 2), _Stage(128, 3, 1), _Stage(256, 4, 2),
                _Stage(432, 1, 1)), 1728,
    ),
    "cpu": _Skeleton(
        40, 2, (_Stage(24, 1, 1), _Stage(32, 4, 2), _Stage(48, 4, 2), _Stage(88, 2, 2), _Stage(104, 4, 1), _Stage(216, 4, 2),
                _Stage(360, 1, 1)), 1432,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Proxyless(Graphed):
    """Chains of inverted residual blocks of fixed widths.

    skeleton: "small", for images of 28 to 64 pixels, or the published "gpu" and "cpu", for those of about 224.
    channels, depth: of the first stage, and blocks per stage; they size `small` only.
    skip: whether blocks that keep the shape may be left out, so that the depth is searched too; not so in the published searches.
    """

    skeleton: Literal["small", "gpu", "cpu"] = "small"
    channels: int = 16
    depth: int = 3
    skip: bool = False

    def __post_init__(self) -> None:
        if self.skeleton not in ("small", *_PUBLISHED):
            raise ValueError(f"skeleton must be 'small', 'gpu' or 'cpu', but '{self.skeleton}' came")
        if self.channels < 1 or self.depth < 1:
            raise ValueError(f"channels and depth must be at least 1, but {self.channels} and {self.depth} came")

    @property
    def name(self) -> str:
        """proxyless."""
        return "proxyless"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """One decision per block, from the image to the classifier."""
        return tuple(
            Decision(f"stage {stage} block {place}", (*_OPTIONS, SKIP) if self.skip and place > 1 else _OPTIONS)
            for stage, place in self._positions
        )

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The network with these blocks. Every tuple is legal and stands for itself."""
        return checked(self.name, self.decisions, tuple(choices))

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network: images (C, H, W) of the task -> its K logits. Marks: stage1, stage2, ..."""
        chosen = dict(zip(self._positions, architecture.choices, strict=True))

        def layer(builder: GraphBuilder, x: int, at: _Position, stage: _Stage) -> int:
            if chosen[at] == len(BLOCKS):
                return x
            block = bottleneck(builder, x, stage.channels, *BLOCKS[chosen[at]], stage.stride if at.place == 1 else 1)
            return block if at.place == 1 else builder.add(builder.droppable(block), x)

        return self._network(task, layer)

    def supernet(self, task: Task) -> OperationGraph:
        """All networks in one: every block is the sum of all blocks, each with weights of its own behind its gate, and the skip."""
        rows = {position: row for row, position in enumerate(self._positions)}

        def layer(builder: GraphBuilder, x: int, at: _Position, stage: _Stage) -> int:
            terms = []
            for option, (kernel, expansion) in enumerate(BLOCKS):
                with builder.scope(f"kernel{kernel}_expansion{expansion}"):
                    block = bottleneck(builder, x, stage.channels, kernel, expansion, stage.stride if at.place == 1 else 1)
                terms.append((block if at.place == 1 else builder.droppable(block), (rows[at], option)))
            mixture = builder.mix(terms)
            return mixture if at.place == 1 else builder.add(mixture, x)

        return self._network(task, layer)

    @property
    def gates(self) -> tuple[Decision, ...]:
        """A row of gates per block; a block that is left out has no term, for the skip around it is always there."""
        return self.decisions

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of each block."""
        return tuple(enumerate(architecture.choices))

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """The strongest option of each block, from weights (blocks, 9), or 10 columns with `skip`; of equal ones the first."""
        rows = zip(weights, self.decisions, strict=True)
        return self.architecture([int(row[: len(decision.options)].argmax()) for row, decision in rows])

    def sized(self, channels: int = 0, depth: int = 0) -> Proxyless:
        """The same space with other channels; 0 keeps them. Depth is a matter of decisions here and stays.

        Raises UserError for channels of a published skeleton.
        """
        if self.skeleton in _PUBLISHED and channels:
            raise UserError(
                f"the skeleton '{self.skeleton}' of proxyless has published widths, but {channels} channels were asked for; "
                "ask for 0, or take the skeleton 'small' (space.skeleton)"
            )
        return replace(self, channels=channels or self.channels)

    def genotype(self, architecture: Architecture) -> str:
        """The published gene: (kernel,expansion) of each block, such as (7,6)(5,6)...; (0,0) is a block that is left out."""
        return "".join(f"({kernel},{expansion})" for kernel, expansion in ((*BLOCKS, _NO_BLOCK)[c] for c in architecture.choices))

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a gene or of a known name (MDENAS_GPU); None where `text` is neither.

        Raises UserError for genes that this space does not hold.
        """
        text = _KNOWN.get(text.strip().upper(), text.strip())
        if _TEXT.fullmatch(text) is None:
            return None
        genes = [(int(kernel), int(expansion)) for kernel, expansion in _GENE.findall(text)]
        if len(genes) != len(self.decisions):
            raise UserError(
                f"proxyless with the skeleton '{self.skeleton}' has {len(self.decisions)} blocks, but a gene of {len(genes)} came; "
                "'gpu' has 14, 'cpu' 20: give the skeleton of this one (space.skeleton)"
            )
        choices = []
        for decision, gene in zip(self.decisions, genes, strict=True):
            known = (*BLOCKS, _NO_BLOCK)[: len(decision.options)]
            if gene not in known:
                raise UserError(
                    f"the {decision.name} of proxyless is one of {', '.join(map(str, known))}, but {gene} came; change it, or let "
                    "blocks that keep the shape be left out with space.skip"
                )
            choices.append(known.index(gene))
        return self.architecture(choices)

    def signature(self, architecture: Architecture) -> str:
        """The gene with the blocks that are left out moved to the end of their stage, where they make the same network."""
        moved = sorted(
            zip(self._positions, architecture.choices, strict=True), key=lambda found: (found[0].stage, found[1] == len(BLOCKS))
        )
        return self.genotype(self.architecture([choice for _, choice in moved]))

    @cached_property
    def _skeleton(self) -> _Skeleton:
        if self.skeleton in _PUBLISHED:
            return _PUBLISHED[self.skeleton]
        stages = tuple(_Stage(self.channels << number, self.depth, 2) for number in range(3))
        return _Skeleton(self.channels, 1, stages, 4 * stages[-1].channels)

    @cached_property
    def _positions(self) -> tuple[_Position, ...]:
        stages = enumerate(self._skeleton.stages, start=1)
        return tuple(_Position(number, place) for number, stage in stages for place in range(1, stage.blocks + 1))

    def _network(self, task: Task, layer: _Layer) -> OperationGraph:
        builder, skeleton = GraphBuilder(task.shape), self._skeleton
        with builder.scope("stem"):
            x = conv_norm_relu(builder, builder.input, skeleton.stem, 3, skeleton.stride)
        for number, at in enumerate(self._positions, start=1):
            stage = skeleton.stages[at.stage - 1]
            with builder.scope(f"stage{at.stage}.block{at.place}", depth=number / len(self._positions)):
                x = layer(builder, x, at, stage)
            if at.place == stage.blocks:
                builder.mark(f"stage{at.stage}", x)
        with builder.scope("head"):
            x = builder.global_pool(conv_norm_relu(builder, x, skeleton.head, 1))
            return builder.finish(builder.linear(x, task.classes))


_Layer = Callable[[GraphBuilder, int, _Position, _Stage], int]
"""(builder, input, where, stage) -> output."""
