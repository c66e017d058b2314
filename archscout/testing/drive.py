"""Run a strategy in this process on a small problem, stop it anywhere and let it go on: for conformance suites and by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.evidence import Observation
from archscout.core.moves import Move, Order, Progress, Propose, Wait
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, Strategy
from archscout.core.seeds import generator
from archscout.engine import worker
from archscout.engine.budget import Budget
from archscout.engine.drive import Event, drive
from archscout.engine.executors import Job
from archscout.store.log import Log, MemoryLog
from archscout.store.snapshots import pack, unpack

Judges = Mapping[str, Estimator] | Estimator


class Shuffled:
    """An executor in this process whose jobs finish in a random order, as if each took its own time. jobs: all it ever took."""

    state = ""

    def __init__(self, workers: int, seed: int = 0) -> None:
        self.workers = workers
        self.taken = 0
        self._rng: np.random.Generator = generator(seed, "shuffled")
        self._jobs: list[Job] = []

    def submit(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Job:
        """As `Executor.submit`."""

        self._jobs.append(Job(estimator, problem, architecture, seed))
        assert len(self._jobs) <= self.workers, "more in flight than there are workers"
        self.taken += 1
        return self._jobs[-1]

    def wait(self, timeout: float | None = None) -> list[Job]:
        """As `Executor.wait`: one job, picked at random."""
        if not self._jobs:
            return []
        job = self._jobs.pop(int(self._rng.integers(len(self._jobs))))
        job.outcome = worker.judge(job.estimator, job.problem, job.architecture, job.seed)
        return [job]

    def cancel(self) -> None:
        """As `Executor.cancel`."""
        self._jobs.clear()

    def close(self) -> None:
        """As `Executor.close`."""
        self.cancel()


class Stopped(BaseException):
    """What `stop_and_go` kills a run with."""


class Kept(MemoryLog):
    """A log that remembers every snapshot, and gives the last one back as it comes from a file."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: dict[int, dict[str, object]] = {}
        self._last: tuple[int, bytes] | None = None

    def restart(self) -> tuple[int, Mapping[str, Any] | None]:
        """As `Log.restart`."""
        return (0, None) if self._last is None else (self._last[0] + 1, unpack(self._last[1]))

    def add_move(self, move: Move, delivered: int) -> None:
        """As `Log.add_move`."""
        if isinstance(move, Progress) and move.state is not None:
            number = len(self.moves)
            self._last = number, pack(move.state)
            self.snapshots[number] = {name: exact(value) for name, value in unpack(self._last[1]).items()}
        super().add_move(move, delivered)


def exact(value: Any) -> object:
    """A value of a snapshot in a form that is equal only to the same type, shape and bytes."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if hasattr(value, "detach"):
        import torch

        return str(value.dtype), tuple(value.shape), value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return json.dumps(value)


def run(
    strategy: Strategy,
    problem: Problem,
    judges: Judges,
    *,
    seed: int = 0,
    evaluations: int | None = 50,
    workers: int = 1,
    log: MemoryLog | None = None,
    order: Order = "proposed",
) -> MemoryLog:
    """Drive a strategy to its end or to `evaluations`; the log holds its moves, observations and answer."""
    log = log if log is not None else MemoryLog()
    _drive(strategy, problem, judges, seed, evaluations, log, Shuffled(workers), order=order)
    return log


def first_moves(
    strategy: Strategy, problem: Problem, judges: Judges, *, seed: int = 0, count: int = 10, workers: int = 1
) -> list[str]:
    """The first `count` moves as text, for golden files."""
    log = MemoryLog()

    def stop(event: Event) -> None:
        if len(log.moves) >= count:
            raise Stopped

    try:
        _drive(strategy, problem, judges, seed, count, log, Shuffled(workers), stop)
    except Stopped:
        pass
    return [_text(entry.move) for entry in log.moves[:count]]


def stop_and_go(
    strategy: Strategy,
    problem: Problem,
    judges: Judges,
    *,
    seed: int = 0,
    evaluations: int | None = 50,
    workers: int = 1,
    stops: Sequence[int] | None = None,
    log: Log | None = None,
) -> None:
    """Assert that a run killed after so many events (each of `stops` in turn, then resumed) equals an undisturbed one.

    Equal are moves, observations and answer, and all snapshots byte for byte, so that optimizers and random states are, too; no
    finished evaluation is repeated. At most the work in flight is lost at each stop. stops: None for two random moments, which
    follow from the seed. log: where to record the disturbed run, whose snapshots are then not compared.
    """
    straight = Kept()
    run(strategy, problem, judges, seed=seed, evaluations=evaluations, workers=workers, log=straight)
    if stops is None:
        events = sum(not isinstance(entry.move, Wait) for entry in straight.moves) + len(straight.results)
        stops = [int(stop) for stop in generator(seed, "stops").integers(1, max(2, events), size=2)]
    disturbed: Log = log if log is not None else Kept()
    taken = lost = 0
    for turn, stop in enumerate([*stops, None]):
        executor = Shuffled(workers, seed=turn)
        left = stop

        def count(event: Event) -> None:
            nonlocal left
            if left is not None and event.kind in ("proposed", "landed", "progress"):
                left -= 1
                if left <= 0:
                    raise Stopped

        before = _evaluated(disturbed)
        try:
            _drive(strategy, problem, judges, seed, evaluations, disturbed, executor, count)
        except Stopped:
            unfinished = executor.taken - (_evaluated(disturbed) - before)
            assert unfinished <= workers, "more is lost than was in flight"
            lost += unfinished
        taken += executor.taken
        if disturbed.finished:
            break
    assert [e.move for e in disturbed.moves] == [e.move for e in straight.moves], "other moves after stop and go"
    assert [e.delivered for e in disturbed.moves] == [e.delivered for e in straight.moves], "other answers after stop and go"
    assert _judged(disturbed) == _judged(straight), "other observations after stop and go"
    assert disturbed.answer == straight.answer, "another answer after stop and go"
    if isinstance(disturbed, Kept):
        assert disturbed.snapshots.keys() == straight.snapshots.keys(), "snapshots at other moves after stop and go"
        for number, snapshot in straight.snapshots.items():
            other = [name for name, value in disturbed.snapshots[number].items() if snapshot.get(name) != value]
            assert disturbed.snapshots[number] == snapshot, f"another snapshot after stop and go: {', '.join(other)} differs"
    assert taken - lost == _evaluated(straight), "a finished evaluation was repeated"


def _evaluated(log: Log) -> int:
    return sum(not seen.refused for seen in log.results.values())


def _judged(log: Log) -> list[tuple[object, ...]]:
    def plain(seen: Observation) -> tuple[object, ...]:
        return str(seen.architecture), seen.judge, seen.fidelity, seen.value, seen.failure

    return [(number, *plain(log.results[number])) for number in sorted(log.results)]


def _drive(
    strategy: Strategy,
    problem: Problem,
    judges: Judges,
    seed: int,
    evaluations: int | None,
    log: Log,
    executor: Shuffled,
    notify: object = None,
    order: Order = "proposed",
) -> None:
    named = judges if isinstance(judges, Mapping) else {"main": judges}
    hook = notify if callable(notify) else None
    drive(
        strategy,
        named,
        problem,
        seed=seed,
        log=log,
        executor=executor,
        budget=Budget(evaluations=evaluations),
        notify=hook,
        order=order,
    )


def _text(move: object) -> str:
    if isinstance(move, Propose):
        parts = [str(move.architecture), *([move.judge] if move.judge != "main" else [])]
        return " ".join([*parts, *([f"@{move.fidelity:g}"] if move.fidelity is not None else [])])
    return f"progress {move.best}" if isinstance(move, Progress) else "wait"
