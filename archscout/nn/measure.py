"""What a network costs, without training it: parameters, MACs, latency; and the test for limits.

Counts come from the operation graph where a space offers one, or from its own arithmetic; otherwise from a build on the meta
device.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.draw import legal
from archscout.core.errors import LimitError
from archscout.core.joint import member_space
from archscout.core.problem import COUNTED, LANGUAGE_MODELLING, Problem, Task
from archscout.core.protocols import CountedSpace, GraphSpace, PartialSpace, Space


def counts(space: Space, architecture: Architecture, task: Task) -> Mapping[str, int]:
    """`params`, `macs` (convolutions and linear layers, one image or window of tokens) and `work` (see `OperationGraph.work`)."""
    space = member_space(space, architecture)
    if isinstance(space, Hashable) and isinstance(task, Hashable):
        return _counts(space, architecture, task)
    return _counts.__wrapped__(space, architecture, task)


UNKNOWN_WORK = 3
"""Work per MAC where no graph tells the operations apart: about what the networks of our own spaces have in the mean."""


@lru_cache(maxsize=100_000)
def _counts(space: Space, architecture: Architecture, task: Task) -> Mapping[str, int]:
    if isinstance(space, GraphSpace):
        graph = space.operations(architecture, task)
        return {"params": graph.params, "macs": graph.macs, "work": graph.work}
    found = space.counts(architecture, task) if isinstance(space, CountedSpace) else _built_counts(space, architecture, task)
    return {**found, "work": UNKNOWN_WORK * found["macs"]}


def _built_counts(space: Space, architecture: Architecture, task: Task) -> Mapping[str, int]:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = space.build(architecture, task)
    network.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(example_input(task, device="meta"))
    params = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return {"params": params, "macs": counter.get_total_flops() // 2}


def example_input(task: Task, batch: int = 1, device: str = "cpu") -> Tensor:
    """Zeros of the form of the task's inputs: images (B, C, H, W), or tokens (B, L) int64."""
    kind = torch.int64 if task.kind == LANGUAGE_MODELLING else None
    return torch.zeros(batch, *task.shape, dtype=kind, device=device)


def latency(
    network: nn.Module, task: Task, *, device: str = "cpu", batch: int = 1, warm_up: int = 3, repeats: int = 20
) -> list[float]:
    """Milliseconds of `repeats` forward passes of zeros, sorted; the network is left in evaluation mode."""
    network = network.to(device).eval()
    inputs = example_input(task, batch, device)
    times = []
    with torch.inference_mode():
        for turn in range(warm_up + repeats):
            start = perf_counter()
            network(inputs)
            if device != "cpu":
                torch.accelerator.synchronize(device)
            if turn >= warm_up:
                times.append((perf_counter() - start) * 1000)
    return sorted(times)


@dataclass(frozen=True)
class Acceptance:
    """The test whether an architecture meets the counted limits of a problem."""

    problem: Problem
    bounds: Mapping[str, float]

    def __call__(self, architecture: Architecture) -> bool:
        """Whether every count is within its bound."""
        return self.excess(architecture) == 0

    def excess(self, architecture: Architecture) -> float:
        """By how much the counts exceed their bounds, as shares of the bounds, added up."""
        found = counts(self.problem.space, architecture, self.problem.task)
        return sum(max(0.0, found[name] / bound - 1) for name, bound in self.bounds.items())


def acceptance(problem: Problem) -> Acceptance | None:
    """The test whether an architecture meets the counted limits; None where there are none.

    Raises LimitError at once where even the smallest architecture found does not. The latency limit is measured, so the driver
    alone applies it and records what it found.
    """
    bounds = {name: bound for name, bound in problem.limits.items() if name in COUNTED}
    if not bounds:
        return None
    for name, bound in bounds.items():
        _, smallest = smallest_by(problem, name)
        if smallest > bound:
            raise LimitError(
                f"--max-{name} {bound:,.0f} cannot be met: the smallest network of '{problem.space.name}' "
                f"for this task has {smallest:,} {name}"
            )
    return Acceptance(problem, bounds)


def smallest_count(problem: Problem, name: str) -> int:
    """The smallest count that `smallest_by` finds."""
    return smallest_by(problem, name)[1]


def smallest_by(problem: Problem, name: str) -> tuple[Architecture, int]:
    """The architecture of smallest count that coordinate descent over the decisions finds.

    It starts from the first option of each, or from the smallest architecture that a `PartialSpace` names.
    """
    space = problem.space

    def count(architecture: Architecture) -> int:
        return counts(space, architecture, problem.task)[name]

    smallest = space.smallest() if isinstance(space, PartialSpace) else space.architecture([0] * len(space.decisions))
    best = count(smallest)
    improved = True
    while improved:
        improved = False
        for place, decision in enumerate(space.decisions):
            for option in range(len(decision.options)):
                trial = legal(space, [*smallest.choices[:place], option, *smallest.choices[place + 1 :]])
                if trial is not None and (found := count(trial)) < best:
                    best, smallest, improved = found, trial, True
    return smallest, best


def largest(most: int, count: Callable[[int], Mapping[str, float]], limits: Mapping[str, float]) -> int:
    """The largest size in 1 .. `most` of which no count exceeds its limit (1 where all do); counts grow with the size.

    count: `params` and `macs` of a size. limits: on these or on `work`; others are left out.
    """

    def fits(size: int) -> bool:
        found = count(size)
        found = {**found, "work": UNKNOWN_WORK * found["macs"]}
        return all(found[name] <= bound for name, bound in limits.items() if name in found)

    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
