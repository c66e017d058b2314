"""Gates of a supernet, (G, O): from logits to mixtures, samples and paths.

`valid` (G, O) bool says which entries are options of their row; all others are nought in every result.
Gumbel-softmax: Jang, Gu and Poole 2017 (arXiv 1611.01144).
"""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST, _MOST = 1e-10, 1 - 1e-7
"""Between which the uniform draws behind Gumbel noise lie, so that it is finite."""


def softmax(logits: Tensor, valid: Tensor) -> Tensor:
    """A distribution over the options of each row, (G, O)."""
    return torch.softmax(logits.masked_fill(~valid, -torch.inf), 1).masked_fill(~valid, 0.0)


def gumbel_noise(valid: Tensor, generator: torch.Generator) -> Tensor:
    """Independent Gumbel noise, (G, O) float32; drawn on the CPU, so that a seed means the same everywhere."""
    uniform = torch.rand(valid.shape, generator=generator).clamp(_LEAST, _MOST)
    return -torch.log(-torch.log(uniform))


def gumbel_softmax(logits: Tensor, valid: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
    """A relaxed sample of every row, (G, O): the softmax of logits plus noise, sharper at lower temperatures."""
    return softmax((logits + noise.to(logits)) / temperature, valid)


def straight_through(soft: Tensor) -> Tensor:
    """Exactly one-hot at the largest entry of each row, with the gradient of `soft`."""
    hard = one_hot(soft.argmax(1), soft.shape[1]).to(soft)
    return hard + (soft - soft.detach())


def one_hot(choices: Tensor, options: int) -> Tensor:
    """(G,) columns -> (G, O)."""
    return torch.zeros(len(choices), options).scatter_(1, choices[:, None].cpu(), 1.0)


def entropy(distribution: Tensor) -> Tensor:
    """Of each row, in nats, (G,)."""
    found: Tensor = torch.special.entr(distribution).sum(1)
    return found
