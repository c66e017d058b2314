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
from archscout.engine.executors import Inline, Pool
from archscout.engine.worker import judge
from archscout.store.log import MemoryLog
from archscout.testing.executors import BAD, CHECKS, GOOD, PATIENCE, PROBLEM, eventually, gone, outcomes
from archscout.testing.problems import Choosy, Counting, Misbehaving, Raising, Sleeping


def workers_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_pool_does_what_every_executor_must(check: Callable[..., None], tmp_path: Path) -> None:
    check(Pool, tmp_path)


def test_a_pool_starts_nothing_before_it_is_needed() -> None:
    before = set(workers_of(os.getpid()))  # of a test before this one, still ending
    with Pool(2):
        assert set(workers_of(os.getpid())) <= before


def test_a_plug_in_file_that_is_gone_troubles_no_other_judge(tmp_path: Path) -> None:
    file = tmp_path / "passing.py"
    file.write_text("from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Passing:\n    pass\n")
    catalogue.plugin("estimators", str(file))
    file.unlink()
    with Pool(1) as pool:
        assert outcomes(pool, [pool.submit(Counting(), PROBLEM, GOOD, 0)]) == [Counting().estimate(PROBLEM, GOOD, seed=0)]


def test_judges_long_unused_are_forgotten_and_travel_again() -> None:
    problems = [Problem(PROBLEM.space, PROBLEM.task, {"params": 100.0 + i}) for i in range(40)]
    with Pool(1) as pool:
        found = outcomes(pool, [pool.submit(Counting(), one, GOOD, 0) for one in [*problems, *problems]])
        assert found == [Counting().estimate(one, GOOD, seed=0) for one in [*problems, *problems]]
        assert len(pool._packed) == len(pool._team[0].known) == 32


def test_a_judge_that_cannot_be_loaded_fails_each_of_its_candidates(tmp_path: Path) -> None:
    with Pool(1) as pool:
        jobs = [pool.submit(Choosy(str(tmp_path / "trace")), PROBLEM, GOOD, 0) for _ in range(2)]
        assert [one.message for one in outcomes(pool, jobs)] == [
            "the worker cannot load the judge or the problem: ImportError: a library is missing here"
        ] * 2
        assert not any(job.loaded or job.deaths for job in jobs)
        assert outcomes(pool, [pool.submit(Counting(), PROBLEM, GOOD, 0)]) == [Counting().estimate(PROBLEM, GOOD, seed=0)]


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
        outcomes(pool, [first])
        pool._team[0].connection = Listening(pool._team[0].connection)  # type: ignore[assignment]
        outcomes(pool, [pool.submit(Counting(), PROBLEM, BAD, 0)])
    assert len(sent) == 1 and b"CountingSpace" not in sent[0] and b"Counting" not in sent[0].replace(b"counting", b"")


def test_a_raise_is_a_typed_failure() -> None:
    with Inline() as executor:
        assert outcomes(executor, [executor.submit(Raising("at 0x7f00deadbeef\nsad"), PROBLEM, GOOD, 0)]) == [
            Failure("error", "RuntimeError: at 0x… sad")
        ]


def test_what_is_no_estimate_is_an_error() -> None:
    class Wrong:
        def estimate(self, problem: Problem, architecture: object, *, seed: int) -> Any:
            return 0.5

    assert judge(Wrong(), PROBLEM, GOOD, 0) == Failure("error", "TypeError: estimate() should return an Estimate, but float came")


def test_memory_of_what_a_candidate_started_counts() -> None:
    if sys.platform == "darwin":
        pytest.skip("the child has a limit of its own here")
    with Pool(1, memory_mb=100) as pool:
        judges = Misbehaving("allocate-child", 400)
        assert outcomes(pool, [pool.submit(judges, PROBLEM, a, 0) for a in (BAD, GOOD)])[1] == Estimate(
            Counting().estimate(PROBLEM, GOOD, seed=0).value, 1.0
        )


def test_killing_workers_from_outside_changes_nothing() -> None:
    architectures = [PROBLEM.space.architecture([i % 4, i % 3, 1, 2, 3, i % 2]) for i in range(12)]
    with Pool(2) as pool:
        jobs = [pool.submit(Sleeping(0.2), PROBLEM, a, 0) for a in architectures]
        pool.wait(1.0)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)
        found = outcomes(pool, jobs)
        os.kill(workers_of(os.getpid())[0], signal.SIGKILL)  # an idle one
        found += outcomes(pool, [pool.submit(Sleeping(0.2), PROBLEM, a, 0) for a in architectures])
    assert found == [Sleeping(0).estimate(PROBLEM, a, seed=0) for a in architectures] * 2


def test_closing_is_quick_and_leaves_nobody(tmp_path: Path) -> None:
    pool = Pool(2)
    for how in ("hang", "hang-child"):
        pool.submit(Misbehaving(how, 60, trace=str(tmp_path / "pid")), PROBLEM, BAD, 0)  # type: ignore[arg-type]
    assert eventually(lambda: (tmp_path / "pid").exists(), PATIENCE)
    time.sleep(0.3)
    pids = [*workers_of(os.getpid()), int((tmp_path / "pid").read_text())]
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 2 * SLOWNESS
    assert eventually(lambda: all(gone(pid) for pid in pids), 3.0)


SCRIPT = """
import sys
from archscout.engine.executors import Pool
from archscout.testing.executors import BAD, PROBLEM
from archscout.testing.problems import Misbehaving
pool = Pool(2)
pool.submit(Misbehaving("hang", 60), PROBLEM, BAD, 0)
pool.submit(Misbehaving("hang-child", 60, trace=sys.argv[1]), PROBLEM, BAD, 0)
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
        assert eventually(lambda: trace.exists() and len(children(recursive=True)) == 5, PATIENCE), children(recursive=True)
        assert driver.stdout is not None and driver.stdout.readline() == b"up\n"
        pids = [child.pid for child in children(recursive=True)]
        driver.send_signal(number)
        driver.wait(5 * SLOWNESS)
    assert eventually(lambda: all(gone(pid) for pid in pids), 5 * SLOWNESS)


def test_a_pool_without_workers_is_refused_with_a_reason() -> None:
    with pytest.raises(UserError, match="at least one worker"):
        Pool(0)


def test_a_judge_of_the_script_itself_is_refused_with_a_reason() -> None:
    code = "from dataclasses import dataclass; from archscout.engine.executors import Pool\n"
    code += "from archscout.testing.problems import Counting, counting, optimum\n"
    code += "class Mine(Counting): pass\n"
    code += "Pool(1).submit(Mine(), counting(), optimum(counting()), 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "put the class into a file of its own" in done.stderr


def test_time_up_kills_what_is_in_flight() -> None:
    log = MemoryLog()
    with Pool(2) as pool:
        outcomes(pool, [pool.submit(Counting(), PROBLEM, GOOD, 0) for _ in range(2)])
        started = time.monotonic()
        drive(Evolution(), {"main": Misbehaving("hang", 60)}, PROBLEM, seed=0, log=log, executor=pool, budget=Budget(seconds=1.0))
    assert time.monotonic() - started < 2 and log.reason == "time"
