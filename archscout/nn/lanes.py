"""One training step on several cores: every lane, a thread of its own, computes the gradients of its part of the batch.

Inside a lane operations use few threads, so lanes meet once a step instead of several times an operation. For the small networks
that this package trains this uses two cores better than threads inside operations do, and a neighbour that takes a core away costs
only that core (`benchmarks/lanes.py`). Batch normalisation takes its statistics within a lane, and the running statistics are
averaged over the lanes after each step. Sums run in a fixed order, so a training is repeatable at the same number of lanes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

Loss = Callable[..., Tensor]
_LEAST_IMAGES = 32
"""In a lane; fewer make poor statistics and little work per operation."""


def lanes_for(batch: int, cores: int) -> int:
    """How many lanes pay for so many images a step."""
    return max(1, min(cores, batch // _LEAST_IMAGES))


class Lanes:
    """A network and its twins, which share its weights. A context manager that ends its threads."""

    def __init__(self, network: nn.Module, count: int) -> None:
        self._networks = [network, *(_twin(network) for _ in range(count - 1))]
        self._weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._statistics = list(zip(*(_floating_buffers(one) for one in self._networks), strict=True))
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def gradients(self, loss: Loss, *batch: Tensor) -> Tensor:
        """Set the gradients of the mean of `loss(network, *batch)` over the batch; gives that mean.

        loss: the mean over the images that it is given. batch: images (B, C, H, W), labels (B,) and whatever else has a row for
        each image; every lane gets its own rows of all of them.
        """
        for network in self._networks:
            network.train()
        if self._pool is None:
            mean = loss(self._networks[0], *batch)
            for weight in self._weights:
                weight.grad = None
            mean.backward()  # type: ignore[no-untyped-call]
            return mean.detach()
        portions = zip(*(rows.chunk(len(self._networks)) for rows in batch), strict=True)
        parts = list(zip(self._networks, portions, strict=False))

        def one(part: tuple[nn.Module, tuple[Tensor, ...]]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            network, rows = part
            mean = loss(network, *rows) * (len(rows[0]) / len(batch[0]))
            return mean.detach(), torch.autograd.grad(mean, self._weights, allow_unused=True)

        found = list(self._pool.map(one, parts))
        for weight, *shares in zip(self._weights, *(gradients for _, gradients in found), strict=True):
            weight.grad = _sum([share for share in shares if share is not None])
        self._agree(len(parts))
        return torch.stack([mean for mean, _ in found]).sum()

    @torch.no_grad()
    def _agree(self, count: int) -> None:
        """Give every lane the mean of the running statistics."""
        for statistics in self._statistics:
            mean = torch.stack(statistics[:count]).mean(0)
            for statistic in statistics:
                statistic.copy_(mean)


def _twin(network: nn.Module) -> nn.Module:
    """A copy with buffers of its own and the very same weights."""
    twin = copy.deepcopy(network)
    for original, copied in zip(network.modules(), twin.modules(), strict=True):
        for name, parameter in original.named_parameters(recurse=False):
            copied.register_parameter(name, parameter)
    return twin


def _floating_buffers(network: nn.Module) -> list[Tensor]:
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]


def _sum(shares: list[Tensor]) -> Tensor | None:
    if not shares:
        return None
    total = shares[0]
    for share in shares[1:]:
        total = total + share
    return total
