"""Processes that have loaded everything already and become a command of archscout, or a worker of its pool, on request.

A fresh interpreter spends seconds on loading torch before a command begins, and the tests run hundreds of commands. A `Warm`
process loads the package once, runs no operation, starts no thread, and forks for every command: a process of its own, in a session
of its own, with its own words, environment, folder and streams, which ends by itself or by any signal as another would. The workers
of such a command are forked likewise, from the same untouched process and not from the command, with which they share nothing.
Only what concerns loading cannot be seen there; tests of that start fresh interpreters: see docs/decisions/016.
"""

from __future__ import annotations

import atexit
import gc
import os
import pickle
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self


@dataclass(frozen=True)
class _Request:
    """What to become: a command of these words, or, where there are none, a worker (`archscout.engine.worker`) of this memory."""

    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    path: Sequence[str] = ()
    memory_mb: float | None = None
    warm_workers: bool = True


class Forked:
    """What a `Warm` process has become, handled like a `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], status: Connection) -> None:
        self.args, self.returncode = list(words), None
        self._status = status
        self.pid: int = status.recv()

    def poll(self) -> int | None:
        """The exit code, or less the number of the signal that ended it; None while it runs."""
        if self.returncode is None and self._status.poll():
            self.returncode = self._status.recv()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not self._status.poll(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.poll()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedCommand(Forked):
    """A command, with pipes for standard output and error."""

    def __init__(self, words: Sequence[str], status: Connection, stdout: int, stderr: int) -> None:
        super().__init__(words, status)
        self.stdout, self.stderr = (open(stream, encoding="utf-8") for stream in (stdout, stderr))

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it writes until it has ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        written = {self.stdout: b"", self.stderr: b""}
        with selectors.DefaultSelector() as open_streams:
            for stream in written:
                open_streams.register(stream, selectors.EVENT_READ)
            while open_streams.get_map():
                ready = open_streams.select(None if deadline is None else max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                for key, _ in ready:
                    part = os.read(key.fd, 1 << 16)
                    written[key.fileobj] += part
                    if not part:
                        open_streams.unregister(key.fileobj)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self.stdout.close()
        self.stderr.close()
        out, err = (text.decode() for text in written.values())
        return out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()
        self._status.close()


class Warm:
    """The client's side of such a process; `close` ends it, and commands that still run go on.

    It is no child of the tests' process, some of which count their children.
    """

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    @classmethod
    def started(cls, environment: Mapping[str, str]) -> Self:
        """A new one."""
        requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.run(
                [sys.executable, "-P", __file__, str(theirs.fileno())], env=dict(environment), pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, check=True,
            )  # fmt: skip
        return cls(requests)

    def start(
        self, words: Sequence[str], environment: Mapping[str, str], folder: str | Path, *, warm_workers: bool = True
    ) -> ForkedCommand:
        """Become a command: its words, the first of which names the program; all its environment variables; where it runs.

        warm_workers: whether the workers that it starts are forked too.
        """
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        request = _Request(list(words), dict(environment), str(folder), warm_workers=warm_workers)
        status = self._ask(request, their_out, their_err, self._requests.fileno())
        os.close(their_out)
        os.close(their_err)
        return ForkedCommand(words, status, out, err)

    def start_worker(self, threads: int, lifeline: int, memory_mb: float | None) -> tuple[Forked, Connection]:
        """As `archscout.engine.worker.start`."""
        ours, theirs = socket.socketpair()
        count = str(threads)
        environment = os.environ | {name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        request = _Request((), environment, str(Path.cwd()), list(sys.path), memory_mb)
        with theirs:
            status = self._ask(request, 2, theirs.fileno(), lifeline)  # what a worker prints goes to the errors
        return Forked(("worker",), status), Connection(ours.detach())

    def _ask(self, request: _Request, *streams: int) -> Connection:
        status, theirs = Pipe(duplex=False)
        with theirs:
            socket.send_fds(self._requests, [pickle.dumps(vars(request))], [theirs.fileno(), *streams])
        return status

    def close(self) -> None:
        self._requests.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _load() -> None:
    import archscout

    for module in pkgutil.walk_packages(archscout.__path__, "archscout."):
        import_module(module.name)
    for name in ("torch._dynamo", "torch.export", "networkx", "scipy.stats", "rich.progress"):
        import_module(name)
    from archscout.report import web

    for template in web.HOME.glob("*.html"):
        web._environment(web.HOME).get_template(template.name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread was started, which a fork would not have"
    gc.collect()
    gc.freeze()


def _become(requests: socket.socket) -> tuple[_Request, list[int]]:
    """Wait for requests; comes back in a new process for each, with the streams that came. The end of all clients ends this one."""
    while True:
        data, streams, _, _ = socket.recv_fds(requests, 1 << 20, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not data:
            os._exit(0)
        if os.fork() == 0:
            break
        for stream in streams:
            os.close(stream)
    requests.close()
    status = Connection(streams.pop(0), readable=False)
    if child := os.fork():
        _mind(child, status, streams)
    request = _Request(**pickle.loads(data))
    os.setsid()
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    status.send(os.getpid())
    status.close()
    return request, streams


def _mind(child: int, status: Connection, streams: Sequence[int]) -> None:
    """The end of the new process's parent: it tells how that process ended."""
    os.setsid()
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        status.send(code)
    os._exit(0)


def _command(request: _Request, out: int, err: int, requests: int) -> None:
    from archscout.cli.main import main
    from archscout.engine import worker

    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    warm = Warm(socket.socket(fileno=requests))
    if request.warm_workers:
        worker.start = warm.start_worker
    else:
        warm.close()
    sys.argv = list(request.words)
    try:
        main()
    except SystemExit as end:
        assert end.code is None or isinstance(end.code, int)
        _leave(end.code or 0)


def _leave(code: int) -> NoReturn:
    """End as the interpreter does, but for taking apart what was loaded: that would copy all of it into this process first."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _worker(request: _Request, err: int, handle: int, lifeline: int) -> None:
    from archscout.engine.worker import main

    os.dup2(err, 1)
    os.dup2(err, 2)
    os.close(err)
    sys.argv, sys.path[:] = ["-c"], request.path
    main(handle, lifeline, request.memory_mb)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    _load()
    asked, given = _become(socket.socket(fileno=int(sys.argv[1])))

    import numpy as np

    np.random.seed()  # noqa: NPY002 - Python's own generator is seeded anew in every fork; nothing must follow from this one either
    (_command if asked.words else _worker)(asked, *given)
