"""NAO with weight sharing: one supernet, trained on a pool of architectures, judges them; a controller renews the pool.

Luo, Tian, Qin, Chen and Liu 2018 (arXiv 1808.07233). A pool of random architectures; every step trains the path of one of them,
drawn at random, in a supernet of the space. In rounds, all of the pool are scored with the shared weights, NAO's controller
(`learners/nao.py`) learns from the scores, climbs from the best (`strategies/nao.py`), and what it finds takes the places of the
worst. After the last round nothing is renewed, and the best of the pool is the answer.

Published: for images a pool of 600, 300 new ones a round, 5 rounds of 30 epochs, 20 channels and 3 cells a stage; for texts a pool
of 1,000, 300 climbed and 50 random new ones a round, 5 rounds of 200 epochs.

Deviations: all of a pool are scored on the same batches, with the statistics of each (the released code scores every architecture
on a batch of its own, and for texts reads a 35th of the validation part only), so that scores differ by architecture alone. The
pool, and its new part, are smaller: budgets are minutes. The controller is trained as in `nao`. The answer is not re-ranked by
short trainings here: the run's comparison trains it beside others. Texts are trained with the rate, clipping and batch of DARTS'
recurrent search (20, 0.25, 16). Scores of different rounds are of different weights, so the controller learns from those of the
last alone.

Such scores are known to rank badly (Yu, Sciuto, Jaggi, Musat and Salzmann 2020, arXiv 1902.08142: in a small space NAO's pick was
from its random start), see `learners/weight_sharing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.draw import sample
from archscout.core.moves import Progress, Search
from archscout.core.problem import IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Problem, TaskKind
from archscout.core.protocols import Snapshot
from archscout.core.seeds import derive, generator
from archscout.nn.controller import learned
from archscout.nn.measure import acceptance
from archscout.nn.pace import TIMED, seconds_of, steps_per_report
from archscout.nn.supernet import activations, supernet_of
from archscout.nn.supernet_training import Schedule, Training
from archscout.nn.text_course import begin_with_frequencies
from archscout.nn.threads import torch_threads
from archscout.strategies._climbing import ClimbSettings, Moves, climbed
from archscout.strategies._fresh import Known, architectures_of, texts_of, unmet

_SMALL = 8, 1
_TIMED_EPOCHS = 3
_SCORING, _LEAST_POOL = 0.3, 20
"""Share of the time that scoring and the controller may take before the pool is made smaller, and how small it may become."""


@dataclass(frozen=True)
class NaoWs(Schedule):
    """NAO on a supernet.

    pool: architectures that are trained together. rounds: scorings of the pool. new: how many climbed ones a round brings.
    items: images of the other share of the data, on which all are scored alike; of a text, windows, a 32nd as many.
    seeds, moves, increment, rescore, members: as in `nao`. fits: epochs of the controller's training in a round.
    epochs, batch, ...: of the supernet. channels, depth: its size; 0 for 8 channels and one cell a stage (published are 20
        and 3, which take hours), and for states as large as those of the space's networks, but 300 at the most.
    report: steps between two reports, each with a snapshot.
    """

    epochs: float = 150.0
    share: float = 0.9
    pool: int = 100
    rounds: int = 5
    new: int = 50
    items: int = 1024
    seeds: int = 50
    moves: Moves = "both"
    increment: float = 0.25
    rescore: bool = True
    members: int = 1
    fits: int = 60
    channels: int = 0
    depth: int = 0
    report: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, pool=2, rounds=1, new=1, items=2, fits=1, channels=0, depth=0, report=1)
        if self.new >= self.pool:
            raise ValueError(f"new ones take places of the pool, {self.pool}, but not all, and {self.new} came; make new smaller")
        _ = self._climb

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Images and texts."""
        return IMAGE_CLASSIFICATION, LANGUAGE_MODELLING

    @property
    def owns_loop(self) -> bool:
        """Always."""
        return True

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """As many epochs as fit beside the scoring of the pool, which becomes smaller where that takes too long."""
        training = self._training(problem, seed)
        rng = generator(seed, "timed")
        some = [sample(problem.space, rng) for _ in range(max(self.pool, TIMED))]
        ranked = [float(number) for number in range(len(some))]

        def learn(number: int) -> None:
            training.learn(training.net.gates(some[number]), training.batch(training.weighed, number), number)

        step = seconds_of(learn)
        score = seconds_of(lambda number: self._score(training, some[number]))

        def fitted(rules: ClimbSettings) -> float:
            return seconds_of(lambda number: learned(problem.space, some, ranked, rules, seed))

        once, more = (fitted(replace(self._climb, epochs=epochs)) for epochs in (1, 1 + _TIMED_EPOCHS))
        fit = once + max(0.0, more - once) / _TIMED_EPOCHS * (self.fits - 1)
        pool = self.pool
        while pool > _LEAST_POOL and self.rounds * (pool * score + fit * pool / self.pool) > _SCORING * seconds:
            pool = max(_LEAST_POOL, pool // 2)
        steps = max(self.rounds, (seconds - self.rounds * (pool * score + fit * pool / self.pool)) / step)
        epochs = min(self.epochs, steps / training.weighed.per_pass)
        return {
            "epochs": float(f"{epochs:.4g}"),
            "pool": pool,
            "new": min(self.new, max(1, pool // 2)) if pool < self.pool else self.new,
            "report": steps_per_report(self, step),
        }

    def memory(self, problem: Problem) -> int:
        """The results of the largest of the paths that take one option everywhere."""
        return activations(problem.space, problem.task, self.of_kind(problem.task.kind).batch, *self._size(problem), path=True)

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Train and score in turn, `rounds` times in all."""
        space, training = problem.space, self._training(problem, seed)
        first, pool = 0, [*islice(unmet(space, generator(seed, "pool"), acceptance(problem), Known(space)), self.pool)]
        best: Architecture | None = None
        if state is not None:
            first = int(state["step"])
            training.restore(state)
            pool = architectures_of(space, state["pool"])
            best = pool[0] if state["scored"] else None
        met = dict.fromkeys(pool if state is None else architectures_of(space, state["met"]))
        ends = {round(training.steps * (number + 1) / self.rounds): number for number in range(self.rounds)}
        for step in range(first, training.steps):
            one = pool[int(generator(seed, "path", step).integers(len(pool)))]
            loss = training.learn(training.net.gates(one), training.batch(training.weighed, step), step)
            metrics = {"loss": loss, "share": (step + 1) / training.steps}
            turn = ends.get(step + 1)
            if turn is None and (step + 1) % self.report:
                continue
            if turn is not None:
                pool, found = self._renewed(problem, training, pool, met, turn, seed)
                best = pool[0]
                metrics |= found
                met |= dict.fromkeys(pool)
            kept = {"step": step + 1, "pool": texts_of(pool), "met": texts_of(met), "scored": best is not None}
            yield Progress(best, metrics, {**kept, **training.state()})
        return best

    def _renewed(
        self, problem: Problem, training: Training, pool: list[Architecture], met: Iterable[Architecture], turn: int, seed: int
    ) -> tuple[list[Architecture], dict[str, float]]:
        """The pool, best first, with new ones for the worst except after the last round; and numbers of the round."""
        scores = {architecture: self._score(training, architecture) for architecture in pool}
        ranked = sorted(pool, key=lambda architecture: -scores[architecture])
        known = {architecture: scores[architecture] for architecture in ranked if np.isfinite(scores[architecture])}
        metrics = {"round": turn + 1.0}
        if known:
            values = list(known.values())
            metrics |= {"best": values[0], "mean": float(np.mean(values)), "worst": values[-1]}
        if turn + 1 == self.rounds or len(known) < 2:
            return ranked, metrics
        with torch_threads(1):
            trained = learned(problem.space, list(known), list(known.values()), self._climb, derive(seed, "controller", turn))
        space, best, accept = problem.space, list(known)[: self.seeds], acceptance(problem)
        new = min(self.new, len(pool) - 1)  # limits may have left the pool small; the best one stays
        found = climbed(space, trained, best, new, Known(space, met), accept, self._climb, derive(seed, "climb", turn))
        others = unmet(space, generator(seed, "others", turn), accept, Known(space, [*met, *found]))
        found += islice(others, new - len(found))
        pairs = float(np.mean([fit.pairs for fit in trained.fits]))
        metrics |= {"new": float(len(found))} | ({"pairs": pairs} if np.isfinite(pairs) else {})
        return [*ranked[: len(pool) - len(found)], *found], metrics

    def _score(self, training: Training, architecture: Architecture) -> float:
        """Minus infinity where the score is no number."""
        score = training.score(training.net.gates(architecture), self.items)
        return score if np.isfinite(score) else float("-inf")

    @property
    def _climb(self) -> ClimbSettings:
        return ClimbSettings(
            epochs=self.fits,
            seeds=self.seeds,
            moves=self.moves,
            increment=self.increment,
            rescore=self.rescore,
            members=self.members,
        )

    def _training(self, problem: Problem, seed: int) -> Training:
        channels, depth = self._size(problem)
        net = supernet_of(problem.space, problem.task, seed=derive(seed, "weights"), channels=channels, depth=depth)
        if problem.task.kind is LANGUAGE_MODELLING:
            begin_with_frequencies(net, problem.task.splits["train"])
        return Training(net.to(problem.device), problem, self, seed)

    def _size(self, problem: Problem) -> tuple[int, int]:
        channels, depth = (0, 0) if problem.task.kind is LANGUAGE_MODELLING else _SMALL
        return self.channels or channels, self.depth or depth
