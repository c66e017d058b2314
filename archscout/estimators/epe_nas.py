"""EPE-NAS: how differently an untrained network reacts to changes of images of one class.

Lopes, Alirezazadeh and Alexandre 2021 (arXiv 2102.08099). With J as in `jacob_cov`, C_c the correlation matrix of the rows whose
images are of class c, and k = 1e-5:

    e_c = sum over all entries of log(|C_c| + k)          s = sum over c of |e_c|

With more than 100 classes in the batch e_c is divided by the number of images of the class, and s is the mean over the classes c of
the sum over the classes c' of |e_c - e_c'|. Higher is better; s is at least nought. Compare only at one batch size and task.

Deviations: identical images of the batch count once; where the logits do not depend on an image there is no correlation, a typed
failure (there, the class is left out or counts as nought).
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError, NotFinite
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.estimators._probe import correlation, images_of, input_jacobian, untrained
from archscout.nn.probes import check_settings

_K = 1e-5
_MANY = 100


@dataclass(frozen=True)
class EpeNas:
    """EPE-NAS score of an untrained network.

    batch: images (fewer where the split is smaller), several of each class. split: where they come from.
    """

    batch: int = 256
    split: str = "train"

    def __post_init__(self) -> None:
        check_settings(self.batch)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score. Raises CandidateError where no class has two images, NotFinite where the logits ignore some image."""
        start = perf_counter()
        images, labels = images_of(problem, "epe-nas", self.split, self.batch)
        if len(torch.unique(labels)) == len(labels):
            raise CandidateError("epe-nas compares images of one class, but every image of the batch is of its own; raise batch")
        value = difference(input_jacobian(untrained(problem, architecture, seed), images), labels)
        return Estimate(value, perf_counter() - start)


def difference(rows: Tensor, labels: Tensor) -> float:
    """The score of the Jacobian's rows (B, D) of images with labels (B,). Raises NotFinite for a constant row."""
    classes = torch.unique(labels)
    parts = torch.stack([_within(rows[labels == label]) for label in classes])
    if len(classes) <= _MANY:
        return float(parts.abs().sum())
    parts = parts / torch.stack([(labels == label).sum() for label in classes])
    return float((parts[:, None] - parts[None, :]).abs().sum(1).mean())


def _within(rows: Tensor) -> Tensor:
    related = correlation(rows)
    if not bool((related.diagonal() > 0).all()):
        raise NotFinite("the logits of the untrained network react to no change of some image")
    return (related.abs() + _K).log().sum()
