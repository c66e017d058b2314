"""The question: a space, a task, limits, a device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archscout.core.protocols import Space

LIMITS = ("params", "macs", "latency_ms")
"""What a user may bound."""
COUNTED = ("params", "macs", "work")
"""Bounds that are counted without running anything; `work` (`OperationGraph.work`) is the plan's own."""


@dataclass(frozen=True, slots=True)
class TaskKind:
    """What differs between kinds of task: the metric, its direction, what a split consists of, and what a network takes at once.

    A value, as judges and trainings give it, is higher for better networks: accuracy itself, or for perplexity its negative
    logarithm, which is the mean log-likelihood of a token.
    """

    name: str
    metric: str
    higher_is_better: bool = True
    item: str = "image"
    input: str = "image"

    def measured(self, value: float) -> float:
        """The metric that a value stands for."""
        return value if self.higher_is_better else math.exp(min(-value, 700.0))

    def told(self, value: float) -> str:
        """The metric as a person reads it: 92.30 %, or 84.21."""
        return f"{value:.2%}" if self.higher_is_better else f"{self.measured(value):.2f}"


IMAGE_CLASSIFICATION = TaskKind("image-classification", "accuracy")
LANGUAGE_MODELLING = TaskKind("language-modelling", "perplexity", higher_is_better=False, item="window", input="window")
FEW_SHOT = TaskKind("few-shot", "few-shot accuracy", item="episode")
TASK_KINDS = {kind.name: kind for kind in (IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, FEW_SHOT)}


@dataclass(frozen=True, slots=True)
class Task:
    """Data and the question asked of it.

    shape: (C, H, W) for images, (L,) tokens for text.
    classes: K classes, the ways of an episode, or the size of the vocabulary.
    fingerprint: of the data and its split; equal fingerprints mean equal batches.
    splits: "train" and "valid" -> a data set, opaque to core. The test split stays with the engine.
    """

    name: str
    kind: TaskKind
    shape: tuple[int, ...]
    classes: int
    fingerprint: str
    splits: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Problem:
    """What is searched, for what, under which upper bounds (`params`, `macs`, `latency_ms`, `work`), on which device."""

    space: Space
    task: Task
    limits: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"
