"""Find signals whose regression ranks architectures as their accuracies do (the task search of GenNAS).

Li, Hao, Li, Xiong and Chen 2021 (arXiv 2108.01899). Twenty architectures with known accuracy are judged by `signal-regression` with
a signal task; the task is the fitter, the better minus the errors rank as the accuracies:

    fitness = mean over the problems of Spearman's rho (value, accuracy)

Aging evolution over tasks: random ones first, then each time the fittest of a random few is copied with changes, and the oldest
leaves. In a copy the noise, the widths of the stages and each signal of each stage are drawn anew with one chance each.

Deviations: the fitness is signed (the released code takes the magnitude of rho, which rewards tasks that rank the wrong way round);
architectures whose regression fails rank last; the batch size stays as it is (one option in the released search space); the rivals
of a tournament are drawn without replacement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
from scipy.stats import spearmanr

from archscout.core.evidence import Episode, Observation
from archscout.core.moves import Judge, Learned, Learning
from archscout.core.problem import LANGUAGE_MODELLING
from archscout.core.seeds import generator
from archscout.core.signals import BETAS, HIGHEST, SIGNALS, Dots, NoiseKind, Resized, SignalTask, Sines, Stage, place_of, save_task

_WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
_LEVELS = tuple(round(0.1 * level, 1) for level in range(5, 30))
_NOISE_LEVELS = tuple(round(0.1 * level, 1) for level in range(10))
_WORST = -1.0


@dataclass(frozen=True)
class SignalTasks:
    """Aging evolution over signal tasks, by their rank correlation with known accuracies.

    population: random tasks to begin with, and how many live. steps: changed copies that follow. tournament: how many rivals a
    parent must beat. keep: the chance of each part of a task to be copied unchanged.
    """

    judge: ClassVar[str] = "signal-regression"

    population: int = 50
    steps: int = 400
    tournament: int = 10
    keep: float = 0.8

    def __post_init__(self) -> None:
        if min(self.population, self.tournament) < 1 or self.steps < 0 or not 0 <= self.keep < 1:
            raise ValueError("population and tournament are at least 1, steps at least 0, and keep lies between 0 and 1")

    @property
    def trials(self) -> int:
        """How many tasks are tried."""
        return self.population + self.steps

    def place_of(self, name: str) -> Path:
        """The file of a name. Raises UserError for one that cannot be used."""
        return place_of(name)

    def keep_lesson(self, settings: Mapping[str, Any], name: str) -> Path:
        """Save the found task; `--signals NAME` then stands for it."""
        return save_task(SignalTask.parse(settings["signals"]), name)

    def learn(self, episodes: Sequence[Episode], *, seed: int) -> Learning:
        """Evolve; the fittest task of all is the answer."""
        rng = generator(seed, "signal-tasks")
        for_sequences = episodes[0].problem.task.kind == LANGUAGE_MODELLING
        alive: deque[tuple[float, SignalTask]] = deque(maxlen=self.population)
        best: tuple[float, SignalTask] | None = None
        for number in range(self.trials):
            if number < self.population:
                task = random_task(rng, for_sequences=for_sequences)
            else:
                rivals = rng.choice(len(alive), min(self.tournament, len(alive)), replace=False)
                _, parent = max((alive[int(rival)] for rival in rivals), key=lambda member: member[0])
                task = mutated(parent, rng, self.keep)
            fitness = agreement(episodes, (yield Judge({"signals": str(task)})))
            alive.append((fitness, task))
            best = (fitness, task) if best is None or fitness > best[0] else best
            yield Learned({"signals": str(best[1])}, best[0])


def agreement(episodes: Sequence[Episode], landed: Sequence[Sequence[Observation]]) -> float:
    """The fitness of a task; -1 where the values of a problem say nothing (all alike, or all failed)."""
    found = []
    for episode, observations in zip(episodes, landed, strict=True):
        values = [observation.value for observation in observations]
        alike = len(set(values)) < 2
        found.append(_WORST if alike else float(spearmanr(values, episode.labels)[0]))
    return float(np.mean(found))


def random_task(rng: np.random.Generator, *, for_sequences: bool = False) -> SignalTask:
    """A task of the search space: every signal is there with a chance of one half."""
    count = 2 if for_sequences else 3
    blank = SignalTask(tuple(Stage() for _ in range(count)))
    return mutated(blank, rng, keep=0.0)


def mutated(task: SignalTask, rng: np.random.Generator, keep: float) -> SignalTask:
    """A copy in which each part is drawn anew with a chance of 1 - keep."""

    def drawn_anew() -> bool:
        return bool(rng.random() >= keep)

    if drawn_anew():
        kinds = get_args(NoiseKind)
        task = replace(task, noise=kinds[int(rng.integers(len(kinds)))], noise_level=_pick(rng, _NOISE_LEVELS))
    widths = [_pick(rng, _WIDTHS) if drawn_anew() else stage.width for stage in task.stages]
    if task.for_sequences:  # one width for what is read and what is written
        widths = [widths[0]] * len(widths)
    stages = []
    for stage, width in zip(task.stages, widths, strict=True):
        signals = {name: getattr(stage, name) for name in SIGNALS}
        for name in signals:
            if drawn_anew() and not (task.for_sequences and SIGNALS[name] is Resized):
                signals[name] = _signal(name, rng) if rng.random() < 0.5 else None
        stages.append(Stage(width, **signals))
    return replace(task, stages=tuple(stages))


def _signal(name: str, rng: np.random.Generator) -> Any:
    level = _pick(rng, _LEVELS)
    kind = SIGNALS[name]
    if kind is Resized:
        return Resized(level)
    per_sample = bool(rng.random() < 0.5)
    if kind is Dots:
        return Dots(level, float(rng.random()), per_sample)
    low, high = sorted(rng.uniform(0, HIGHEST, 2))
    return Sines(level, tuple(float(beta) for beta in rng.uniform(low, high, BETAS)), per_sample)


def _pick(rng: np.random.Generator, options: Sequence[float]) -> float:
    return options[int(rng.integers(len(options)))]
