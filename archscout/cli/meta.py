"""`archscout meta`: methods that learn across tasks, and what they have learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from archscout.cli.options import DataDir, Dataset, Json, Settings, TableName, given
from archscout.core.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    meta = typer.Typer(help="Methods that learn across tasks: train, list.", no_args_is_help=True, rich_markup_mode=None)
    meta.command()(train)
    meta.command("list")(list_)
    app.add_typer(meta, name="meta")


def train(
    method: Annotated[str, typer.Argument(help="the method (archscout plugins meta)")],
    table: TableName,
    dataset: Dataset,
    labelled: Annotated[int, typer.Option(help="architectures whose recorded value may be seen", min=3)] = 20,
    data: Annotated[str | None, typer.Option(help="the images: a name or a path; Gaussian noise without")] = None,
    data_dir: DataDir = None,
    epochs: Annotated[int | None, typer.Option(help="of the recorded training; by default the table's first column")] = None,
    seed: Annotated[int, typer.Option(help="of the draw of the architectures, of the search and of the initial weights")] = 0,
    workers: Annotated[int, typer.Option(help="worker processes; 0 for one per core", min=0)] = 0,
    minutes: Annotated[
        float | None, typer.Option(help="stop after so long with the best so far; the same command goes on", min=0)
    ] = None,
    name: Annotated[str, typer.Option(help="to be used by; without it METHOD-TABLE-DATASET and what tells the question")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what another command kept under this name")] = False,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Learn from labelled architectures of a recorded benchmark."""
    from archscout import catalogue
    from archscout.cli import questions
    from archscout.comparison.correlate import draw
    from archscout.comparison.scoring import executor_of
    from archscout.comparison.telling import Countdown
    from archscout.core.evidence import Episode
    from archscout.core.problem import Problem
    from archscout.core.protocols import MetaLearner
    from archscout.core.seeds import derive
    from archscout.engine.learn import Lessons
    from archscout.engine.request import settings_of

    words = given(settings, owners=("meta", "estimator", "space", "data"))
    learner: MetaLearner = catalogue.make("meta", method, **settings_of("meta", words, catalogue.plugin("meta", method)))
    if name:
        learner.place_of(name)  # a name that cannot be used is told of before anything is judged
    chosen = questions.table_of(table)
    recorded = chosen.objective(dataset, epochs)
    space = questions.space_of(chosen.facts.space, words)
    judge = questions.judge_of(learner.judge, words)
    sample = draw(chosen, space, recorded, labelled, dataset=dataset, seed=derive(seed, "labelled"))
    task = questions.task_of(space, data, data_dir, words)
    episode = Episode(Problem(space, task), sample.architectures, [float(value) for value in sample.values])
    lessons = Lessons(learner, judge, [episode], seed=seed, folder=Path("runs"))
    place = learner.place_of(name or f"{method}-{table}-{dataset}-{lessons.digest[:8]}")
    if name and place.exists() and not overwrite and not lessons.log.exists():
        raise UserError(f"'{place}' was kept by another command; choose another --name, or give --overwrite")
    countdown: Countdown | None = None

    def tell(trials: int, fitness: float) -> None:
        nonlocal countdown
        countdown = countdown or Countdown(method, learner.trials, trials - 1)
        countdown.at(trials, f", best {fitness:.3f}")

    with executor_of(workers) as executor:
        lesson = lessons.learn(executor, minutes=minutes, tell=tell)
    if countdown is not None:
        countdown.close()
    learner.keep_lesson(lesson.settings, place.stem)
    found = {
        "method": method, "table": table, "dataset": dataset, "column": recorded.column.name, "labelled": len(sample.rows),
        "architectures": list(map(str, sample.architectures)), "seed": seed, "trials": lesson.trials, "complete": lesson.complete,
        "fitness": lesson.fitness, "seconds": lesson.seconds, "name": place.stem, "file": str(place),
        "settings": dict(lesson.settings),
    }  # fmt: skip
    if as_json:
        print(json.dumps(found, indent=1))
        return
    rest = "" if lesson.complete else f" of {learner.trials:,}; the same command goes on"
    print(f"{method}: {lesson.trials:,} trials on {len(sample.rows)} architectures of {table} ({recorded.column.name}){rest}")
    print(f"fitness {lesson.fitness:.3f}, kept as '{place.stem}' in {place}")


def list_(as_json: Json = False) -> None:
    """The signals of `signal-regression`: those that come with archscout, and those that were found here."""
    from archscout.core.signals import is_shipped, signal_tasks

    found = [{"name": name, "about": about, "shipped": is_shipped(name), **_facts(name)} for name, about in signal_tasks().items()]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for one in found:
        print(f"{one['name']:22}{one['about']}{' (damaged)' if 'error' in one else ''}")


def _facts(name: str) -> dict[str, object]:
    from archscout.core.signals import signal_task

    try:
        task = signal_task(name)
    except UserError as error:  # one bad file hides no other
        return {"error": str(error)}
    return {"digest": task.digest, "lines": task.lines(), "task": json.loads(str(task))}
