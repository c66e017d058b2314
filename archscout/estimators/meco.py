"""MeCo: how far the channels of an untrained network's feature maps are from being linearly dependent, for one noise image.

Jiang, Wang and Bie 2023 (NeurIPS). For a layer whose output has c channels, P is the c x c correlation matrix of the channels over
the pixels:

    s = sum over the layers of the smallest eigenvalue of P

Layers are convolutions, batch normalisations, activations (ReLU-like) and poolings over windows, each once per use. 0 <= s <=
number of layers, higher is better. A layer with at least as many channels as pixels, or with a constant channel, adds nought.

Deviations: the released code taps every module, containers too, so that one tensor counts several times, and the linear layer,
whose output of one image has no correlation. As there, a constant channel is a row of noughts in P, and layers on which the output
does not depend count (unless `only_live`). The noise has the task's number of channels and is the same for all networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.estimators._probe import Family, check_finite, correlation, noise_for, untrained

_FAMILIES: tuple[Family, ...] = ("conv", "norm", "activation", "pool")


@dataclass(frozen=True)
class Meco:
    """MeCo score of an untrained network.

    side: of the noise image in pixels. only_live: leave out layers on which the output does not depend.
    """

    side: int = 64
    only_live: bool = False

    def __post_init__(self) -> None:
        if self.side < 2:
            raise ValueError(f"side must be at least 2 pixels, but {self.side} came")

    @torch.no_grad()
    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score; the metric `layers` is the number of layers. Raises NotFinite, and CandidateError where there are none."""
        start = perf_counter()
        shape = (problem.task.shape[0], self.side, self.side)
        image = noise_for(problem, "meco", (1, *shape))
        total, layers = 0.0, 0

        def see(value: Tensor, count: int) -> None:
            nonlocal total, layers
            if value.dim() == 4:
                total, layers = total + count * smallest_eigenvalue(value[0]), layers + count

        network = untrained(problem, architecture, seed, task=replace(problem.task, shape=shape))
        check_finite(network.watch(image, _FAMILIES, see, only_live=self.only_live), "logits")
        if not layers:
            raise CandidateError("meco reads feature maps, but the network has none; use another judge")
        return Estimate(total, perf_counter() - start, {"layers": layers})


def smallest_eigenvalue(feature_map: Tensor) -> float:
    """Of the correlation of the channels of a feature map (C, H, W)."""
    rows = feature_map.flatten(1)
    if rows.shape[0] >= rows.shape[1]:
        return 0.0  # centred rows of D numbers span at most D - 1 dimensions
    return max(0.0, float(torch.linalg.eigvalsh(correlation(rows))[0]))
