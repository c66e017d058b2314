"""A trained network made ready to leave: evaluation mode, CPU, float32, contiguous; and the check that a copy says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError
from archscout.core.seeds import derive

BATCHES = (1, 5)
TOLERANCE = 1e-4


class ParityError(ArchscoutError):
    """An exported network gives other logits than the network that it was made from."""


def ready(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode, on the CPU, in float32 and contiguous format; `network` itself stays as it is."""
    copy = deepcopy(network).cpu().float().eval()
    return copy.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def example(shape: Sequence[int], batch: int) -> Tensor:
    """Normalised-looking random images (batch, C, H, W), the same on every call."""
    noise = torch.Generator().manual_seed(derive(0, "export", batch, tuple(shape)))
    return torch.randn((batch, *shape), generator=noise)


def largest_difference(network: nn.Module, copy: Callable[[Tensor], Tensor], shape: Sequence[int]) -> float:
    """The largest absolute difference of logits at batch sizes 1 and 5. Raises ParityError beyond 1e-4 (absolute and relative)."""
    largest = 0.0
    for batch in BATCHES:
        images = example(shape, batch)
        with torch.no_grad():
            wanted, found = network(images), copy(images)
        try:
            torch.testing.assert_close(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)
        except AssertionError as error:
            line = " ".join(str(error).split())
            raise ParityError(f"the exported network should give the same logits at batch size {batch}, but: {line}") from error
        largest = max(largest, float((found - wanted).abs().max()))
    return largest
