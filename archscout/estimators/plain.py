"""Plain: weights times gradients of an untrained network, with their signs.

Abdelfattah, Mehrotra, Dudziak and Lane 2021 (arXiv 2101.08134). With W_l the weight of layer l (convolutions and linear layers) and
g_l its gradient of the mean cross-entropy of one batch,

    s = sum_l sum W_l * g_l

which is how fast the loss rises as all weights grow together. The sign is that of the formula: higher is called better, though the
score was proposed as a baseline and its correlation with accuracy is weak. A layer before a normalisation contributes next to
nothing, because the normalisation undoes its scale.

Deviations: only layers on which the logits depend exist here; the others would add nought. A network whose gradients are all zero
scores 0.
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
class Plain:
    """Sum of weight * gradient, signed.

    batch: images (fewer where the split is smaller). split: where they come from.
    precision: "fp32", or "bf16": faster on processors with matrix units for it, at slightly different values.
    """

    batch: int = 64
    split: str = "train"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_settings(self.batch, self.precision)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score, of either sign. Raises NotFinite where a gradient is not finite."""
        start = perf_counter()
        found = loss_pass(problem, architecture, seed=seed, batch=self.batch, split=self.split, precision=self.precision)
        value = found.total(lambda weight, gradient: (weight * gradient).sum())
        return Estimate(value, perf_counter() - start)
