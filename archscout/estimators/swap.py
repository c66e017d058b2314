"""SWAP: how many different on/off patterns over a batch of images the units of an untrained network show.

Peng, Song, Fayek, Ciesielski and Chang 2024 (arXiv 2403.04161). Every unit (a channel at a pixel of an activation) has a pattern:
on which of the B images it is positive.

    s = number of distinct patterns of all units

averaged over `repeats` networks with weights from N(0, 1). 1 <= s <= min(units, 2**B), higher is better; wide networks on large
images come near 2**B with small batches. With `mu` and `sigma` s is multiplied by exp(-(p - mu)**2 / sigma), where p is the number
of parameters in thousands: the regularised score of the released code, which draws the search to networks of about that size.

Deviations: activations count whatever the dimension of their input (there, feature maps only), and those on which the output does
not depend can be left out (`only_live`); identical images of the batch count once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import derive
from archscout.estimators._probe import check_finite, images_of, untrained
from archscout.nn.measure import counts


@dataclass(frozen=True)
class Swap:
    """SWAP score of an untrained network.

    batch: images (fewer where the split is smaller). split: where they come from. repeats: draws of weights that are averaged.
    only_live: leave out activations on which the output does not depend.
    mu, sigma: wanted parameters in thousands, and how sharply others are punished (thousands squared); 0 for no regularisation.
    """

    batch: int = 16
    split: str = "train"
    repeats: int = 32
    only_live: bool = False
    mu: float = 0.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.batch < 2 or self.repeats < 1:
            raise ValueError(f"batch must be at least 2 and repeats at least 1, but {self.batch} and {self.repeats} came")
        if self.sigma < 0 or (self.mu != 0 and self.sigma == 0):
            raise ValueError(f"sigma must be positive where mu is given, but {self.sigma} and {self.mu} came")

    @torch.no_grad()
    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score; the metric `units` is the number of activations. Raises NotFinite, and CandidateError where there are none."""
        start = perf_counter()
        images, _ = images_of(problem, "swap", self.split, self.batch)
        total, units = 0, 0
        for number in range(self.repeats):
            patterns = Patterns()
            network = untrained(problem, architecture, derive(seed, "swap", number), init="normal")
            check_finite(network.watch(images, ("activation",), patterns.add, only_live=self.only_live), "logits")
            total, units = total + patterns.count, patterns.units
        factor = 1.0
        if self.sigma:
            params = counts(problem.space, architecture, problem.task)["params"]
            factor = exp(-((params / 1000 - self.mu) ** 2) / self.sigma)
        return Estimate(factor * total / self.repeats, perf_counter() - start, {"units": units})


class Patterns:
    """Counts distinct patterns of units over a batch; exact."""

    def __init__(self) -> None:
        self.units = 0
        self._found: NDArray[np.void] | NDArray[np.uint64] | None = None

    def add(self, activations: Tensor, count: int = 1) -> None:
        """Take in the activations (B, ...) of a layer that stands for `count` equal ones."""
        on = (activations > 0).flatten(1).cpu().numpy()
        packed = np.packbits(on, axis=0).T
        width = 8 * -(-packed.shape[1] // 8)
        padded = np.zeros((len(packed), width), np.uint8)
        padded[:, : packed.shape[1]] = packed
        keys = padded.view(np.uint64 if width == 8 else np.dtype((np.void, width)))[:, 0]
        fresh = np.unique(keys)
        self._found = fresh if self._found is None else np.unique(np.concatenate([self._found, fresh]))
        self.units += count * on.shape[1]

    @property
    def count(self) -> int:
        """The number of distinct patterns. Raises CandidateError where no activations came."""
        if self._found is None:
            raise CandidateError("swap reads ReLU-like activations, but the network has none; use another judge")
        return len(self._found)
