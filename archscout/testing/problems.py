"""Tiny problems with known optima, and judges that misbehave on purpose; no training, and all of it travels to workers."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.errors import storage_error
from archscout.core.evidence import Estimate
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.seeds import derive

if TYPE_CHECKING:
    from torch import nn

TASK = Task("nothing", IMAGE_CLASSIFICATION, (1, 4, 4), 2, "empty")


@lru_cache
def _digits(length: int, options: int) -> tuple[Decision, ...]:
    return tuple(Decision(f"digit_{i}", tuple(map(str, range(options)))) for i in range(length))


@dataclass(frozen=True)
class CountingSpace:
    """D decisions with O options each; a network's width is one more than the sum of its choices."""

    length: int = 6
    options: int = 4
    name: str = "counting"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """All alike."""
        return _digits(self.length, self.options)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The choices as they are."""
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """A network with one hidden layer."""
        from torch import nn

        width = 1 + sum(architecture.choices)
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(task.shape), width), nn.ReLU(), nn.Linear(width, task.classes))

    def counts(self, architecture: Architecture, task: Task) -> Mapping[str, int]:
        """The weights and biases, and the MACs, of both layers."""
        width = 1 + sum(architecture.choices)
        macs = width * (prod(task.shape) + task.classes)
        return {"params": macs + width + task.classes, "macs": macs}


def counting(decisions: int = 6, options: int = 4, limits: Mapping[str, float] | None = None) -> Problem:
    """A problem whose best architecture `optimum` knows."""
    return Problem(CountingSpace(decisions, options), TASK, dict(limits or {}))


def answer_of(position: int, options: int) -> int:
    """The right choice at a position: neither always the first nor always the last."""
    return (1 + 2 * position) % options


def optimum(problem: Problem) -> Architecture:
    """The only architecture that `Counting` gives 1.0."""
    return problem.space.architecture([answer_of(i, len(d.options)) for i, d in enumerate(problem.space.decisions)])


def right_share(problem: Problem, architecture: Architecture) -> float:
    """The share of right choices."""
    right = optimum(problem).choices
    return sum(a == b for a, b in zip(architecture.choices, right, strict=True)) / len(right)


@dataclass(frozen=True)
class Counting:
    """The share of right choices: 1.0 at the optimum. trace: a file that gets a line for each call."""

    epochs: int = 1
    trace: str = ""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Pure and quick."""
        if self.trace:
            with Path(self.trace).open("a") as file:
                file.write(f"{architecture}\n")
        return Estimate(right_share(problem, architecture), 1.0)


@dataclass(frozen=True)
class Noisy:
    """The share of right choices plus noise that follows from the seed."""

    scale: float = 0.1

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Uniform noise of plus or minus `scale`."""
        noise = derive(seed, "noise") / 2**62 - 1
        return Estimate(right_share(problem, architecture) + self.scale * noise, 1.0)


@dataclass(frozen=True)
class Unreliable:
    """Fails on about every n-th architecture (always on the same ones): by NaN, or by raising."""

    every: int = 5
    kind: Literal["nan", "error"] = "nan"

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """As `Counting`, where it does not fail."""
        value = right_share(problem, architecture)
        if derive(0, architecture) % self.every == 0:
            if self.kind == "error":
                raise RuntimeError(f"{architecture} cannot be judged")
            value = float("nan")
        return Estimate(value, 1.0)


@dataclass(frozen=True)
class Raising:
    """Always raises."""

    message: str = "this judge never works"

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Never returns."""
        raise RuntimeError(self.message)


@dataclass(frozen=True)
class Sleeping:
    """As `Counting`, after a pause that depends on the architecture, of up to `seconds`."""

    seconds: float = 0.05
    trace: str = ""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Sleeps."""
        time.sleep(self.seconds * (derive(1, architecture) % 100) / 100)
        return Counting(trace=self.trace).estimate(problem, architecture, seed=seed)


@dataclass(frozen=True)
class Choosy:
    """As `Sleeping`, but the process that tries first to load it, which the file `trace` names, cannot."""

    trace: str
    seconds: float = 0.05

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Sleeps."""
        return Sleeping(self.seconds).estimate(problem, architecture, seed=seed)

    def __reduce__(self) -> Any:
        return _chosen, (self.trace, self.seconds)


def _chosen(trace: str, seconds: float) -> Choosy:
    with suppress(FileExistsError), open(trace, "x") as file:
        file.write(str(os.getpid()))
    if Path(trace).read_text() == str(os.getpid()):
        raise ImportError("a library is missing here")
    return Choosy(trace, seconds)


@dataclass(frozen=True)
class Keeping:
    """The mean of the training images times that of the labels; keeps what it reads in the file `path` in the folder `keep`."""

    path: str
    keep: str = ""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Pure but for the file."""
        data = problem.task.splits["train"]
        images, labels = data.images[data.rows], data.labels[data.rows]
        if self.keep:
            self.kept(problem, architecture, seed).write_text(Path(self.path).read_text())
        return Estimate(float(images.mean() * labels.mean()), metrics={"images": len(images), "seed": seed})

    def kept(self, problem: Problem, architecture: Architecture, seed: int) -> Path:
        """As `KeepingEstimator.kept`."""
        return Path(self.keep) / f"{problem.task.fingerprint[:8]}-{seed}.txt"


@dataclass(frozen=True)
class Misbehaving:
    """As `Counting`, but on architectures whose first choice is `first` something goes wrong.

    how: "hang" sleeps in C without letting the interpreter run; "hang-child" starts a process that sleeps and waits for it, and
    writes the child's PID to `trace`; "allocate" takes `amount` MiB; "allocate-child" has a child process take them; "die" kills
    the worker, "die-once" only where the file `trace` is not there yet; "full" finds no room for the file `trace`. amount: seconds
    or MiB.
    """

    how: Literal["hang", "hang-child", "allocate", "allocate-child", "die", "die-once", "full"]
    amount: float = 60.0
    first: int = 0
    trace: str = ""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """As the class says."""
        if architecture.choices[0] == self.first:
            self._misbehave()
        return Counting().estimate(problem, architecture, seed=seed)

    def _misbehave(self) -> None:
        held: Any = None
        if self.how == "hang":
            ctypes.PyDLL(None).sleep(int(self.amount))
        elif self.how == "hang-child":
            with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({self.amount})"]) as child:
                Path(self.trace).write_text(str(child.pid))
        elif self.how == "allocate":
            held = bytearray(int(self.amount) << 20)
        elif self.how == "allocate-child":
            work = f"import time; held = b'x' * ({int(self.amount)} << 20); time.sleep(60)"
            subprocess.run([sys.executable, "-c", work], check=False)
        elif self.how == "full":
            raise storage_error(self.trace, errno.ENOSPC)
        elif self.how == "die" or not Path(self.trace).exists():
            if self.how == "die-once":
                Path(self.trace).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        del held
