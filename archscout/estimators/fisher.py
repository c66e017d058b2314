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
from time import perf_counter

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.executor import Precision
from archscout.nn.probes import check_settings, loss_pass


@dataclass(frozen=True)
class Fisher:
    """Sum of the channels' Fisher information, each as often as the channel has weights.

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
        found = loss_pass(
            problem, architecture, seed=seed, batch=self.batch, split=self.split, fisher=True, precision=self.precision
        )
        assert found.fisher is not None
        return Estimate(found.fisher, perf_counter() - start)
