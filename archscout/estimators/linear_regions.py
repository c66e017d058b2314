"""Linear regions: how many pieces of the input space an untrained network tells apart.

Chen, Gong and Wang 2021 (TE-NAS, arXiv 2102.11535). The on/off pattern of all activations names the piece of the input space, on
which a ReLU network is linear, that an input lies in:

    R = number of distinct patterns among n inputs

Inputs are crops of 3 x 3 pixels of one channel. 1 <= R <= n, higher is better. R tells networks apart only as long as they are
tiny: one with more than a few channels gives almost every crop a pattern of its own. Make the space as narrow and shallow as it
goes, such as `nas201` with channels 1 and cells 1; the paper's has no stem either.

Deviations: all crops pass at once, so that all are normalised alike (there, in batches of 1,000); activations count whatever the
dimension of their input (there, feature maps only), and also those on which the output does not depend, unless `only_live`;
weights are PyTorch's default (there, Kaiming's; between normalisations the scale changes no pattern).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import derive, generator
from archscout.estimators._probe import check_finite, check_images, untrained
from archscout.nn.batches import batches

_IMAGES_AT_ONCE = 250


@dataclass(frozen=True)
class LinearRegions:
    """Number of linear regions that a sample of small crops meets in an untrained network.

    samples: crops. side: of a crop in pixels (the image's where that is smaller). split: where they come from.
    only_live: leave out activations on which the output does not depend.
    """

    samples: int = 3000
    side: int = 3
    split: str = "train"
    only_live: bool = False

    def __post_init__(self) -> None:
        if self.samples < 2 or self.side < 1:
            raise ValueError(f"samples must be at least 2 and side at least 1, but {self.samples} and {self.side} came")

    @torch.no_grad()
    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """R; the metric `units` is the number of activations. Raises NotFinite, and CandidateError where there are none."""
        start = perf_counter()
        check_images(problem, "linear-regions")
        crops = self._crops(problem)
        regions = Regions(len(crops))
        network = untrained(problem, architecture, seed, task=replace(problem.task, shape=tuple(crops.shape[1:])))
        logits = network.watch(crops, ("activation",), regions.add, only_live=self.only_live)
        check_finite(logits, "logits")
        return Estimate(float(regions.count), perf_counter() - start, {"units": regions.units})

    def _crops(self, problem: Problem) -> Tensor:
        """Crops (samples, 1, side, side) at random places of random channels of random images, the same for every network."""
        labels = ("linear-regions", problem.task.fingerprint)
        rng = generator(0, *labels)
        crops: list[Tensor] = []
        for number in count():  # a pass over the images after the other, until there are enough
            for images, _ in batches(problem.task, self.split, _IMAGES_AT_ONCE, seed=derive(0, *labels, number)):
                for image in images[: self.samples - len(crops)]:
                    top, left = (int(rng.integers(max(1, extent - self.side + 1))) for extent in image.shape[1:])
                    channel = int(rng.integers(len(image)))
                    crops.append(image[channel, top : top + self.side, left : left + self.side])
            if len(crops) == self.samples:
                break
        return torch.stack(crops)[:, None].to(problem.device)


class Regions:
    """Counts distinct activation patterns of samples; of the patterns only digests are kept."""

    def __init__(self, samples: int) -> None:
        self.units = 0
        self._patterns = [blake2b(digest_size=16) for _ in range(samples)]

    def add(self, activations: Tensor, times: int = 1) -> None:
        """Take in the activations (samples, ...) of a layer that stands for this many equal ones."""
        on = (activations > 0).flatten(1).cpu().numpy()
        for pattern, bits in zip(self._patterns, np.packbits(on, axis=1), strict=True):
            pattern.update(bits.tobytes())
        self.units += times * on.shape[1]

    @property
    def count(self) -> int:
        """R. Raises CandidateError where no activations came."""
        if not self.units:
            raise CandidateError("linear-regions reads ReLU-like activations, but the network has none; use another judge")
        return len({pattern.digest() for pattern in self._patterns})
