"""How well a network foretells a text: the mean log-likelihood of the tokens of each window, and samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.nn.evaluate import precision_context
from archscout.nn.recurrent import Outputs, Recurrent, State
from archscout.nn.tokens import TokenSplit, in_order


def outputs_and_logits(
    network: nn.Module, tokens: Tensor, states: Sequence[State] | None, precision: str = "fp32"
) -> tuple[Tensor, Outputs | None]:
    """The logits (B, L, V) of tokens (B, L), and what stood before the decoder; None of a network that carries no hidden state.

    precision: of the decoder, or of all of a network without a hidden state.
    """
    if not isinstance(network, Recurrent):
        with precision_context(precision, tokens.device):
            logits: Tensor = network(tokens)
        return logits, None
    found = network.outputs(tokens, states)
    with precision_context(precision, tokens.device):
        return network.decoded(found[1]), found


def likelihoods(network: nn.Module, split: TokenSplit) -> NDArray[np.float64]:
    """The mean log-likelihood (nats) of the tokens of each window, (N,) in the order of the text.

    The hidden state is carried from window to window within a few columns (`nn.tokens.in_order`); fewer than L tokens at the end of
    the split are left out. The network is left in evaluation mode.
    """
    device = next(network.parameters()).device
    network.eval()
    found = np.zeros(len(split))
    states: Sequence[State] | None = None
    with torch.inference_mode():
        for positions, x, y in in_order(split):
            x, y = x.to(device), y.to(device)
            if states is not None:  # columns that have ended, the last ones, go no further
                states = [tuple(state[: len(x)] for state in layer) for layer in states]
            logits, outputs = outputs_and_logits(network, x, states)
            states = None if outputs is None else outputs[2]
            losses = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
            found[positions] = -losses.double().mean(1).cpu().numpy()
    return found


def sampled(
    network: nn.Module, start: Sequence[int], count: int, *, temperature: float = 1.0, seed: int = 0, never: Sequence[int] = ()
) -> list[int]:
    """`count` tokens that the network writes after those of `start` (at least one), each drawn from what it foretells.

    temperature: below 1 for what is likelier, 0 for the likeliest. never: tokens that are not written. Without a hidden state the
    network reads its own text again for every token.
    """
    device = next(network.parameters()).device
    network.eval()
    noise = torch.Generator().manual_seed(seed)
    text, states, fresh = list(start), None, list(start)
    with torch.inference_mode():
        for _ in range(count):
            logits, outputs = outputs_and_logits(network, torch.tensor([fresh], device=device), states)
            last = logits[0, -1].float().cpu()
            last[list(never)] = -torch.inf
            if temperature > 0:
                # The largest is taken off first, so that no temperature makes it infinite.
                token = int(torch.multinomial(((last - last.max()) / temperature).softmax(0), 1, generator=noise))
            else:
                token = int(last.argmax())
            text.append(token)
            states = None if outputs is None else outputs[2]
            fresh = text if outputs is None else [token]
    return text[len(start) :]


_BATCHES = 30


def batch_means(marks: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
    """The means of up to 30 pieces of a series, (K,), each as long as the others (what is left over at the end goes nowhere).

    Neighbouring windows of a text are alike; pieces of many windows are nearly independent, as single windows are not.
    """
    pieces = min(_BATCHES, len(marks))
    means: NDArray[np.float64] = marks[: len(marks) - len(marks) % pieces].astype(np.float64).reshape(pieces, -1).mean(1)
    return means


def standard_error(marks: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    """Of the mean of a series whose neighbours are alike (Schmeiser 1982, batch means); 0 for a single mark."""
    means = batch_means(marks)
    return float(means.std(ddof=1) / len(means) ** 0.5) if len(means) > 1 else 0.0
