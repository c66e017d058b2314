"""ZiCo: whether the gradients of an untrained network are large and the same from batch to batch.

Li, Yang, Bhardwaj and Marculescu 2023 (arXiv 2301.11300). With g_1, g_2 the gradients of the mean cross-entropy of two batches with
respect to a single weight w, at the same weights,

    s = sum_l log( sum_(w of layer l) mean(|g_1|, |g_2|) / std(g_1, g_2) )

over convolutions and linear layers. std is the population's (|g_1 - g_2| / 2) and of the signed gradients, as in the released code
(the paper writes the variance of |g|). Weights with std 0 and layers without any other weight are left out. Multiplying the loss
changes nothing. Higher is better.

Deviations: PyTorch's usual draw of weights (the paper's ImageNet search draws normal ones); 64 images a batch, not 128. A network
whose gradients are all zero has no score: a typed failure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from time import perf_counter

from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.probes import check_settings, loss_pass


@dataclass(frozen=True)
class Zico:
    """Sum over layers of the logarithm of the gradients' mean over deviation.

    batch: images in each of the two batches (fewer where the split is smaller). split: where they come from.
    """

    batch: int = 64
    split: str = "train"

    def __post_init__(self) -> None:
        check_settings(self.batch)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score. Raises NotFinite where no weight has gradients that differ between the batches."""
        start = perf_counter()
        one, two = (
            loss_pass(problem, architecture, seed=seed, batch=self.batch, split=self.split, number=number) for number in (0, 1)
        )
        pairs = zip(one.layers, two.layers, strict=True)
        return Estimate(score((first, second) for (_, first), (_, second) in pairs), perf_counter() - start)


def score(gradients: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The score from each layer's gradients in the first and the second batch."""
    logarithms = []
    for first, second in gradients:
        deviation = (first - second).abs()  # twice the standard deviation, as the sum below is twice the mean
        ratios = (first.abs() + second.abs()) / deviation
        total = float(ratios[deviation > 0].double().sum())
        if total > 0:
            logarithms.append(log(total))
    if not logarithms:
        raise NotFinite(
            "no gradient of the untrained network differs between two batches, so there is nothing to take logarithms of"
        )
    return sum(logarithms)
