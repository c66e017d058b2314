"""Language models of PyTorch's own LSTM and GRU layers, with tied embedding: what a searched recurrent cell has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.recurrent import LockedDropout, Outputs, State

Family = Literal["lstm", "gru"]
_LAYERS: dict[Family, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class GatedModel(nn.Module):
    """Tokens (B, L) int64 -> logits (B, L, V) of the tokens that follow; one layer of D units, an embedding of the same size.

    dropouts: behind the embedding and before the decoder, by masks that are the same for all steps.
    """

    def __init__(self, family: Family, vocabulary: int, size: int, dropouts: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.family, self.size = family, size
        self.embedding = nn.Embedding(vocabulary, size)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.layer = _LAYERS[family](size, size, batch_first=True)
        self.dropouts = nn.ModuleList(map(LockedDropout, dropouts))
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, tokens: Tensor, states: Sequence[State] | None = None) -> Tensor:
        """The logits (B, L, V). states: nought by default."""
        return self.decoded(self.outputs(tokens, states)[1])

    def outputs(self, tokens: Tensor, states: Sequence[State] | None = None) -> Outputs:
        """What stands before the decoder; the state of the one layer is h, or h and c, each (B, D)."""
        embedded, last = self.dropouts
        given = None if states is None else tuple(state[None] for state in states[0])
        first = given if given is None or self.family == "lstm" else given[0]
        raw, ends = self.layer(embedded(self.embedding(tokens)), first)
        state = tuple(end[0] for end in (ends if self.family == "lstm" else (ends,)))
        return raw, last(raw), [state]

    def decoded(self, outputs: Tensor) -> Tensor:
        """The logits (B, L, V) of outputs (B, L, D)."""
        return F.linear(outputs, self.embedding.weight, self.bias)

    def description(self) -> dict[str, Any]:
        """What another program must know, besides the weights, to compute the same."""
        return {"kind": self.family}

    def recurrent_weights(self) -> dict[str, Tensor]:
        """The matrix that reads the hidden state, all columns of it."""
        return {"layer.weight_hh_l0": torch.ones(self.size, dtype=torch.bool)}
