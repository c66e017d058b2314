"""Language models of highway nodes: the equations of `core.highway`, for single architectures and for supernets.

What differs between the two is how a node comes from the states before it (`Step`). The input's part of W_0 is multiplied for all
steps of a sequence at once; after that a node costs one product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.highway import Dropouts, HighwayNetwork, averaged
from archscout.nn.network import place
from archscout.nn.recurrent import Outputs, State

Step = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""The next state (B, D), from the states so far and from the same as matrices read them, which is behind the mask."""
ACTIVATION: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
RANGE = 0.04
"""Fresh weights are uniform between minus this and this; the decoder's bias is nought."""
NO_DROPOUT = Dropouts()


def shapes(network: HighwayNetwork, names: Sequence[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every weight. names: of the matrices of nodes."""
    size = network.size
    yield "embedding.weight", (network.vocabulary, size)
    yield "bias", (network.vocabulary,)
    yield "node0.weight", (2 * size, 2 * size)
    yield from ((name, (size, 2 * size)) for name in names)


def single(source: int, activation: str, weight: Tensor) -> Step:
    """A node of one architecture; weight (D, 2D)."""
    function = ACTIVATION[activation]

    def step(states: Sequence[Tensor], read: Sequence[Tensor]) -> Tensor:
        return highway(states[source], read[source] @ weight, function)

    return step


def highway(state: Tensor, product: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """s + sigmoid(c) (f(u) - s) for s (..., D) and [c, u] (..., 2D)."""
    gate, new = product.chunk(2, -1)
    return torch.lerp(state, activation(new), torch.sigmoid(gate))


def unrolled(
    weights: Mapping[str, Tensor], tokens: Tensor, states: Sequence[State] | None, steps: Sequence[Step], outputs: Sequence[int],
    *, dropouts: Dropouts = NO_DROPOUT, generator: torch.Generator | None = None, normalised: bool = False,
) -> tuple[Tensor, list[State]]:  # fmt: skip
    """The logits (B, L, V) of the tokens that follow tokens (B, L), and the hidden state after the last; else as `passed`."""
    _, result, ends = passed(weights, tokens, states, steps, outputs, dropouts=dropouts, generator=generator, normalised=normalised)
    return decoded(weights, result), ends


def decoded(weights: Mapping[str, Tensor], outputs: Tensor) -> Tensor:
    """The logits (B, L, V) of a cell's outputs (B, L, D)."""
    return F.linear(outputs, weights["embedding.weight"], weights["bias"])


def passed(
    weights: Mapping[str, Tensor], tokens: Tensor, states: Sequence[State] | None, steps: Sequence[Step], outputs: Sequence[int],
    *, dropouts: Dropouts = NO_DROPOUT, generator: torch.Generator | None = None, normalised: bool = False,
) -> Outputs:  # fmt: skip
    """What stands before the decoder: the cell's outputs (B, L, D) for tokens (B, L), without and with the dropout.

    states: one layer of one (B, D), nought by default. steps: one for each node. outputs: the nodes whose mean the output is.
    generator: of the masks; the global one by default. normalised: each state of a cell by its mean and variance over the batch.
    """
    x = F.embedding(tokens, weights["embedding.weight"])
    x = _dropped(_dropped(x, dropouts.embedding, generator), dropouts.input, generator)
    mask = _mask(x, dropouts.hidden, generator)[:, 0] if dropouts.hidden else None
    h = x.new_zeros(x.shape[0], x.shape[2]) if states is None else states[0][0]
    of_input, of_hidden = weights["node0.weight"].chunk(2)
    means = []
    for product in (x @ of_input).unbind(1):
        first = highway(h, torch.addmm(product, _read(h, mask), of_hidden), torch.tanh)
        found = [_kept(first, normalised)]
        read = [_read(found[0], mask)]
        for step in steps:
            found.append(_kept(step(found, read), normalised))
            read.append(_read(found[-1], mask))
        h = reduce(torch.add, [found[node] for node in outputs]) / len(outputs)
        means.append(h)
    raw = torch.stack(means, 1)
    return raw, _dropped(raw, dropouts.output, generator), [(h,)]


def _kept(state: Tensor, normalised: bool) -> Tensor:
    return F.batch_norm(state, None, None, training=True) if normalised else state


def _read(state: Tensor, mask: Tensor | None) -> Tensor:
    return state if mask is None else state * mask


def _dropped(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    return x * _mask(x, p, generator) if p else x


def _mask(x: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """(B, 1, D) for x (B, L, D): 0 with the chance p, else 1 / (1 - p); drawn where the generator is."""
    kept = torch.empty(x.shape[0], 1, x.shape[2], device=x.device if generator is None else generator.device)
    return kept.bernoulli_(1 - p, generator=generator).div_(1 - p).to(x)


class HighwayModel(nn.Module):
    """Tokens (B, L) int64 -> logits (B, L, V) of the tokens that follow.

    nodes: the predecessor and the activation of s_1 .. s_n. names: of their matrices. normalised: as `unrolled` says, always.
    """

    def __init__(
        self, network: HighwayNetwork, nodes: Sequence[tuple[int, str]], names: Sequence[str] | None = None, *,
        normalised: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = network
        self.nodes = tuple(nodes)
        self.normalised = normalised
        self._names = tuple(names or (f"node{number}.weight" for number in range(1, len(nodes) + 1)))
        self._outputs = averaged(network.nodes, network.ends, {source for source, _ in nodes})
        for name, shape in shapes(network, self._names):
            weight = nn.Parameter(torch.empty(shape))
            place(self, name, weight)
            if name == "bias":
                nn.init.zeros_(weight)
            else:
                nn.init.uniform_(weight, -RANGE, RANGE)

    def forward(self, tokens: Tensor, states: Sequence[State] | None = None) -> Tensor:
        """The logits (B, L, V). states: nought by default."""
        return self.run(tokens, states)[0]

    def run(self, tokens: Tensor, states: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """The logits (B, L, V), and the hidden state after the last token: one layer of one (B, D)."""
        _, outputs, ends = self.outputs(tokens, states)
        return self.decoded(outputs), ends

    def outputs(self, tokens: Tensor, states: Sequence[State] | None = None) -> Outputs:
        """What stands before the decoder, for tokens (B, L)."""
        weights = dict(self.named_parameters())
        steps = [single(*node, weights[name]) for node, name in zip(self.nodes, self._names, strict=True)]
        dropouts = self.network.dropouts if self.training else NO_DROPOUT
        return passed(weights, tokens, states, steps, self._outputs, dropouts=dropouts, normalised=self.normalised)

    def description(self) -> dict[str, Any]:
        """What another program must know, besides the weights, to compute the same."""
        outputs, names = list(self._outputs), list(self._names)
        return {"kind": "highway", "nodes": [list(node) for node in self.nodes], "names": names, "outputs": outputs}

    def recurrent_weights(self) -> dict[str, Tensor]:
        """The rows of W_0 that read the hidden state; the other nodes read states of the same step."""
        return {"node0.weight": (torch.arange(2 * self.network.size) >= self.network.size)[:, None]}

    def decoded(self, outputs: Tensor) -> Tensor:
        """The logits (B, L, V) of outputs (B, L, D)."""
        return decoded(dict(self.named_parameters()), outputs)
