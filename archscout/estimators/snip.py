"""SNIP: how much the loss of an untrained network depends on its single weights.

Lee, Ajanthan and Torr 2019 (arXiv 1810.02340), as a score of whole networks by Abdelfattah et al. 2021 (arXiv 2101.08134). With W_l
the weight of layer l (convolutions and linear layers) and g_l its gradient of the mean cross-entropy of one batch,

    s = sum_l sum |W_l * g_l|

which is the gradient with respect to a mask that multiplies the weights, at a mask of ones. Higher is better.

Deviations: no mask is built, since the product is the same. Only layers on which the logits depend exist here; the others would add
nought. A network whose gradients are all zero scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.executor import Precision
from archscout.nn.probes import check_settings, loss_pass


@dataclass(frozen=True)
class Snip:
    """Sum of |weight * gradient|.

    batch: images (fewer where the split is smaller). split: where they come from.
    precision: "fp32", or "bf16": faster on processors with matrix units for it, at slightly different values.
    """

    batch: int = 64
    split: str = "train"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_settings(self.batch, self.precision)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score, at least 0. Raises NotFinite where a gradient is not finite."""
        start = perf_counter()
        found = loss_pass(problem, architecture, seed=seed, batch=self.batch, split=self.split, precision=self.precision)
        value = found.total(lambda weight, gradient: (weight * gradient).abs().sum())
        return Estimate(value, perf_counter() - start)
