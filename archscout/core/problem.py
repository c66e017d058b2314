"""The question: a space, a task, limits, a device."""

from __future__ import annotations

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
    """What differs between kinds of task: the name of the metric and its direction."""

    name: str
    metric: str
    higher_is_better: bool = True


IMAGE_CLASSIFICATION = TaskKind("image-classification", "accuracy")
LANGUAGE_MODELLING = TaskKind("language-modelling", "perplexity", higher_is_better=False)
TASK_KINDS = {kind.name: kind for kind in (IMAGE_CLASSIFICATION, LANGUAGE_MODELLING)}


@dataclass(frozen=True, slots=True)
class Task:
    """Data and the question asked of it.

    shape: (C, H, W) for images, (L,) tokens for text.
    classes: K classes, or the size of the vocabulary.
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
