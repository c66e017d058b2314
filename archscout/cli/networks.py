"""`archscout score` and `archscout train`: single architectures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli.options import (
    PLACEMENT,
    DataDir,
    Device,
    Json,
    Queries,
    Settings,
    Shots,
    Signals,
    TaskName,
    Vocabulary,
    Ways,
    given,
    placing,
    refuse,
)  # fmt: skip
from archscout.core.errors import UserError

if TYPE_CHECKING:
    from archscout.engine.placement import Placement


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(score)
    app.command()(train)


@placing()
def score(
    context: typer.Context,
    architectures: Annotated[
        list[str] | None, typer.Argument(help="text forms (nas201:3.3.3.1.3.2) or published ones (DARTS_V2)", show_default=False)
    ] = None,
    estimator: Annotated[str, typer.Option(help="the judge (archscout plugins estimators)")] = "naswot",
    space: Annotated[str | None, typer.Option(help="a space or .py file, for forms that several spaces know")] = None,
    data: Annotated[str, typer.Option(help="the images")] = "bundled",
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="of the initial weights")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="the whole space, or all rows of --table, into a score file")] = False,
    table: Annotated[str | None, typer.Option(help="with --all: the rows of this table instead of a space")] = None,
    out: Annotated[Path | None, typer.Option(help="with --all: the score file; the same command goes on from it")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="with --all: one score for all isomorphic architectures")] = False,
    *,
    placement: Placement,
    minutes: Annotated[float | None, typer.Option(help="with --all: stop after so long, with a random part", min=0)] = None,
    signals: Signals = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Judge some architectures without searching, or a whole space into a score file."""
    if everything == bool(architectures):
        raise UserError("name the architectures to judge, or give --all with --space or --table")
    words = given(settings, signals)
    if everything:
        placement.check()
        facts = _score_all(estimator, space, table, data, data_dir, seed, out, per_class, placement, minutes, words)
        rest = "" if facts["complete"] else "; the same command goes on"
        sentence = f"{facts['architectures']:,} of {facts['of']:,} architectures, {facts['failed']:,} of them without a score"
        print(json.dumps(facts, indent=1) if as_json else f"{sentence}, in {facts['out']}{rest}")
        return
    refuse(context, "goes with --all", "table", "out", "per_class", "minutes", *PLACEMENT)

    from archscout import api

    rows = api.score_all(
        architectures or [], estimator=estimator, space=space, data=data, data_dir=data_dir, seed=seed,
        settings=words,
    )  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            value = f"{row['value']:.6g}" if row["value"] is not None else f"failed ({row['failure']})"
            print(f"{value:>20}  {row['params']:>12,} params  {row['macs']:>14,} MACs  {row['architecture']}")
    if all(row["value"] is None for row in rows):
        raise typer.Exit(3)


def _score_all(
    estimator: str, space: str | None, table: str | None, data: str, data_dir: Path | None, seed: int, out: Path | None,
    per_class: bool, placement: Placement, minutes: float | None, settings: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Score a whole space or table into a file; gives what is in it."""
    from archscout.cli import questions
    from archscout.comparison.scoring import Question, scores_of
    from archscout.comparison.whole import by_class, whole
    from archscout.core.problem import Problem

    if (space is None) == (table is None):
        raise UserError("--all takes the architectures of a space (--space) or of a table (--table); give one of them")
    rows = questions.table_of(table) if table is not None else None
    made = questions.space_of(rows.facts.space if rows is not None else str(space), settings)
    judges = questions.judges_of(questions.names_in(estimator), settings)
    path = out or Path("runs") / f"{table or made.name}-{'-'.join(judges)}-{seed}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    architectures = whole(made, rows, seed)
    members = by_class(made, architectures) if per_class else {}
    task = questions.task_of(made, data, data_dir, settings)
    judges = questions.fitted(judges, Problem(made, task), seed)
    question = Question(Problem(made, task), judges, list(members) if per_class else architectures, seed, members)
    scores = scores_of(question, path, what=f"score {made.name}", placement=placement, minutes=minutes)
    return {
        "out": str(path),
        "space": made.name,
        "estimators": list(judges),
        "architectures": len(scores),
        "of": len(architectures),
        "complete": scores.facts["complete"],
        "judged": scores.facts["judged"],
        "failed": int((scores.kinds > 0).any(1).sum()),
        "seconds_per_architecture": scores.facts["seconds"],
    }


def train(
    architecture: Annotated[str, typer.Argument(help="text form or published form")],
    data: Annotated[str, typer.Option(help="the images, or the text")],
    recipe: Annotated[str, typer.Option(help="a published way to train (archscout plugins recipes)")] = "default",
    epochs: Annotated[
        float | None,
        typer.Option(help="passes over the training images; else as many as the recipe says", min=0.01, show_default=False),
    ] = None,
    space: Annotated[str | None, typer.Option(help="the space, for a .py file or a published form")] = None,
    data_dir: DataDir = None,
    image_size: Annotated[str, typer.Option(help="side in pixels, or auto")] = "auto",
    augment: Annotated[
        str | None, typer.Option(help="auto, none, or a list such as shift=2,flip,cutout=8; else the recipe's", show_default=False)
    ] = None,
    task: TaskName = "auto",
    vocabulary: Vocabulary = "auto",
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Queries = 0,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="everything random follows from it")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder for the trained network; an interrupted training goes on there")] = None,
    formats: Annotated[str, typer.Option(help="of the exported network, besides safetensors")] = "pt2,onnx",
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train one architecture, export it, and say how good it is on the test split."""
    from archscout import api

    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out takes a folder, but '{out}' is a file")
    facts = api.train_one(
        architecture, data=data, recipe=recipe, epochs=epochs, space=space, data_dir=data_dir, image_size=image_size,
        augment=augment, task=task, vocabulary=vocabulary, ways=ways, shots=shots, queries=queries, device=device, seed=seed,
        out=out, formats=formats, settings=given(settings, owners=("recipe", "space", "data")),
    )  # fmt: skip
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    if facts["test_interval"] is None:
        print(f"trained for {facts['epochs']:.4g} epochs; there is no test split to measure it on", flush=True)
    else:
        low, high = facts["test_interval"]
        interval = f"95 % interval {low:.2%} to {high:.2%}"
        if facts["metric"] == "perplexity":
            print(f"test perplexity {facts['test_value']:.2f} (95 % interval {low:.2f} to {high:.2f})", flush=True)
        else:
            what = "images" if "test_images" in facts else "episodes"
            print(f"{facts['test_value']:.2%} of {facts[f'test_{what}']:,} test {what} ({interval})", flush=True)
    print(f"files in {facts['folder']}", file=sys.stdout)
