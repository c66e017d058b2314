"""Candidates judged by the machines of a Ray cluster: one more executor, which the driver cannot tell from the pool.

Ray places workers and moves bytes. Each worker is an actor that holds a pool of one process (`engine.executors`), so limits, the
killing of process groups and typed failures are those of one machine. Judges and problems travel as parcels (`engine.parcels`),
once to each worker, through Ray's object store. The driver remains the only writer of a run.

The only file that imports Ray; `engine.placement` imports it when it is asked for.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil, floor, inf
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple

import grpc
import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from archscout.core.architecture import Architecture
from archscout.core.errors import StorageError, UserError
from archscout.core.evidence import Estimate, Failure
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, KeepingEstimator
from archscout.engine.executors import Closing, Job, Packed, Pool, use
from archscout.engine.machine import versions
from archscout.engine.parcels import kept_folder, unwrapped, wrapped
from archscout.nn.checkpoint import previous
from archscout.store.files import made_folder, write_atomic

_ANSWER_SECONDS, _CONNECT_SECONDS = 4.0, 12.0
_JOIN_SECONDS = 60.0
"""Where a server answers it may still have to start a process for a client, on a busy machine."""
_LOSSES = 3
"""How often a candidate may lose its worker: with a machine that goes it is not the candidate's fault, but it may be."""
_QUICK_SECONDS = 0.05
"""What candidates that go to a worker in one call may take together."""
_FALSE_STARTS = 3
"""Workers, or servers of a client, that fail to start, one after another, after which the cluster is taken to be unfit."""


class Asked(NamedTuple):
    """A candidate as it travels: the digests of judge and problem, and the name of the file that the judge will leave, if any."""

    judge: str
    problem: str
    architecture: Architecture
    seed: int
    kept: str


class Answer(NamedTuple):
    """What came of a candidate, the seconds it took, and the file that the judge left."""

    outcome: Estimate | Failure
    seconds: float
    kept: bytes | None = None


class Host:
    """A worker of the cluster: a pool of one process on some machine, which judges what it is sent."""

    def __init__(self, threads: int, timeout: float | None, memory_mb: float | None) -> None:
        self._pool = Pool(1, timeout=timeout, memory_mb=memory_mb, threads=threads)
        self._known: dict[str, Packed] = {}

    def about(self) -> tuple[str, dict[str, str]]:
        """Which machine of the cluster it is on, and the versions of what computes there."""
        return ray.get_runtime_context().get_node_id(), versions()

    def judge(self, asked: Sequence[Asked], news: Mapping[str, Any], forget: Sequence[str]) -> tuple[list[Answer], Failure | None]:
        """Answers for the candidates in turn; and why the next one has none, where judge or problem cannot be loaded here.

        news: digests of the parcels that this worker has not had, with references to them. forget: digests that are not needed
        any more. Raises UserError where cargo cannot be kept on this machine, StorageError where its disk is full.
        """
        for digest in forget:
            self._known.pop(digest, None)
        for digest, reference in news.items():
            self._known[digest] = unwrapped(ray.get(reference), ray.get)
        answers: list[Answer] = []
        for one in asked:
            job = self._pool.submit(self._known[one.judge], self._known[one.problem], one.architecture, one.seed)
            while job.outcome is None:
                self._pool.wait()
            if isinstance(job.outcome, Failure) and not job.loaded:
                return answers, job.outcome
            judged = one.kept and isinstance(job.outcome, Estimate)
            answers.append(Answer(job.outcome, job.seconds, _taken(kept_folder() / one.kept) if judged else None))
        return answers, None


@dataclass(eq=False, slots=True)
class _Worker:
    actor: Any
    call: Any
    place: str = ""
    jobs: list[Job] = field(default_factory=list)
    sent: float = field(default_factory=monotonic)
    known: dict[str, None] = field(default_factory=dict)
    unable: dict[str, None] = field(default_factory=dict)


class RayExecutor(Closing):
    """Workers of a Ray cluster, started when first needed.

    workers: how many; 0 for as many as the cluster has room for now. cpus, gpus: of each worker; with GPUs candidates compute on
    them, without on CPUs, whatever the driver's machine has. timeout, memory_mb: as of `Pool`. The process has joined the cluster
    before (`connect`).

    Candidates of a worker that is lost, with its machine or alone, are judged by another one, three times at the most. A worker
    that cannot load a judge gets no more candidates of it while there are others, lest they all go where they fail at once.
    Candidates that take milliseconds go to a worker several at a time, where so many wait.
    """

    def __init__(
        self,
        workers: int = 0,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        timeout: float | None = None,
        memory_mb: float | None = None,
    ) -> None:
        self.workers = workers or room(cpus, gpus)
        self._device = "cuda" if gpus else "cpu"
        self._hosts = hosts_with(cpus, gpus)
        self._settings = max(1, floor(cpus)), timeout, memory_mb
        self._queue: deque[Job] = deque()
        self._team: list[_Worker] = []
        self._done: list[Job] = []
        self._sent: dict[int, tuple[Any, str, Any]] = {}
        self._pace: dict[str, float] = {}
        self._false_starts = 0

    @property
    def state(self) -> str:
        """As `Executor.state`: workers that are there, machines, candidates that wait."""
        there = [member.place for member in self._team if member.place]
        unable = sum(bool(member.unable) for member in self._team)
        words = f", {unable} unable to load a judge" if unable else ""
        return f"{len(there)} of {self.workers} workers on {len(set(there))} machines{words}, {len(self._queue)} waiting"

    def submit(self, estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Job:
        """As `Executor.submit`. Raises UserError for a judge or problem that cannot travel."""
        self._send(estimator)
        self._send(problem)
        job = Job(estimator, problem, architecture, seed)
        self._queue.append(job)
        self._assign()
        return job

    def wait(self, timeout: float | None = None) -> list[Job]:
        """As `Executor.wait`."""
        deadline = inf if timeout is None else monotonic() + timeout
        while not self._done:
            self._assign()
            calls = {member.call: member for member in self._team if member.call is not None}
            if not self._queue and not any(member.jobs for member in self._team):
                break
            # One at least, then whatever else is there.
            pause = max(0.0, min(1.0, deadline - monotonic()))
            first, _ = ray.wait(list(calls), num_returns=1, timeout=pause)
            ready = ray.wait(list(calls), num_returns=len(calls), timeout=0)[0] if first and len(calls) > 1 else first
            for call in ready:
                self._hear(calls[call])
            if monotonic() >= deadline:
                break
        self._assign()
        done, self._done = self._done, []
        return done

    def cancel(self) -> None:
        """As `Executor.cancel`: busy workers are killed, idle ones stay."""
        self._queue.clear()
        self._done.clear()
        for member in [member for member in self._team if member.jobs]:
            self._dismiss(member)

    def close(self) -> None:
        """As `Executor.close`."""
        self.cancel()
        for member in list(self._team):
            self._dismiss(member)

    def _dismiss(self, member: _Worker) -> None:
        self._team.remove(member)
        with suppress(RayError):
            ray.kill(member.actor)

    def _send(self, thing: Any) -> tuple[str, Any]:
        """The digest of a judge or a problem, and the reference to its parcel, which is made once."""
        sent = self._sent.get(id(thing))
        if sent is None:
            moved = replace(thing, device=self._device) if isinstance(thing, Problem) else thing
            parcel = wrapped(moved, ray.put)
            sent = thing, parcel.digest, ray.put(parcel)
        use(self._sent, id(thing), sent, 2 * self.workers)  # with the object itself, so that its id stays its own
        return sent[1:]

    def _assign(self) -> None:
        """Give idle workers candidates, and start workers where candidates would wait."""
        idle = [member for member in self._team if member.call is None]
        waiting: list[Job] = []
        while self._queue and idle:
            able, judge = idle, self._send(self._queue[0].estimator)[0]
            if judge in idle[-1].unable:
                able = [member for member in idle if judge not in member.unable] or ([] if self._hope(judge) else idle)
            if able:
                member, share = able[-1], ceil(len(self._queue) / len(able))
                idle.remove(member)
                self._fly(member, self._some(share))
            else:
                waiting.append(self._queue.popleft())
        self._queue.extendleft(reversed(waiting))
        starting = sum(not member.place for member in self._team)
        for _ in range(min(self.workers - len(self._team), len(self._queue) - starting)):
            actor = self._hosts.remote(*self._settings)
            self._team.append(_Worker(actor, actor.about.remote()))

    def _hope(self, judge: str) -> bool:
        """Whether there is a worker that may be able to load a judge; one that does not come within a minute is none."""
        late = monotonic() - _JOIN_SECONDS
        return any(judge not in member.unable and (member.place or member.sent > late) for member in self._team)

    def _some(self, most: int) -> list[Job]:
        """The next candidate, and those of the same judge after it as long as all together are quick."""
        some = [self._queue.popleft()]
        judge = self._send(some[0].estimator)[0]
        most = min(most, max(1, int(_QUICK_SECONDS / max(self._pace.get(judge, inf), 1e-9))))
        while self._queue and len(some) < most and self._send(self._queue[0].estimator)[0] == judge:
            some.append(self._queue.popleft())
        return some

    def _fly(self, member: _Worker, jobs: list[Job]) -> None:
        asked: list[Asked] = []
        news: dict[str, Any] = {}
        forget: list[str] = []
        for job in jobs:
            parcels = self._send(job.estimator), self._send(job.problem)
            news |= {digest: reference for digest, reference in parcels if digest not in member.known}
            forget += [old for digest, _ in parcels for old in use(member.known, digest, None)]
            path = _kept(job)
            asked.append(Asked(parcels[0][0], parcels[1][0], job.architecture, job.seed, path.name if path else ""))
        needed = {digest for one in asked for digest in (one.judge, one.problem)}
        member.call = member.actor.judge.remote(asked, news, [old for old in forget if old not in needed])
        member.jobs, member.sent = jobs, monotonic()

    def _hear(self, member: _Worker) -> None:
        try:
            answer = ray.get(member.call)
        except RayError as error:
            if not member.jobs:
                self._unfit(member, error)
            elif isinstance(error, RayTaskError) and isinstance(error.cause, StorageError | UserError):
                # That a machine's disk is full, or that it cannot keep cargo, says nothing of a candidate.
                kind = StorageError if isinstance(error.cause, StorageError) else UserError
                raise kind(f"on '{member.place}': {error.cause}") from error
            elif isinstance(error, RayTaskError) and not isinstance(error.cause, RayError):
                # Nothing else that a judge does comes here.
                why = f"the worker cannot load the judge or the problem: {_line(error.cause)}"
                self._take(member, [], Failure("error", why))
            else:
                self._lost(member)
            return
        if member.place:
            self._take(member, *answer)
            return
        node, there = answer
        member.call, member.place = None, next((one["name"] for one in machines() if one["node"] == node), node)
        self._check(member.place, there)
        self._false_starts = 0

    def _take(self, member: _Worker, answers: Sequence[Answer], unable: Failure | None) -> None:
        """Take what a worker answered; unable: why it could not load the judge or the problem of the next candidate."""
        jobs, member.call, member.jobs = member.jobs, None, []
        judge = self._send(jobs[0].estimator)[0]
        for job, answer in zip(jobs, answers, strict=False):
            path = _kept(job)
            if answer.kept is not None and path is not None:
                made_folder(path.parent)
                write_atomic(path, answer.kept)
            if isinstance(answer.outcome, Estimate):  # soon slower, only by and by quicker
                use(self._pace, judge, max(answer.seconds, 0.7 * self._pace.get(judge, 0.0)))
            self._finish(job, *answer[:2], member.place)
        if answers:
            member.unable.pop(judge, None)
        if unable is None:
            return
        member.known.clear()
        use(member.unable, judge, None)
        untried = jobs[len(answers) :]
        if not self._hope(judge):
            self._finish(untried.pop(0), unable, 0.0, member.place)
        self._queue.extendleft(reversed(untried))

    def _finish(self, job: Job, outcome: Estimate | Failure, seconds: float, place: str) -> None:
        job.outcome, job.seconds, job.place = outcome, seconds, place
        self._done.append(job)

    def _lost(self, member: _Worker) -> None:
        self._dismiss(member)
        for job in reversed(member.jobs):
            job.deaths += 1
            if job.deaths < _LOSSES:
                self._queue.appendleft(job)
                continue
            lost = Failure("killed", f"its worker was lost {job.deaths} times, alone or with its machine")
            self._finish(job, lost, monotonic() - member.sent, member.place)

    def _unfit(self, member: _Worker, error: Exception) -> None:
        """Raises UserError where workers do not start at all; a machine that goes while one starts is no reason."""
        self._dismiss(member)
        self._false_starts += 1
        broken = isinstance(error, RayTaskError) or (isinstance(error, ActorDiedError) and "creation task" in str(error))
        if broken or self._false_starts >= _FALSE_STARTS:
            raise UserError(f"workers do not start on the cluster ({_line(error)}); install the same archscout on all its machines")

    def _check(self, place: str, there: Mapping[str, str]) -> None:
        """Raises UserError where a machine would compute with other code than this one."""
        for name, here in versions().items():
            if there.get(name, "").partition("+")[0] != here.partition("+")[0]:  # what follows a + is the kind of build
                raise UserError(f"'{place}' has {name} {there.get(name)}, but {here} is here; install the same on all machines")


def connect(address: str) -> None:
    """Join the cluster at an address: `auto` (one that this machine belongs to, or $RAY_ADDRESS), host:port, or ray://host:port.

    Does nothing where this process belongs to it already. Raises UserError where no cluster answers in time.
    """
    if ray.is_initialized():
        return
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    nobody = "start one with 'ray start --head', or name another with --address"
    if address != "auto" and not _answers(address.removeprefix("ray://")):
        raise UserError(f"no Ray cluster answers at '{address}'; {nobody}")
    found: list[BaseException | None] = []

    def join() -> None:
        for left in reversed(range(_FALSE_STARTS)):
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
                return found.append(None)
            except BaseException as error:
                # The server of clients forks while its threads run: the child that it starts for a client sometimes dies at once.
                if not left or not isinstance(error, ConnectionAbortedError):
                    return found.append(error)

    # Where nobody answers, Ray waits for minutes, deaf to signals. In the main thread it would also take SIGTERM for itself.
    thread = Thread(target=join, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS if address == "auto" else _JOIN_SECONDS)
    if not found or found[0] is not None:
        plain = not found or type(found[0]) is ConnectionError
        why = "" if plain else f" ({_line(found[0])})"
        raise UserError(f"no Ray cluster answers at '{address}'{why}; {nobody}")


def _answers(address: str) -> bool:
    """Whether a server of the protocol that Ray speaks is there: Ray itself would fill standard error before it gave up."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":  # such a server says nothing to strangers
        return True
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            return False
    return True


def machines() -> list[dict[str, Any]]:
    """The machines of the cluster that are alive: number, name, CPUs, GPUs, and memory in GiB."""
    nodes: Any = ray.nodes
    return [
        {
            "node": node["NodeID"],
            "name": node["NodeManagerHostname"] if node["NodeName"] == node["NodeManagerAddress"] else node["NodeName"],
            "cpus": node["Resources"].get("CPU", 0.0),
            "gpus": node["Resources"].get("GPU", 0.0),
            "memory_gib": round(node["Resources"].get("memory", 0.0) / 2**30, 1),
        }
        for node in nodes()
        if node["Alive"]
    ]


def hosts_with(cpus: float, gpus: float) -> Any:
    """What makes workers with so many CPUs and GPUs. Raises UserError where Ray does not know such shares."""
    if gpus > 1 and gpus % 1:
        raise UserError(f"a candidate has a share of one GPU or several whole ones, but {gpus:g} GPUs were asked for")
    hosts: Any = ray.remote(Host)
    try:
        return hosts.options(num_cpus=cpus, num_gpus=gpus, max_restarts=0)
    except ValueError as error:
        raise UserError(f"a candidate cannot have {cpus:g} CPUs and {gpus:g} GPUs ({_line(error)}); give other shares") from error


def room(cpus: float, gpus: float) -> int:
    """How many workers fit into the cluster as it is now. Raises UserError where there is no room for one."""
    there = machines()
    found = sum(floor(min(one["cpus"] / cpus if cpus else inf, one["gpus"] / gpus if gpus else inf)) for one in there)
    if found < 1:
        most = max(((one["cpus"], one["gpus"]) for one in there), default=(0.0, 0.0))
        raise UserError(
            f"a candidate is to have {cpus:g} CPUs and {gpus:g} GPUs, but no machine of the cluster has so much (the largest has "
            f"{most[0]:g} and {most[1]:g}); ask for less, or give --workers where the cluster grows by itself"
        )
    return found


def _taken(file: Path) -> bytes | None:
    """What a judge left, for the run; here it goes, and with it the checkpoint before, so that disks do not fill."""
    found = file.read_bytes() if file.exists() else None
    for left in (file, previous(file)):
        left.unlink(missing_ok=True)
    return found


def _kept(job: Job) -> Path | None:
    """The file of the run that a judge of this kind leaves."""
    judge = job.estimator
    return judge.kept(job.problem, job.architecture, job.seed) if isinstance(judge, KeepingEstimator) and judge.keep else None


def _line(error: BaseException | None) -> str:
    """Its end, where an error of another process says what it was."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"
