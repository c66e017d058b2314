"""A space small enough to train every network of it alone, and images that tell apart what its operations can do.

Three edges between three nodes, each a skip, a mean or a convolution: 27 networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.seeds import generator
from archscout.nn.batches import ImageSplit
from archscout.nn.network import Network

OPERATIONS = ("skip", "avg_pool_3x3", "conv_3x3")
EDGES = ((0, 1), (0, 2), (1, 2))
DECISIONS = tuple(Decision(f"{source}->{node}", OPERATIONS) for source, node in EDGES)
_SIDE, _CLASSES, _CONTRAST = 8, 4, 22.0


@dataclass(frozen=True)
class SmallSpace:
    """All networks of a stem, one cell and a classifier. channels: throughout."""

    channels: int = 4

    @property
    def name(self) -> str:
        """small."""
        return "small"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The operation of each edge."""
        return DECISIONS

    gates = decisions

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """Every tuple is legal."""
        return checked(self.name, DECISIONS, tuple(choices))

    def every(self) -> list[Architecture]:
        """All 27."""
        return [self.architecture(choices) for choices in product(range(len(OPERATIONS)), repeat=len(EDGES))]

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The network."""

        def edge(builder: GraphBuilder, x: int, place: int) -> list[_Term]:
            option = architecture.choices[place]
            return [(_branch(builder, x, OPERATIONS[option]), (place, option))]

        return self._network(task, edge, lambda builder, terms: builder.add(*(x for x, _ in terms)))

    def supernet(self, task: Task) -> OperationGraph:
        """All networks in one."""

        def edge(builder: GraphBuilder, x: int, place: int) -> list[_Term]:
            terms = []
            for option, operation in enumerate(OPERATIONS):
                with builder.scope(operation):
                    term = _branch(builder, x, operation)
                terms.append((term if term == x else builder.droppable(term), (place, option)))
            return terms

        return self._network(task, edge, GraphBuilder.mix)

    def build(self, architecture: Architecture, task: Task) -> Network:
        """The network as a module."""
        return Network(self.operations(architecture, task))

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of each edge."""
        return tuple(enumerate(architecture.choices))

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """The strongest operation of each edge."""
        return self.architecture([int(choice) for choice in weights.argmax(1)])

    def sized(self, channels: int = 0, depth: int = 0) -> SmallSpace:
        """The same space with other channels."""
        return SmallSpace(channels or self.channels)

    def _network(self, task: Task, edge: _Edge, joined: Callable[[GraphBuilder, list[_Term]], int]) -> OperationGraph:
        builder = GraphBuilder(task.shape)
        with builder.scope("stem"):
            nodes = [builder.batch_norm(builder.conv(builder.input, self.channels, 3))]
        for node in (1, 2):
            terms = []
            for place, (source, target) in enumerate(EDGES):
                if target == node:
                    with builder.scope(f"edge{source}{target}"):
                        terms += edge(builder, nodes[source], place)
            nodes.append(joined(builder, terms))
        with builder.scope("head"):
            return builder.finish(builder.linear(builder.global_pool(builder.relu(nodes[-1])), task.classes))


_Term = tuple[int, tuple[int, int]]
"""A result and its gate."""
_Edge = Callable[[GraphBuilder, int, int], list[_Term]]
"""(builder, source, number of the edge) -> terms."""


def _branch(builder: GraphBuilder, x: int, operation: str) -> int:
    match operation:
        case "skip":
            return x
        case "avg_pool_3x3":
            return builder.avg_pool(x, 3)
        case _:
            return builder.batch_norm(builder.conv(builder.relu(x), builder.shape(x)[0], 3))


def grating_task(rows: int, seed: int = 0) -> Task:
    """Noise images (1, 8, 8), each with a faint grating whose direction, of four, tells its class. rows: of either split."""
    splits = {name: _gratings(rows, generator(seed, "gratings", name)) for name in ("train", "valid")}
    return Task("gratings", IMAGE_CLASSIFICATION, (1, _SIDE, _SIDE), _CLASSES, f"gratings {rows} {seed}", splits)


def _gratings(rows: int, rng: np.random.Generator) -> ImageSplit:
    labels = np.arange(rows) % _CLASSES
    angle, phase = (np.pi * labels / _CLASSES)[:, None, None], rng.uniform(0, 2 * np.pi, (rows, 1, 1))
    down, right = np.mgrid[:_SIDE, :_SIDE]
    waves = np.cos(np.pi / 2 * (np.cos(angle) * right + np.sin(angle) * down) + phase)
    images = np.clip(128 + _CONTRAST * waves + rng.normal(0, 40, waves.shape), 0, 255).astype(np.uint8)[..., None]
    return ImageSplit(images, labels.astype(np.int64), np.arange(rows), (0.5,), (0.16,))
