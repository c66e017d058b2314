"""What a strategy, or a method that learns across tasks, may say to its driver."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from archscout.core.architecture import Architecture
from archscout.core.evidence import Observation


@dataclass(frozen=True, slots=True)
class Propose:
    """Judge this. `judge` names one of the run's judges; `fidelity` (for `train`: epochs) is None for the judge's own."""

    architecture: Architecture
    judge: str = "main"
    fidelity: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """I need results before I can think. With nothing in flight this is an error of the strategy."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a strategy that owns its loop has come.

    best: the answer if it were stopped now.
    metrics: numbers for the log.
    state: optionally a flat mapping of names to arrays, integers and floats, from which `search` can go on.
    """

    best: Architecture | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, Any] | None = None


Order = Literal["proposed", "landed"]
"""In which results are delivered: in that of the proposals, which every run repeats, or as they come, which the record repeats."""
Move = Propose | Wait | Progress
Search = Generator[Move, Sequence[Observation], Architecture | None]


@dataclass(frozen=True, slots=True)
class Judge:
    """Have all labelled architectures of all episodes judged with these settings of the judge."""

    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Learned:
    """How far the learning has come.

    settings: of the judge, the answer if it were stopped now. fitness: how good they are by the method's own measure, higher is
    better.
    """

    settings: Mapping[str, Any]
    fitness: float


@dataclass(frozen=True, slots=True)
class Lecture:
    """How far a training on a database has come.

    done, total: steps. metrics: numbers for the log, such as a validation loss.
    state: a flat mapping of names to arrays, integers and floats, from which it can go on; None where it is not worth keeping.
        Names that begin with "learned." are what was learned.
    """

    done: int
    total: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, Any] | None = None


Learning = Generator[Judge | Learned, Sequence[Sequence[Observation]], None]
"""`Judge` is answered by the observations of each episode, in the order of its labels, `Learned` by nothing."""
