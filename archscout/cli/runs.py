"""`archscout runs`, `show`, `report`, `compare`, `export`, `predict`, `sample`, `repair`: what is done with a run folder."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from archscout.cli.options import Json
from archscout.core.errors import UserError

Run = Annotated[Path, typer.Argument(help="the run folder")]
Space = Annotated[str | None, typer.Option(help="the .py file of the network's space, where that is one of your own")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (runs, show, report, compare, export, predict, sample, repair):
        app.command()(command)


def runs(folder: Annotated[Path, typer.Argument(help="where the run folders lie")] = Path("runs"), as_json: Json = False) -> None:
    """List the runs below a folder."""
    from archscout.engine.overview import overview

    rows = overview(folder)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        print(f"no runs in '{folder}'; start one with: archscout search --data bundled")
    for row in rows:
        form = ".2%" if row["metric"] == "accuracy" else ".2f"
        value = "" if row["test_value"] is None else format(row["test_value"], form)
        print(f"{row['run']:40}{row['task']:20}{row['state']:12}{value:>8}  {row['architecture'] or ''}")


def show(run: Run, top: Annotated[int, typer.Option(help="architectures to list", min=1)] = 10, as_json: Json = False) -> None:
    """Show what a run has found so far; works while it runs."""
    from archscout.engine.overview import details

    facts = details(run, top)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    print(f"{facts['run']}: {facts['state']}, {facts['task']}, budget {facts['budget']}, {facts['seconds']:.0f} s spent")
    for sentence in facts["plan"]:
        print(f"  {sentence}")
    for stage in facts["stages"]:
        learnt = stage["progress"] if not stage["landed"] else None
        done = f"{stage['landed']} judged, {stage['failed']} failed" if learnt is None else _learnt(stage["reports"], learnt)
        print(f"{stage['name']}: {done}{', done' if stage['done'] else ''}")
        if learnt is not None and learnt["architecture"]:
            print(f"  {'answer' if stage['done'] else 'so far':>12}  {learnt['architecture']}")
        for row in stage["best"]:
            shown = f"{row['value']:12.4f}" if "perplexity" not in row else f"perplexity {row['perplexity']:.2f}"
            print(f"  {shown}  {row['architecture']}")


def _learnt(reports: int, last: Mapping[str, Any]) -> str:
    """How far a strategy is that learns by itself and asks no judge."""
    numbers = dict(last["metrics"])
    share = numbers.pop("share", None)
    found = [f"learns by itself, {reports:,} report{'s' if reports != 1 else ''}"]
    found += [f"{share:.0%} of its steps"] if share is not None else []
    return ", ".join([*found, *(f"{name.replace('_', ' ')} {value:.4g}" for name, value in numbers.items())])


def report(run: Run, as_json: Json = False) -> None:
    """Write the report page of a run again and say where it is."""
    from archscout.report.page import rewrite

    path = rewrite(run)
    print(json.dumps({"run": str(run), "report": str(path)}, indent=1) if as_json else path)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="the run folders; the others are held against the first")],
    out: Annotated[Path | None, typer.Option(help="folder for the page and its figures", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Compare finished runs on the same data: paired differences with intervals, costs, sizes, networks side by side."""
    from archscout.comparison import side_by_side
    from archscout.comparison.side_page import command_of, write_comparison

    found = side_by_side.compare(runs)
    page = None if out is None else write_comparison(out, found, command_of(runs, out))
    if as_json:
        print(json.dumps({**side_by_side.record(found), "page": None if page is None else str(page)}, indent=1))
    else:
        print("\n".join([*side_by_side.lines(found), *([] if page is None else [f"page in {page}"])]))


def export(
    run: Run,
    format: Annotated[str, typer.Option(help="safetensors, pt2 or onnx")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="file to write; by default into the run folder")] = None,
    space: Space = None,
    as_json: Json = False,
) -> None:
    """Write the trained network in another format."""
    from archscout.api import load_own_space
    from archscout.export.folder import FORMATS, export_as

    if format not in FORMATS:
        raise UserError(f"--format takes {', '.join(FORMATS)}, but '{format}' came")
    load_own_space(space)
    path = export_as(run, format, out)
    print(json.dumps({"run": str(run), "format": format, "path": str(path)}, indent=1) if as_json else path)


def predict(
    run: Run,
    data: Annotated[Path, typer.Option(help="an image or a text, or a folder of them")],
    support: Annotated[
        Path | None, typer.Option(help="few-shot: a folder with a sub-folder of a few images for each class", show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(help="classes to give with their probabilities", min=1)] = 1,
    space: Space = None,
    as_json: Json = False,
) -> None:
    """Use the trained network on new files; prints CSV (file, label, probability; of texts file, tokens, perplexity) or JSON."""
    from archscout import api

    rows, skipped = api.predict(run, data, top=top, space=space, support=support)
    tell_skipped(skipped)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if rows and "perplexity" in rows[0]:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([row["file"], row["tokens"], row["unknown"], f"{row['perplexity']:.4f}"] for row in rows)
        return
    print_labels(rows)


def tell_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    """Say which files were left out, and why."""
    for path, reason in skipped:
        print(f"archscout: skipped {path}: {reason}", file=sys.stderr)


def print_labels(rows: Iterable[Mapping[str, Any]]) -> None:
    """What a network says of images, as CSV: file, label, probability."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "label", "probability"])
    for row in rows:
        writer.writerows([row["file"], guess["label"], f"{guess['probability']:.4f}"] for guess in row["labels"])


def sample(
    run: Run,
    length: Annotated[int, typer.Option(help="words or bytes to write", min=1)] = 100,
    start: Annotated[str, typer.Option(help="what the text goes on from")] = "",
    temperature: Annotated[float, typer.Option(help="below 1 for likelier tokens, 0 for the likeliest", min=0)] = 0.8,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
    space: Space = None,
    as_json: Json = False,
) -> None:
    """Let the language model of a run write a text."""
    from archscout import api

    text = api.sample(run, length, start=start, temperature=temperature, seed=seed, space=space)
    print(json.dumps({"run": str(run), "start": start, "text": text}, indent=1) if as_json else text)


def repair(
    run: Annotated[Path, typer.Argument(help="the run folder, or the damaged .part file of another command")], as_json: Json = False
) -> None:
    """Save what can be read of a damaged store; the damaged file is kept beside it."""
    from archscout.store.repair import repair as mend

    sentence = mend(run)
    print(json.dumps({"run": str(run), "saved": sentence}, indent=1) if as_json else sentence)
