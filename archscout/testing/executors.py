"""What every executor with processes of its own must do: checks that take a way to make one, and raise AssertionError.

make(workers, timeout=None, memory_mb=None) gives an executor as a context manager; `place` is a folder that its workers can write.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_executor(check, tmp_path):
    check(MyExecutor, tmp_path)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil

from archscout import catalogue
from archscout.core.errors import StorageError, UserError
from archscout.core.evidence import Estimate, Failure
from archscout.core.problem import Problem
from archscout.core.protocols import Strategy
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Executor, Job, OpenExecutor
from archscout.store.log import MemoryLog
from archscout.testing.drive import run
from archscout.testing.problems import Counting, Keeping, Misbehaving, Raising, Sleeping, counting
from archscout.testing.tasks import image_task

Make = Callable[..., OpenExecutor]
PROBLEM = counting()
GOOD, BAD = PROBLEM.space.architecture([1] * 6), PROBLEM.space.architecture([0] * 6)
PATIENCE = 60.0
"""Seconds within which, on a busy machine, interpreters have started and loaded what they need."""
_MAPPED = """
import mmap, time
from dataclasses import dataclass
from archscout.core.evidence import Estimate

@dataclass(frozen=True)
class Mapped:
    def estimate(self, problem, architecture, *, seed):
        if architecture.choices[0] == 0:
            held = mmap.mmap(-1, 300 << 20)
            for i in range(0, 300 << 20, 4096):
                held[i] = 1
            time.sleep(60)
        return Estimate(1.0)
"""


def outcomes(executor: Executor, jobs: list[Job], limit: float = PATIENCE) -> list[Any]:
    """What came of these jobs, once all have been judged."""
    deadline = monotonic() + limit
    while any(job.outcome is None for job in jobs):
        assert monotonic() < deadline, "the executor does not come to an end"
        executor.wait(0.5)
    return [job.outcome for job in jobs]


def gives_the_values(make: Make, place: Path) -> None:
    """Where a candidate is judged makes no difference to its value."""
    architectures = [PROBLEM.space.architecture([i % 4, i % 3, 1, 2, 3, i % 2]) for i in range(12)]
    with make(2) as executor:
        found = outcomes(executor, [executor.submit(Sleeping(), PROBLEM, one, 0) for one in architectures])
    assert found == [Sleeping(0).estimate(PROBLEM, one, seed=0) for one in architectures]


def types_what_is_raised(make: Make, place: Path) -> None:
    """An exception is a typed failure without addresses; what cannot travel is refused."""
    with make(1) as executor:
        found = outcomes(executor, [executor.submit(Raising("at 0x7f00deadbeef\nsad"), PROBLEM, GOOD, 0)])
        assert found == [Failure("error", "RuntimeError: at 0x… sad")]
        try:
            executor.submit(Unpicklable(), PROBLEM, GOOD, 0)
        except UserError as error:
            assert "cannot travel" in str(error)
        else:
            raise AssertionError("a judge that does not pickle was taken")


class Unpicklable(Counting):
    """A judge that cannot travel."""

    def __reduce__(self) -> Any:
        raise TypeError("held open")


def ends_what_hangs(make: Make, place: Path) -> None:
    """A candidate beyond the time is ended with all that it started; others do not notice."""
    trace = place / "child"
    with make(2, timeout=2.0) as executor:
        jobs = [executor.submit(Misbehaving("hang-child", 60, trace=str(trace)), PROBLEM, one, 0) for one in (BAD, GOOD, GOOD)]
        found = outcomes(executor, jobs)
        assert found[0] == Failure("timeout", "it took longer than 2 s") and all(isinstance(one, Estimate) for one in found[1:])
        child = int(trace.read_text())
        assert eventually(lambda: gone(child)), "what the candidate started still runs"
        assert outcomes(executor, [executor.submit(Misbehaving("hang", 60), PROBLEM, BAD, 0)])[0].kind == "timeout"


def bounds_memory(make: Make, place: Path) -> None:
    """Memory beyond the limit is typed, also what only an observer sees; a judge of a plug-in file finds its class there."""
    file = place / "mapped_judge.py"
    file.write_text(_MAPPED)
    mapped = catalogue.plugin("estimators", str(file))()  # shared maps are outside RLIMIT_DATA
    with make(1, memory_mb=100) as executor:
        jobs = [executor.submit(Misbehaving("allocate", 400), PROBLEM, one, 0) for one in (BAD, GOOD)]
        jobs += [executor.submit(mapped, PROBLEM, one, 0) for one in (BAD, GOOD)]
        found = outcomes(executor, jobs)
    oom = Failure("oom", "it needed more than 100 MB")
    assert found == [oom, Counting().estimate(PROBLEM, GOOD, seed=0), oom, Estimate(1.0)]


def tries_again(make: Make, place: Path) -> None:
    """The candidate of a process that dies is tried once more, then typed."""
    with make(2) as executor:
        once = Misbehaving("die-once", trace=str(place / "died"))
        assert all(
            isinstance(one, Estimate)
            for one in outcomes(executor, [executor.submit(once, PROBLEM, one, 0) for one in (BAD, GOOD, GOOD)])
        )
        found = outcomes(executor, [executor.submit(Misbehaving("die"), PROBLEM, one, 0) for one in (GOOD, BAD, GOOD)])
    assert found[1] == Failure("killed", "its process was ended by signal 9, 2 times")
    assert isinstance(found[0], Estimate) and isinstance(found[2], Estimate)


def passes_on_a_full_disk(make: Make, place: Path) -> None:
    """That a disk is full is no failure of the candidate that finds it out; with room again the executor can be used."""
    with make(2) as executor:
        try:
            outcomes(executor, [executor.submit(Misbehaving("full", trace=str(place / "weights")), PROBLEM, BAD, 0)])
        except StorageError as error:
            assert f"'{place / 'weights'}' cannot be written" in str(error)
        else:
            raise AssertionError("a full disk became the failure of a candidate")
        executor.cancel()
        found = outcomes(executor, [executor.submit(Counting(), PROBLEM, GOOD, 0)])
    assert found == [Counting().estimate(PROBLEM, GOOD, seed=0)]


def drops_what_is_cancelled(make: Make, place: Path) -> None:
    """After a cancellation nothing of before lands, and what was started for it is gone; the executor can be used again."""
    trace = place / "child"
    with make(2) as executor:
        for one in (BAD, GOOD, GOOD, GOOD):
            executor.submit(Misbehaving("hang-child", 60, trace=str(trace)), PROBLEM, one, 0)
        deadline = monotonic() + PATIENCE
        while not trace.exists() or not trace.read_text():
            assert monotonic() < deadline
            executor.wait(0.1)
        executor.cancel()
        child = int(trace.read_text())
        assert eventually(lambda: gone(child)), "a cancelled candidate still runs"
        job = executor.submit(Counting(), PROBLEM, GOOD, 0)
        landed: list[Job] = []
        while not landed:
            assert monotonic() < deadline + PATIENCE
            landed = executor.wait(0.5)
        assert landed == [job]


def keeps_the_order(make: Make, place: Path) -> None:
    """A search with two workers equals the one in this process that delivers in the same order, whatever takes how long."""
    evolution: Strategy = catalogue.make("strategies", "regularized-evolution", population=5)
    judges, budget = {"main": Sleeping(0.02)}, Budget(evaluations=40)
    with make(2) as executor:
        for ahead in (1, 3):
            log = MemoryLog()
            drive(evolution, judges, PROBLEM, seed=0, log=log, executor=executor, budget=budget, look_ahead=ahead)
            assert log.observations == run(evolution, PROBLEM, Sleeping(0.0), evaluations=40, workers=2 * ahead).observations


def leaves_files_where_they_belong(make: Make, place: Path) -> None:
    """What a judge keeps lies in the folder of the run; a file that it reads is found, and the task's arrays are equal."""
    table = place / "table.txt"
    table.write_text("17")
    judge = Keeping(path=str(table), keep=str(place / "kept"))
    (place / "kept").mkdir()
    problem = Problem(PROBLEM.space, image_task(rows=480))
    with make(1) as executor:
        [found] = outcomes(executor, [executor.submit(judge, problem, GOOD, 3)])
    assert found == replace(judge, keep="").estimate(problem, GOOD, seed=3)
    assert judge.kept(problem, GOOD, 3).read_text() == "17"


CHECKS = (
    gives_the_values, types_what_is_raised, ends_what_hangs, bounds_memory, tries_again, passes_on_a_full_disk,
    drops_what_is_cancelled, keeps_the_order, leaves_files_where_they_belong,
)  # fmt: skip


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def eventually(test: Callable[[], bool], limit: float = 10.0) -> bool:
    """Whether something becomes true within so many seconds."""
    deadline = monotonic() + limit
    while not test() and monotonic() < deadline:
        sleep(0.05)
    return test()
