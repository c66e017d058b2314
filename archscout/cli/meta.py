"""`archscout meta`: methods that learn across tasks, and what they have learned."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli.options import (
    PLACEMENT,
    DataDir,
    Json,
    Queries,
    Settings,
    Shots,
    Ways,
    given,
    placing,
    refuse,
)  # fmt: skip
from archscout.core.errors import UserError

if TYPE_CHECKING:
    from archscout.core.database import MetaDatabase
    from archscout.core.moves import Lecture
    from archscout.core.problem import Task
    from archscout.core.protocols import DatabaseLearner, EpisodeLearner, Extractor, MetaLearner, Snapshot
    from archscout.engine.lectures import Lectures
    from archscout.engine.placement import Placement

_ON_TABLES, _ON_EPISODES = ("dataset", "labelled", "epochs"), ("space", "ways", "shots", "queries", "image_size", "device")
"""Of `train`: what only methods of one kind take."""
_CHANNELS = 8
"""Of the networks that are trained for a database, where the space can be made smaller."""
_RECIPE: dict[str, Any] = {"batch": 16, "small_share": 0.0, "label_smoothing": 0.0}
"""What is different in trainings of a few seconds: many small steps tell architectures apart better than few large ones."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    meta = typer.Typer(
        help="Methods that learn across tasks: build, merge, train, adapt, list.", no_args_is_help=True, rich_markup_mode=None
    )
    meta.command()(build)
    meta.command()(merge)
    meta.command()(train)
    meta.command()(adapt)
    meta.command("list")(list_)
    app.add_typer(meta, name="meta")


@placing()
def build(
    space: Annotated[str, typer.Option(help="the search space (archscout plugins spaces)")] = "nas201",
    tasks: Annotated[int, typer.Option(help="tasks in all, of every family equally many", min=2)] = 500,
    records: Annotated[int, typer.Option(help="short trainings in all, of every task equally many", min=2)] = 3000,
    families: Annotated[str, typer.Option(help="families of tasks (archscout plugins families), or all")] = "all",
    data: Annotated[list[str] | None, typer.Option(help="a data set or folder of images as one more family; repeatable")] = None,
    data_dir: DataDir = None,
    epochs: Annotated[float, typer.Option(help="of each training")] = 5.0,
    max_macs: Annotated[str, typer.Option(help="upper bound of the architectures, at the size of the tasks' images")] = "3M",
    seed: Annotated[int, typer.Option(help="of tasks, architectures and trainings; other machines take other seeds")] = 0,
    *,
    placement: Placement,
    minutes: Annotated[float | None, typer.Option(help="stop after so long; the same command goes on", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="the database; without it runs/meta-SPACE.npz")] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Build a database: draw tasks, train random architectures on each shortly, keep what they reach."""
    placement.check()

    import platform

    from archscout import catalogue
    from archscout.cli import questions
    from archscout.comparison.collecting import Collection, collect
    from archscout.core.pictures import TaskForm
    from archscout.core.protocols import Family, SharedSpace
    from archscout.engine.request import parse_count, settings_of
    from archscout.families._task import open_task
    from archscout.nn.recipe import Recipe

    words = given(settings, owners=("space", "recipe", "form"))
    made = questions.space_of(space, words)
    if isinstance(made, SharedSpace) and not any(name.startswith("space.") for name in words):
        made = made.sized(channels=_CHANNELS)
    own = [name for name in catalogue.names("families") if name != "dataset"]
    listed = own if families == "all" else questions.names_in(families, "--families", "shapes,glyphs")
    chosen: dict[str, Family] = {name: catalogue.make("families", name) for name in listed}
    chosen |= {f"dataset {name}": catalogue.make("families", "dataset", data=name) for name in data or []}
    form = TaskForm(**settings_of("form", words, TaskForm))
    recipe = Recipe(**{**_RECIPE, **settings_of("recipe", words, Recipe)})
    judge = catalogue.make("estimators", "train", epochs=epochs, recipe=recipe)
    collection = Collection(made, chosen, form, judge, seed, {"macs": parse_count(max_macs, "--max-macs")})
    place = out or Path("runs") / f"meta-{space}.npz"

    def opened(family: Family, number: int) -> Task:
        return open_task(family, number, form, seed=seed, data_dir=data_dir)

    with placement.quickest() as crew:
        database, complete = collect(
            collection, opened, place, crew, tasks=tasks, records=records, minutes=minutes,
            facts={"machines": [f"{platform.machine()}, {crew.workers} workers"]},
        )  # fmt: skip
    _tell_database(database, place, complete, as_json)


def merge(
    parts: Annotated[list[Path], typer.Argument(help="databases of one space, made in one way")],
    out: Annotated[Path, typer.Option(help="the database of all their records")],
    as_json: Json = False,
) -> None:
    """Put databases of several machines together; equal records are kept once."""
    from archscout.core.database import merged, pack_database, read_database
    from archscout.store.files import write_atomic

    database = merged([read_database(part) for part in parts])
    write_atomic(out, pack_database(database))
    _tell_database(database, out, True, as_json)


def _tell_database(database: MetaDatabase, place: Path, complete: bool, as_json: bool) -> None:
    seconds = float(database.facts.get("seconds", 0.0))
    found = {
        "file": str(place), "space": database.space, "tasks": len(database.tasks), "records": len(database), "complete": complete,
        "families": sorted({task.family for task in database.tasks}), "mean_accuracy": float(database.accuracy.mean()),
        "seconds": seconds, "digest": database.digest,
    }  # fmt: skip
    if as_json:
        print(json.dumps(found, indent=1))
        return
    rest = "" if complete else "; the same command goes on"
    print(f"{len(database):,} trainings of {database.space} on {len(database.tasks):,} tasks, {seconds / 3600:.2f} hours{rest}")
    print(f"mean accuracy {database.accuracy.mean():.1%}, kept in {place}")


@placing()
def train(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="the method (archscout plugins meta)")],
    table: Annotated[
        str, typer.Option(help="of a method that tunes a judge: a recorded benchmark (archscout plugins tables)")
    ] = "",
    dataset: Annotated[str, typer.Option(help="the recorded data set")] = "",
    labelled: Annotated[int, typer.Option(help="architectures whose recorded value may be seen", min=3)] = 20,
    data: Annotated[str | None, typer.Option(help="the images: a name or a path; Gaussian noise without")] = None,
    epochs: Annotated[int | None, typer.Option(help="of the recorded training; by default the table's first column")] = None,
    database: Annotated[
        Path | None, typer.Option(help="of a method that learns from tasks: what archscout meta build made")
    ] = None,
    extractor: Annotated[str, typer.Option(help="of image features (archscout plugins extractors)")] = "small",
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="of all that is random")] = 0,
    *,
    placement: Placement,
    minutes: Annotated[
        float | None, typer.Option(help="stop after so long with the best so far; the same command goes on", min=0)
    ] = None,
    space: Annotated[str, typer.Option(help="of a method that learns from episodes; few-shot without")] = "",
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Queries = 0,
    image_size: Annotated[str, typer.Option(help="of a method that learns from episodes: side in pixels, or auto")] = "auto",
    device: Annotated[str, typer.Option(help="of a method that learns from episodes: auto, cpu or cuda")] = "auto",
    name: Annotated[str, typer.Option(help="to be used by; without it one that tells method and question")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what another command kept under this name")] = False,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Learn from labelled architectures (--table), from a database of tasks (--database), or from few-shot episodes (--data)."""
    from archscout import catalogue
    from archscout.core.protocols import DatabaseLearner, EpisodeLearner
    from archscout.engine.request import settings_of

    words = given(settings, owners=("meta", "estimator", "space", "data", "extractor"))
    learner = catalogue.make("meta", method, **settings_of("meta", words, catalogue.plugin("meta", method)))
    asked = _Asked(method, name, overwrite, words, data_dir, seed, minutes, as_json)
    if isinstance(learner, DatabaseLearner):
        if database is None or table:
            raise UserError(f"'{method}' learns from a database; give --database FILE (archscout meta build makes one), no --table")
        refuse(context, f"is of other methods than '{method}'", "data", *_ON_TABLES, *_ON_EPISODES, *PLACEMENT)
        _train_on_database(learner, database, extractor, asked)
    elif isinstance(learner, EpisodeLearner):
        if data is None or table or database is not None:
            raise UserError(f"'{method}' learns from the episodes of a data set; give --data NAME, no --table and no --database")
        refuse(context, f"is of other methods than '{method}'", *_ON_TABLES, "extractor", *PLACEMENT)
        _train_on_episodes(learner, data, space, (ways, shots, queries), image_size, device, asked)
    else:
        if not table or not dataset or database is not None:
            raise UserError(f"'{method}' learns from a recorded benchmark; give --table NAME and --dataset NAME, no --database")
        refuse(context, f"is of other methods than '{method}'", *_ON_EPISODES, "extractor")
        placement.check()
        _train_on_table(learner, table, dataset, labelled, data, epochs, placement, asked)


@dataclass(frozen=True)
class _Asked:
    """What both ways to learn have in common."""

    method: str
    name: str
    overwrite: bool
    words: dict[str, str]
    data_dir: Path | None
    seed: int
    minutes: float | None
    as_json: bool

    def check_free(self, place: Path, going_on: bool) -> None:
        """Raises UserError where another command kept something under a name that was chosen."""
        if self.name and place.exists() and not self.overwrite and not going_on:
            raise UserError(f"'{place}' was kept by another command; choose another --name, or give --overwrite")


def _train_on_table(
    learner: MetaLearner, table: str, dataset: str, labelled: int, data: str | None, epochs: int | None, placement: Placement,
    asked: _Asked,
) -> None:  # fmt: skip
    from archscout.cli import questions
    from archscout.comparison.correlate import draw
    from archscout.comparison.telling import Countdown
    from archscout.core.evidence import Episode
    from archscout.core.problem import Problem
    from archscout.core.seeds import derive
    from archscout.engine.learn import Lessons

    if asked.name:
        learner.place_of(asked.name)  # a name that cannot be used is told of before anything is judged
    chosen = questions.table_of(table)
    recorded = chosen.objective(dataset, epochs)
    space = questions.space_of(chosen.facts.space, asked.words)
    judge = questions.judge_of(learner.judge, asked.words)
    sample = draw(chosen, space, recorded, labelled, dataset=dataset, seed=derive(asked.seed, "labelled"))
    task = questions.task_of(space, data, asked.data_dir, asked.words)
    episode = Episode(Problem(space, task), sample.architectures, [float(value) for value in sample.values])
    lessons = Lessons(learner, judge, [episode], seed=asked.seed, folder=Path("runs"))
    place = learner.place_of(asked.name or f"{asked.method}-{table}-{dataset}-{lessons.digest[:8]}")
    asked.check_free(place, lessons.log.exists())
    countdown: Countdown | None = None

    def tell(trials: int, fitness: float) -> None:
        nonlocal countdown
        countdown = countdown or Countdown(asked.method, learner.trials, trials - 1)
        countdown.at(trials, f", best {fitness:.3f}")

    with placement.quickest() as executor:
        lesson = lessons.learn(executor, minutes=asked.minutes, tell=tell)
    if countdown is not None:
        countdown.close()
    learner.keep_lesson(lesson.settings, place.stem)
    found = {
        "method": asked.method, "table": table, "dataset": dataset, "column": recorded.column.name, "labelled": len(sample.rows),
        "architectures": list(map(str, sample.architectures)), "seed": asked.seed, "trials": lesson.trials,
        "complete": lesson.complete, "fitness": lesson.fitness, "seconds": lesson.seconds, "name": place.stem, "file": str(place),
        "settings": dict(lesson.settings),
    }  # fmt: skip
    if asked.as_json:
        print(json.dumps(found, indent=1))
        return
    rest = "" if lesson.complete else f" of {learner.trials:,}; the same command goes on"
    print(f"{asked.method}: {lesson.trials:,} trials on {len(sample.rows)} architectures of {table} ({recorded.column.name}){rest}")
    print(f"fitness {lesson.fitness:.3f}, kept as '{place.stem}' in {place}")


def _train_on_database(learner: DatabaseLearner, path: Path, extractor: str, asked: _Asked) -> None:
    from archscout import catalogue
    from archscout.catalogue import plain_record
    from archscout.comparison.collecting import features_of, opener_of, sources_of, space_in
    from archscout.core.database import read_database
    from archscout.core.models import model_place
    from archscout.engine.lectures import Lectures, keep_model
    from archscout.engine.request import settings_of
    from archscout.families._task import open_task

    database = read_database(path)
    space = space_in(database)
    place = model_place(asked.name or f"{asked.method}-{space.name}-{database.digest[:8]}")
    own = settings_of("extractor", asked.words, catalogue.plugin("extractors", extractor))
    eyes: Extractor = catalogue.make("extractors", extractor, **own)
    opened = opener_of(database, open_task, asked.data_dir)
    features = features_of(database, opened, eyes, "read the tasks")

    def begun(state: Snapshot | None) -> Generator[Lecture, None, None]:
        return learner.training(database, space, features, seed=asked.seed, state=state)

    question = [database.digest, plain_record(space), eyes.digest, [len(task) for task in features]]
    lectures = Lectures(learner, begun, question, seed=asked.seed, folder=Path("runs"))
    asked.check_free(place, lectures.path.exists())
    learned, last = _attended(lectures, asked.method, asked.minutes)
    facts = {
        "method": asked.method, "space": database.facts["space"], "seed": asked.seed, "metrics": dict(last.metrics),
        "database": {"digest": database.digest, "tasks": len(database.tasks), "records": len(database)},
        "extractor": {"name": extractor, "settings": own, "digest": eyes.digest},
        "sources": sources_of(database, asked.data_dir), "complete": last.done >= last.total,
    }  # fmt: skip
    if learned:
        keep_model(place, learned, facts)
    _tell_model(asked, place, facts, last, f"{len(database):,} trainings on {len(database.tasks):,} tasks", bool(learned))


def _train_on_episodes(
    learner: EpisodeLearner, data: str, space: str, episodes: tuple[int, int, int], image_size: str, device: str, asked: _Asked
) -> None:
    from archscout import api
    from archscout.catalogue import plain_record
    from archscout.cli import questions
    from archscout.core.kinds import check_kind
    from archscout.core.models import model_place
    from archscout.core.problem import FEW_SHOT, Problem
    from archscout.engine.lectures import Lectures, keep_model
    from archscout.engine.machine import device_of
    from archscout.engine.request import Request
    from archscout.learners._meta_network import recorded

    ways, shots, queries = episodes
    request = Request(
        data=data, data_dir=str(asked.data_dir) if asked.data_dir else None, task=FEW_SHOT.name, ways=ways, shots=shots,
        queries=queries, image_size=image_size, device=device, seed=asked.seed,
        settings={name: value for name, value in asked.words.items() if name.startswith("data.")},
    )  # fmt: skip
    request.check()
    on = device_of(device)
    made = questions.space_of(space or "few-shot", asked.words)
    opened = api.open_request(request, progress=True)
    check_kind(opened.task, made, f"the space '{made.name}'")
    place = model_place(asked.name or f"{asked.method}-{opened.task.name}-{ways}-way-{shots}-shot")
    problem, seconds = Problem(made, opened.task, device=on), None if asked.minutes is None else 60 * asked.minutes

    def begun(state: Snapshot | None) -> Generator[Lecture, None, None]:
        return learner.episodes_training(problem, seed=asked.seed, seconds=seconds, state=state)

    lectures = Lectures(
        learner, begun, [opened.fingerprint, plain_record(made), asked.minutes, on], seed=asked.seed, folder=Path("runs")
    )  # fmt: skip
    asked.check_free(place, lectures.path.exists())
    learned, last = _attended(lectures, asked.method, None)
    facts = {
        **recorded(made, opened.task, learner, opened.preprocessing), "metrics": dict(last.metrics), "seed": asked.seed,
        "complete": last.done >= last.total,
    }  # fmt: skip
    keep_model(place, learned, facts)
    _tell_model(asked, place, facts, last, f"{last.done:,} steps on {ways}-way {shots}-shot episodes of {opened.task.name}", True)


def _attended(lectures: Lectures, method: str, minutes: float | None) -> tuple[dict[str, Any], Lecture]:
    """What was learned, and the last lecture, told of as it goes."""
    from archscout.comparison.telling import Countdown

    countdown = Countdown(method, 0)

    def tell(lecture: Lecture) -> None:
        shown = "".join(f", {name} {value:.3g}" for name, value in lecture.metrics.items())
        countdown.of(lecture.done, lecture.total, shown)

    found = lectures.attend(minutes=minutes, tell=tell)
    countdown.close()
    return found


def _tell_model(asked: _Asked, place: Path, facts: dict[str, Any], last: Lecture, source: str, usable: bool) -> None:
    if asked.as_json:
        print(json.dumps({"name": place.stem, "file": str(place), **{k: v for k, v in facts.items() if k != "sources"}}, indent=1))
        return
    rest = "" if last.done >= last.total else f"; {last.done:,} of {last.total:,} steps, the same command goes on"
    print(f"{asked.method}: {source}{rest}")
    numbers = ", ".join(f"{name} {value:.3g}" for name, value in last.metrics.items())
    print(f"{numbers}; kept as '{place.stem}' in {place}" if usable else f"{numbers}; nothing to be used yet")


def adapt(
    model: Annotated[str, typer.Argument(help="of archscout meta train at-nas: a name (archscout meta list) or a file")],
    support: Annotated[Path, typer.Option(help="a folder with a sub-folder of a few images for each class")],
    data: Annotated[Path, typer.Option(help="an image, or a folder of images, to be labelled")],
    rounds: Annotated[int, typer.Option(help="generations of mutations of the best path", min=0)] = 3,
    top: Annotated[int, typer.Option(help="classes to give with their probabilities", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="of the mutations")] = 0,
    as_json: Json = False,
) -> None:
    """Adapt architecture and weights to a few images of new classes, and label others; nothing but the support is looked at."""
    import sys

    from archscout import api
    from archscout.cli.runs import print_labels, tell_skipped

    found = api.adapt(model, support, data, rounds=rounds, top=top, seed=seed)
    tell_skipped(found.pop("skipped"))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    how = f"{found['score']:.0%} of the support's held-out images right"
    print(f"archscout: {found['genotype'] or found['architecture']} ({how}, {found['seconds']:.1f} s)", file=sys.stderr)
    print_labels(found["rows"])


def list_(as_json: Json = False) -> None:
    """What was learned across tasks: signals of `signal-regression`, and models; those of archscout, and those found here."""
    from archscout.core.models import is_shipped as comes_with_us
    from archscout.core.models import models
    from archscout.core.signals import is_shipped, signal_tasks

    found: list[dict[str, Any]] = [
        {"name": name, "kind": "signals", "about": about, "shipped": is_shipped(name), **_facts(name)}
        for name, about in signal_tasks().items()
    ]
    found += [
        {"name": name, "kind": "model", "file": str(path), "shipped": comes_with_us(path), **_model_facts(path)}
        for name, path in models().items()
    ]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for one in found:
        print(f"{one['name']:22}{one['about']}{' (damaged)' if 'error' in one else ''}")


def _model_facts(path: Path) -> dict[str, object]:
    from archscout.nn import checkpoint

    contents, remarks = checkpoint.load(path)
    if contents is None:
        return {"about": str(path), "error": "; ".join(remarks)}
    facts = {name: contents[1].get(name) for name in ("method", "space", "database", "extractor", "task", "metrics")}
    source, task = facts["database"] or {}, facts["task"]
    about = f"{source.get('records', 0):,} trainings on {source.get('tasks', 0):,} tasks"
    if task is not None:
        about = f"{task['ways']}-way {task['shots']}-shot episodes of {task['name']}"
    return {"about": f"{facts['method']}, from {about}", **facts}


def _facts(name: str) -> dict[str, object]:
    from archscout.core.signals import signal_task

    try:
        task = signal_task(name)
    except UserError as error:  # one bad file hides no other
        return {"error": str(error)}
    return {"digest": task.digest, "lines": task.lines(), "task": json.loads(str(task))}
