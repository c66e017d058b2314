"""`archscout search` and `archscout resume`: the main job."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from archscout.cli.options import (
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
)  # fmt: skip
from archscout.core.errors import UserError

if TYPE_CHECKING:
    from archscout.engine.placement import Placement


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(search)
    app.command()(resume)


@placing()
def search(
    data: Annotated[
        str, typer.Option(help="a folder of images, an .npz, a .csv of labels, a text (.txt), or a name (archscout plugins data)")
    ],
    budget: Annotated[
        str, typer.Option(help="time for everything (10m, 90s, 1h30m), or a number of evaluations (200), a proxy's not counted")
    ] = "10m",
    task: TaskName = "auto",
    vocabulary: Vocabulary = "auto",
    ways: Ways = 5,
    shots: Shots = 1,
    queries: Queries = 0,
    space: Annotated[str, typer.Option(help="search space: a name (archscout plugins spaces) or a .py file")] = "auto",
    strategy: Annotated[str, typer.Option(help="search strategy of the screening")] = "auto",
    estimator: Annotated[str, typer.Option(help="judge of the screening; auto is the default blend")] = "auto",
    max_params: Annotated[str | None, typer.Option(help="upper bound on parameters, such as 500k")] = None,
    max_macs: Annotated[str | None, typer.Option(help="upper bound on multiply-accumulates per image, such as 50M")] = None,
    max_latency: Annotated[str | None, typer.Option(help="upper bound on the latency of one image here, such as 5ms")] = None,
    *,
    placement: Placement,
    look_ahead: Annotated[
        int, typer.Option(help="proposals in flight for each worker; more than 1 where candidates take very different times", min=1)
    ] = 1,
    order: Annotated[
        Literal["proposed", "landed"], typer.Option(help="of results: as proposed, or as they come, which no other run repeats")
    ] = "proposed",
    epochs: Annotated[float, typer.Option(help="epochs of the final training; 0 lets the plan choose", min=0)] = 0,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="everything random follows from it")] = 0,
    out: Annotated[Path | None, typer.Option(help="run folder to make; by default runs/DATE-DATA")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run folder if it holds a run")] = False,
    data_dir: DataDir = None,
    labels: Annotated[Path | None, typer.Option(help="CSV with columns file and label (and split)")] = None,
    image_size: Annotated[str, typer.Option(help="side in pixels, or auto")] = "auto",
    channels: Annotated[str, typer.Option(help="1, 3 or auto")] = "auto",
    augment: Annotated[str, typer.Option(help="auto, none, or a list such as shift=2,flip,cutout=8")] = "auto",
    verify: Annotated[bool, typer.Option("--verify", help="train winner, baselines and a random network at the full cost")] = False,
    screen_only: Annotated[bool, typer.Option("--screen-only", help="stop at the strategy's answer; train nothing")] = False,
    cache: Annotated[bool, typer.Option("--cache", help="reuse estimates of earlier runs with the same problem and seed")] = False,
    allowed_failures: Annotated[float, typer.Option(help="share of failed candidates above which the exit code is 3")] = 0.5,
    formats: Annotated[str, typer.Option(help="of the exported network, besides safetensors")] = "pt2,onnx",
    signals: Signals = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Find, train and export a small network for your images or few-shot tasks, or a language model for your text."""
    begun = monotonic()  # before torch is loaded
    from archscout.engine.request import SETTING_OWNERS, Request, parse_count, parse_milliseconds

    limits: dict[str, float] = {}
    if max_params is not None:
        limits["params"] = parse_count(max_params, "--max-params")
    if max_macs is not None:
        limits["macs"] = parse_count(max_macs, "--max-macs")
    if max_latency is not None:
        limits["latency_ms"] = parse_milliseconds(max_latency)
    if verify and screen_only:
        raise UserError("--verify trains networks and --screen-only trains none; leave one of them out")
    request = Request(
        data=data, data_dir=_text(data_dir), labels=_text(labels), image_size=image_size, channels=channels, augment=augment,
        task=task, vocabulary=vocabulary, ways=ways, shots=shots, queries=queries, space=space, strategy=strategy,
        estimator=estimator, budget=budget, limits=limits, **asdict(placement), look_ahead=look_ahead, order=order,
        epochs=epochs, device=device, seed=seed, verify=verify, screen_only=screen_only, cache=cache,
        allowed_failures=allowed_failures, formats=formats,
        settings=given(settings, signals, SETTING_OWNERS),
    )  # fmt: skip
    request.check()
    request.placement.check()

    from archscout import api

    _show(api.run(request, out=out, overwrite=overwrite, begun=begun), as_json)


def resume(
    run: Annotated[Path, typer.Argument(help="the run folder")],
    executor: Annotated[str | None, typer.Option(help="judge the rest elsewhere: local or ray", show_default=False)] = None,
    address: Annotated[str | None, typer.Option(help="of the Ray cluster, where it moved", show_default=False)] = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="go on although the replayed moves differ from the log")] = False,
    as_json: Json = False,
) -> None:
    """Go on with a search that was interrupted; one that is done is only reported again."""
    from archscout.store.lock import FolderLock

    if run.is_dir():
        FolderLock(run).close()  # a run that is in use is refused at once, before torch is loaded

    from archscout import api

    _show(api.resume_run(run, verify=not no_verify, executor=executor, address=address), as_json)


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.summary, indent=1))
    else:
        print("\n".join(result.lines()))
    if result.failed_share_exceeded:
        raise typer.Exit(3)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().resolve())
