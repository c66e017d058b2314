"""Language models whose recurrent cell is a graph of operations on the input and the previous hidden states.

Tokens (B, L) are embedded, run through layers of cells one token at a time, and decoded by the transposed embedding (Press and Wolf
2017, arXiv 1608.05859). Every layer has its own weights and hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import sqrt
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Node = tuple[str, tuple[int, ...]]
"""An operation and the numbers of its inputs: 0 the input x, 1 to S the S previous hidden states, then the nodes in their order."""
State = tuple[Tensor, ...]
"""The S hidden states of a layer, each (B, H)."""
Outputs = tuple[Tensor, Tensor, list[State]]
"""The last layer's outputs (B, L, H), the same behind the dropout, and the hidden states of every layer after the last token."""
_SLOPE = 0.01


@runtime_checkable
class Recurrent(Protocol):
    """A language model whose hidden state can be carried from one window of a text to the next."""

    def outputs(self, tokens: Tensor, states: Sequence[State] | None = None) -> Outputs:
        """What stands before the decoder, for tokens (B, L). states: of every layer; nought by default."""
        ...

    def decoded(self, outputs: Tensor) -> Tensor:
        """The logits (B, L, V) of outputs (B, L, H)."""
        ...


@runtime_checkable
class WeightDropped(Protocol):
    """A network that says which of its weights may be dropped in training (Merity et al. 2017, arXiv 1708.02182)."""

    def recurrent_weights(self) -> dict[str, Tensor]:
        """By the name of every weight that reads previous hidden states: which part of it does, bool, of a shape to broadcast."""
        ...


@runtime_checkable
class Described(Protocol):
    """A language model that another program can compute, from its weights and a few facts (`export.language_model`)."""

    def description(self) -> dict[str, Any]:
        """What another program must know, besides the weights, to compute the same."""
        ...


class RecurrentCell(nn.Module):
    """One step of a layer: x (B, I) and the hidden states (B, H) each -> the new hidden states.

    nodes: in an order in which inputs come first. hidden: the positions of the S nodes that become the new states.
    """

    def __init__(self, nodes: Sequence[Node], hidden: Sequence[int], inputs: int, size: int) -> None:
        super().__init__()
        self._nodes = tuple(nodes)
        self._hidden = tuple(hidden)
        self._inputs = inputs
        self.size = size
        self.layers = nn.ModuleList(_layer(operation, sources, inputs, size) for operation, sources in nodes)

    def start(self, batch: int) -> State:
        """The hidden states before the first step: zeros."""
        like = next(self.parameters())
        return tuple(like.new_zeros(batch, self.size) for _ in self._hidden)

    def recurrent_columns(self) -> dict[int, Tensor]:
        """By the number of every linear node that reads previous hidden states: which columns of its weight do."""
        states = range(1, 1 + len(self._hidden))
        found = {}
        for place, (operation, sources) in enumerate(self._nodes):
            if operation == "linear" and any(source in states for source in sources):
                widths = torch.tensor([self._inputs if source == 0 else self.size for source in sources])
                found[place] = torch.tensor([source in states for source in sources]).repeat_interleave(widths)
        return found

    def forward(self, x: Tensor, state: State) -> State:
        """(B, I) and (B, H) each -> (B, H) each."""
        values = [x, *state]
        for (operation, sources), layer in zip(self._nodes, self.layers, strict=True):
            values.append(_result(operation, layer, [values[source] for source in sources]))
        return tuple(values[1 + len(state) + node] for node in self._hidden)


def _layer(operation: str, sources: tuple[int, ...], inputs: int, size: int) -> nn.Module:
    match operation:
        case "linear":  # matrices side by side: one product in place of a sum of several
            return nn.Linear(sum(inputs if source == 0 else size for source in sources), size)
        case "activation_tanh":
            return nn.Tanh()
        case "activation_sigm":
            return nn.Sigmoid()
        case "activation_leaky_relu":
            return nn.LeakyReLU(_SLOPE)
        case _:
            return nn.Identity()


def _result(operation: str, layer: nn.Module, inputs: list[Tensor]) -> Tensor:
    match operation, inputs:
        case "linear", _:
            result: Tensor = layer(torch.cat(inputs, -1))
        case "blend", [gate, one, other]:
            result = gate * one + (1 - gate) * other
        case "elementwise_prod", _:
            result = reduce(torch.mul, inputs)
        case "elementwise_sum", _:
            result = reduce(torch.add, inputs)
        case _:
            result = layer(inputs[0])
    return result


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani 2016, arXiv 1512.05287)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        if not self.training or self.p == 0:
            return x
        return x * F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), self.p)


class LanguageModel(nn.Module):
    """Tokens (B, L) int64 -> logits (B, L, V) of the tokens that follow.

    sizes: (inputs, hidden) of each layer's cell; the first inputs and the last hidden size are the embedding's.
    dropouts: behind the embedding, between the layers, before the decoder.
    """

    def __init__(
        self, nodes: Sequence[Node], hidden: Sequence[int], vocabulary: int, sizes: Sequence[tuple[int, int]],
        dropouts: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:  # fmt: skip
        super().__init__()
        self._nodes, self._hidden, self._sizes = tuple(nodes), tuple(hidden), tuple(sizes)
        self.embedding = nn.Embedding(vocabulary, sizes[0][0])
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.cells = nn.ModuleList(RecurrentCell(nodes, hidden, inputs, size) for inputs, size in sizes)
        self.dropouts = nn.ModuleList(map(LockedDropout, dropouts))
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        for cell, (_, size) in zip(self.cells, sizes, strict=True):
            for parameter in cell.parameters():
                nn.init.uniform_(parameter, -1 / sqrt(size), 1 / sqrt(size))

    def forward(self, tokens: Tensor, states: Sequence[State] | None = None) -> Tensor:
        """The logits (B, L, V). states: of every layer; zeros by default."""
        return self.run(tokens, states)[0]

    def run(self, tokens: Tensor, states: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """The logits (B, L, V), and the hidden states of every layer after the last token."""
        _, outputs, ends = self.outputs(tokens, states)
        return self.decoded(outputs), ends

    def outputs(self, tokens: Tensor, states: Sequence[State] | None = None) -> Outputs:
        """What stands before the decoder, for tokens (B, L)."""
        return self._outputs(self.embedding(tokens), states)

    def decoded(self, outputs: Tensor) -> Tensor:
        """The logits (B, L, V) of outputs (B, L, H)."""
        return F.linear(outputs, self.embedding.weight, self.bias)

    def hidden(self, x: Tensor, states: Sequence[State] | None = None) -> tuple[Tensor, list[State]]:
        """The part between embedding and decoder: (B, L, I) -> the last layer's outputs (B, L, H), and all hidden states."""
        _, outputs, ends = self._outputs(x, states)
        return outputs, ends

    def _outputs(self, x: Tensor, states: Sequence[State] | None) -> Outputs:
        embedded, between, last = self.dropouts
        x = embedded(x)
        ends: list[State] = []
        for number, cell in enumerate(self.cells):
            assert isinstance(cell, RecurrentCell)
            state = states[number] if states is not None else cell.start(len(x))
            outputs = []
            for step in x.unbind(1):
                state = cell(step, state)
                outputs.append(state[0])
            ends.append(state)
            raw = torch.stack(outputs, 1)
            x = between(raw) if number < len(self.cells) - 1 else last(raw)
        return raw, x, ends

    def description(self) -> dict[str, Any]:
        """What another program must know, besides the weights, to compute the same."""
        nodes = [[operation, list(sources)] for operation, sources in self._nodes]
        return {"kind": "recurrent", "nodes": nodes, "hidden": list(self._hidden), "sizes": [list(pair) for pair in self._sizes]}

    def recurrent_weights(self) -> dict[str, Tensor]:
        """By the name of every weight that reads previous hidden states: which of its columns do, (columns,) bool."""
        return {
            f"cells.{number}.layers.{place}.weight": columns
            for number, cell in enumerate(self.cells)
            if isinstance(cell, RecurrentCell)
            for place, columns in cell.recurrent_columns().items()
        }
