"""`archscout score` and `archscout train`: single architectures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from archscout.core.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="print JSON and nothing else on standard output")]
DataDir = Annotated[Path | None, typer.Option(help="where named data sets lie; also $ARCHSCOUT_DATA")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(score)
    app.command()(train)


def score(
    architectures: Annotated[list[str], typer.Argument(help="text forms (nas201:3.3.3.1.3.2) or published ones (DARTS_V2)")],
    estimator: Annotated[str, typer.Option(help="the judge (archscout plugins estimators)")] = "naswot",
    space: Annotated[str | None, typer.Option(help="a space or .py file, for forms that several spaces know")] = None,
    data: Annotated[str, typer.Option(help="the images")] = "bundled",
    data_dir: DataDir = None,
    seed: Annotated[int, typer.Option(help="of the initial weights")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="a setting, such as estimator.batch=64")] = None,
    as_json: Json = False,
) -> None:
    """Judge some architectures without searching."""
    from archscout import api
    from archscout.engine.request import parse_settings

    rows = api.score_all(
        architectures, estimator=estimator, space=space, data=data, data_dir=data_dir, seed=seed,
        settings=parse_settings(settings or []),
    )  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            value = f"{row['value']:.6g}" if row["value"] is not None else f"failed ({row['failure']})"
            print(f"{value:>20}  {row['params']:>12,} params  {row['macs']:>14,} MACs  {row['architecture']}")
    if all(row["value"] is None for row in rows):
        raise typer.Exit(3)


def train(
    architecture: Annotated[str, typer.Argument(help="text form or published form")],
    data: Annotated[str, typer.Option(help="the images")],
    epochs: Annotated[float, typer.Option(help="passes over the training images", min=0.01)] = 10,
    space: Annotated[str | None, typer.Option(help="the space, for a .py file or a published form")] = None,
    data_dir: DataDir = None,
    image_size: Annotated[str, typer.Option(help="side in pixels, or auto")] = "auto",
    augment: Annotated[str, typer.Option(help="auto, none, or a list such as shift=2,flip,cutout=8")] = "auto",
    seed: Annotated[int, typer.Option(help="everything random follows from it")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder for the trained network; an interrupted training goes on there")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="a setting of the recipe, such as recipe.batch=64")] = None,
    as_json: Json = False,
) -> None:
    """Train one architecture, export it, and say how good it is on the test split."""
    from archscout import api
    from archscout.engine.request import parse_settings

    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"--out takes a folder, but '{out}' is a file")
    facts = api.train_one(
        architecture, data=data, epochs=epochs, space=space, data_dir=data_dir, image_size=image_size, augment=augment, seed=seed,
        out=out, settings=parse_settings(settings or []),
    )  # fmt: skip
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    if facts["test_interval"] is None:
        print(f"trained for {facts['epochs']:.4g} epochs; there is no test split to measure it on", flush=True)
    else:
        low, high = facts["test_interval"]
        interval = f"95 % interval {low:.2%} to {high:.2%}"
        print(f"{facts['test_value']:.2%} of {facts['test_images']:,} test images ({interval})", flush=True)
    print(f"files in {facts['folder']}", file=sys.stdout)
