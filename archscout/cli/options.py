"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from archscout.engine.placement import Placement

Json = Annotated[bool, typer.Option("--json", help="print JSON and nothing else on standard output")]
Vocabulary = Annotated[str, typer.Option(help="of a text: word, byte, or auto for what suits its length")]
TaskName = Annotated[
    str, typer.Option("--task", help="image-classification, language-modelling or few-shot; auto for what the data are")
]
Ways = Annotated[int, typer.Option(help="few-shot: classes of an episode")]
Shots = Annotated[int, typer.Option(help="few-shot: images of each class to learn from")]
Queries = Annotated[int, typer.Option(help="few-shot: images of each class to be judged by; 0 for at most five")]
DataDir = Annotated[Path | None, typer.Option(help="where named data sets lie; also $ARCHSCOUT_DATA")]
TableName = Annotated[str, typer.Option(help="a recorded benchmark (archscout plugins tables)")]
Dataset = Annotated[str, typer.Option(help="the recorded data set")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="a setting, such as estimator.batch=64 or space.channels=16")]
Workers = Annotated[int, typer.Option(help="worker processes; 0 for one per core, or for as many as a cluster has room for", min=0)]
ExecutorName = Annotated[str, typer.Option("--executor", help="who judges: local (this machine) or ray (a cluster)")]
Address = Annotated[str, typer.Option(help="of the Ray cluster: auto, ray://HOST:PORT or HOST:PORT")]
Cpus = Annotated[float, typer.Option("--cpus-per-candidate", help="of a cluster: CPUs for each candidate", min=0)]
Gpus = Annotated[float, typer.Option("--gpus-per-candidate", help="of a cluster: GPUs for each candidate, to compute on", min=0)]
Timeout = Annotated[float, typer.Option("--candidate-timeout", help="seconds one candidate may take; 0 for no limit", min=0)]
Memory = Annotated[float, typer.Option("--candidate-memory", help="MiB one candidate may take; 0 for no limit", min=0)]
Signals = Annotated[str | None, typer.Option(help="of signal-regression: a name (archscout meta list) or a .json file")]


def placed(executor: str, address: str, workers: int, cpus: float, gpus: float, timeout: float, memory: float) -> Placement:
    """Where candidates are judged. Raises UserError where that cannot be had, before anything else is done."""
    from archscout.engine.placement import Placement

    found = Placement(executor, address, workers, cpus, gpus, timeout, memory)
    found.check()
    return found


def given(
    settings: list[str] | None, signals: str | None = None, owners: Sequence[str] = ("estimator", "space", "data")
) -> dict[str, str]:
    """What `--set` and `--signals` say. owners: whose settings the command takes. Raises UserError, UnknownName for others."""
    from archscout.engine.request import check_owner, parse_settings

    found = parse_settings([*(settings or []), *([] if signals is None else [f"estimator.signals={signals}"])])
    for name in found:
        check_owner(name, owners)
    return found
