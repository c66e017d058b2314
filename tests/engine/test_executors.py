from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from commandline import SLOWNESS
from small_strategies import Evolution

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate, Failure
from archscout.core.problem import Problem
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Inline, Job, Pool
from archscout.engine.worker import judge
from archscout.store.log import MemoryLog
from archscout.testing.drive import run
from archscout.testing.problems import Counting, Misbehaving, Raising, Sleeping, counting

PROBLEM = counting()
GOOD = PROBLEM.space.architecture([1] * 6)
BAD = PROBLEM.space.architecture([0] * 6)
LOADING = 60.0
"""Seconds within which, on a busy machine, interpreters have started and loaded what they need."""


def finish(executor: Any, jobs: list[Job], limit: float = LOADING) -> list[Any]:
    deadline = time.monotonic() + limit
    while any(job.outcome is None for job in jobs):
        assert time.monotonic() < deadline, "the pool does not come to an end"
        executor.wait(0.5)
    return [job.outcome for job in jobs]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def eventually(test: Callable[[], bool], limit: float = 3.0) -> bool:
    deadline = time.monotonic() + limit
    while not test() and time.monotonic() < deadline:
        time.sleep(0.05)
    return test()


def workers_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


@pytest.mark.parametrize("workers", [1, 2])
def test_values_do_not_depend_on_where_they_are_found(workers: int) -> None:
    architectures = [PROBLEM.space.architecture([i % 4, i % 3, 1, 2, 3, i % 2]) for i in range(12)]
    with Inline() as inline, Pool(workers) as pool:
        jobs = [[executor.submit(Sleeping(), PROBLEM, a, 0) for a in architectures] for executor in (inline, pool)]
        assert finish(inline, jobs[0]) == finish(pool, jobs[1])


def test_a_pool_starts_nothing_before_it_is_needed() -> None:
    with Pool(2):
        assert not workers_of(os.getpid())


def test_problem_and_judge_travel_once() -> None:
    sent: list[bytes] = []

    class Listening:
        def __init__(self, connection: Any) -> None:
            self.connection = connection

        def send_bytes(self, data: bytes) -> None:
            sent.append(data)
            self.connection.send_bytes(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.connection, name)

    with Pool(1) as pool:
        first = pool.submit(Counting(), PROBLEM, GOOD, 0)
        finish(pool, [first])
        pool._team[0].connection = Listening(pool._team[0].connection)  # type: ignore[assignment]
        finish(pool, [pool.submit(Counting(), PROBLEM, BAD, 0)])
    assert len(sent) == 1 and b"CountingSpace" not in sent[0] and b"Counting" not in sent[0].replace(b"counting", b"")


def test_a_raise_is_a_typed_failure() -> None:
    for executor in (Inline(), Pool(1)):
        with executor:
            assert finish(executor, [executor.submit(Raising("at 0x7f00deadbeef\nsad"), PROBLEM, GOOD, 0)]) == [
                Failure("error", "RuntimeError: at 0x… sad")
            ]


def test_what_is_no_estimate_is_an_error() -> None:
    class Wrong:
        def estimate(self, problem: Problem, architecture: object, *, seed: int) -> Any:
            return 0.5

    assert judge(Wrong(), PROBLEM, GOOD, 0) == Failure("error", "TypeError: estimate() should return an Estimate, but float came")


@pytest.mark.parametrize("how", ["hang", "hang-child"])
def test_hanging_candidates_time_out_with_all_they_started(how: Any, tmp_path: Path) -> None:
    trace = tmp_path / "pid"
    with Pool(2, timeout=1.0) as pool:
        finish(pool, [pool.submit(Counting(), PROBLEM, GOOD, 0) for _ in range(2)])
        started = time.monotonic()
        jobs = [pool.submit(Misbehaving(how, 60, trace=str(trace)), PROBLEM, a, 0) for a in (BAD, GOOD, GOOD, GOOD)]
        outcomes = finish(pool, jobs)
        assert time.monotonic() - started < 2.5 * SLOWNESS
    assert outcomes[0] == Failure("timeout", "it took longer than 1 s")
    assert all(isinstance(outcome, Estimate) for outcome in outcomes[1:])
    if how == "hang-child":
        assert eventually(lambda: gone(int(trace.read_text())))


@pytest.mark.parametrize("how", ["allocate", "allocate-child"])
def test_too_much_memory_is_typed(how: Any) -> None:
    if how == "allocate-child" and sys.platform == "darwin":
        pytest.skip("the child has a limit of its own here")
    with Pool(1, memory_mb=100) as pool:
        judges = Misbehaving(how, 400)
        assert finish(pool, [pool.submit(judges, PROBLEM, a, 0) for a in (BAD, GOOD)])[1] == Estimate(
            Counting().estimate(PROBLEM, GOOD, seed=0).value, 1.0
        )
        if how == "allocate":
            assert finish(pool, [pool.submit(judges, PROBLEM, BAD, 0)]) == [Failure("oom", "it needed more than 100 MB")]


def test_memory_that_only_the_driver_sees_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "mapped_judge.py"
    file.write_text(
        "import mmap, time\nfrom dataclasses import dataclass\nfrom archscout.core.evidence import Estimate\n"
        "@dataclass(frozen=True)\nclass Mapped:\n    def estimate(self, problem, architecture, *, seed):\n"
        "        held = mmap.mmap(-1, 300 << 20)\n        for i in range(0, 300 << 20, 4096): held[i] = 1\n"
        "        time.sleep(60)\n        return Estimate(1.0)\n"
    )
    judge_of_file = catalogue.plugin("estimators", str(file))()  # shared maps are outside RLIMIT_DATA; the file travels by path
    with Pool(1, memory_mb=100) as pool:
        assert finish(pool, [pool.submit(judge_of_file, PROBLEM, GOOD, 0)]) == [Failure("oom", "it needed more than 100 MB")]


def test_a_dead_worker_is_replaced_and_its_candidate_tried_once_more(tmp_path: Path) -> None:
    with Pool(2) as pool:
        once = Misbehaving("die-once", trace=str(tmp_path / "died"))
        jobs = [pool.submit(once, PROBLEM, a, 0) for a in (BAD, GOOD, GOOD)]
        assert all(isinstance(outcome, Estimate) for outcome in finish(pool, jobs))
        jobs = [pool.submit(Misbehaving("die"), PROBLEM, a, 0) for a in (GOOD, BAD, GOOD)]
        outcomes = finish(pool, jobs)
        assert outcomes[1] == Failure("killed", "its process was ended by signal 9, 2 times")
        assert isinstance(outcomes[0], Estimate) and isinstance(outcomes[2], Estimate)


def test_killing_workers_from_outside_changes_nothing() -> None:
    architectures = [PROBLEM.space.architecture([i % 4, i % 3, 1, 2, 3, i % 2]) for i in range(12)]
    with Pool(2) as pool:
        jobs = [pool.submit(Sleeping(0.2), PROBLEM, a, 0) for a in architectures]
        pool.wait(1.0)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
        outcomes = finish(pool, jobs)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)  # an idle one
        outcomes += finish(pool, [pool.submit(Sleeping(0.2), PROBLEM, a, 0) for a in architectures])
    assert outcomes == [Sleeping(0).estimate(PROBLEM, a, seed=0) for a in architectures] * 2


def test_closing_is_quick_and_leaves_nobody(tmp_path: Path) -> None:
    pool = Pool(2)
    for how in ("hang", "hang-child"):
        pool.submit(Misbehaving(how, 60, trace=str(tmp_path / "pid")), PROBLEM, BAD, 0)  # type: ignore[arg-type]
    assert eventually(lambda: (tmp_path / "pid").exists(), LOADING)
    time.sleep(0.3)
    pids = [*workers_of(os.getpid()), int((tmp_path / "pid").read_text())]
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 2 * SLOWNESS
    assert eventually(lambda: all(gone(pid) for pid in pids))


SCRIPT = """
import sys
from archscout.engine.executors import Pool
from archscout.testing.drive import run
from archscout.testing.problems import Misbehaving, counting
problem = counting()
pool = Pool(2)
pool.submit(Misbehaving("hang", 60), problem, problem.space.architecture([0] * 6), 0)
pool.submit(Misbehaving("hang-child", 60, trace=sys.argv[1]), problem, problem.space.architecture([0] * 6), 0)
print("up", flush=True)
pool.wait(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_die_with_their_driver(number: signal.Signals, tmp_path: Path) -> None:
    """A script without a main guard, too: workers never import it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    trace = tmp_path / "pid"
    with subprocess.Popen([sys.executable, str(script), str(trace)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
        children = psutil.Process(driver.pid).children
        # Two workers, two guardians, one grandchild; and the driver waits, so that it is not interrupted within an import.
        assert eventually(lambda: trace.exists() and len(children(recursive=True)) == 5, LOADING), children(recursive=True)
        assert driver.stdout is not None and driver.stdout.readline() == b"up\n"
        pids = [child.pid for child in children(recursive=True)]
        driver.send_signal(number)
        driver.wait(5 * SLOWNESS)
    assert eventually(lambda: all(gone(pid) for pid in pids), 5 * SLOWNESS)


def test_what_cannot_travel_is_refused_with_a_reason() -> None:
    with Pool(1) as pool, pytest.raises(UserError, match="cannot travel"):
        pool.submit(Unpicklable(), PROBLEM, GOOD, 0)
    with pytest.raises(UserError, match="at least one worker"):
        Pool(0)


def test_a_judge_of_the_script_itself_is_refused_with_a_reason() -> None:
    code = "from dataclasses import dataclass; from archscout.engine.executors import Pool\n"
    code += "from archscout.testing.problems import Counting, counting, optimum\n"
    code += "class Mine(Counting): pass\n"
    code += "Pool(1).submit(Mine(), counting(), optimum(counting()), 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "put the class into a file of its own" in done.stderr


class Unpicklable(Counting):
    def __reduce__(self) -> Any:
        raise TypeError("held open")


def test_a_search_with_two_workers_equals_itself() -> None:
    log = MemoryLog()
    with Pool(2) as pool:
        drive(Evolution(), {"main": Sleeping(0.02)}, PROBLEM, seed=0, log=log, executor=pool, budget=Budget(evaluations=60))
    assert log.observations == run(Evolution(), PROBLEM, Sleeping(0.0), evaluations=60, workers=2).observations


def test_time_up_kills_what_is_in_flight() -> None:
    log = MemoryLog()
    with Pool(2) as pool:
        finish(pool, [pool.submit(Counting(), PROBLEM, GOOD, 0) for _ in range(2)])
        started = time.monotonic()
        drive(Evolution(), {"main": Misbehaving("hang", 60)}, PROBLEM, seed=0, log=log, executor=pool, budget=Budget(seconds=1.0))
    assert time.monotonic() - started < 2 and log.reason == "time"
