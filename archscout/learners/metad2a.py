"""MetaD2A's predictor as a judge: what a model that has seen many tasks expects of an architecture on this one, without training.

Lee, Hyung and Hwang 2021 (arXiv 2107.00860); `meta/metad2a.py` has the method. The data set is encoded once, from features of its
training images; then an architecture costs one pass through a small network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.evidence import Estimate, Observation
from archscout.core.models import model_file
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.core.seeds import generator
from archscout.core.vertices import vertices_of
from archscout.learners._dataset_model import Opened, opened


@dataclass(frozen=True)
class MetaD2A:
    """The accuracy that a model of MetaD2A predicts, 0 to 1.

    model: a name (archscout meta list) or a .safetensors file; ours for the space where empty.
    draws: of the data set's images, over which predictions are averaged.
    """

    model: str = ""
    draws: int = 10

    def __post_init__(self) -> None:
        check_least(self, draws=1)
        if self.model:
            model_file(self.model)  # a name that nobody has is told of at once

    def fit(self, problem: Problem, history: Sequence[Observation] = (), *, seed: int) -> Estimator:
        """Read the data; the history is not needed."""
        return _Predicted(opened(self.model, problem, "the judge 'metad2a'"), self.draws, seed)


@dataclass(frozen=True)
class _Predicted:
    opened: Opened = field(compare=False)
    draws: int
    seed: int

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The predicted accuracy; the draws are the same for all architectures."""
        start = perf_counter()
        types = np.array([vertices_of(problem.space, architecture)], np.int64)
        model, rng = self.opened.model, generator(self.seed, "draws")
        [value] = model.predict(self.opened.features, types, rng=rng, draws=self.draws)
        return Estimate(float(value), perf_counter() - start)
