"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from archscout.core.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="print JSON and nothing else on standard output")]
Vocabulary = Annotated[str, typer.Option(help="of a text: word, byte, or auto for what suits its length")]
TaskName = Annotated[
    str, typer.Option("--task", help="image-classification, language-modelling or few-shot; auto for what the data are")
]
Ways = Annotated[int, typer.Option(help="few-shot: classes of an episode")]
Shots = Annotated[int, typer.Option(help="few-shot: images of each class to learn from")]
Queries = Annotated[int, typer.Option(help="few-shot: images of each class to be judged by; 0 for at most five")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
DataDir = Annotated[Path | None, typer.Option(help="where named data sets lie; also $ARCHSCOUT_DATA")]
TableName = Annotated[str, typer.Option(help="a recorded benchmark (archscout plugins tables)")]
Dataset = Annotated[str, typer.Option(help="the recorded data set")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="a setting, such as estimator.batch=64 or space.channels=16")]
Workers = Annotated[int, typer.Option(help="worker processes; 0 for one per core", min=0)]
Signals = Annotated[str | None, typer.Option(help="of signal-regression: a name (archscout meta list) or a .json file")]

_WORKERS = "worker processes; 0 for one per core, or for as many as a cluster has room for"
_PLACING: dict[str, tuple[Any, Any]] = {
    "executor": (Annotated[str, typer.Option(help="who judges: local (this machine) or ray (a cluster)")], "local"),
    "address": (Annotated[str, typer.Option(help="of the Ray cluster: auto, ray://HOST:PORT or HOST:PORT")], "auto"),
    "cpus_per_candidate": (Annotated[float, typer.Option(help="of a cluster: CPUs for each candidate", min=0)], 1.0),
    "gpus_per_candidate": (Annotated[float, typer.Option(help="of a cluster: GPUs for each candidate, to compute on", min=0)], 0.0),
    "candidate_timeout": (Annotated[float, typer.Option(help="seconds one candidate may take; 0 for no limit", min=0)], 0.0),
    "candidate_memory": (Annotated[float, typer.Option(help="MiB one candidate may take; 0 for no limit", min=0)], 0.0),
}
"""The options of a `Placement` but for the workers: what typer makes of each, and its default."""


def placing(workers: int = 0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options that say where candidates are judged; the command takes them as one `placement`.

    workers: on this machine where none are asked for; 0 for one per core. That the place can be had is not checked.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        del command.__annotations__["placement"]  # its class is heavy to import
        hints = get_type_hints(command, include_extras=True)
        usual = f"{workers} here, 0 on a cluster" if workers else "0"
        crew = Annotated[int | None, typer.Option(help=_WORKERS, min=0, show_default=usual)]
        options_of = {"workers": (crew, None), **_PLACING}
        shown: list[Parameter] = []
        for name, parameter in signature(command).parameters.items():
            options = options_of if name == "placement" else {name: (hints.get(name), parameter.default)}
            for option, (annotation, default) in options.items():
                shown.append(Parameter(option, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))

        @wraps(command)
        def run(**words: Any) -> None:
            from archscout.engine.placement import Placement

            said = {name: words.pop(name) for name in options_of}
            if said["workers"] is None:
                said["workers"] = workers if said["executor"] == "local" else 0
            command(**words, placement=Placement(**said))

        run.__signature__ = Signature(shown)  # type: ignore[attr-defined]
        return run

    return with_options


PLACEMENT = ("workers", *_PLACING)
"""The parameters behind the options of a placement."""


def refuse(context: typer.Context, why: str, *names: str) -> None:
    """Raises UserError where an option of these parameters was given, which has no effect in this use of the command."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UserError(f"--{name.replace('_', '-')} {why}; leave it out")


def given(
    settings: list[str] | None, signals: str | None = None, owners: Sequence[str] = ("estimator", "space", "data")
) -> dict[str, str]:
    """What `--set` and `--signals` say. owners: whose settings the command takes. Raises UserError, UnknownName for others."""
    from archscout.engine.request import check_owner, parse_settings

    found = parse_settings([*(settings or []), *([] if signals is None else [f"estimator.signals={signals}"])])
    for name in found:
        check_owner(name, owners)
    return found
