"""A whole space in one module; which architecture it is depends on the gates.

A supernet owns weights and nothing else. Gates, a matrix (G, O) with a row per question and a column per option, come with every
call: those of an architecture make it that architecture, and any others a mixture. Nor does it keep running statistics, which mean
nothing where paths share weights: normalisations use the statistics of the batch, or those that `recalibrated` collects for one
path. So a call changes nothing, and virtual steps, finite differences and inner loops need no copies and no clean-up.

Two ways to run (`execute`):
    selected  only the terms whose gates are not nought are computed. Where gates are one-hot the cost is that of one network, and
              weights off the path get no gradient at all: `grad` stays None, so that optimizers skip them (no momentum, no decay).
    all       every term is computed, also behind gates of nought: the gradient of every gate is there (a full straight-through
              estimator; mixtures that pass through nought).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.highway import ACTIVATIONS, HighwayNetwork, possible_edges
from archscout.core.operations import OperationGraph, Pair
from archscout.core.problem import Task
from archscout.core.protocols import SharedSpace, Space, SplitSpace
from archscout.nn.executor import Init, Program, Statistics, WeightBank, Weights
from archscout.nn.network import Network, place

Execute = Literal["selected", "all"]
_KEPT_PROGRAMS = 64
_RESULTS = 8
"""Of a recurrent cell, for each lane: state, product (two), gate, activation, their products."""
_VIEWS = ("input", "narrow", "zero")


class Supernet(nn.Module, ABC):
    """What the folded networks of all spaces have in common; made by `supernet_of`.

    space: the folded one. valid: (G, O) bool, which gates are options of their row; the others stand for nothing and are 0.
    """

    def __init__(self, space: SharedSpace) -> None:
        super().__init__()
        self.space = space
        self.valid = torch.zeros(len(space.gates), max(len(row.options) for row in space.gates), dtype=torch.bool)
        for row, decision in enumerate(space.gates):
            self.valid[row, : len(decision.options)] = True

    @property
    def gate_shape(self) -> tuple[int, int]:
        """(G, O)."""
        rows, columns = self.valid.shape
        return rows, columns

    @property
    def depths(self) -> tuple[float, ...]:
        """(P,) of the terms that drop-path may drop, how deep each lies in the network (0..1); none where there is no drop-path."""
        return ()

    @abstractmethod
    def forward(self, x: Tensor, gates: Tensor, *, execute: Execute = "selected", weights: Weights | None = None) -> Tensor:
        """Images (B, C, H, W) or tokens (B, L), and gates (G, O) -> logits (B, K) or (B, L, K).

        Gradients reach the weights and those gates that were computed. weights: by name in place of the module's own.
        """

    def gates(self, architecture: Architecture) -> Tensor:
        """(G, O), rows one-hot or all nought."""
        gates = torch.zeros(self.gate_shape)
        for row, column in self.space.opened(architecture):
            gates[row, column] = 1.0
        return gates

    def derive(self, weights: Tensor) -> Architecture:
        """The architecture that weights (G, O), not negative, speak for."""
        return self.space.derived(weights.detach().cpu().double().numpy())

    @abstractmethod
    def active_parameters(self, architecture: Architecture) -> frozenset[str]:
        """The names of the weights that the architecture's path touches."""

    @abstractmethod
    def extract(self, architecture: Architecture) -> nn.Module:
        """A stand-alone network with a copy of the path's weights.

        It is the supernet's path, not what `space.build` builds: normalisations may lack scales, or be there at all.
        """

    @abstractmethod
    def cost(self, architecture: Architecture) -> Mapping[str, int]:
        """`params` and `macs` (for one input) of the path."""

    @abstractmethod
    def reset(self, seed: int, init: Init = "default") -> None:
        """Draw all weights anew."""


class GraphSupernet(Supernet):
    """The folded network of a space of operation graphs: x (B, C, H, W), gates (G, O) -> logits (B, K).

    seed, init: of the weights (`nn.executor.WeightBank`); `reset` draws them anew.
    """

    def __init__(self, space: SharedSpace, graph: OperationGraph, *, seed: int = 0, init: Init = "default") -> None:
        super().__init__(space)
        self.graph = graph
        rows = {row for row, _ in graph.gates}
        if idle := [row.name for number, row in enumerate(space.gates) if number not in rows and len(row.options) > 1]:
            raise UserError(
                f"in a supernet of this size nothing depends on {len(idle)} of its {len(space.gates)} questions, such as "
                f"'{idle[0]}'; make it deeper (depth)"
            )
        for name, tensor in WeightBank().draw(self.graph, seed, init).items():
            place(self, name, nn.Parameter(tensor.clone()))
        self._program = lru_cache(_KEPT_PROGRAMS)(self._planned)
        self._droppable = [self.graph.operations[position].name for position in self.graph.paths]

    @property
    def depths(self) -> tuple[float, ...]:
        """(P,) of the terms that drop-path may drop, how deep each lies in the network (0..1)."""
        return tuple(self.graph.paths.values())

    def forward(
        self, x: Tensor, gates: Tensor, *, execute: Execute = "selected", weights: Weights | None = None,
        statistics: Statistics | None = None, kept: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """(B, C, H, W), (G, O) -> logits (B, K). Gradients reach the weights and those gates that were computed.

        weights: by name in place of the module's own. statistics: of the normalisations; those of the batch without them.
        kept: (B, P) factors for the terms of `depths`: 0 where drop-path drops one; None for 1 throughout.
        """
        program = self._program(self.graph.gates if execute == "all" else opened(gates))
        found = dict(self.named_parameters()) if weights is None else weights
        factors = None if kept is None else dict(zip(self._droppable, kept.unbind(1), strict=True))
        gates = gates.to(next(iter(found.values())))
        [logits] = program.run(found, x, gates=gates, statistics=statistics, kept=factors)
        return logits

    def path(self, architecture: Architecture) -> OperationGraph:
        """The architecture as a stand-alone network, with the supernet's names of weights."""
        return self.graph.opened(self.space.opened(architecture), plain=True)

    def active_parameters(self, architecture: Architecture) -> frozenset[str]:
        """The names of the weights that the architecture's path touches."""
        graph = self.path(architecture)
        names = {f"{operation.name}.{part}" for operation in graph.operations for part in ("weight", "bias")}
        return frozenset(names & {name for name, _ in self.named_parameters()})

    def extract(self, architecture: Architecture) -> Network:
        """A stand-alone network with a copy of the path's weights; its running statistics are those of a fresh network.

        It is the supernet's path, not what `space.build` builds: normalisations may lack scales, poolings may be normalised.
        """
        own = dict(self.named_parameters())
        network = Network(self.path(architecture)).to(next(iter(own.values())))
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(own[name])
        return network

    def cost(self, architecture: Architecture) -> Mapping[str, int]:
        """`params` and `macs` (for one input) of the path."""
        graph = self.path(architecture)
        return {"params": graph.params, "macs": graph.macs}

    def recalibrated(self, gates: Tensor, batches: Iterable[Tensor]) -> Statistics:
        """The mean statistics of the normalisations of these gates over some batches of images, for `forward`."""
        statistics = Statistics(self.graph, next(self.parameters()).detach(), momentum=None)
        with torch.no_grad():
            for x in batches:
                self(x, gates, statistics=statistics)
        statistics.moving = False
        return statistics

    def reset(self, seed: int, init: Init = "default") -> None:
        """Draw all weights anew."""
        fresh = WeightBank().draw(self.graph, seed, init)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(fresh[name])

    def _planned(self, gates: frozenset[Pair]) -> Program:
        return Program(self.graph if gates >= self.graph.gates else self.graph.opened(gates))


def opened(gates: Tensor) -> frozenset[Pair]:
    """The (row, column) of the gates that are not nought."""
    return frozenset((row, column) for row, column in gates.detach().nonzero().tolist())


def supernet_of(
    space: Space, task: Task, *, seed: int, init: Init = "default", channels: int = 0, depth: int = 0, partial: int = 1
) -> Supernet:
    """The supernet of a space. channels, depth: its size where not 0. partial: operations see one of so many channels.

    Raises UserError where the space has none, or no channels to go by its operations.
    """
    from archscout.nn.recurrent_supernet import RecurrentSupernet

    sized = _sized(space, channels, depth)
    folded = _folded(sized, task, partial)
    if isinstance(folded, OperationGraph):
        return GraphSupernet(sized, folded, seed=seed, init=init)
    return RecurrentSupernet(sized, folded, seed=seed, init=init)


def activations(
    space: Space, task: Task, batch: int, channels: int = 0, depth: int = 0, partial: int = 1, *, path: bool = False
) -> int:  # fmt: skip
    """Bytes of all results of a batch in that supernet: about what a backward pass through the mixture keeps.

    path: of one path in place of the mixture, the largest of those that take the same option in every row.
    """
    sized = _sized(space, channels, depth)
    folded = _folded(sized, task, partial)
    if not isinstance(folded, OperationGraph):
        lanes = folded.nodes
        if not path:
            lanes = len(possible_edges(folded.nodes)) * (1 if folded.share == "node" else len(ACTIVATIONS))
        return 4 * batch * folded.length * (2 * folded.vocabulary + _RESULTS * lanes * folded.size)
    graphs = [folded]
    if path:
        graphs = [folded.opened(gates, plain=True) for gates in even_paths(sized)]
    return max(bytes_of_results(graph, batch) for graph in graphs)


def even_paths(space: SharedSpace) -> list[list[Pair]]:
    """The (row, column) gates of the paths that take the same option in every row, or the last one where there are fewer."""
    most = max(len(row.options) for row in space.gates)
    return [[(n, min(option, len(row.options) - 1)) for n, row in enumerate(space.gates)] for option in range(most)]


def bytes_of_results(graph: OperationGraph, batch: int) -> int:
    """Of all operations of a network on a batch, in float32; views of other results have none."""
    return 4 * batch * sum(prod(operation.shape) for operation in graph.operations if operation.kind not in _VIEWS)


def _folded(space: SharedSpace, task: Task, partial: int) -> OperationGraph | HighwayNetwork:
    if partial == 1:
        return space.supernet(task)
    if not isinstance(space, SplitSpace):
        raise UserError("'partial' lets channels go by the operations of an edge, which this space does not know; leave it at 1")
    return space.partial_supernet(task, partial)


def _sized(space: Space, channels: int, depth: int) -> SharedSpace:
    if not isinstance(space, SharedSpace):
        raise UserError(
            f"the space '{space.name}' has no supernet, which this method needs; choose one that has, such as nas201 or darts"
        )
    try:
        sized = space.sized(channels, depth)
    except ValueError as error:
        raise UserError(f"there is no supernet of '{space.name}' with {channels} channels and depth {depth}: {error}") from error
    assert isinstance(sized, SharedSpace) and sized.gates == space.gates, "a size should change no question"
    return sized
