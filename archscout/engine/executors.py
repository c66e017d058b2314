"""Where candidates are judged: in this process, or in a pool of processes that can be killed.

A job is (estimator, problem, architecture, seed); estimators are pure, so where and when it runs makes no difference to its value.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Protocol, Self

from archscout.catalogue import loaded_files
from archscout.core.architecture import Architecture
from archscout.core.errors import StorageError, UserError
from archscout.core.evidence import Estimate, Failure
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.engine import worker

_LOOK_SECONDS = 0.1
_WEIGH_SECONDS = 0.5  # weighing a process group costs milliseconds
_LOADING_SECONDS = 120.0
_RETRIES = 1
_LATELY = 32
"""Judges and problems that are kept packed here, and loaded by a worker: those used last."""


@dataclass(eq=False, slots=True)
class Job:
    """One candidate under way; `outcome` is None until it is judged.

    seconds: what it took. place: the machine that judged it; empty for this one. deaths: processes that ended while they judged it.
    loaded: whether whoever judged it could load judge and problem.
    """

    estimator: Any
    problem: Any
    architecture: Architecture
    seed: int
    outcome: Estimate | Failure | None = None
    seconds: float = 0.0
    place: str = ""
    deaths: int = 0
    loaded: bool = True


@dataclass(frozen=True, slots=True)
class Packed:
    """A judge or a problem as it travels to a worker.

    files: the user's plug-in files, by the names of their modules, that must be imported before `data` makes sense.
    """

    digest: str
    data: bytes
    files: Mapping[str, str]


class Executor(Protocol):
    """Runs jobs."""

    @property
    def workers(self) -> int:
        """How many jobs run at a time."""
        ...

    @property
    def state(self) -> str:
        """How its workers are getting on, for a person; empty where this process and its children are all there is."""
        ...

    def submit(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Job:
        """Hand in a job."""
        ...

    def wait(self, timeout: float | None = None) -> list[Job]:
        """The jobs judged since the last call; waits for one at least, for `timeout` seconds at most."""
        ...

    def cancel(self) -> None:
        """Drop everything under way."""
        ...

    def close(self) -> None:
        """Drop everything and let go of all processes."""
        ...


class OpenExecutor(Executor, Protocol):
    """An executor that closes itself at the end of a block."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def packed(thing: Any, pickled: Callable[[Any], bytes]) -> Packed:
    """A judge or a problem, packed by a way to pickle. Raises UserError for what cannot travel to another process."""
    try:
        data = pickled(thing)
    except Exception as error:
        raise UserError(f"'{type(thing).__name__}' cannot travel to a worker process ({error}); its fields must pickle") from error
    if b"__main__" in data:
        raise UserError(
            f"'{type(thing).__name__}' uses a class of the script itself, which worker processes cannot import; "
            "put the class into a file of its own"
        )
    files = {name: path for name, path in loaded_files().items() if Path(path).is_file()}  # one that is gone may not be needed
    return Packed(blake2b(data, digest_size=16).hexdigest(), data, files)


def use(known: dict[Any, Any], key: Any, value: Any, most: int = 0) -> list[Any]:
    """Remember what is used now as the last; takes out of `known`, and gives the keys of, what was not used for too long.

    most: how many stay, where that is more than usual.
    """
    known.pop(key, None)
    known[key] = value
    forgotten: list[Any] = []
    while len(known) > max(most, _LATELY):
        forgotten.append(next(iter(known)))
        del known[forgotten[-1]]
    return forgotten


def _pickled(thing: Any) -> bytes:
    return pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)


class Closing:
    """A context manager that closes itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """As `Executor.close`."""
        raise NotImplementedError


class Inline(Closing):
    """Judges in this process, one candidate after another: fast for cheap judges, without time and memory limits."""

    workers, state = 1, ""

    def __init__(self) -> None:
        self._queue: deque[Job] = deque()

    def submit(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Job:
        """As `Executor.submit`."""
        job = Job(estimator, problem, architecture, seed)
        self._queue.append(job)
        return job

    def wait(self, timeout: float | None = None) -> list[Job]:
        """As `Executor.wait`; a candidate is never cut short."""
        if not self._queue:
            return []
        job = self._queue.popleft()
        begun = perf_counter()
        job.outcome = worker.judge(job.estimator, job.problem, job.architecture, job.seed)
        job.seconds = perf_counter() - begun
        return [job]

    def cancel(self) -> None:
        """As `Executor.cancel`."""
        self._queue.clear()

    def close(self) -> None:
        """As `Executor.close`."""
        self.cancel()


@dataclass(eq=False, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    known: dict[str, None] = field(default_factory=dict)
    job: Job | None = None
    sent: float = 0.0
    started: float | None = None
    base: int = 0
    weighed: float = 0.0

    def kill(self) -> None:
        """End the worker and everything it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            self.process.kill()
        self.connection.close()
        self.process.wait()


class Pool(Closing):
    """A pool of worker processes, started when first needed.

    workers: how many. timeout: seconds for one candidate, counted from when its worker has loaded the judge and the problem.
    memory_mb: memory that one candidate, with all processes it starts, may take on top of what its worker held before.
    threads: for the arithmetic of each worker.

    A candidate beyond a limit is killed with its process group and typed `timeout` or `oom`; the candidate of a worker that dies
    otherwise is tried once more, then typed `killed`. Other candidates do not notice.
    """

    state = ""

    def __init__(self, workers: int, *, timeout: float | None = None, memory_mb: float | None = None, threads: int = 1) -> None:
        if workers < 1:
            raise UserError(f"a pool needs at least one worker, but {workers} came")
        self.workers = workers
        self._timeout = timeout
        self._memory_mb = memory_mb
        self._threads = threads
        self._queue: deque[Job] = deque()
        self._team: list[_Worker] = []
        self._done: list[Job] = []
        self._packed: dict[int, tuple[Any, Packed]] = {}
        self._lifeline: tuple[int, int] | None = None

    def submit(self, estimator: Estimator | Packed, problem: Problem | Packed, architecture: Architecture, seed: int) -> Job:
        """As `Executor.submit`, also for what is packed. Raises UserError for what cannot travel to another process."""
        self._pack(estimator)
        self._pack(problem)
        job = Job(estimator, problem, architecture, seed)
        self._queue.append(job)
        self._assign()
        return job

    def wait(self, timeout: float | None = None) -> list[Job]:
        """As `Executor.wait`."""
        deadline = None if timeout is None else monotonic() + timeout
        while not self._done:
            busy = [member for member in self._team if member.job is not None]
            if not busy and not self._queue:
                break
            pause = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, max(0.0, deadline - monotonic()))
            ready = wait([member.connection for member in busy], pause)
            for member in busy:
                if member.connection in ready:
                    self._hear(member)
                elif member.process.poll() is not None:
                    self._lost(member)
                else:
                    self._check(member)
            self._assign()
            if deadline is not None and monotonic() >= deadline:
                break
        done, self._done = self._done, []
        return done

    def cancel(self) -> None:
        """As `Executor.cancel`: busy workers are killed, idle ones stay."""
        self._queue.clear()
        self._done.clear()
        self._dismiss([member for member in self._team if member.job is not None])

    def close(self) -> None:
        """As `Executor.close`."""
        self._queue.clear()
        self._done.clear()
        self._dismiss(list(self._team))
        if self._lifeline is not None:
            for end in self._lifeline:
                os.close(end)
            self._lifeline = None

    def _dismiss(self, members: Iterable[_Worker]) -> None:
        for member in members:
            self._team.remove(member)
            member.kill()

    def _pack(self, thing: Any) -> Packed:
        if isinstance(thing, Packed):
            return thing
        kept = self._packed.get(id(thing)) or (thing, packed(thing, _pickled))
        use(self._packed, id(thing), kept)  # with the object itself, so that its id stays its own
        return kept[1]

    def _assign(self) -> None:
        while self._queue:
            self._dismiss([member for member in self._team if member.job is None and member.process.poll() is not None])
            idle = next((member for member in self._team if member.job is None), None)
            if idle is None and len(self._team) >= self.workers:
                return
            if idle is None:
                if self._lifeline is None:
                    self._lifeline = os.pipe()
                idle = _Worker(*worker.start(self._threads, self._lifeline[0], self._memory_mb))
                self._team.append(idle)
            self._send(idle, self._queue.popleft())

    def _send(self, member: _Worker, job: Job) -> None:
        judge, problem = self._pack(job.estimator), self._pack(job.problem)
        message = {
            "path": sys.path,
            "files": {**judge.files, **problem.files},
            "objects": {one.digest: one.data for one in (judge, problem) if one.digest not in member.known},
            "forget": [old for one in (judge, problem) for old in use(member.known, one.digest, None)],
            "estimator": judge.digest,
            "problem": problem.digest,
            "architecture": job.architecture,
            "seed": job.seed,
        }
        member.job, member.sent, member.started = job, monotonic(), None
        try:
            member.connection.send_bytes(pickle.dumps(message))
        except OSError:
            return  # it has just died; `wait` finds out

    def _hear(self, member: _Worker) -> None:
        try:
            message = pickle.loads(member.connection.recv_bytes())
        except (EOFError, OSError):
            self._lost(member)
            return
        if isinstance(message, worker.Started):
            member.started, member.base = message.clock, message.base
            return
        job = member.job
        assert job is not None
        member.job = None
        if isinstance(message[0], StorageError):
            raise message[0]
        job.outcome, job.seconds = message
        job.loaded = member.started is not None
        if not job.loaded:
            member.known.clear()
        self._done.append(job)

    def _lost(self, member: _Worker) -> None:
        job = member.job
        assert job is not None
        self._dismiss([member])
        job.deaths += 1
        if job.deaths <= _RETRIES:
            self._queue.appendleft(job)
            return
        code = member.process.returncode
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        self._fail(member, Failure("killed", f"its process was ended {how}, {job.deaths} times"))

    def _check(self, member: _Worker) -> None:
        now = monotonic()
        if member.started is None:
            if now - member.sent > _LOADING_SECONDS + (self._timeout or 0.0):
                self._dismiss([member])
                self._fail(member, Failure("timeout", "the worker could not load the judge and the problem"))
        elif self._timeout is not None and now - member.started > self._timeout:
            self._dismiss([member])
            self._fail(member, Failure("timeout", f"it took longer than {self._timeout:g} s"))
        elif self._memory_mb is not None and now - member.weighed > _WEIGH_SECONDS:
            member.weighed = now
            if worker.resident(member.process.pid) - member.base > self._memory_mb * (1 << 20):
                self._dismiss([member])
                self._fail(member, Failure("oom", f"it needed more than {self._memory_mb:,.0f} MB"))

    def _fail(self, member: _Worker, failure: Failure) -> None:
        job = member.job
        assert job is not None
        job.outcome, job.seconds = failure, monotonic() - (member.started or member.sent)
        job.loaded = member.started is not None
        self._done.append(job)
