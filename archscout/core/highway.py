"""Language models of highway nodes (ENAS, NAO, DARTS), but for which node reads which: what they hold and what they cost.

A cell turns the input x_t and the hidden state h into the states s_0 .. s_n, all of size d; there are no biases:
    [c_0, u_0] = [x_t m_x; h m_h] W_0     s_0 = h + sigmoid(c_0) (tanh(u_0) - h)
    [c_i, u_i] = (s_p m_h) W_i            s_i = s_p + sigmoid(c_i) (f_i(u_i) - s_p)
where node i reads its predecessor s_p, p < i, through the activation f_i, and m are dropout masks, the same for all steps. The mean
of s_1 .. s_n is the output and the new hidden state. W_0 is 2d x 2d, W_i is d x 2d. Inputs are embedded tokens; the transposed
embedding, and a bias, decode the outputs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
Ends = Literal["all", "loose"]
"""Whose mean the output is: that of all nodes (NAO, DARTS), or of those that no node reads (ENAS)."""
Share = Literal["node", "node_prev_act"]
"""What has weights of its own in a supernet: every node (DARTS), or every node, predecessor and activation (ENAS, NAO)."""


@dataclass(frozen=True)
class Dropouts:
    """The chances that units are dropped in training, by masks that are the same for all steps of a sequence.

    embedding: of the embedded tokens. input: once more of those, where the cell reads them (m_x). hidden: m_h. output: of the
    cell's outputs, before they are decoded.
    """

    embedding: float = 0.0
    input: float = 0.0
    hidden: float = 0.0
    output: float = 0.0


@dataclass(frozen=True)
class HighwayNetwork:
    """All of a network but its edges; also what a supernet of such networks is made from.

    length: L, the tokens of a window. vocabulary: V. size: d. nodes: n. share: for a supernet alone.
    """

    length: int
    vocabulary: int
    size: int
    nodes: int
    ends: Ends = "all"
    share: Share = "node"
    dropouts: Dropouts = field(default_factory=Dropouts)

    @property
    def params(self) -> int:
        """The parameters of one architecture's network; the same for all."""
        return self._matrices + self.vocabulary

    @property
    def macs(self) -> int:
        """The multiplications of its matrices, for a window of L tokens."""
        return self.length * self._matrices

    @property
    def _matrices(self) -> int:
        return self.vocabulary * self.size + (2 * self.size) ** 2 + self.nodes * 2 * self.size**2


def averaged(nodes: int, ends: Ends, read: Collection[int]) -> tuple[int, ...]:
    """The nodes among 1 .. n whose mean is the output. read: the nodes that others read."""
    return tuple(node for node in range(1, nodes + 1) if ends == "all" or node not in read)


def possible_edges(nodes: int) -> tuple[tuple[int, int], ...]:
    """(source, node) of every possible edge among s_0 .. s_n, by node: the rows of a supernet's gates."""
    return tuple((source, node) for node in range(1, nodes + 1) for source in range(node))
