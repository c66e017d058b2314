"""GradSign: whether single images pull the weights of an untrained network in the same direction.

Zhang and Jia 2022 (arXiv 2110.08616). With L_i the cross-entropy of image i alone,

    s = sum_(weights k) | sum_i sign(dL_i / dw_k) |

over convolutions and linear layers. Higher is better; larger networks score higher.

Every image passes through the network alone, as in the released code, so normalisations use the statistics of that image. That
takes as many passes as images.

Deviations: only layers on which the logits depend exist here; the others would add nought. A network whose gradients are all zero
scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.probes import Subject, check_settings, gradients, labelled_batch, subject


@dataclass(frozen=True)
class Gradsign:
    """Sum over weights of how far the images agree on the sign of its gradient.

    batch: images (fewer where the split is smaller). split: where they come from.
    """

    batch: int = 64
    split: str = "train"

    def __post_init__(self) -> None:
        check_settings(self.batch, least=1)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score, a whole number of at least 0. Raises NotFinite where a gradient is not finite."""
        start = perf_counter()
        network = subject(problem, architecture, seed)
        value = agreement(network, *labelled_batch(problem, self.batch, self.split))
        return Estimate(value, perf_counter() - start)


def agreement(network: Subject, images: Tensor, labels: Tensor) -> float:
    """The score for labelled images (B, C, H, W), (B,)."""
    signs = [torch.zeros_like(weight, requires_grad=False) for weight in network.weights]
    for image, label in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
        for total, gradient in zip(signs, gradients(network, image, label), strict=True):
            if gradient is not None:
                total += gradient.sign()
    return sum(float(total.abs().double().sum()) for total in signs)
