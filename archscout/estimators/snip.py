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

from archscout.estimators._loss_score import LossScore
from archscout.nn.probes import LossPass


@dataclass(frozen=True)
class Snip(LossScore):
    """Sum of |weight * gradient|; at least 0.

    batch, split, precision: as `LossScore`.
    """

    def score(self, found: LossPass) -> float:
        """The score of a pass."""
        return found.total(lambda weight, gradient: (weight * gradient).abs().sum())
