"""MetaD2A's predictor as a judge: what a model that has seen many tasks expects of an architecture on this one, without training.

Lee, Hyung and Hwang 2021 (arXiv 2107.00860); `meta/metad2a.py` has the method. The data set is encoded once, from features of its
training images; then an architecture costs one pass through a small network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.evidence import Estimate, Observation
from archscout.core.models import model_file
from archscout.core.problem import Problem, Task
from archscout.core.protocols import Estimator, Space
from archscout.core.seeds import generator
from archscout.core.vertices import vertices_of
from archscout.learners._dataset_model import Opened, default_name, opened
from archscout.learners._shared_weights import digest_of, unchanged


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
        """Read the model and the data; the history is not needed."""
        path = model_file(self.model or default_name(problem.space))
        judge = _Predicted(str(path), digest_of(path), self.draws, seed)
        judge.opened(problem)
        return judge


@dataclass(frozen=True)
class _Predicted:
    """Predicts by a model. digest: of its file. seed: of the draws of the data set, which are the same for all architectures."""

    path: str
    digest: str
    draws: int
    seed: int

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The predicted accuracy. Raises RunError where the model's file is not there any more, or another one."""
        start, found = perf_counter(), self.opened(problem)
        types = np.array([vertices_of(problem.space, architecture)], np.int64)
        [value] = found.model.predict(found.features, types, rng=generator(self.seed, "draws"), draws=self.draws)
        return Estimate(float(value), perf_counter() - start)

    def opened(self, problem: Problem) -> Opened:
        """The model for a problem, read once a process. Raises as `estimate` and `_dataset_model.opened`."""
        return _opened(self.path, self.digest, problem.space, problem.task)  # type: ignore[arg-type]  # spaces are values


@lru_cache(maxsize=2)
def _opened(path: str, digest: str, space: Space, task: Task) -> Opened:
    unchanged(path, digest, "model", "begin again")
    return opened(path, Problem(space, task), "the judge 'metad2a'")
