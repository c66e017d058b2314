"""Drives a method that learns across tasks: has its labelled architectures judged, keeps every answer, and goes on after a kill.

Each trial judges all architectures of all episodes with one setting of the judge, in parallel; their number of workers does not
change the result. Every trial is a line of a file; the same question again replays the lines without judging anything, and stops
where the method proposes something else than it did.
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

from archscout.catalogue import record
from archscout.core.errors import Interrupted, ReplayMismatch, UserError
from archscout.core.evidence import Episode, Estimate, Failure, Observation
from archscout.core.moves import Judge
from archscout.core.protocols import Estimator, MetaLearner
from archscout.core.seeds import derive
from archscout.engine.executors import Executor, Job
from archscout.engine.machine import versions
from archscout.store.lines import LineFile

Tell = Callable[[int, Mapping[str, float]], None]
"""Told (trials done, the numbers of the last one)."""


@dataclass(frozen=True)
class Lesson:
    """What was learned. settings: of the judge. trials: how many were made; complete: whether the method came to its end."""

    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    trials: int
    complete: bool


def learn(
    learner: MetaLearner, judge: Estimator, episodes: Sequence[Episode], executor: Executor, log: Path, *, seed: int = 0,
    minutes: float | None = None, tell: Tell = lambda trials, metrics: None,
) -> Lesson:  # fmt: skip
    """The best settings of the judge, or the best so far where the minutes are up.

    log: the file of the trials. Raises UserError where the time was up before the first, ReplayMismatch where the method does not
    repeat what the file says.
    """
    lines = LineFile(log, question(learner, judge, episodes, seed))
    deadline = inf if minutes is None else monotonic() + 60 * minutes
    try:
        return _learn(learner, judge, episodes, executor, lines, seed, deadline, tell)
    except Interrupted as stop:
        stop.hint = "Go on with the same command."
        raise
    finally:
        lines.close(remove=False)


def lesson_name(learner: MetaLearner, judge: Estimator, episodes: Sequence[Episode], seed: int) -> str:
    """A file name for the trials of this question."""
    asked = json.dumps(question(learner, judge, episodes, seed), default=str)
    return f"{type(learner).__name__}-{blake2b(asked.encode(), digest_size=8).hexdigest()}.part"


def question(learner: MetaLearner, judge: Estimator, episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """What the trials of a file belong to."""
    return {
        "learner": record(learner),
        "judge": record(judge),
        "episodes": [
            {
                "space": record(episode.problem.space),
                "data": episode.problem.task.fingerprint,
                "architectures": list(map(str, episode.architectures)),
                "labels": list(map(float, episode.labels)),
            }
            for episode in episodes
        ],
        "seed": seed,
        "archscout": versions()["archscout"],
    }


def _learn(
    learner: MetaLearner, judge: Estimator, episodes: Sequence[Episode], executor: Executor, lines: LineFile, seed: int,
    deadline: float, tell: Tell,
) -> Lesson:  # fmt: skip
    replayed = iter(lines.entries)
    learning = learner.learn(episodes, seed=seed)
    lesson: Lesson | None = None
    trials, answer = 0, None
    while True:
        try:
            move = next(learning) if answer is None else learning.send(answer)
        except StopIteration:
            break
        answer = None
        if not isinstance(move, Judge):
            lesson = Lesson(move.settings, move.metrics, trials, complete=False)
            tell(trials, move.metrics)
            continue
        known = next(replayed, None)
        if known is None and monotonic() >= deadline:
            learning.close()
            if lesson is None:
                raise UserError("the time was up before the first trial was done; give more --minutes")
            return lesson
        if known is None:
            answer = _judge(replace(judge, **move.settings), episodes, executor, seed)  # type: ignore[type-var]
            lines.add([dict(move.settings), [[_written(one) for one in landed] for landed in answer]])
        elif known[0] != dict(move.settings):
            raise ReplayMismatch(
                f"trial {trials + 1}: '{lines.path}' has {known[0]}, the method now makes {dict(move.settings)}; "
                "settings or code changed since"
            )
        else:
            pairs = zip(known[1], episodes, strict=True)
            answer = [list(map(_read, landed, episode.architectures)) for landed, episode in pairs]
        trials += 1
    assert lesson is not None, "a method that learns says what it learned"
    return replace(lesson, complete=True)


def _judge(judge: Estimator, episodes: Sequence[Episode], executor: Executor, seed: int) -> list[list[Observation]]:
    waiting: dict[Job, tuple[int, int]] = {}
    found: dict[tuple[int, int], Estimate | Failure] = {}
    for number, episode in enumerate(episodes):
        for place, architecture in enumerate(episode.architectures):
            job = executor.submit(judge, episode.problem, architecture, derive(seed, "estimate", architecture))
            waiting[job] = number, place
    while waiting:
        for job in executor.wait(1.0):
            assert job.outcome is not None
            found[waiting.pop(job)] = job.outcome
    return [
        [_observed(architecture, found[number, place]) for place, architecture in enumerate(episode.architectures)]
        for number, episode in enumerate(episodes)
    ]


def _observed(architecture: Any, outcome: Estimate | Failure) -> Observation:
    if isinstance(outcome, Failure):
        return Observation(architecture, None, outcome)
    return Observation(architecture, outcome)


def _written(observation: Observation) -> Any:
    if observation.failure is not None:
        return asdict(observation.failure)
    return observation.value


def _read(written: Any, architecture: Any) -> Observation:
    return _observed(architecture, Failure(**written) if isinstance(written, dict) else Estimate(written))
