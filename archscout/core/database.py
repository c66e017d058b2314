"""Tasks, architectures and the accuracies that they reached: what methods that learn across tasks learn from, as one compact file.

A task is named by its family, its number and the seed of the database that drew it, and can be drawn again from that; so the file
holds no images. It is an `.npz` without pickle: `facts` (JSON as bytes), `task` (R,), `choices` (R, D), `seed` (R,) and `accuracy`
(R,), and the `digest` of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.packed import Arrays, PackedKind, arrays_digest, facts_array, pack_arrays, read_packed

_KIND = PackedKind(
    "database", 1, ("facts", "task", "choices", "seed", "accuracy"),
    "archscout meta build", "build it again", "build or fetch it again",
)  # fmt: skip


class TaskName(NamedTuple):
    """Of a task: the family, the number within it, the seed with which it is drawn."""

    family: str
    number: int
    seed: int

    def __str__(self) -> str:
        """As a person reads it: `textures/12@0`."""
        return f"{self.family}/{self.number}@{self.seed}"


class Record(NamedTuple):
    """One training. task: its place in the database's tasks. accuracy: on the task's validation images, 0 to 1."""

    task: int
    architecture: Architecture
    seed: int
    accuracy: float


@dataclass(frozen=True, eq=False)
class MetaDatabase:
    """T tasks and R records.

    space: its name. tasks: T names, in order of first appearance. task: (R,) which. choices: (R, D) option numbers.
    seed: (R,) of the trainings. accuracy: (R,), 0 to 1. facts: what the records are of (`space` as a record with its settings,
    `form` of the tasks, `families` as records, `judge` that trained, `seconds` in all, `machines`), as JSON takes it.
    """

    space: str
    tasks: tuple[TaskName, ...]
    task: NDArray[np.int32]
    choices: NDArray[np.uint8]
    seed: NDArray[np.int64]
    accuracy: NDArray[np.float32]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.accuracy)

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """The architecture of each record."""
        return tuple(Architecture(self.space, tuple(map(int, row))) for row in self.choices)

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that name the records."""
        return bytes(arrays_digest(_arrays(self), _KIND.names[1:])).hex()

    def of_tasks(self, chosen: Sequence[int]) -> MetaDatabase:
        """The part of it with these tasks, in their order."""
        places = np.full(len(self.tasks), -1, np.int32)
        places[list(chosen)] = np.arange(len(chosen), dtype=np.int32)
        rows = np.flatnonzero(places[self.task] >= 0)
        return MetaDatabase(
            self.space, tuple(self.tasks[place] for place in chosen), places[self.task[rows]], self.choices[rows], self.seed[rows],
            self.accuracy[rows], self.facts,
        )  # fmt: skip


def make_database(tasks: Sequence[TaskName], records: Sequence[Record], facts: Mapping[str, Any]) -> MetaDatabase:
    """The database of these records. Raises UserError where there is none."""
    if not records:
        raise UserError("the database is empty; build one with more --records")
    return MetaDatabase(
        records[0].architecture.space,
        tuple(tasks),
        np.array([record.task for record in records], np.int32),
        np.array([record.architecture.choices for record in records], np.uint8),
        np.array([record.seed for record in records], np.int64),
        np.array([record.accuracy for record in records], np.float32),
        facts,
    )


def merged(databases: Sequence[MetaDatabase]) -> MetaDatabase:
    """All records of all, each once; the first counts where two have the same task, architecture and seed.

    Raises UserError where they are of different spaces, or were made in different ways.
    """
    first = databases[0]
    for other in databases[1:]:
        if differing := [name for name in ("space", "form", "families", "judge") if first.facts.get(name) != other.facts.get(name)]:
            raise UserError(f"the databases were made in different ways ({', '.join(differing)} differs); they cannot be merged")
    places: dict[TaskName, int] = {}
    found: dict[tuple[TaskName, Architecture, int], float] = {}
    for database in databases:
        for place, architecture, seed, accuracy in zip(
            database.task, database.architectures, database.seed, database.accuracy, strict=True
        ):
            name = database.tasks[place]
            places.setdefault(name, len(places))
            found.setdefault((name, architecture, int(seed)), float(accuracy))
    facts = {
        **first.facts,
        "seconds": sum(database.facts.get("seconds", 0.0) for database in databases),
        "machines": sorted({machine for database in databases for machine in database.facts.get("machines", ())}),
    }
    records = [Record(places[name], architecture, seed, value) for (name, architecture, seed), value in found.items()]
    return make_database(tuple(places), records, facts)


def pack_database(database: MetaDatabase) -> bytes:
    """The file of a database."""
    return pack_arrays(_arrays(database), _KIND)


def read_database(path: str | Path) -> MetaDatabase:
    """The database in a file. Raises UserError where it is missing, damaged, empty, or something else."""
    path = Path(path).expanduser()
    database = read_packed(path, _KIND, _parsed)
    if not len(database):
        raise UserError(f"the database '{path}' is empty; build one with more --records")
    return database


def _parsed(facts: Mapping[str, Any], arrays: Arrays) -> MetaDatabase:
    tasks = tuple(TaskName(*task) for task in facts["tasks"])
    task, choices, seed, accuracy = (arrays[name] for name in _KIND.names[1:])
    return MetaDatabase(facts["space"], tasks, task, choices, seed, accuracy, facts["facts"])


def _arrays(database: MetaDatabase) -> dict[str, NDArray[Any]]:
    facts = facts_array({"space": database.space, "tasks": database.tasks, "facts": database.facts}, _KIND)
    return {
        "facts": facts, "task": database.task, "choices": database.choices, "seed": database.seed, "accuracy": database.accuracy,
    }  # fmt: skip
