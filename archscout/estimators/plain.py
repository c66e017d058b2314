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

from archscout.estimators._loss_score import LossScore
from archscout.nn.probes import LossPass


@dataclass(frozen=True)
class Plain(LossScore):
    """Sum of weight * gradient, of either sign.

    batch, split, precision: as `LossScore`.
    """

    def score(self, found: LossPass) -> float:
        """The score of a pass."""
        return found.total(lambda weight, gradient: (weight * gradient).sum())
