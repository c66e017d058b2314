"""A judge with faults to order."""

import ctypes
import errno
import itertools
import mmap
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from archscout.core.errors import storage_error
from archscout.core.evidence import Estimate


@dataclass(frozen=True)
class Strange:
    """Values that follow from the seed; about every `every`-th candidate does what `fault` says.

    trace: a file that gets one line per call; at the line `stop_at` the driver is killed. pause: seconds that each call takes.
    """

    fault: str = "none"
    every: int = 5
    pause: float = 0.0
    trace: str = ""
    stop_at: int = 0

    def estimate(self, problem, architecture, *, seed):
        if self.trace:
            note(self.trace, f"judge {architecture}")
            with open(self.trace) as file:
                if len(file.readlines()) == self.stop_at:
                    os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(self.pause)
        if self.fault != "none" and seed % self.every == 0:
            return getattr(self, f"_{self.fault}")()
        return Estimate(seed % 1000 / 1000)

    def _nan(self):
        return Estimate(float("nan"))

    def _infinite(self):
        return Estimate(1.0, 1.0, {"size": float("inf")})

    def _error(self):
        raise KeyError("what was wanted")

    def _full(self):
        raise storage_error(self.trace, errno.ENOSPC)

    def _hang(self):
        # PyDLL keeps the interpreter's lock, so that no signal handler of Python's ever runs.
        ctypes.PyDLL(None).pause()

    def _spin(self):
        return sum(itertools.repeat(0))

    def _children(self):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
        note(f"{self.trace}.children", str(child.pid))
        child.wait()

    def _greedy(self):
        return bytearray(64 << 30)

    def _shared(self):
        # Shared pages are in no limit of the operating system's; only the driver's look at the process sees them.
        with mmap.mmap(-1, 4 << 30) as pages:
            for start in range(0, 4 << 30, 16 << 20):
                pages[start : start + (16 << 20)] = b"x" * (16 << 20)
                time.sleep(0.02)

    def _die(self):
        os.kill(os.getpid(), signal.SIGKILL)


def note(path, text):
    """Add a line to a file; the file keeps all lines of all processes."""
    with open(path, "a") as file:
        file.write(f"{text}\n")
