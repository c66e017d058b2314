"""Zen-score: how much the last feature map of an untrained network moves with its input. Reads no data.

Lin et al. 2021 (arXiv 2102.01063). Weights are drawn from N(0, 1) and images x, x' from N(0, I). With F the last feature map, all
normalisations by the statistics of the batch, gamma = 0.01, and v the variance of a channel that enters a normalisation,

    D = mean over the batch of sum |F(x) - F(x + gamma x')|
    s = log D + sum over the normalisations of log sqrt(mean over the channels of v)

averaged over `repeats` draws. The second term gives back the scale that the normalisations take. Higher is better. Larger images,
wider and deeper networks score higher: it is a measure of size, too.

Deviations: residual links stay (as in the ports for NAS-Bench-201; the original builds networks without them); v is the unbiased
variance of the pass of x alone (there, a moving average over all passes so far that starts at 1); biases are nought, and what the
feature map does not depend on is left out, and so is the normalisation of a constant. The noise is the same for all networks of a
task's shape. Of a network without operation graph F is the output of its last convolution, normalisation, activation or pooling. A
D of nought is a typed failure.
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
from archscout.core.seeds import derive
from archscout.estimators._probe import Untrained, check_finite, noise_for, untrained


@dataclass(frozen=True)
class Zen:
    """Zen-score of a network.

    batch: noise images. repeats: draws of weights and noise that are averaged. gamma: how far the images are moved.
    """

    batch: int = 16
    repeats: int = 32
    gamma: float = 0.01

    def __post_init__(self) -> None:
        if self.batch < 2 or self.repeats < 1 or not self.gamma > 0:
            raise ValueError(
                "batch must be at least 2, repeats at least 1 and gamma positive, "
                f"but {self.batch}, {self.repeats} and {self.gamma} came"
            )

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score. Raises NotFinite where no signal gets through."""
        start = perf_counter()
        shape = (2, self.batch, *problem.task.shape)
        total = 0.0
        for number in range(self.repeats):
            x, moved = noise_for(problem, "zen", shape, number)
            network = untrained(problem, architecture, derive(seed, "zen", number), init="normal", headless=True)
            total += sensitivity(network, x, x + self.gamma * moved)
        return Estimate(total / self.repeats, perf_counter() - start)


@torch.no_grad()
def sensitivity(network: Untrained, x: Tensor, moved: Tensor) -> float:
    """The score of one draw, from a network without head and two batches. Raises NotFinite."""
    scales: list[Tensor] = []

    def see(entering: Tensor, count: int) -> None:
        scales.append(entering.transpose(0, 1).flatten(1).double().var(1).mean())

    features = network.watch(x, ("norm",), see, before=True, only_live=True)
    check_finite(features, "features")
    distance = float((features - network(moved)).flatten(1).double().abs().sum(1).mean())
    if not distance > 0:
        raise NotFinite("the last feature map of the untrained network does not depend on the image")
    # What normalises a constant, such as a sum of nothing, lets no signal through that it could scale.
    return log(distance) + sum(0.5 * log(scale) for scale in map(float, scales) if scale > 0)
