"""All recurrent cells of highway nodes in one language model; gates say which (`nn.supernet`, `core.highway`).

A row of gates for every edge, a column for none and for every activation:
    s_i = sum over predecessors p < i and activations f of  g[p -> i, f] (s_p + sigmoid(c) (f(u) - s_p)),    [c, u] = (s_p m_h) W
with one W for each node, or one for each node, predecessor and activation. In the first case s_0 and all nodes are normalised by
the mean and variance of each step's batch (DARTS); that needs two sequences or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import sqrt

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.highway import ACTIVATIONS, HighwayNetwork, averaged, possible_edges
from archscout.core.operations import Pair
from archscout.core.protocols import SharedSpace
from archscout.nn.executor import Init, Weights
from archscout.nn.highway import ACTIVATION, NO_DROPOUT, RANGE, HighwayModel, Step, shapes, unrolled
from archscout.nn.network import place
from archscout.nn.recurrent import State
from archscout.nn.supernet import Execute, Supernet, opened

_KEPT_PLANS = 64


@dataclass(frozen=True)
class _Term:
    """What one activation does in a node: the gates of the lanes that go through it, and which of them are open."""

    activation: str
    gates: list[Pair]
    open: list[bool]


@dataclass(frozen=True)
class _Mixture:
    """A node as lanes, each a predecessor times a matrix. names: of the matrices, one for each lane or, where `shared`, for all.

    The terms of a shared matrix take in all lanes and are summed; those of others take in some each, one after another.
    """

    sources: list[int]
    names: list[str]
    shared: bool
    terms: list[_Term]


class RecurrentSupernet(Supernet):
    """The folded language model: tokens (B, L) int64, gates (G, O) -> logits (B, L, V).

    seed, init: of the weights; by default uniform within 0.04, and the decoder's bias is nought (as with all).
    """

    def __init__(self, space: SharedSpace, network: HighwayNetwork, *, seed: int = 0, init: Init = "default") -> None:
        super().__init__(space)
        self.network = network
        self._edges = possible_edges(network.nodes)
        self._every = frozenset((row, column) for row in range(len(self._edges)) for column in range(1, 1 + len(ACTIVATIONS)))
        names = dict.fromkeys(self._name(gate) for gate in sorted(self._every))
        for name, shape in shapes(network, list(names)):
            place(self, name, nn.Parameter(torch.empty(shape)))
        self._plan = lru_cache(_KEPT_PLANS)(self._planned)
        self.reset(seed, init)

    def forward(
        self, x: Tensor, gates: Tensor, *, execute: Execute = "selected", weights: Weights | None = None,
        states: Sequence[State] | None = None, generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """The logits (B, L, V); the arguments are those of `run`."""
        return self.run(x, gates, execute=execute, weights=weights, states=states, generator=generator)[0]

    def run(
        self, x: Tensor, gates: Tensor, *, execute: Execute = "selected", weights: Weights | None = None,
        states: Sequence[State] | None = None, generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[State]]:  # fmt: skip
        """(B, L), (G, O) -> the logits (B, L, V), and the hidden state after the last token.

        states: one layer of one (B, D), nought by default. generator: of the masks of dropout; nothing is dropped without it.
        """
        found = dict(self.named_parameters()) if weights is None else weights
        open_gates = opened(gates)
        plan = self._plan(self._every if execute == "all" else open_gates)
        steps = [_mixed(mixture, found, gates) for mixture in plan]
        outputs = averaged(self.network.nodes, self.network.ends, {self._edges[row][0] for row, column in open_gates if column})
        dropouts = NO_DROPOUT if generator is None else self.network.dropouts
        return unrolled(found, x, states, steps, outputs, dropouts=dropouts, generator=generator, normalised=self._normalised)

    def active_parameters(self, architecture: Architecture) -> frozenset[str]:
        """The names of the weights that the architecture's path touches."""
        return frozenset(name for name, _ in shapes(self.network, self._path(architecture)))

    def extract(self, architecture: Architecture) -> HighwayModel:
        """A stand-alone network with a copy of the path's weights, normalised where the supernet is."""
        own = dict(self.named_parameters())
        nodes = [(self._edges[row][0], ACTIVATIONS[column - 1]) for row, column in sorted(self.space.opened(architecture))]
        model = HighwayModel(self.network, nodes, self._path(architecture), normalised=self._normalised)
        model.to(own["bias"])
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(own[name])
        return model

    def cost(self, architecture: Architecture) -> Mapping[str, int]:
        """`params` and `macs` (for one window) of the path; the same for all architectures."""
        return {"params": self.network.params, "macs": self.network.macs}

    def reset(self, seed: int, init: Init = "default") -> None:
        """Draw all weights anew, on the CPU whatever the device, so that a seed means the same everywhere."""
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                fresh = torch.zeros(parameter.shape)
                fan_in = parameter.shape[-1 if name == "embedding.weight" else 0]  # the embedding is read as the decoder
                match init:
                    case _ if name == "bias":
                        pass
                    case "default":
                        fresh.uniform_(-RANGE, RANGE, generator=source)
                    case "kaiming-normal":
                        fresh.normal_(std=sqrt(2 / fan_in), generator=source)
                    case "normal":
                        fresh.normal_(generator=source)
                parameter.copy_(fresh)

    @property
    def _normalised(self) -> bool:
        return self.network.share == "node"

    def _path(self, architecture: Architecture) -> list[str]:
        """The names of the matrices of the architecture's nodes."""
        return [self._name(gate) for gate in sorted(self.space.opened(architecture))]

    def _name(self, gate: Pair) -> str:
        """Of the matrix behind a gate."""
        (source, node), activation = self._edges[gate[0]], ACTIVATIONS[gate[1] - 1]
        return f"node{node}.weight" if self.network.share == "node" else f"node{node}.s{source}.{activation}.weight"

    def _planned(self, gates: frozenset[Pair]) -> list[_Mixture]:
        """How the terms of these gates are computed."""
        found: list[list[Pair]] = [[] for _ in range(self.network.nodes)]
        for column, row in sorted((column, row) for row, column in gates if column):
            found[self._edges[row][1] - 1].append((row, column))
        return [self._mixture(of_node) for of_node in found]

    def _mixture(self, gates: list[Pair]) -> _Mixture:
        """gates: of a node, by activation and then by source."""
        shared = self.network.share == "node"
        rows = sorted({row for row, _ in gates}) if shared else [row for row, _ in gates]
        terms = []
        for column in sorted({column for _, column in gates}):
            taken = [(row, column) for row in rows] if shared else [gate for gate in gates if gate[1] == column]
            terms.append(_Term(ACTIVATIONS[column - 1], taken, [gate in gates for gate in taken]))
        return _Mixture([self._edges[row][0] for row in rows], list(dict.fromkeys(map(self._name, gates))), shared, terms)


def _mixed(mixture: _Mixture, weights: Weights, gates: Tensor) -> Step:
    """The sum of a node's terms; nought where there are none."""
    if not mixture.terms:
        return lambda states, read: torch.zeros_like(states[0])
    matrices = [weights[name] for name in mixture.names]
    matrix = matrices[0] if len(matrices) == 1 else torch.stack(matrices)
    scales = [_scale(gates, term).to(matrix) for term in mixture.terms]
    scale = _joined(scales, mixture.shared)

    sizes = [len(term.gates) for term in mixture.terms]

    def step(states: Sequence[Tensor], read: Sequence[Tensor]) -> Tensor:
        # The terms of a lane differ in f(u) alone: sum g (s + sigmoid(c) (f(u) - s)) = G s + sigmoid(c) (sum g f(u) - G s).
        state = _stacked(states, mixture.sources)
        product = (state if read[0] is states[0] else _stacked(read, mixture.sources)) @ matrix
        gate, new = product.chunk(2, -1)
        parts = [new] * len(sizes) if mixture.shared else torch.split(new, sizes)
        terms = zip(scales, mixture.terms, parts, strict=True)
        value = _joined([factor * ACTIVATION[term.activation](part) for factor, term, part in terms], mixture.shared)
        kept = scale * state
        return torch.addcmul(kept, torch.sigmoid(gate), value - kept).sum(0)

    return step


def _scale(gates: Tensor, term: _Term) -> Tensor:
    """(J, 1, 1): the term's gates, of which shut ones get no gradient."""
    rows, columns = (list(places) for places in zip(*term.gates, strict=True))
    found = gates[rows, columns]
    return (found if all(term.open) else found * torch.tensor(term.open, device=gates.device))[:, None, None]


def _joined(parts: list[Tensor], shared: bool) -> Tensor:
    """The sum of what all lanes contribute, or what some lanes each contribute one after another."""
    return reduce(torch.add, parts) if shared or len(parts) == 1 else torch.cat(parts)


def _stacked(states: Sequence[Tensor], numbers: list[int]) -> Tensor:
    """(J, B, D) of J states (B, D)."""
    return states[numbers[0]][None] if len(numbers) == 1 else torch.stack([states[number] for number in numbers])
