"""Estimates of earlier runs, kept beside the opened data: opt-in with `--cache`.

Estimators are pure functions, so an estimate is named by (estimator, space, task, device, limits, architecture, seed) and the
versions that it was computed with. Failures are not kept: they may come from this machine's bad day. Judges that measure the
machine (`latency`) are asked anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from hashlib import blake2b
from pathlib import Path
from typing import Any

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.joint import member_space
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.engine.executors import Closing, Executor, Job
from archscout.engine.machine import versions

_MEASURED = ("latency_ms",)


class Cached(Closing):
    """An executor in front of another: it answers what is known, and remembers what the other finds.

    device: on which the other computes, whatever a problem says; empty where it is that of the problem.
    """

    def __init__(self, inner: Executor, folder: Path, device: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._inner, self._device = inner, device
        self._known: deque[Job] = deque()
        self._keys: dict[Job, str] = {}
        self._versions = versions()
        self._base = sqlite3.connect(folder / "estimates.sqlite", timeout=30)
        self._base.execute("CREATE TABLE IF NOT EXISTS estimates (key TEXT PRIMARY KEY, estimate TEXT NOT NULL) WITHOUT ROWID")

    @property
    def workers(self) -> int:
        """As the inner executor."""
        return self._inner.workers

    @property
    def state(self) -> str:
        """As the inner executor."""
        return self._inner.state

    def submit(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Job:
        """A job that is judged already where its estimate is known; else one of the inner executor's."""
        key = self._key(estimator, problem, architecture, seed)
        row = self._base.execute("SELECT estimate FROM estimates WHERE key = ?", (key,)).fetchone()
        if row is None:
            job = self._inner.submit(estimator, problem, architecture, seed)
            self._keys[job] = key
            return job
        value, cost, metrics = json.loads(row[0])
        job = Job(estimator, problem, architecture, seed, Estimate(value, cost, metrics), 0.0)
        self._known.append(job)
        return job

    def wait(self, timeout: float | None = None) -> list[Job]:
        """What was known first; then what the inner executor finds."""
        if self._known:
            return [self._known.popleft()]
        landed = self._inner.wait(timeout)
        for job in landed:
            key = self._keys.pop(job)
            if isinstance(job.outcome, Estimate) and not any(name in job.outcome.metrics for name in _MEASURED):
                text = json.dumps([job.outcome.value, job.outcome.cost_seconds, dict(job.outcome.metrics)])
                with self._base:
                    self._base.execute("INSERT OR IGNORE INTO estimates VALUES (?, ?)", (key, text))
        return landed

    def cancel(self) -> None:
        """As `Executor.cancel`."""
        self._known.clear()
        self._keys.clear()
        self._inner.cancel()

    def close(self) -> None:
        """As `Executor.close`."""
        self._inner.close()
        self._base.close()

    def _key(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> str:
        judge: dict[str, Any] = catalogue.record(estimator)
        judge["settings"].pop("keep", None)  # where weights go has no influence on the value
        what = {
            "estimator": judge,
            "space": catalogue.record(member_space(problem.space, architecture)),
            "task": problem.task.fingerprint,
            "splits": {name: len(split) for name, split in problem.task.splits.items()},  # a plan may use a part of one
            "device": self._device or problem.device,
            "limits": dict(problem.limits),
            "architecture": str(architecture),
            "seed": seed,
            "versions": self._versions,
        }
        return blake2b(json.dumps(what, sort_keys=True, default=repr).encode(), digest_size=16).hexdigest()
