"""Gradient norm: how strongly the loss of an untrained network pulls at its weights.

Abdelfattah, Mehrotra, Dudziak and Lane 2021 (arXiv 2101.08134). With g_l the gradient of the mean cross-entropy of one batch with
respect to the weight of layer l (convolutions and linear layers, no biases, no normalisations),

    s = sum_l ||g_l||

the sum of the layers' norms, not the norm of all gradients together. Higher is better, as on NAS-Bench-201 (on NAS-Bench-101 the
correlation with accuracy is reported to be negative).

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
class GradNorm:
    """Sum of the norms of the layers' gradients.

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
        value = found.total(lambda weight, gradient: gradient.norm())
        return Estimate(value, perf_counter() - start)
