"""`archscout explain`: what a cell looks like, how unusual that is, and what it does to training; and what a strategy favours."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from archscout.cli.options import DataDir, Device, Json, Settings, given, refuse
from archscout.core.errors import UserError

_OWNERS = ("space", "data", "recipe", "study", "strategy", "estimator", "proxy")
_WHAT = "an architecture (nas201:3.3.3.1.3.2, DARTS_V2, NASNet), a genotype, or the folder of a finished run"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(explain)


def explain(
    context: typer.Context,
    what: Annotated[str | None, typer.Argument(help=_WHAT, show_default=False)] = None,
    space: Annotated[str | None, typer.Option(help="a space or .py file, for forms that several spaces know")] = None,
    landscape: Annotated[
        int, typer.Option(help="train a small network, and map the loss around it on so many points along each axis, such as 9")
    ] = 0,
    deep: Annotated[
        bool, typer.Option("--deep", help="the whole study: variants trained alike, losses and gradients around")
    ] = False,
    variants: Annotated[int, typer.Option(help="random connections of the same operations", min=0)] = 2,
    concat: Annotated[
        Literal["keep", "all"], typer.Option(help="what outputs of variants join, where no space of ours decides it")
    ] = "keep",
    epochs: Annotated[
        int | None, typer.Option(help="of the trainings; 0 for networks as drawn; by default 5, deep 10", min=0)
    ] = None,
    data: Annotated[str | None, typer.Option(help="the images; by default bundled, or those of the run")] = None,
    image_size: Annotated[str, typer.Option(help="to which images are brought: pixels, or auto for their own")] = "16",
    data_dir: DataDir = None,
    minutes: Annotated[
        float | None, typer.Option(help="start nothing further after so long; the same command goes on", min=0)
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="instead of an architecture: what this strategy finds, over --seeds")] = None,
    table: Annotated[str | None, typer.Option(help="with --strategy: search on a recorded benchmark")] = None,
    dataset: Annotated[str, typer.Option(help="with --table: the recorded data set")] = "cifar10",
    estimator: Annotated[str, typer.Option(help="with --strategy: its judge; auto for the table, else naswot")] = "auto",
    queries: Annotated[int, typer.Option(help="with --strategy: judgements of a run, for those that ask for some", min=1)] = 100,
    seeds: Annotated[int | None, typer.Option(help="runs of --strategy (20), or trainings of each network (1)", min=1)] = None,
    seed: Annotated[int, typer.Option(help="everything random follows from it; of --strategy, the first run's")] = 0,
    device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="folder for the page, its numbers and networks")] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Explain a cell: width, depth and how unusual they are; its loss landscape and variants. Or what cells a strategy favours."""
    if (what is None) == (strategy is None):
        raise UserError("name one thing to explain: an architecture, a genotype or a run; or a strategy with --strategy")
    words = given(settings, owners=_OWNERS)
    command = shlex.join(["archscout", *sys.argv[1:]])
    if strategy is not None:
        one = "looks at one architecture, not at a strategy"
        refuse(context, one, "landscape", "deep", "epochs", "variants", "concat", "device")
        if table is None:
            refuse(context, "goes with --table", "dataset")
        facts = _strategy(
            strategy, table, dataset, space, estimator, queries, range(seed, seed + (seeds or 20)), data or "bundled", image_size,
            data_dir, minutes, out, words, command,
        )  # fmt: skip
        from archscout.explaining.bias import lines as bias_lines

        print(json.dumps(facts, indent=1) if as_json else "\n".join([*bias_lines(facts), *_ends(facts)]))
        return
    refuse(context, "goes with --strategy", "table", "dataset", "estimator", "queries")
    looks = bool(landscape) or deep
    if not looks:
        trains = "goes with --landscape or --deep: without them nothing is trained"
        refuse(context, trains, "epochs", "data", "image_size", "data_dir", "minutes", "seeds", "device")

    from archscout.explaining.subject import subject_of

    subject = subject_of(str(what), space, {name: value for name, value in words.items() if name.startswith("space.")})
    found = subject.explained() if subject.has_cells or not looks else None
    made = found.variants(variants, seed=seed, concat=concat) if found is not None else []
    facts = {**subject.record(), **(found.record() if found is not None else {})}
    facts["variants"] = [_variant(one) for one in made]
    study = None
    if looks:
        from archscout.engine.request import Request
        from archscout.explaining.together import examined

        chosen = {"epochs": epochs, "seeds": seeds, "grid": landscape or None}
        place = str(data_dir) if data_dir else None
        request = Request(data or "", place, image_size=image_size, device=device, seed=seed, settings=words)
        study, complete, out = examined(
            subject, made if deep else [], request, _opened, deep=deep, chosen=chosen, minutes=minutes, out=out
        )  # fmt: skip
        facts |= {"study": study, "complete": complete}
    facts["page"] = None
    from archscout.explaining.page import lines, render, write_page

    if out is not None:
        text = render(facts, found, made, study, command)
        facts["page"] = str(write_page(out, text, facts, command))
    print(json.dumps(facts, indent=1) if as_json else "\n".join([*lines(facts, found, made, study), *_ends(facts)]))


def _opened(request: Any) -> Any:
    """The task that a request names."""
    from archscout.api import open_request

    return open_request(request, progress=True).task


def _variant(one: Any) -> dict[str, Any]:
    from archscout.core.genotypes import written

    text = written(one.cells) if one.architecture is None else None
    return {
        "name": one.name,
        "architecture": str(one.architecture) if one.architecture is not None else None,
        "genotype": text,
        "cells": {
            name: {"width": float(cell.width), "depth": cell.depth, "dead": list(cell.dead)} for name, cell in one.cells.items()
        },
    }


def _ends(facts: dict[str, Any]) -> list[str]:
    rest = [] if facts.get("complete", True) else ["the time was up; the same command goes on"]
    return [*rest, *([f"page in {facts['page']}"] if facts.get("page") else [])]


def _strategy(
    strategy: str, table: str | None, dataset: str, space: str | None, estimator: str, queries: int, seeds: range, data: str,
    image_size: str, data_dir: Path | None, minutes: float | None, out: Path | None, words: dict[str, str], command: str,
) -> dict[str, Any]:  # fmt: skip
    """What a strategy finds over many seeds."""
    from math import inf
    from time import monotonic

    from archscout.analysis.cells import patterns_of
    from archscout.cli import questions
    from archscout.core.problem import Problem
    from archscout.core.protocols import CellSpace
    from archscout.engine.budget import Budget
    from archscout.engine.request import Request
    from archscout.explaining.bias import Hunt, bias, hunt
    from archscout.explaining.page import render_bias, write_page

    if (table is None) == (space is None):
        raise UserError(
            "a strategy searches in a space: give --table (a recorded benchmark, such as nas201) or --space (such as darts)"
        )
    deadline = inf if minutes is None else monotonic() + 60 * minutes
    made = questions.strategy_of(strategy, words)
    called = Path(strategy).stem if strategy.endswith(".py") else strategy  # it names folders: a path would lead out of them
    home = questions.space_of(questions.table_of(table).facts.space if table is not None else str(space), words)
    if not isinstance(home, CellSpace):
        raise UserError(f"the networks of '{home.name}' have no cells whose width and depth could be told; choose another space")
    judge = ("tabular" if table is not None else "naswot") if estimator == "auto" else estimator
    judges = {"main": questions.judge_of(judge, words, table=table, dataset=dataset, epochs=None)}
    task = _opened(Request(data, str(data_dir) if data_dir else None, image_size=image_size, settings=words))
    problem = Problem(home, task)
    judges = questions.fitted(judges, problem, seeds.start)
    asked = Hunt(called, made, problem, judges, Budget(evaluations=queries, judges=("main",)), seeds)
    folder = out or Path("runs") / f"explain-{called}-{home.name}"
    found = hunt(asked, folder / "runs", lambda: monotonic() > deadline)
    if not found:
        raise UserError("the time was up before the first run was done; give more --minutes")
    facts = {
        "strategy": called,
        "space": home.name,
        "table": table,
        "seeds": len(seeds),
        **bias(home, found),
        "complete": len(found) == len(seeds),
    }
    facts["page"] = None
    if out is not None:
        facts["page"] = str(write_page(out, render_bias(facts, patterns_of(home), command), facts, command))
    return facts
