"""The driver is not the bottleneck: proposals a second with instant candidates, beside Optuna, and a simulation of 1,000 workers.

    python benchmarks/driver.py [--parts speed,optuna,ray,utilisation,quality] [--workers 1000]

*speed*, *ray*: random search and aging evolution over 20 decisions with four options, whose judge takes microseconds, through
this process, a pool of two, and two workers of a Ray cluster here; with the log in memory and in the durable store. *optuna*: the
same objective as 20 categorical parameters (`pip install optuna`): its random sampler, its in-memory, journal and SQLite storages.

*utilisation*: the real driver on a virtual clock. Candidates take what the 7,161 trainings of NAS-Bench-NLP took, drawn with
replacement; results are delivered in the order of the proposals, or as they land. Utilisation is the share of the workers' time up
to the last start of a candidate in which they were busy; "with the end" also counts the time in which the last ones finish. NAO is
its pattern of proposals, without the controller, whose training would keep everybody waiting as long with any driver.

*quality*: what look-ahead costs a strategy: aging evolution on the same virtual clock, how far it has come after so many hours.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from _rows import HERE, append, claimed, commit, machine

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.moves import Order, Search
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, Strategy
from archscout.core.seeds import generator
from archscout.engine.budget import Budget
from archscout.engine.drive import Event, drive
from archscout.engine.executors import Executor, Inline, Job, Pool
from archscout.store.log import MemoryLog
from archscout.store.runs import RunStore
from archscout.strategies._desk import Desk
from archscout.testing.problems import Counting, answer_of, counting

RESULTS = HERE / "results" / "scale_out.csv"
DECISIONS, OPTIONS = 20, 4
RANDOM, EVOLUTION = "random", "regularized-evolution"


class Simulated:
    """Workers on a virtual clock: the k-th candidate that is handed in takes `durations[k]` seconds."""

    state = ""

    def __init__(self, workers: int, durations: np.ndarray) -> None:
        self.workers, self.now = workers, 0.0
        self._durations = iter(durations.tolist())
        self._queue: deque[tuple[Job, float]] = deque()
        self._busy: list[tuple[float, int, Job]] = []
        self.spans: list[tuple[float, float]] = []

    def submit(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Job:
        job = Job(estimator, problem, architecture, seed)
        self._queue.append((job, next(self._durations)))
        self._start()
        return job

    def wait(self, timeout: float | None = None) -> list[Job]:
        self.now, _, job = heappop(self._busy)
        job.outcome = job.estimator.estimate(job.problem, job.architecture, seed=job.seed)
        self._start()
        return [job]

    def cancel(self) -> None:
        self._queue.clear()
        self._busy.clear()

    close = cancel

    def _start(self) -> None:
        while self._queue and len(self._busy) < self.workers:
            job, seconds = self._queue.popleft()
            self.spans.append((self.now, self.now + seconds))
            heappush(self._busy, (self.now + seconds, len(self.spans), job))

    def utilisation(self) -> tuple[float, float]:
        """Until the last candidate starts, and until the last one ends."""
        spans = np.array(self.spans)
        last, end = spans[:, 0].max(), spans[:, 1].max()
        busy = np.clip(spans, 0, last)
        steady, whole = busy[:, 1] - busy[:, 0], spans[:, 1] - spans[:, 0]
        return float(steady.sum() / (self.workers * last)), float(whole.sum() / (self.workers * end))


@dataclass(frozen=True)
class Rounds:
    """The proposals of `nao`: random ones, then rounds that begin when all but `overlap` have landed."""

    initial: int
    new: int
    overlap: int = 0

    def search(self, problem: Problem, *, seed: int, state: object = None) -> Search:
        rng, desk = generator(seed, "rounds"), Desk()
        size = self.initial
        while True:
            yield from desk.judge_some([sample(problem.space, rng) for _ in range(size)], self.overlap)
            size = self.new


class Bench:
    """Measures, tells and writes."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked

    def write(self, part: str, rows: list[dict[str, Any]], seconds: float) -> None:
        for row in rows:
            print(f"{row['claim']}: {row['ours']}", flush=True)
        words = f"python benchmarks/driver.py --parts {part}"
        words += f" --workers {self.asked.workers}" if part in ("utilisation", "quality") else ""
        # Others compute here too: what takes time took it at this load.
        where = machine() if part in ("utilisation", "quality") else f"{machine()}, load {os.getloadavg()[0]:.0f}"
        same = {"command": words, "seed": self.asked.seed, "commit": commit(), "seconds": round(seconds, 1), "machine": where}
        append(RESULTS, [{**row, **same} for row in rows])

    def speed(self) -> list[dict[str, Any]]:
        rows = []
        for name in (RANDOM, EVOLUTION):
            rows += self._rates(name, "this process", Inline(), 1)
            with Pool(2) as pool:
                rows += self._rates(name, "a pool of two", pool, 1)
        return rows

    def ray(self) -> list[dict[str, Any]]:
        import ray

        from archscout.engine.ray_executor import RayExecutor

        ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
        rows = []
        with RayExecutor(2) as executor:
            for look_ahead in (1, 16):
                rows += self._rates(EVOLUTION, f"two Ray workers, look-ahead {look_ahead}", executor, look_ahead)
        ray.shutdown()
        return rows

    def _rates(self, name: str, where: str, executor: Executor, look_ahead: int) -> list[dict[str, Any]]:
        """Proposals a second, the best of three times, with both logs."""
        problem, rows = counting(DECISIONS, OPTIONS), []
        _warm(executor, problem)
        for log in ("in memory", "durable"):
            found: list[tuple[float, float]] = []
            for turn in range(3):
                with _log(log) as record:
                    begun, used = perf_counter(), process_time()
                    drive(
                        _strategy(name), {"main": Counting()}, problem, seed=turn, log=record, executor=executor, counted=False,
                        budget=Budget(evaluations=self.asked.proposals), look_ahead=look_ahead,
                    )  # fmt: skip
                    taken, used = perf_counter() - begun, process_time() - used
                found.append((self.asked.proposals / taken, 1e3 * used / self.asked.proposals))
            rate, own = max(found)
            rows.append(claimed(f"{name}, {where}, log {log}: proposals a second", rate))
            rows.append(claimed(f"{name}, {where}, log {log}: milliseconds of the driver's own for each", own))
        return rows

    def optuna(self) -> list[dict[str, Any]]:
        import optuna
        from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            storages: dict[str, Any] = {
                "in memory": InMemoryStorage(),
                "journal": JournalStorage(JournalFileBackend(f"{folder}/journal.log")),
                "SQLite": RDBStorage(f"sqlite:///{folder}/optuna.db"),
            }
            for name, storage in storages.items():
                count = self.asked.proposals if name == "in memory" else self.asked.proposals // 10
                study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0), direction="maximize")
                begun = perf_counter()
                study.optimize(_as_trial, n_trials=count)
                rate = count / (perf_counter() - begun)
                rows.append(claimed(f"Optuna {optuna.__version__}, random sampler, {name}: trials a second", rate))
        return rows

    def utilisation(self) -> list[dict[str, Any]]:
        workers, count, rows = self.asked.workers, self.asked.candidates, []
        problem = counting(DECISIONS, OPTIONS)
        ways: list[tuple[str, Strategy, int, Order]] = [
            *((name, _strategy(name, workers), ahead, "proposed") for name in (RANDOM, EVOLUTION) for ahead in (1, 2, 3, 4)),
            *((name, _strategy(name, workers), 1, "landed") for name in (RANDOM, EVOLUTION)),
            ("nao, 600 first, rounds of 200, as published", Rounds(600, 200), 1, "proposed"),
            *((f"nao, rounds of {4 * workers:,}", Rounds(4 * workers, 4 * workers), ahead, "proposed") for ahead in (1, 4)),
            (
                f"nao, rounds of {4 * workers:,} that overlap by as many",
                Rounds(8 * workers, 4 * workers, 4 * workers),
                8,
                "proposed",
            ),
            (f"nao, rounds of {workers:,} that overlap by as many", Rounds(2 * workers, workers, workers), 2, "landed"),
        ]
        for name, strategy, ahead, order in ways:
            cluster = Simulated(workers, _durations(count, self.asked.seed))
            budget = Budget(evaluations=count)
            drive(
                strategy, {"main": Counting()}, problem, seed=0, log=MemoryLog(), executor=cluster, budget=budget, counted=False,
                look_ahead=ahead, order=order,
            )  # fmt: skip
            steady, whole = cluster.utilisation()
            claim = f"{name}, {workers:,} workers, {count:,} candidates, look-ahead {ahead}{_as(order)}"
            rows += [claimed(f"{claim}: utilisation", steady), claimed(f"{claim}: utilisation with the end", whole)]
        return rows

    def quality(self) -> list[dict[str, Any]]:
        """Evolution towards the 20 right digits, until so many hours are over: the mean of the best values over the seeds."""
        rows, hours, workers = [], self.asked.hours, self.asked.workers
        for ahead, order in ((1, "proposed"), (2, "proposed"), (4, "proposed"), (1, "landed")):
            found = []
            for seed in range(self.asked.seeds):
                log = MemoryLog()
                cluster = Simulated(workers, _durations(60 * workers, seed))

                def stop(event: Event, cluster: Simulated = cluster) -> None:
                    if cluster.now > hours * 3600:
                        raise _Over

                try:
                    drive(
                        _strategy(EVOLUTION, workers), {"main": Counting()}, counting(DECISIONS, OPTIONS), seed=seed, log=log,
                        executor=cluster, budget=Budget(), counted=False, look_ahead=ahead, notify=stop,
                        order=order,
                    )  # fmt: skip
                except _Over:
                    found.append((max(seen.value for seen in log.results.values()), len(log.results)))
            value, judged = np.mean(found, 0)
            claim = f"evolution, {workers:,} workers, {hours} hours, {self.asked.seeds} seeds, look-ahead {ahead}{_as(order)}"
            rows += [claimed(f"{claim}: share of right digits", float(value)), claimed(f"{claim}: candidates", float(judged))]
        return rows


def _as(order: str) -> str:
    return ", results as they land" if order == "landed" else ""


class _Over(Exception):
    """The hours are over."""


def _strategy(name: str, workers: int = 1) -> Strategy:
    settings = {} if name == RANDOM else {"population": max(100, workers // 4), "tournament": 10}
    made: Strategy = catalogue.make("strategies", name, **settings)
    return made


def _durations(count: int, seed: int) -> np.ndarray:
    """Seconds of trainings of NAS-Bench-NLP, drawn with replacement."""
    from archscout.benchmarks.tables._recorded import array

    recorded = array("nlp_rnn.npz", "wall_seconds").astype(np.float64)
    return generator(seed, "durations").choice(recorded[np.isfinite(recorded)], count)


@contextmanager
def _log(kind: str) -> Iterator[Any]:
    if kind == "in memory":
        yield MemoryLog()
        return
    with tempfile.TemporaryDirectory(dir=HERE) as folder, RunStore.create(Path(folder) / "run", request={}, seed=0) as store:
        yield store.stage("screen")


def _warm(executor: Executor, problem: Problem) -> None:
    architecture = sample(problem.space, generator(0))
    jobs = [executor.submit(Counting(), problem, architecture, 0) for _ in range(executor.workers)]
    while any(job.outcome is None for job in jobs):
        executor.wait()


def _as_trial(trial: Any) -> float:
    choices = [trial.suggest_categorical(f"digit_{place}", list(range(OPTIONS))) for place in range(DECISIONS)]
    return sum(choice == answer_of(place, OPTIONS) for place, choice in enumerate(choices)) / DECISIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="speed,optuna,ray,utilisation,quality")
    parser.add_argument("--proposals", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hours", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    bench = Bench(asked)
    for part in asked.parts.split(","):
        begun = perf_counter()
        bench.write(part, getattr(bench, part)(), perf_counter() - begun)


if __name__ == "__main__":
    main()
