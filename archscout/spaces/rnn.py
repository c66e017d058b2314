"""The recurrent cells of ENAS, NAO and DARTS: every node reads one node before it, through one of four activations.

Pham et al. 2018 (arXiv 1802.03268), Luo et al. 2018 (arXiv 1808.07233), Liu, Simonyan and Yang 2019 (arXiv 1806.09055); equations
in `core.highway`. The network is a language model of one layer with tied embedding.

Choices: for each node its predecessor (of the first it is always s_0) and its activation. So every tuple of choices is legal and
stands for itself.

Deviations: the published trainings may drop whole words from the embedding, though all of them do so with chance 0; left out. The
supernet averages the nodes that the final cell averages, where NAO's counts s_0 in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import UserError
from archscout.core.highway import ACTIVATIONS, Dropouts, Ends, HighwayNetwork, Share, averaged, possible_edges
from archscout.core.problem import LANGUAGE_MODELLING, Task, TaskKind
from archscout.core.topology import Topology
from archscout.core.wiring import Sources
from archscout.spaces._genotypes import Edges, parse_recurrent, written_recurrent

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Rnn:
    """The recurrent cells of ENAS, NAO and DARTS.

    nodes: of the cell; 8 in DARTS, 11 in NAO. size: of all states and of the embedding; 300 in the published searches.
    ends: whose mean the output is: `all` nodes', or the `loose` ends', which no node reads (ENAS).
    share: what has a matrix of its own in the supernet: each `node` (DARTS, with normalised states), or each node, predecessor and
    activation, `node_prev_act` (ENAS, NAO).
    dropout_embedding, dropout_input, dropout_hidden, dropout_output: on the embedded tokens, on what the cell reads of them, on the
    states that nodes read, before the decoder; the same units for all steps. DARTS and NAO train with 0.2, 0.75, 0.25 and 0.75.
    """

    nodes: int = 8
    size: int = 850
    ends: Ends = "all"
    share: Share = "node"
    dropout_embedding: float = 0.0
    dropout_input: float = 0.0
    dropout_hidden: float = 0.0
    dropout_output: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.nodes < 100 or self.size < 1:
            raise ValueError(f"nodes lies between 1 and 99 and size is at least 1, but {self.nodes} and {self.size} came")
        for name, kind, value in (("ends", Ends, self.ends), ("share", Share, self.share)):
            if value not in get_args(kind):
                raise ValueError(f"{name} is {' or '.join(get_args(kind))}, but '{value}' came")
        if not all(0 <= share < 1 for share in vars(self._dropouts).values()):
            raise ValueError("the shares of dropout lie between 0 and 1")

    @property
    def name(self) -> str:
        """rnn."""
        return "rnn"

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Language modelling."""
        return (LANGUAGE_MODELLING,)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Per node its predecessor and its activation."""
        return _decisions(self.nodes)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The cell with these choices. Every tuple is legal and stands for itself."""
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """A freshly initialised language model: tokens (B, L) -> logits (B, L, V)."""
        from archscout.nn.highway import HighwayModel

        return HighwayModel(self.supernet(task), [(source, activation) for activation, source in _edges_of(architecture)])

    def counts(self, architecture: Architecture, task: Task) -> Mapping[str, int]:
        """The parameters, and the MACs of one window of L tokens; the same for all architectures."""
        network = self.supernet(task)
        return {"params": network.params, "macs": network.macs}

    def signature(self, architecture: Architecture) -> str:
        """The tree of activations that hangs from s_0, without the numbers of nodes: they only name the matrices."""
        edges = _edges_of(architecture)
        below: list[list[str]] = [[] for _ in range(len(edges) + 1)]
        for node in range(len(edges), 0, -1):
            activation, source = edges[node - 1]
            below[source].append(f"{activation}({' '.join(sorted(below[node]))})")
        return " ".join(sorted(below[0]))

    def cell(self, architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """s_0 of the token and the last state, a node for each activation, and the mean that is the new state."""
        edges = _edges_of(architecture)
        nodes = [("token and last state", ()), *((activation, (source,)) for activation, source in edges)]
        return (*nodes, ("mean: new state", tuple(self._averaged(edges))))

    def supernet(self, task: Task) -> HighwayNetwork:
        """All of the network but its edges."""
        [length] = task.shape
        return HighwayNetwork(length, task.classes, self.size, self.nodes, self.ends, self.share, self._dropouts)

    @property
    def gates(self) -> tuple[Decision, ...]:
        """A row of gates for each possible edge, by the node that reads; `none` comes first."""
        return tuple(Decision(f"edge {source}->{node}", ("none", *ACTIVATIONS)) for source, node in possible_edges(self.nodes))

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The gate of the activation on each node's edge."""
        rows = {edge: row for row, edge in enumerate(possible_edges(self.nodes))}
        return tuple(
            (rows[source, node], 1 + ACTIVATIONS.index(activation))
            for node, (activation, source) in enumerate(_edges_of(architecture), 1)
        )

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """Per node the edge and activation, other than `none`, of largest weight; of equal ones the earlier. (n (n + 1) / 2, 5)."""
        choices: list[int] = []
        start = 0
        for node in range(1, self.nodes + 1):
            strongest = int(weights[start : start + node, 1:].argmax())
            choices += divmod(strongest, len(ACTIVATIONS))
            start += node
        return self.architecture(choices)

    def sized(self, channels: int = 0, depth: int = 0) -> Rnn:
        """The same space with states of another size; 0 for at most 300, as published. There is one layer at any depth."""
        return replace(self, size=channels or min(self.size, 300))

    def fitted(self, task: Task, limits: Mapping[str, float]) -> Rnn:
        """The same space with states as large as the limits allow, in steps of 4."""
        from archscout.nn.measure import largest

        def count(size: int) -> Mapping[str, float]:
            network = replace(self, size=size).supernet(task)
            return {"params": network.params, "macs": network.macs}

        size = largest(self.size, count, limits)
        return replace(self, size=size - size % 4 if 4 < size < self.size else size)

    @property
    def wiring(self) -> Sources:
        """One source for every node."""
        return Sources(ACTIVATIONS, self.nodes, inputs=1, each=1)

    def topologies(self, architecture: Architecture) -> dict[str, Topology]:
        """The cell, whose input is s_0 and whose edges all have weights."""
        edges = _edges_of(architecture)
        return {"cell": Topology(tuple((edge,) for edge in edges), tuple(self._averaged(edges)), inputs=1, weighted=True)}

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of such a cell; what its output averages follows."""
        edges = (edge for node in cells["cell"].nodes for edge in node)
        return self.architecture([choice for activation, source in edges for choice in (source, ACTIVATIONS.index(activation))])

    def genotype(self, architecture: Architecture) -> str:
        """The published `Genotype(recurrent=[('tanh', 0), ...], concat=range(1, 9))`: activation and predecessor of each node."""
        edges = _edges_of(architecture)
        return written_recurrent(edges, self._averaged(edges))

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a genotype or of a known name (NAO, NAO_WS: 11 nodes); None where `text` is no recurrent genotype.

        Raises UserError for a genotype that this space does not hold.
        """
        found = parse_recurrent(text)
        if found is None:
            return None
        edges, outputs = found
        if len(edges) != self.nodes:
            raise UserError(f"cells of 'rnn' have {self.nodes} nodes here, but {len(edges)} came; set space.nodes={len(edges)}")
        choices: list[int] = []
        for node, (activation, source) in enumerate(edges, 1):
            if activation not in ACTIVATIONS or not 0 <= source < node:
                raise UserError(
                    f"node {node} of a recurrent cell has the activation {', '.join(ACTIVATIONS)} and reads one of the nodes 0 to "
                    f"{node - 1}, but '{activation}' and {source} came"
                )
            choices += [source, ACTIVATIONS.index(activation)]
        wanted = self._averaged(edges)
        if outputs not in (None, wanted):
            raise UserError(f"the output of this cell is the mean of the nodes {wanted}, but {outputs} came; see space.ends")
        return self.architecture(choices)

    @property
    def _dropouts(self) -> Dropouts:
        return Dropouts(self.dropout_embedding, self.dropout_input, self.dropout_hidden, self.dropout_output)

    def _averaged(self, edges: Edges) -> list[int]:
        return list(averaged(self.nodes, self.ends, {source for _, source in edges}))


@lru_cache
def _decisions(nodes: int) -> tuple[Decision, ...]:
    found: list[Decision] = []
    for node in range(1, nodes + 1):
        found += [
            Decision(f"node {node} predecessor", tuple(f"s{earlier}" for earlier in range(node))),
            Decision(f"node {node} activation", ACTIVATIONS),
        ]
    return tuple(found)


def _edges_of(architecture: Architecture) -> Edges:
    """(activation, predecessor) of each node."""
    choices = iter(architecture.choices)
    return [(ACTIVATIONS[activation], source) for source, activation in zip(choices, choices, strict=True)]
