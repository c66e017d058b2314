"""From the words of a comparison to its parts: table, space, task and judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from archscout import catalogue
from archscout.core import fitting
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind, kinds_of
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task
from archscout.core.protocols import Estimator, Space, Strategy, Table
from archscout.engine.request import Request, settings_of

_IMAGES, _TOKENS = ((3, 32, 32), 10), ((35,), 10_000)
"""Shape and classes of the task where no data are given: CIFAR-10, or Penn Treebank."""


def table_of(name: str) -> Table:
    """A recorded benchmark. Raises UnknownName."""
    from archscout.benchmarks._open import open_table

    return open_table(name)


def space_of(name: str, settings: Mapping[str, str]) -> Space:
    """A space with the settings that are given under `space`; or the names that a table lists."""
    from archscout.benchmarks._open import listed_space

    if (listed := listed_space(name)) is not None:
        return listed
    made: Space = catalogue.make("spaces", name, **settings_of("space", settings, catalogue.plugin("spaces", name)))
    return made


def strategy_of(name: str, settings: Mapping[str, str]) -> Strategy:
    """A strategy with the settings that are given under `strategy`."""
    made: Strategy = catalogue.make("strategies", name, **settings_of("strategy", settings, catalogue.plugin("strategies", name)))
    return made


def task_of(space: Space, data: str | None, data_dir: Path | None, settings: Mapping[str, str], seed: int = 0) -> Task:
    """The task of the data; without data one of a usual shape and without images, which is enough for what only counts."""
    if data is not None:
        from archscout.api import open_request

        request = Request(data=data, data_dir=None if data_dir is None else str(data_dir), settings=settings, seed=seed)
        task = open_request(request, progress=True).task
        check_kind(task, space, f"the space '{space.name}'")
        return task
    kind = kinds_of(space)[0]
    shape, classes = _TOKENS if kind == LANGUAGE_MODELLING else _IMAGES
    return Task("no data", kind, shape, classes, "no data")


def judge_of(name: str, settings: Mapping[str, str], owner: str = "estimator", **recorded: Any) -> Estimator:
    """A judge by name, `.py` file or `.npz` of scores. recorded: table, dataset and epochs, for the judge that reads the table."""
    known, chosen = (dict(recorded), name) if name == "tabular" else ({}, name)
    if name.endswith(".npz"):
        known, chosen = {"path": str(Path(name).expanduser().resolve())}, "scored"
    room = catalogue.room_of_judge(chosen)
    given = settings_of(owner, settings, catalogue.plugin(room, chosen))
    made: Estimator = catalogue.make(room, chosen, **{**known, **given})
    return made


def fitted(judges: Mapping[str, Estimator], problem: Problem, seed: int) -> dict[str, Estimator]:
    """The judges, of which those that must learn first have learned, with a countdown.

    A learner that samples in some way of its own gets company: itself with uniform sampling, at equal cost.
    """
    from archscout.comparison.telling import Countdown

    found: dict[str, Estimator] = {}
    for name, judge in judges.items():
        learners = {name: judge}
        if getattr(judge, "sampler", "uniform") != "uniform":
            learners[f"{name} (uniform sampling)"] = replace(judge, sampler="uniform")  # type: ignore[type-var]
        for label, learner in learners.items():
            countdown = Countdown(f"train {label}", 0)
            found[label] = fitting.fitted(learner, problem, seed=seed, tell=countdown.of)
            countdown.close()
    return found


def judges_of(names: Sequence[str], settings: Mapping[str, str], **recorded: Any) -> dict[str, Estimator]:
    """Several judges; each takes those of the settings that it has. Raises UnknownName for one that none of them has."""
    found: dict[str, Estimator] = {}
    known = {
        name: {f"estimator.{field.name}" for field in fields(catalogue.plugin(catalogue.room_of_judge(name), name))}
        for name in names
    }
    for name in names:
        elsewhere = set().union(*known.values()) - known[name]
        shown = Path(name).stem if name.endswith(".py") else name
        found[shown] = judge_of(name, {key: value for key, value in settings.items() if key not in elsewhere}, **recorded)
    return found


def names_in(text: str, option: str = "--estimator", example: str = "naswot,synflow") -> list[str]:
    """`a,b` -> the names, each once. Raises UserError where there is none."""
    names = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not names:
        raise UserError(f"{option} takes names such as {example}, but '{text}' came")
    return names
