"""Runs the installed command as a user would, for the tests of the command line and of faults."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from warm import ForkedCommand, Warm

from archscout.core.errors import ArchscoutError
from archscout.store.runs import RunStore

SLOWNESS = 4.0
"""Limits in seconds are those of a quiet machine; tests allow so many times more, since theirs is shared."""
PATIENCE = 240.0
"""Seconds after which a command that should have ended counts as hanging."""

Process = subprocess.Popen[str] | ForkedCommand
"""A command that was started."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON value and nothing else."""
        return json.loads(self.out)

    def refused(self, *parts: str, code: int = 2) -> None:
        """Check that the input was refused as promised: the exit code, one sentence, no traceback, and in it these parts."""
        sentences = [line for line in self.err.splitlines() if line.startswith("archscout:")]
        assert self.code == code, self.err
        assert self.out == "" and "Traceback" not in self.err
        assert self.err.splitlines() == sentences and len(sentences) == 1, self.err
        for part in parts:
            assert part in sentences[0], sentences[0]


@dataclass(frozen=True)
class Command:
    """The console script beside this interpreter, with a cache of its own and one thread per process.

    warm: processes to fork from, taken in turn, so that a run and its resumption hash differently, as in real life; None: none.
    warm_workers: whether the workers of a forked command are forked too.
    """

    cache: Path
    warm: Iterator[Warm] | None = None
    warm_workers: bool = True

    @property
    def words(self) -> list[str]:
        """How the command is called."""
        script = Path(sys.executable).with_name("archscout")
        return [str(script)] if script.exists() else [sys.executable, "-m", "archscout.cli.main"]

    @property
    def environment(self) -> dict[str, str]:
        """Of every call."""
        kept = {name: value for name, value in os.environ.items() if name != "ARCHSCOUT_DATA"}
        return kept | {"ARCHSCOUT_CACHE": str(self.cache), "OMP_NUM_THREADS": "1"}

    def start(
        self,
        *words: object,
        fresh: bool = False,
        before: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | Path = ".",
        **settings: Any,
    ) -> Process:
        """Start a command in a session of its own, so that its process group can be signalled.

        fresh: in an interpreter of its own, which `before` (words before the command) and other settings of Popen ask for too.
        """
        called, environment = [*self.words, *map(str, words)], self.environment | dict(env or {})
        if self.warm is not None and not (fresh or before or settings):
            return next(self.warm).start(called, environment, Path(cwd).absolute(), warm_workers=self.warm_workers)
        return subprocess.Popen(
            [*before, *called], env=environment, cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            **settings,
        )  # fmt: skip

    def __call__(self, *words: object, code: int | None = 0, timeout: float = PATIENCE, **settings: Any) -> Done:
        """Run a command to its end and check its exit code (None: any)."""
        process = self.start(*words, **settings)
        try:
            done = end_of(process, timeout)
        finally:
            process.kill()
        assert code is None or done.code == code, f"exit code {done.code}\n{done.out}\n{done.err}"
        return done


def end_of(process: Process, timeout: float = PATIENCE) -> Done:
    """Wait for the end of a command."""
    with process:
        out, err = process.communicate(timeout=timeout)
    return Done(process.returncode, out, err)


def until(condition: Callable[[], bool], process: Process, timeout: float = PATIENCE) -> bool:
    """Wait until the condition holds (True) or the process has ended (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            return condition()
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
    return True


def limit_files(process: Process, size: int | None) -> None:
    """Let a process write files of so many bytes at the most, as on a full disk, or of any size again (None)."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux sets the limits of another process")
    hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


@contextmanager
def full_disk(size: int = 0) -> Iterator[None]:
    """As `limit_files`, for this process; Python has SIGXFSZ ignored."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def landed(folder: Path) -> int:
    """How many results the run in `folder` has confirmed; 0 while there is no run."""
    try:
        with RunStore.read(folder) as store:
            return len(store.observations())
    except (ArchscoutError, OSError):
        return 0


def unprivileged() -> list[str]:
    """Words before a command that make it run as a user who may read everything and write nothing of ours; [] where we are one."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("running as root, and there is no setpriv to become another user with")
    # The interpreter may lie in a folder of root's that others cannot enter: reading is therefore let through.
    reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", *reading]


def banded_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 8, 8, 1) of bytes and their labels 0, 1, 2."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(0).integers(0, 160, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 3] += 90
    return images.astype(np.uint8), labels
