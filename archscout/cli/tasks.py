"""`archscout tasks`: how far tasks are from one another, and the dictionary of those that are known."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from archscout.cli.options import DataDir, Json, Settings, given
from archscout.core.errors import UserError

_DATA = "a name or path, or classes of it: mnist:0 is 0 against the rest, cifar10:cat+dog,ship makes cats and dogs, ships, others"
Epochs = Annotated[float, typer.Option(help="of the networks that stand for the tasks")]
Images = Annotated[int, typer.Option(help="of each task's training part at most", min=2)]
Samples = Annotated[int, typer.Option(help="of each task's validation part, on which Fisher information is taken", min=2)]
Seeds = Annotated[int, typer.Option(help="networks of each task, from different starts", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    tasks = typer.Typer(help="Like tasks: distance, add, list.", no_args_is_help=True, rich_markup_mode=None)
    tasks.command()(distance)
    tasks.command()(add)
    tasks.command("list")(list_)
    app.add_typer(tasks, name="tasks")


def distance(
    more: Annotated[list[str] | None, typer.Argument(help="more of --data", show_default=False)] = None,
    data: Annotated[list[str] | None, typer.Option(help=_DATA)] = None,
    data_dir: DataDir = None,
    seeds: Seeds = 3,
    network: Annotated[str, typer.Option(help="small, or an architecture such as nas201:3.3.3.1.3.2")] = "small",
    mode: Annotated[
        Literal["per-sample", "true", "reference"], typer.Option(help="of the Fisher information (docs/tasks.md)")
    ] = "per-sample",
    kind: Annotated[Literal["frechet", "log-determinant"], typer.Option(help="of the distance")] = "frechet",
    root: Annotated[bool, typer.Option("--root", help="of frechet, the root of what is given without")] = False,
    head: Annotated[
        Literal["auto", "keep", "leave-out"],
        typer.Option(help="the last layer in the vectors; auto leaves it out where tasks differ in their number of classes"),
    ] = "auto",
    match: Annotated[Literal["none", "centroid"], typer.Option(help="match classes by their mean features")] = "none",
    per_tensor: Annotated[bool, typer.Option("--per-tensor", help="average the distances of single tensors")] = False,
    image_size: Annotated[str, typer.Option(help="to which all images are brought: auto, or pixels")] = "auto",
    epochs: Epochs = 15.0,
    images: Images = 10_000,
    samples: Samples = 2_000,
    slack: Annotated[
        float, typer.Option(help="so far below the best seed of its task a network still counts", min=0, max=1)
    ] = 0.03,
    out: Annotated[Path | None, typer.Option(help="folder for page, numbers and networks; the same command goes on in it")] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """How far tasks are from one another, by networks trained on each: --data A B C; rows are sources, columns targets."""
    from archscout import api
    from archscout.comparison.tasks import table_lines, write_tasks

    matrix, facts = api.task_distances(
        [*(data or []), *(more or [])], seeds=seeds, network=network, data_dir=data_dir, image_size=image_size, out=out,
        slack=slack, settings=given(settings, owners=("space",)), plan={"epochs": epochs, "images": images, "samples": samples},
        mode=mode, kind=kind, squared=not root, head=head, match=match, per_tensor=per_tensor,
    )  # fmt: skip
    place = None if out is None else write_tasks(out, matrix, facts, shlex.join(["archscout", *sys.argv[1:]]))
    if as_json:
        print(json.dumps({**facts, **matrix.record(), "page": None if place is None else str(place)}, indent=1))
    else:
        print("\n".join([*table_lines(matrix), *([] if place is None else [f"page in {place}"])]))


def add(
    data: Annotated[str, typer.Option(help=_DATA)],
    architecture: Annotated[
        list[str] | None, typer.Option(help="one that is good for the task, such as a search found; repeatable, the best first")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="a run folder, whose answer is such an architecture")] = None,
    name: Annotated[str, typer.Option(help="to be known by; without it one that follows from the data")] = "",
    data_dir: DataDir = None,
    seeds: Seeds = 3,
    epochs: Epochs = 15.0,
    images: Images = 10_000,
    samples: Samples = 2_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a task of this name")] = False,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Keep a task, networks that stand for it and good architectures in the dictionary that `search --strategy fuse` looks into."""
    from archscout import api
    from archscout.core.baseline_tasks import baseline_file

    good = [*(architecture or []), *([] if run is None else [_answer(run)])]
    task = api.add_task(
        data, architectures=good, name=name, seeds=seeds, data_dir=data_dir, overwrite=overwrite,
        settings=given(settings, owners=("space",)), plan={"epochs": epochs, "images": images, "samples": samples},
    )  # fmt: skip
    found = {**task.facts(), "file": str(baseline_file(task.name))}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    accuracies = ", ".join(f"{accuracy:.1%}" for accuracy in task.accuracies)
    print(f"'{task.name}': {task.classes} classes, accuracy of its networks {accuracies}; kept in {found['file']}")
    if not good:
        print("it has no architecture yet, so that a search cannot learn from it; give --architecture or --run")


def _answer(run: Path) -> str:
    """The architecture that a search found."""
    path = run / "summary.json"
    if not path.is_file():
        raise UserError(f"'{run}' holds no finished search; finish it with 'archscout resume {run}', or give --architecture")
    return str(json.loads(path.read_text("utf8"))["best"]["architecture"])


def list_(as_json: Json = False) -> None:
    """The tasks of the dictionary."""
    from archscout.core.baseline_tasks import baseline_tasks, tasks_folder
    from archscout.nn.baseline_tasks import read_baseline

    found: list[dict[str, Any]] = []
    for name, path in baseline_tasks().items():
        try:
            found.append({**read_baseline(path).facts(), "name": name, "file": str(path)})
        except UserError as error:  # one bad file hides no other
            found.append({"name": name, "file": str(path), "error": str(error)})
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if not found:
        print(f"there is no baseline task in {tasks_folder()}; add one with archscout tasks add")
    for one in found:
        if "error" in one:
            print(f"{one['name']:22}(damaged)")
        else:
            good = ", ".join(one["architectures"]) or "no architecture"
            print(f"{one['name']:22}{one['classes']} classes, accuracy {max(one['accuracies']):.1%}; {good}")
