"""Fisher: how much the loss of an untrained network would change if single channels were taken away.

Turner, Crowley, O'Boyle, Storkey and Gray 2020 (BlockSwap, arXiv 1906.04113), as a score of whole networks by Abdelfattah et al.
2021 (arXiv 2101.08134). With a the output of layer l (convolutions and linear layers), L the mean cross-entropy of one batch of
images n and positions p,

    D_lc = 1/2 mean_n (sum_p a_ncp * dL/da_ncp)^2        s = sum_l sum_c D_lc * (weights of a channel of l)

The last factor comes from the ported code, which copies D_c to every weight of the channel before it sums; it is kept, since the
ranking differs without it. Higher is better, as on NAS-Bench-201 (on NAS-Bench-101 the correlation with accuracy is reported to be
negative).

Deviations: none in the value. The last layer's bias counts as signal, so a network without any other scores a little above 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from archscout.estimators._loss_score import LossScore
from archscout.nn.probes import LossPass


@dataclass(frozen=True)
class Fisher(LossScore):
    """Sum of the channels' Fisher information, each as often as the channel has weights; at least 0.

    batch, split, precision: as `LossScore`.
    """

    needs_fisher: ClassVar[bool] = True

    def score(self, found: LossPass) -> float:
        """The score of a pass."""
        assert found.fisher is not None
        return found.fisher
