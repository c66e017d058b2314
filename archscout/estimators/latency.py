"""The time of one forward pass on this machine, measured: faster is better.

The network is built untrained (the weights do not change the time), warmed up, and timed again and again on a batch of zeros; the
median is robust against the odd interruption. Two machines, or one under load, give different values: compare within one run only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.core.seeds import seeded
from archscout.nn.measure import latency


@dataclass(frozen=True)
class Latency:
    """Minus the median milliseconds of a forward pass.

    batch: images per pass. warm_up, repeats: passes before and while timing.
    threads: of PyTorch on the CPU; 0 leaves them as they are.
    """

    batch: int = 1
    warm_up: int = 5
    repeats: int = 30
    threads: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.repeats < 1 or self.warm_up < 0 or self.threads < 0:
            raise ValueError("batch and repeats are at least 1, warm_up and threads at least 0")

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All."""
        return tuple(TASK_KINDS.values())

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Minus the median. Metrics: latency_ms (the median), latency_p95_ms."""
        start = perf_counter()
        with seeded(seed):
            network = problem.space.build(architecture, problem.task)
        with _threads(self.threads):
            times = latency(
                network, problem.task, device=problem.device, batch=self.batch, warm_up=self.warm_up, repeats=self.repeats
            )
        median, slow = (float(np.percentile(times, share)) for share in (50, 95))
        return Estimate(-median, perf_counter() - start, {"latency_ms": median, "latency_p95_ms": slow})


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
