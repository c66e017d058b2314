"""Gradients through one step of an inner training: virtual steps, and products of a mixed second derivative with a vector.

For an outer objective O(w', a) at weights w' = w - xi (d/dw L(w, a) + ...) that were trained one step for the gates a,

    dO/da total  =  d/da O(w', a)  -  xi * d/da < d/dw L(w, a), v >,        v = d/dw' O(w', a)

The second term is exact by differentiating twice, or by a central difference along v:

    d/da < d/dw L, v >  ~  (d/da L(w + r v, a) - d/da L(w - r v, a)) / (2 r),      r = radius / ||v||

Everything is a function of mappings of named tensors: nothing is moved in place, so there is nothing to restore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors], Tensor]
"""Of weights: a scalar loss, which also depends on outer parameters."""
RADIUS = 0.01


def gradient(loss: Tensor, weights: Tensors, *, create_graph: bool = False, retain: bool = False) -> dict[str, Tensor]:
    """The gradient of a loss with respect to weights; noughts where the loss does not depend on one."""
    found = torch.autograd.grad(
        loss, list(weights.values()), create_graph=create_graph, retain_graph=retain or create_graph, allow_unused=True
    )
    return {
        name: torch.zeros_like(weight) if part is None else part
        for (name, weight), part in zip(weights.items(), found, strict=True)
    }


def leaves(weights: Tensors) -> dict[str, Tensor]:
    """The same values as fresh tensors that gradients can be taken with respect to."""
    return {name: weight.detach().requires_grad_() for name, weight in weights.items()}


def stepped(
    weights: Tensors, gradients: Tensors, rate: float, *, momentum: float = 0.0, buffers: Tensors | None = None, decay: float = 0.0
) -> dict[str, Tensor]:
    """The weights after a step of SGD, as `torch.optim.SGD` takes it: w - rate (momentum * buffer + gradient + decay * w).

    buffers: of the momentum; a weight without one has taken no step yet. Differentiable in all of them.
    """
    moved = {}
    for name, weight in weights.items():
        step = gradients[name] + decay * weight
        buffer = (buffers or {}).get(name)
        if buffer is not None:
            step = momentum * buffer + step
        moved[name] = weight - rate * step
    return moved


def mixed_product(
    loss: Loss, weights: Tensors, direction: Tensors, outer: Sequence[Tensor], *, exact: bool = False, radius: float = RADIUS
) -> list[Tensor]:
    """d/da < d/dw L(w, a), v > for every tensor a of `outer`; noughts for a direction v of length nought.

    exact: by differentiating twice, else by a central difference, for which the loss must be the same function on both sides (the
    same batch, the same noise).
    """
    if exact:
        at = leaves(weights)
        first = gradient(loss(at), at, create_graph=True)
        inner = torch.stack([(first[name] * direction[name]).sum() for name in at]).sum()
        return _by_outer(inner, outer)
    length = torch.stack([part.square().sum() for part in direction.values()]).sum().sqrt()
    if not bool(length > 0):
        return [torch.zeros_like(tensor) for tensor in outer]
    step = radius / length
    ahead, behind = (
        _by_outer(loss({name: (weight + sign * step * direction[name]).detach() for name, weight in weights.items()}), outer)
        for sign in (1, -1)
    )
    return [(one - other) / (2 * step) for one, other in zip(ahead, behind, strict=True)]


@contextmanager
def full_precision() -> Iterator[None]:
    """On a GPU compute float32 with all its bits inside: differences of gradients drown in what TF32 rounds off."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _by_outer(value: Tensor, outer: Sequence[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in outer]
    found = torch.autograd.grad(value, list(outer), allow_unused=True)
    return [torch.zeros_like(tensor) if part is None else part for tensor, part in zip(outer, found, strict=True)]


def unrolled(
    outer_loss: Loss, inner_loss: Loss, weights: Tensors, trained: Tensors, outer: Sequence[Tensor], rate: float, *,
    exact: bool = False,
) -> list[Tensor]:  # fmt: skip
    """The total derivative of the outer loss, at weights trained one step, with respect to every tensor of `outer`.

    trained: w' as `stepped` gives it. rate: xi, how far the inner gradient was followed; at 0 only the direct derivative remains.
    """
    if rate == 0:
        return _by_outer(outer_loss({name: weight.detach() for name, weight in trained.items()}), outer)
    at = leaves(trained)
    loss = outer_loss(at)
    found = torch.autograd.grad(loss, [*outer, *at.values()], allow_unused=True)
    direct = [torch.zeros_like(t) if part is None else part for t, part in zip(outer, found[: len(outer)], strict=True)]
    direction = {
        name: torch.zeros_like(weight) if part is None else part
        for (name, weight), part in zip(at.items(), found[len(outer) :], strict=True)
    }
    with full_precision():
        through = mixed_product(inner_loss, weights, direction, outer, exact=exact)
    return [one - rate * other for one, other in zip(direct, through, strict=True)]
