"""Drives a method that learns across tasks: has its labelled architectures judged, keeps every answer, and goes on after a kill.

Each trial judges all architectures of all episodes with one setting of the judge, in parallel; for a judge that computes with one
thread the number of workers does not change the result. Every trial is a line of a file; the same question again replays the lines
without judging anything, and stops where the method proposes something else than it did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from archscout.catalogue import plain_record
from archscout.core.architecture import Architecture
from archscout.core.errors import Interrupted, ReplayMismatch, UserError
from archscout.core.evidence import Episode, Estimate, Failure, Observation, observed
from archscout.core.moves import Judge
from archscout.core.protocols import Estimator, MetaLearner
from archscout.core.seeds import derive
from archscout.engine.executors import Executor, Job
from archscout.engine.machine import versions
from archscout.store.lines import LineFile

Tell = Callable[[int, float], None]
"""Told (trials done, the fitness of the best settings) after every trial that was judged now."""


@dataclass(frozen=True)
class Lesson:
    """What was learned.

    settings: of the judge. fitness: theirs. trials: how many were made, in `seconds` of all sittings. complete: whether the method
    came to its end.
    """

    settings: Mapping[str, Any]
    fitness: float
    trials: int
    seconds: float
    complete: bool


class Lessons:
    """A question to a method, and the file of its trials in `folder`, which the same question finds again."""

    def __init__(self, learner: MetaLearner, judge: Estimator, episodes: Sequence[Episode], *, seed: int, folder: Path) -> None:
        self._learner, self._judge, self._episodes, self._seed = learner, judge, episodes, seed
        self._question = {
            "learner": plain_record(learner),
            "judge": plain_record(judge),
            "episodes": [
                {
                    "space": plain_record(episode.problem.space),
                    "data": episode.problem.task.fingerprint,
                    "architectures": list(map(str, episode.architectures)),
                    "labels": list(map(float, episode.labels)),
                }
                for episode in episodes
            ],
            "seed": seed,
            "archscout": versions()["archscout"],
        }
        self.digest = blake2b(json.dumps(self._question).encode(), digest_size=8).hexdigest()
        """16 hexadecimal digits that name the question."""
        self.log = folder / f"learn-{self.digest}.part"

    def learn(self, executor: Executor, *, minutes: float | None = None, tell: Tell = lambda trials, fitness: None) -> Lesson:
        """The best settings of the judge, or the best so far where the minutes are up.

        Raises UserError where the time was up before the first trial or this judged nothing, ReplayMismatch where the method does
        not repeat what the file says.
        """
        lines = LineFile(self.log, self._question)
        try:
            return self._learn(executor, lines, inf if minutes is None else monotonic() + 60 * minutes, tell)
        except Interrupted as stop:
            stop.hint = "Go on with the same command."
            raise
        finally:
            lines.close()

    def _learn(self, executor: Executor, lines: LineFile, deadline: float, tell: Tell) -> Lesson:
        replayed = iter(lines.entries)
        learning = self._learner.learn(self._episodes, seed=self._seed)
        lesson: Lesson | None = None
        trials, seconds, fresh, answer = 0, 0.0, False, None
        while True:
            try:
                move = next(learning) if answer is None else learning.send(answer)
            except StopIteration:
                assert lesson is not None, "a method that learns says what it learned"
                return replace(lesson, complete=True)
            answer = None
            if not isinstance(move, Judge):
                lesson = Lesson(move.settings, move.fitness, trials, seconds, complete=False)
                if fresh:
                    tell(trials, move.fitness)
                continue
            known = next(replayed, None)
            if fresh := known is None:
                if monotonic() >= deadline:
                    learning.close()
                    if lesson is None:
                        raise UserError("the time was up before the first trial was done; give more --minutes")
                    return lesson
                known = self._trial(move, executor)
                lines.add(known)
            settings, outcomes, taken = known
            if settings != move.settings:
                raise ReplayMismatch(
                    f"trial {trials + 1}: '{lines.path}' has {settings}, the method now makes {dict(move.settings)}; "
                    "settings or code changed since"
                )
            pairs = zip(outcomes, self._episodes, strict=True)
            answer = [list(map(_read, landed, episode.architectures)) for landed, episode in pairs]
            trials, seconds = trials + 1, seconds + taken
            if trials == 1:
                _check_any(answer)

    def _trial(self, move: Judge, executor: Executor) -> Any:
        """The line of a trial: its settings, what came of them, and the seconds that it took."""
        begun = monotonic()
        judge: Estimator = replace(self._judge, **move.settings)  # type: ignore[type-var]  # plug-ins are dataclasses
        waiting: dict[Job, tuple[int, int]] = {}
        found: dict[tuple[int, int], Estimate | Failure] = {}
        for number, episode in enumerate(self._episodes):
            for place, architecture in enumerate(episode.architectures):
                seed = derive(self._seed, "estimate", architecture)
                waiting[executor.submit(judge, episode.problem, architecture, seed)] = number, place
        while waiting:
            for job in executor.wait(1.0):
                assert job.outcome is not None
                found[waiting.pop(job)] = job.outcome
        outcomes = [
            [_written(found[number, place]) for place in range(len(episode.architectures))]
            for number, episode in enumerate(self._episodes)
        ]
        return [dict(move.settings), outcomes, round(monotonic() - begun, 3)]


def _check_any(answer: Sequence[Sequence[Observation]]) -> None:
    """Raises UserError where nothing could be judged: then the judge does not work here, whatever its settings."""
    failures = [one.failure for landed in answer for one in landed if one.failure is not None]
    if len(failures) == sum(map(len, answer)):
        first = failures[0]
        raise UserError(
            f"none of {len(failures)} architectures could be judged ({first.kind}: {first.message}); change the settings"
        )


def _written(outcome: Estimate | Failure) -> Any:
    return asdict(outcome) if isinstance(outcome, Failure) else outcome.value


def _read(written: Any, architecture: Architecture) -> Observation:
    return observed(architecture, Failure(**written) if isinstance(written, dict) else Estimate(written))
