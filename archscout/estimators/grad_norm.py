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

from archscout.estimators._loss_score import LossScore
from archscout.nn.probes import LossPass


@dataclass(frozen=True)
class GradNorm(LossScore):
    """Sum of the norms of the layers' gradients; at least 0.

    batch, split, precision: as `LossScore`.
    """

    def score(self, found: LossPass) -> float:
        """The score of a pass."""
        return found.total(lambda weight, gradient: gradient.norm())
