"""What is known of an architecture: an estimate, or a typed failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, get_args

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.problem import Problem

FailureKind = Literal["nan", "error", "timeout", "oom", "killed", "over_limit", "unrecorded"]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
REFUSALS: tuple[FailureKind, ...] = ("over_limit", "unrecorded")
"""Known before anything is spent, so they cost no part of the budget."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a judge says of an architecture.

    value: higher is better, always finite (anything else raises NotFinite: the one door where NaN is stopped).
    cost_seconds: what it cost, or for a recorded benchmark what it would have cost.
    metrics: further facts, such as params, macs, latency_ms.
    """

    value: float
    cost_seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isfinite(self.value):
            raise NotFinite(f"the value is {self.value}, but values must be finite")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an architecture has no estimate."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One landed proposal: exactly one of `estimate` and `failure`, with the judge and fidelity that it belongs to."""

    architecture: Architecture
    estimate: Estimate | None
    failure: Failure | None = None
    judge: str = "main"
    fidelity: float | None = None

    def __post_init__(self) -> None:
        if (self.estimate is None) == (self.failure is None):
            raise ValueError("an observation holds exactly one of an estimate and a failure")

    @property
    def refused(self) -> bool:
        """Whether it was turned away before anything was spent on it."""
        return self.failure is not None and self.failure.kind in REFUSALS

    @property
    def value(self) -> float:
        """The estimate's value; minus infinity for a failure, so that ranking puts failures last."""
        return self.estimate.value if self.estimate else float("-inf")


def observed(architecture: Architecture, outcome: Estimate | Failure) -> Observation:
    """What an outcome says of an architecture."""
    return Observation(architecture, None, outcome) if isinstance(outcome, Failure) else Observation(architecture, outcome)


@dataclass(frozen=True, eq=False)
class Episode:
    """A problem with architectures whose worth is known. labels: theirs, higher is better."""

    problem: Problem
    architectures: Sequence[Architecture]
    labels: Sequence[float]


def best_of(observations: list[Observation]) -> Observation | None:
    """The best observation that is no failure; the earliest of equals. None where there is none."""
    judged = [observation for observation in observations if observation.estimate]
    return max(judged, key=lambda observation: observation.value, default=None)
