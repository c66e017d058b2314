"""NTK condition number: how evenly an untrained network would learn the images of a batch.

Chen, Gong and Wang 2021 (TE-NAS, arXiv 2102.11535). With g_i the gradient of the sum of all logits of image i with respect to the
weights, and Theta_ij = <g_i, g_j>,

    kappa = largest / smallest eigenvalue of Theta          value = -log kappa

At most nought, higher is better (kappa itself is lower the better). Weights are those called so: of convolutions, linear layers and
normalisations, without biases; drawn from N(0, 2 / fan-in). Compare only at one batch size: the paper takes 72 images on
NAS-Bench-201, 14 on DARTS and 24 on ImageNet.

Deviations: the logarithm (ranks do not change); eigenvalues in double precision; where the smallest is within the rounding of the
gradients, Theta is singular: a typed failure (there, kappa = 1e5). Identical images of the batch count once. Gradients are exact,
by one backward pass through the batch per image, which was faster than a vectorised one; they take batch x weights x 4 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from time import perf_counter

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.estimators._probe import Untrained, check_finite, images_of, untrained
from archscout.nn.probes import check_settings

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class NtkCondition:
    """Minus the logarithm of the condition number of an untrained network's tangent kernel.

    batch: images (fewer where the split is smaller). split: where they come from.
    """

    batch: int = 16
    split: str = "train"

    def __post_init__(self) -> None:
        check_settings(self.batch)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The value; the metric `kappa` is the condition number. Raises NotFinite where the kernel is singular."""
        start = perf_counter()
        images, _ = images_of(problem, "ntk-condition", self.split, self.batch)
        network = untrained(problem, architecture, seed, init="kaiming-normal")
        kappa = condition(tangent_kernel(network, images), torch.finfo(images.dtype).eps)
        return Estimate(-log(kappa), perf_counter() - start, {"kappa": kappa})


def tangent_kernel(network: Untrained, images: Tensor) -> Tensor:
    """Theta (B, B) float64. Raises NotFinite where the logits depend on no weight, or gradients are not finite."""
    weights = [weight.requires_grad_() for weight in network.weights()]
    with torch.enable_grad():
        sums = network(images).sum(1)
    if not sums.requires_grad:
        raise NotFinite("the logits of the untrained network depend on no weight")
    gradients: list[Tensor] = []
    for place, total in enumerate(sums):
        found = torch.autograd.grad(total, weights, retain_graph=place + 1 < len(sums), allow_unused=True)
        gradients.append(torch.cat([gradient.flatten() for gradient in found if gradient is not None]))
    rows = torch.stack(gradients)
    check_finite(rows, "gradients")
    kernel = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in torch.split(rows, _AT_ONCE, 1):
        exact = part.double()
        kernel += exact @ exact.t()
    return kernel


def condition(kernel: Tensor, rounding: float) -> float:
    """kappa of a symmetric positive semi-definite matrix. Raises NotFinite where its smallest eigenvalue is within rounding."""
    spectrum = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(spectrum[0]), float(spectrum[-1])
    if not smallest > rounding * largest:
        raise NotFinite(f"the tangent kernel of the untrained network is singular (eigenvalues {smallest:.3g} to {largest:.3g})")
    return largest / smallest
