"""Judges one candidate after another, in a process of its own that can be killed with everything it started.

The driver starts it with `start`; both speak over a socket. The worker leads its own process group; a small guardian in the same
group waits for the driver's end and then kills the group, even where a candidate never lets the interpreter run again.
"""

from __future__ import annotations

import gc
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite, OverLimit, StorageError
from archscout.core.evidence import Estimate, Failure
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.engine.threads import keep_memory

_MEBIBYTE = 1 << 20
_BOOT = "import sys; sys.path[:] = {path!r}; from archscout.engine.worker import main; main({socket}, {lifeline}, {memory!r})"


@dataclass(frozen=True, slots=True)
class Started:
    """What a worker says when everything is loaded and the candidate begins: the time, and the bytes its group holds."""

    clock: float
    base: int


def judge(estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Estimate | Failure:
    """The estimate, or the typed failure that an exception or a value that is not finite amounts to.

    Raises StorageError: that the disk is full says nothing of a candidate.
    """
    try:
        return _checked(estimator.estimate(problem, architecture, seed=seed))
    except NotFinite as error:
        return Failure("nan", _line(error))
    except OverLimit as error:
        return Failure("over_limit", _line(error))
    except StorageError:
        raise
    except MemoryError:
        return Failure("oom", "it needed more memory than there is")
    except Exception as error:
        if _is_memory(error):
            return Failure("oom", "it needed more memory than there is")
        return Failure("error", f"{type(error).__name__}: {_line(error)}".removesuffix(": "))


def _checked(estimate: Any) -> Estimate:
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate() should return an Estimate, but {type(estimate).__name__} came")
    facts = {"cost_seconds": estimate.cost_seconds, **estimate.metrics}
    for name, fact in facts.items():
        if not isfinite(fact):
            raise NotFinite(f"its {name} is {fact}")
    metrics = {name: fact if isinstance(fact, int) else float(fact) for name, fact in estimate.metrics.items()}
    return Estimate(float(estimate.value), max(0.0, float(estimate.cost_seconds)), metrics)


def _is_memory(error: Exception) -> bool:
    text = str(error)
    return type(error).__name__ == "OutOfMemoryError" or any(
        sign in text
        for sign in ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "Cannot allocate memory")
    )


def _line(error: Exception) -> str:
    # Addresses differ from process to process; the record of a run must not.
    return re.sub(r"0x[0-9a-fA-F]{6,}", "0x…", " ".join(str(error).split()))[:500]


def resident(pid: int) -> int:
    """Bytes held by a process and everything it started; 0 where it is gone."""
    import psutil

    total = 0
    try:
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            try:
                total += int(member.memory_info().rss)
            except psutil.Error:
                continue
    except psutil.Error:
        return 0
    return total


def start(threads: int, lifeline: int, memory_mb: float | None) -> tuple[subprocess.Popen[bytes], Connection]:
    """A fresh worker and the driver's end of the connection to it. It shares no state with this process but the import path."""
    ours, theirs = socket.socketpair()
    with theirs:
        boot = _BOOT.format(path=sys.path, socket=theirs.fileno(), lifeline=lifeline, memory=memory_mb)
        count = str(threads)
        environment = os.environ | {name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", boot],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a candidate prints must not mix with the results of --json
            env=environment,
            pass_fds=(theirs.fileno(), lifeline),
            start_new_session=True,
        )
    return process, Connection(ours.detach())


def main(handle: int, lifeline: int, memory_mb: float | None) -> None:
    """The worker's life: take a job, say that it starts, judge, answer; until the driver hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(handle, False)
    os.set_inheritable(lifeline, False)
    _guard(handle, lifeline)
    keep_memory()
    connection = Connection(handle)
    known: dict[str, Any] = {}
    while True:
        try:
            message = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)
        answer = _answer(message, known, connection, memory_mb)
        connection.send_bytes(pickle.dumps(answer))
        if isinstance(answer[0], Failure) and "CUDA error" in answer[0].message:
            os.killpg(0, signal.SIGKILL)  # this process cannot use its GPU again; the next candidate gets a fresh one


def _answer(
    message: Mapping[str, Any], known: dict[str, Any], connection: Connection, memory_mb: float | None
) -> tuple[Any, float]:
    begun = perf_counter()
    try:
        _learn(message, known)
    except Exception as error:
        failure = Failure("error", f"the worker cannot load the judge or the problem: {type(error).__name__}: {_line(error)}")
        return failure, perf_counter() - begun
    estimator, problem = known[message["estimator"]], known[message["problem"]]
    base = 0 if memory_mb is None else resident(os.getpid())
    # The monotonic clock is the machine's, so the driver may count from here however late it looks.
    connection.send_bytes(pickle.dumps(Started(monotonic(), base)))
    begun = perf_counter()
    _limit_memory(memory_mb)
    try:
        outcome = judge(estimator, problem, message["architecture"], message["seed"])
    except StorageError as error:
        return error, perf_counter() - begun
    finally:
        _limit_memory(None)
    seconds = perf_counter() - begun
    if isinstance(outcome, Failure) and outcome.kind == "oom":
        gc.collect()
        if memory_mb is not None:
            outcome = Failure("oom", f"it needed more than {memory_mb:,.0f} MB")
    return outcome, seconds


def _learn(message: Mapping[str, Any], known: dict[str, Any]) -> None:
    from archscout.catalogue import load_file

    for entry in message["path"]:
        if entry not in sys.path:
            sys.path.append(entry)
    for name, path in message["files"].items():
        load_file(Path(path), name)
    for digest in message["forget"]:
        known.pop(digest, None)
    for digest, data in message["objects"].items():
        known[digest] = pickle.loads(data)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def _guard(handle: int, lifeline: int) -> None:
    if os.fork():
        return
    os.close(handle)
    os.read(lifeline, 1)  # returns when the driver is gone, however it went
    os.killpg(0, signal.SIGKILL)


def _limit_memory(memory_mb: float | None) -> None:
    """Let this process take so much more than it holds now (Linux; elsewhere the driver watches alone); None: without limit."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    bound = hard
    if memory_mb is not None:
        with open("/proc/self/status") as status:
            held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
        bound = held + int(memory_mb * _MEBIBYTE)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
