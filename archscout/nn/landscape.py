"""The loss around a network, and the noise of its gradients there.

A plane through the weights w is spanned by two random directions with the norms of w's filters (Li, Xu, Taylor, Studer and
Goldstein 2018, arXiv 1712.09913): for every filter f, a slice of a convolution or linear weight along its first axis,

    d_f <- d_f * ||w_f|| / (||d_f|| + 1e-10)        w(a, b) = w + a d1 + b d2

Biases and the scales of normalisations stay where they are. Networks compute in evaluation mode, with the statistics that they had
at the centre: recomputing them at every point gives other surfaces.

Noise: over m minibatches with gradients g_i of all parameters, V = sum_i ||g_i - mean||^2 / (m - 1), which is V_1 / B for batches
of B images drawn with replacement. It scales with the norm of the gradient, hence V / ||mean||^2 beside it.

One point after the other is put into the network in place. `torch.func.vmap` over points or minibatches is 3 to 4 times slower on a
CPU, since convolutions whose weights differ by point, or whose weight gradients differ by minibatch, become grouped ones.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TINY = 1e-10
_BLOCK = 256
"""Images of one forward pass."""


class Plane:
    """A network that can be put on the points of a plane through its weights; it is a copy, in evaluation mode.

    seed: of the directions. Give `twin` to every thread.
    """

    def __init__(self, network: nn.Module, seed: int) -> None:
        self.network = copy.deepcopy(network).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._weights = list(self.network.parameters())
        self._centre = [weight.detach().clone() for weight in self._weights]
        source = torch.Generator().manual_seed(seed)
        self.first, self.second = (directions(self._centre, source) for _ in range(2))

    def twin(self) -> Plane:
        """The same plane on a network of its own."""
        made = copy.copy(self)
        made.network = copy.deepcopy(self.network)
        made._weights = list(made.network.parameters())
        return made

    @torch.no_grad()
    def put(self, a: float, b: float) -> None:
        """Move the weights to w + a d1 + b d2."""
        for weight, centre, one, other in zip(self._weights, self._centre, self.first, self.second, strict=True):
            weight.copy_(centre)
            if weight.ndim > 1:
                weight.add_(one, alpha=a).add_(other, alpha=b)

    def losses(self, a: float, axis: Sequence[float], x: Tensor, y: Tensor) -> list[float]:
        """The mean cross-entropy over labelled images (N, C, H, W), (N,) at the points (a, b) for every b of the axis."""
        found = []
        for b in axis:
            self.put(a, b)
            found.append(mean_loss(self.network, x, y))
        return found

    def noise(self, a: float, axis: Sequence[float], x: Tensor, y: Tensor) -> list[tuple[float, float]]:
        """V and ||mean gradient||^2 at these points over minibatches (m, B, C, H, W), (m, B)."""
        found = []
        for b in axis:
            self.put(a, b)
            found.append(gradient_noise(self.network, x, y))
        return found


def directions(weights: Sequence[Tensor], source: torch.Generator) -> list[Tensor]:
    """A random direction with the norms of the weights' filters; zeros for vectors (biases, normalisations)."""
    found = []
    for weight in weights:
        if weight.ndim <= 1:
            found.append(torch.zeros_like(weight))
            continue
        drawn = torch.randn(weight.shape, generator=source).to(weight.device)
        norms = [part.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1)) for part in (weight, drawn)]
        found.append(torch.empty_like(weight).copy_(drawn * (norms[0] / (norms[1] + _TINY))))
    return found


@torch.inference_mode()
def mean_loss(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """The mean cross-entropy over labelled images (N, C, H, W), (N,)."""
    total = 0.0
    for images, labels in zip(torch.split(x, _BLOCK), torch.split(y, _BLOCK), strict=True):
        total += F.cross_entropy(network(images), labels, reduction="sum").double().item()
    return total / len(y)


def gradient_noise(network: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """V and ||mean gradient||^2 over minibatches (m, B, C, H, W), (m, B), m at least 2.

    The sums are Welford's, so that equal gradients give exactly nought.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    mean: Tensor | None = None
    squares = 0.0
    for number, (images, labels) in enumerate(zip(x, y, strict=True), 1):
        with torch.enable_grad():
            found = torch.autograd.grad(
                F.cross_entropy(network(images), labels), weights, allow_unused=True, materialize_grads=True
            )
        gradient = torch.cat([part.flatten() for part in found])
        if mean is None:
            mean = gradient
            continue
        step = gradient - mean
        mean = mean + step / number
        squares += step.double().square().sum().item() * (number - 1) / number
    assert mean is not None and len(x) > 1, "noise needs two minibatches"
    return squares / (len(x) - 1), mean.double().square().sum().item()


@torch.no_grad()
def settle(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Give the normalisations of an untrained network the mean statistics of some batches; leaves it in evaluation mode."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    kept = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    network.train()
    for images in batches:
        network(images)
    for layer, momentum in zip(layers, kept, strict=True):
        layer.momentum = momentum
    network.eval()
