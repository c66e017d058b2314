"""Distances between tasks, and the tasks that are kept for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archscout.api.opening import open_request
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.engine.request import Request
from archscout.engine.resolve import resolve

if TYPE_CHECKING:
    from torch import nn

    from archscout.comparison.tasks import TaskMatrix
    from archscout.data._opened import OpenedData
    from archscout.nn.baseline_tasks import BaselineTask
    from archscout.nn.task_networks import Build


def task_distances(
    data: Sequence[str],
    *,
    seeds: int = 3,
    network: str = "small",
    data_dir: str | Path | None = None,
    image_size: str = "auto",
    out: str | Path | None = None,
    settings: Mapping[str, str] | None = None,
    slack: float = 0.03,
    plan: Mapping[str, Any] | None = None,
    **distance: Any,
) -> tuple[TaskMatrix, dict[str, Any]]:
    """How far tasks are from one another, and the facts of the comparison.

    data: names, paths, or classes of either (mnist:0). network: "small", or an architecture, of which settings (`space.NAME`) may
    say more. out: where networks and distances are kept. plan: of `NetworkPlan`, but for the shape, which fits all data.
    distance: the fields of `TaskDistance`.
    """
    from archscout.comparison.tasks import TaskQuestion, compare_tasks
    from archscout.data._form import checked_size
    from archscout.nn.task_distance import TaskDistance
    from archscout.nn.task_networks import LEAST_OUTPUTS, NetworkPlan, common_shape, images_of

    if twice := [name for name in data if list(data).count(name) > 1]:
        raise UserError(f"the data '{twice[0]}' are named twice; name each task once")
    side = checked_size(image_size) or 0
    measured = _distance_of(TaskDistance, distance)
    build, kind = _task_network(network, settings or {})
    opened = {name: _open_images(name, data_dir) for name in data}
    outputs = max([LEAST_OUTPUTS, *(one.task.classes for one in opened.values())])
    chosen = NetworkPlan(common_shape([one.task.shape for one in opened.values()], side), **{"outputs": outputs, **(plan or {})})
    tasks = {name: images_of(one.task, chosen) for name, one in opened.items()}
    question = TaskQuestion(tasks, chosen, measured, seeds, kind, build, slack)
    matrix = compare_tasks(question, Path(out) if out else Path("runs") / "tasks")
    facts = {"network": kind, **asdict(measured), "plan": chosen.record(), "classes": [one.task.classes for one in opened.values()]}
    return matrix, facts


def add_task(
    data: str,
    *,
    architectures: Sequence[str] = (),
    name: str = "",
    seeds: int = 3,
    data_dir: str | Path | None = None,
    overwrite: bool = False,
    settings: Mapping[str, str] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> BaselineTask:
    """Keep a task in the dictionary of baseline tasks, with architectures that are known to be good for it, the best first.

    The networks that stand for it are trained now. Raises UserError where they do not learn, and for a name that is taken.
    """
    from archscout.comparison.tasks import KeptNetworks, TaskQuestion
    from archscout.core.baseline_tasks import baseline_place
    from archscout.nn.baseline_tasks import baseline_of
    from archscout.nn.task_distance import TaskDistance
    from archscout.nn.task_networks import BASELINE_SHAPE, NetworkPlan, images_of

    place = baseline_place(name or "".join(c if c.isalnum() else "-" for c in Path(data).name).strip("-"))
    if place.exists() and not overwrite:
        raise UserError(f"there is a baseline task '{place.stem}' already; choose another --name, or give --overwrite")
    texts = [str(resolve(text, None, settings)[1]) for text in architectures]
    chosen = NetworkPlan(BASELINE_SHAPE, **(plan or {}))
    images = images_of(_open_images(data, data_dir).task, chosen)
    networks = KeptNetworks(TaskQuestion({place.stem: images}, chosen, TaskDistance(), seeds), Path("runs") / "tasks")
    networks.train()
    found = [(networks.at(seed, images), float(networks.accuracies[seed, 0])) for seed in range(seeds)]
    best = max(accuracy for _, accuracy in found)
    if not images.learned(best):
        raise UserError(
            f"the network of '{data}' did not learn: its accuracy is {best:.1%}, that of chance {images.chance:.1%}; "
            "give more images, or train longer with --epochs"
        )
    task = baseline_of(place.stem, data, images, chosen, found, texts)
    task.save(place)
    return task


def _open_images(data: str, data_dir: str | Path | None) -> OpenedData:
    opened = open_request(Request(data=data, data_dir=str(data_dir) if data_dir else None, augment="none"), progress=True)
    if opened.task.kind is not IMAGE_CLASSIFICATION:
        raise UserError(f"task distances are between sets of images, but '{data}' is a text; name other data")
    return opened


def _distance_of(made: Any, settings: Mapping[str, Any]) -> Any:
    try:
        return made(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"the settings of the distance do not fit: {error}") from error


def _task_network(network: str, settings: Mapping[str, str]) -> tuple[Build, str]:
    """How networks of this kind are built, and a text that names the kind."""
    from archscout.catalogue import plain_record
    from archscout.nn.task_networks import small_network

    if network == "small":
        return small_network, network
    space, architecture = resolve(network, None, settings)

    def build(shape: tuple[int, int, int], outputs: int) -> nn.Module:
        return space.build(architecture, Task("", IMAGE_CLASSIFICATION, shape, outputs, ""))

    own = ", ".join(f"{name}={value}" for name, value in plain_record(space)["settings"].items())
    return build, f"{architecture} ({own})" if own else str(architecture)
