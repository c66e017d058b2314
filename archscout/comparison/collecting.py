"""Builds databases for methods that learn across tasks: draws tasks and architectures, trains each shortly, keeps the accuracies.

Task k is number k // F of family k mod F, of F families; its records are random architectures of the space, the j-th named by k and
j. So a database of more tasks or more records holds all of a smaller one, and goes on from its lines after a kill. The seed names
tasks, architectures and trainings: machines with different seeds build different parts, which can be merged.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import ceil, inf
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout import catalogue
from archscout.catalogue import plain_record
from archscout.comparison.telling import Countdown, say
from archscout.core.architecture import Architecture
from archscout.core.database import MetaDatabase, Record, TaskName, make_database, pack_database
from archscout.core.draw import sample
from archscout.core.errors import Interrupted, UserError
from archscout.core.evidence import Estimate
from archscout.core.pictures import TaskForm
from archscout.core.places import cache_folder
from archscout.core.problem import Problem, Task
from archscout.core.protocols import Estimator, Extractor, Family, SourcedFamily, Space
from archscout.core.seeds import derive, generator
from archscout.core.sketch import to_text
from archscout.engine.executors import Executor, Job
from archscout.engine.machine import versions
from archscout.nn.measure import acceptance
from archscout.store.files import write_atomic
from archscout.store.lines import LineFile

_PER_CLASS = 50
"""Images of a class whose features are kept, from which a draw of a data set takes some."""
_ALL_FAILED = 20
"""After so many trainings without a single accuracy they are taken to be broken."""
Opener = Callable[[Family, int], Task]
"""The task of a number of a family."""


@dataclass(frozen=True)
class Collection:
    """What a database is of.

    families: by name. form: of the tasks. judge: that trains. limits: upper bounds of the architectures (`params`, `macs`).
    """

    space: Space
    families: Mapping[str, Family]
    form: TaskForm
    judge: Estimator
    seed: int
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """As JSON takes it; databases whose records agree in these can be merged."""
        return {
            "space": plain_record(self.space),
            "families": {name: plain_record(family) for name, family in self.families.items()},
            "form": plain_record(self.form)["settings"],
            "judge": plain_record(self.judge),
            "limits": dict(self.limits),
        }

    def task(self, place: int) -> TaskName:
        """The name of the task in this place."""
        names = list(self.families)
        return TaskName(names[place % len(names)], place // len(names), self.seed)

    def architecture(self, problem: Problem, place: int, number: int) -> Architecture:
        """The architecture of a record of the task in this place."""
        return sample(self.space, generator(self.seed, "architecture", place, number), acceptance(problem))


def collect(
    collection: Collection, open_task: Opener, out: Path, executor: Executor, *, tasks: int, records: int,
    minutes: float | None = None, facts: Mapping[str, Any] | None = None,
) -> tuple[MetaDatabase, bool]:  # fmt: skip
    """The database in `out`, and whether it is complete; what was trained before is taken from `out.part`.

    facts: what else its card is to say. Raises UserError where nothing was trained or can be.
    """
    wanted = [(place, number) for place in range(tasks) for number in range(ceil((records - place) / tasks))]
    known: dict[tuple[int, int], Any] = {}
    lines = LineFile(Path(f"{out}.part"), {**collection.record, "seed": collection.seed, "archscout": versions()["archscout"]})
    try:
        known |= {(place, number): rest for place, number, *rest in lines.entries}
        done = sum(key in known for key in wanted)
        if done:
            say(f"database: going on after {done:,} of {len(wanted):,} from '{lines.path}'")
        countdown = Countdown("database", len(wanted), done)
        deadline = inf if minutes is None else monotonic() + 60 * minutes
        missing = iter([key for key in wanted if key not in known])
        for key, found in _trained(collection, open_task, missing, executor, deadline):
            known[key] = found
            lines.add([*key, *found])
            done += 1
            countdown.at(done, executor.state and f" ({executor.state})")
            _check_any(list(known.values()))
        countdown.close()
    except Interrupted as stop:
        stop.hint = "Go on with the same command."
        raise
    finally:
        lines.close(remove=not known)
    there = [key for key in wanted if key in known]
    database = _made(collection, [(key, known[key]) for key in there], facts or {})
    write_atomic(out, pack_database(database))
    return database, len(there) == len(wanted)


def space_in(database: MetaDatabase) -> Space:
    """The space that a database's architectures are of, with its settings."""
    made: Space = catalogue.from_record("spaces", database.facts["space"])
    return made


def families_in(database: MetaDatabase) -> dict[str, Family]:
    """The families that a database's tasks are of, with their settings."""
    return {name: catalogue.from_record("families", record) for name, record in database.facts["families"].items()}


def opener_of(database: MetaDatabase, open_task: Callable[..., Task], data_dir: Path | None) -> Callable[[TaskName], Task]:
    """Draws a database's tasks again. open_task: `families._task.open_task`."""
    families, form = families_in(database), TaskForm(**database.facts["form"])
    return lambda name: open_task(families[name.family], name.number, form, seed=name.seed, data_dir=data_dir)


def sources_of(database: MetaDatabase, data_dir: Path | None) -> dict[str, str]:
    """The data sets that a database's tasks were drawn from, each with a sketch of its images as text."""
    found: dict[str, str] = {}
    for family in families_in(database).values():
        if isinstance(family, SourcedFamily):
            found |= {name: to_text(some) for name, some in family.sources(data_dir).items()}
    return found


def features_of(
    database: MetaDatabase, open_task: Callable[[TaskName], Task], extractor: Extractor, what: str
) -> list[tuple[NDArray[np.float32], ...]]:
    """Of each task, class by class, the features of some training images (n, F); a file in the cache keeps them."""
    parts = [list(map(str, database.tasks)), database.facts["form"], database.facts["families"], extractor.digest, _PER_CLASS]
    name = blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
    path = cache_folder() / "features" / f"{name}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            return [tuple(np.split(file[f"{place}"], file[f"{place} ends"])) for place in range(len(database.tasks))]
    countdown = Countdown(what, len(database.tasks))
    found = []
    for place, task_name in enumerate(database.tasks):
        found.append(_features(open_task(task_name), extractor))
        countdown.at(place + 1)
    countdown.close()
    arrays: dict[str, NDArray[Any]] = {}
    for place, classes in enumerate(found):
        arrays |= {f"{place}": np.concatenate(classes), f"{place} ends": np.cumsum([len(rows) for rows in classes])[:-1]}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, file.getvalue())
    return found


def _features(task: Task, extractor: Extractor) -> tuple[NDArray[np.float32], ...]:
    data = task.splits["train"]
    labels = data.labels[data.rows]
    rows = [np.flatnonzero(labels == number)[:_PER_CLASS] for number in range(task.classes)]
    features = extractor.features(np.ascontiguousarray(data.images[data.rows[np.concatenate(rows)]]))
    return tuple(np.split(features, np.cumsum([len(part) for part in rows])[:-1]))


def _trained(
    collection: Collection, open_task: Opener, keys: Iterator[tuple[int, int]], executor: Executor, deadline: float
) -> Iterator[tuple[tuple[int, int], list[Any]]]:
    """Each key with what is kept of its training: the choices, the accuracy or None, why there is none, and the seconds."""
    flying: dict[Job, tuple[int, int]] = {}
    problem: Problem | None = None
    place = -1
    while True:
        while len(flying) < 2 * executor.workers and monotonic() < deadline and (key := next(keys, None)) is not None:
            if problem is None or key[0] != place:
                place, name = key[0], collection.task(key[0])
                task = open_task(collection.families[name.family], name.number)
                problem = Problem(collection.space, task, collection.limits)
            architecture = collection.architecture(problem, *key)
            seed = derive(collection.seed, "estimate", architecture)
            flying[executor.submit(collection.judge, problem, architecture, seed)] = key
        if not flying:
            return
        for job in executor.wait(1.0):
            outcome = job.outcome
            found = [outcome.value, ""] if isinstance(outcome, Estimate) else [None, outcome.message if outcome else ""]
            yield flying.pop(job), [list(job.architecture.choices), *found, round(job.seconds, 3)]


def _check_any(found: Sequence[Sequence[Any]]) -> None:
    """Raises UserError where no training gave an accuracy."""
    if len(found) >= _ALL_FAILED and all(accuracy is None for _, accuracy, _, _ in found):
        raise UserError(f"none of {len(found)} trainings gave an accuracy (the first: {found[0][2]}); change the settings")


def _made(collection: Collection, found: Sequence[tuple[tuple[int, int], Sequence[Any]]], facts: Mapping[str, Any]) -> MetaDatabase:
    places: dict[int, int] = {}
    records = []
    for (place, _), (choices, accuracy, _, _) in found:
        if accuracy is not None:
            task = places.setdefault(place, len(places))
            records.append(Record(task, Architecture(collection.space.name, tuple(choices)), collection.seed, accuracy))
    if not records:
        raise UserError("the time was up before the first training was done; give more --minutes")
    seconds = round(sum(rest[-1] for _, rest in found), 1)
    return make_database([collection.task(place) for place in places], records, {**collection.record, **facts, "seconds": seconds})
