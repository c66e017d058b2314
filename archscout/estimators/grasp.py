"""GraSP: how the gradients of an untrained network would flow if its weights shrank.

Wang, Zhang and Grosse 2020 (arXiv 2002.07376), as a score of whole networks by Abdelfattah et al. 2021 (arXiv 2101.08134). With W_l
the weight of layer l (convolutions and linear layers), g its gradient of the mean cross-entropy L of one batch and H the Hessian
over all layers' weights,

    h = H g = d/dW sum_l <g_l, dL/dW_l>   (g_l constant)        s = sum_l sum -W_l * h_l

The ported code turned the sign around because the other one correlated negatively with accuracy; `sign` = -1 turns it back.

Deviations: one forward pass instead of two, since batch and weights are the same both times; no temperature (1 there). A network
whose gradients are all zero scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.probes import Subject, check_settings, gradients, labelled_batch, subject


@dataclass(frozen=True)
class Grasp:
    """Sum of -weight * (Hessian times gradient).

    batch: images (fewer where the split is smaller). split: where they come from.
    sign: 1 as in the ported code, or -1.
    """

    batch: int = 64
    split: str = "train"
    sign: int = 1

    def __post_init__(self) -> None:
        check_settings(self.batch)
        if self.sign not in (1, -1):
            raise ValueError(f"sign must be 1 or -1, but {self.sign} came")

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score, of either sign. Raises NotFinite where a derivative is not finite."""
        start = perf_counter()
        network = subject(problem, architecture, seed)
        value = self.sign * flow(network, *labelled_batch(problem, self.batch, self.split))
        return Estimate(value, perf_counter() - start)


def flow(network: Subject, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The score with the ported code's sign, for labelled images (B, C, H, W), (B,)."""
    first = [gradient for gradient in gradients(network, images, labels, twice=True) if gradient is not None]
    if not first:
        return 0.0
    with torch.enable_grad():
        product = torch.stack([(gradient.detach() * gradient).sum() for gradient in first]).sum()
        second = torch.autograd.grad(product, network.weights, allow_unused=True)
    pairs = zip(network.weights, second, strict=True)
    return -sum(float((weight.detach() * bent).sum()) for weight, bent in pairs if bent is not None)
