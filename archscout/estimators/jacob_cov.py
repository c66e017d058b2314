"""Jacobian covariance: how differently an untrained network's logits react to changes of the images of a batch.

The first version (June 2020) of Mellor, Turner, Storkey and Crowley (arXiv 2006.04647). Row i of J is the gradient of the sum of
all logits of image i with respect to that image, R the correlation matrix of the rows, v its B eigenvalues, k = 1e-5:

    s = - sum over i of [ log(v_i + k) + 1 / (v_i + k) ]

Higher is better. The most is -B, where R is the identity; networks that see the images alike score lower by orders of magnitude.
Compare only at one batch size.

Deviations: all logits are summed (there, the network had one; a later port sums, too); eigenvalues are those of a symmetric matrix
in double precision, and below nought count as nought; identical images of the batch count once. Where the logits do not depend on
an image there is no correlation: a typed failure. As there, the images pass as one batch, normalised by its statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.estimators._probe import correlation, images_of, input_jacobian, untrained
from archscout.nn.probes import check_settings

_K = 1e-5


@dataclass(frozen=True)
class JacobCov:
    """Jacobian covariance score of an untrained network.

    batch: images (fewer where the split is smaller); on NAS-Bench-201 a pass takes up to 8 MiB per image of 32 x 32.
    split: where they come from.
    """

    batch: int = 256
    split: str = "train"

    def __post_init__(self) -> None:
        check_settings(self.batch)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score. Raises NotFinite where the logits do not depend on some image."""
        start = perf_counter()
        images, _ = images_of(problem, "jacob-cov", self.split, self.batch)
        value = evenness(input_jacobian(untrained(problem, architecture, seed), images))
        return Estimate(value, perf_counter() - start)


def evenness(rows: Tensor) -> float:
    """The score of the Jacobian's rows (B, D): -B where they are uncorrelated, else less. Raises NotFinite for a constant row."""
    related = correlation(rows)
    if not bool((related.diagonal() > 0).all()):
        raise NotFinite("the logits of the untrained network react to no change of some image")
    spectrum = torch.linalg.eigvalsh(related).clamp(min=0) + _K
    return -float((spectrum.log() + 1 / spectrum).sum())
