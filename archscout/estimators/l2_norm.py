"""L2 norm: how large the weights of an untrained network are. Reads no data.

A baseline of Abdelfattah, Mehrotra, Dudziak and Lane 2021 (arXiv 2101.08134). With W_l the weight of layer l (convolutions and
linear layers, no biases, no normalisations),

    s = sum_l ||W_l||

With PyTorch's usual draw ||W_l|| is about the square root of a third of the layer's outputs, so the score counts width and depth.
Higher is better.

Deviations: layers on which the logits do not depend add nought.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.protocols import GraphSpace
from archscout.nn.probes import gradients, subject


@dataclass(frozen=True)
class L2Norm:
    """Sum of the norms of the layers' weights."""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score, at least 0."""
        start = perf_counter()
        network = subject(problem, architecture, seed)
        weights = network.weights
        if not isinstance(problem.space, GraphSpace):  # which layers reach the logits shows in a backward pass only
            images = torch.zeros(2, *problem.task.shape, device=problem.device)
            reached = gradients(network, images, torch.zeros(2, dtype=torch.int64, device=problem.device))
            weights = tuple(weight for weight, gradient in zip(weights, reached, strict=True) if gradient is not None)
        value = sum(float(weight.detach().norm()) for weight in weights)
        return Estimate(value, perf_counter() - start)
