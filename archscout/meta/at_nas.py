"""AT-NAS across tasks: meta-train a supernet's weights and a population of its paths on the episodes of a data set, and keep them.

The method is in `nn/at_nas.py`. `archscout meta adapt` then fits path and weights to a few images of new classes, and the judge
`at-nas` (`learners/at_nas.py`) fits paths to a whole data set.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from archscout.core.moves import Lecture
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.nn.at_nas import AcrossTasks, MetaTraining, paced
from archscout.nn.supernet_training import kept
from archscout.nn.threads import Threads

_PACED = ("iterations", "every", "tasks", "final_tasks")
_PACED_TO = 0.95


@dataclass(frozen=True)
class AtNas(AcrossTasks):
    """AT-NAS.

    method, learning_rate, batch, inner_rate, inner_steps, test_steps, statistics: of the meta-training, as in a recipe of episodes.
    iterations: steps of the meta-weights. warm_up: share of them with uniform paths, before the population is used. focus: share of
        them at the end for the fittest path alone.
    population, parents, crossed, mutated: paths; how many stay in a generation; children of either sort; random ones fill it up.
    paths: different ones in a step. every: iterations from one generation to the next. tasks, final_tasks: episodes that judge it,
        and its best at the end.
    evolve: False for uniform paths throughout. fitness: "post" adaptation, "pre", or the "gain" between.
    channels, cells: of the supernet; 0 for those of the space. report: steps between two lectures.
    """

    def episodes_training(
        self, problem: Problem, *, seed: int, seconds: float | None = None, state: Snapshot | None = None
    ) -> Generator[Lecture, None, None]:
        """A lecture every `report` steps; what was learned are the meta-weights and the population, the fittest first."""
        settings = self
        with Threads(torch.get_num_threads()) as threads:
            if state is not None:
                settings = self._at({name: int(state[name]) for name in _PACED})
            elif seconds is not None:
                settings = self._at(paced(problem, self, _PACED_TO * seconds, seed, threads)[0])
            training = MetaTraining(problem, settings, seed, threads)
            if state is not None:
                training.restore(state)
            yield from self._lectures(training)

    def _at(self, pace: Mapping[str, Any]) -> AtNas:
        return replace(self, **pace)

    def _lectures(self, training: MetaTraining) -> Generator[Lecture, None, None]:
        while not training.done:
            loss = training.learn()
            if training.breeds():
                training.breed()
            if training.step % self.report == 0:
                yield _lecture(training, training.step, {"loss": loss})
        training.finish()
        yield _lecture(training, training.settings.iterations + 1, {})


def _lecture(training: MetaTraining, done: int, metrics: Mapping[str, float]) -> Lecture:
    settings, total = training.settings, training.settings.iterations + 1
    metrics = {**metrics, "generation": float(training.generation)}
    if training.fitness:
        metrics["fittest"] = max(training.fitness[a] for a in training.population if a in training.fitness)
    state: dict[str, Any] = {
        **training.state(), **{name: getattr(settings, name) for name in _PACED},
        **kept(training.network.weights, "learned.weights."),
        "learned.population": np.array([architecture.choices for architecture in training.ranked()], np.int64),
    }  # fmt: skip
    return Lecture(done, total, metrics, state)
