"""The weighted sum of a supernet's branches, as one differentiable step.

Written as products and sums, each branch would cost a product and a sum forward, and backward a product, a product to be summed
and the memory of both. Here a branch costs one fused pass forward, and backward a scaling and a scalar product, each only where
somebody asked for it. Second derivatives follow, since the backward pass is made of differentiable operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def weighted_sum(plain: Sequence[Tensor], scaled: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """The sum of `plain`, and of `scaled` each times its weight (a scalar tensor). All but the weights have one shape."""
    if scaled:
        total: Tensor = _WeightedSum.apply(torch.stack(tuple(weights)), len(plain), *plain, *scaled)  # type: ignore[no-untyped-call]
        return total
    return reduce(torch.add, plain)


class _WeightedSum(Function):
    """weights (M,), how many terms come first without a weight, those terms, then the M others."""

    @staticmethod
    def forward(weights: Tensor, plain: int, *terms: Tensor) -> Tensor:
        first, second = terms[:plain], terms[plain:]
        total = torch.mul(second[0], weights[0]) if not first else torch.addcmul(first[0], second[0], weights[0])
        for term in first[1:]:
            total.add_(term)
        for term, weight in zip(second[1:], weights[1:], strict=True):
            total.addcmul_(term, weight)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weights, ctx.plain, *terms = inputs
        # What only the gradients of the weights need is not kept alive where nobody wants them.
        wanted = ctx.needs_input_grad[0]
        ctx.save_for_backward(weights, *(terms[ctx.plain :] if wanted else ()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        weights, *scaled = ctx.saved_tensors
        of_weights = torch.stack([_inner(gradient, term) for term in scaled]) if ctx.needs_input_grad[0] else None
        of_plain = [gradient if needed else None for needed in ctx.needs_input_grad[2 : 2 + ctx.plain]]
        of_scaled = [
            gradient * weight if needed else None
            for needed, weight in zip(ctx.needs_input_grad[2 + ctx.plain :], weights, strict=True)
        ]
        return of_weights, None, *of_plain, *of_scaled


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """The scalar product of two feature maps; views suffice where both lie in channels-last memory."""
    if one.dim() == 4:
        one, other = one.permute(0, 2, 3, 1), other.permute(0, 2, 3, 1)
    return torch.dot(one.reshape(-1), other.reshape(-1))
