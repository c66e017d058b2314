"""Opens what AT-NAS learned across tasks: a supernet with meta-weights, and a population of its paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.models import model_file
from archscout.core.problem import FEW_SHOT, Problem, Task
from archscout.core.protocols import Space
from archscout.nn import checkpoint
from archscout.nn.adapting import Inner
from archscout.nn.at_nas import MetaNetwork, architectures_in
from archscout.nn.episode_recipe import adaptation_of
from archscout.nn.supernet_training import put_back

METHOD = "at-nas"


@dataclass(frozen=True, eq=False)
class Opened:
    """A meta-trained supernet for tasks of so many classes.

    population: paths, the fittest of the meta-training first. facts: of the model (`task`, `preprocessing`).
    """

    network: MetaNetwork
    space: Space
    task: Task
    population: tuple[Architecture, ...]
    inner: Inner
    facts: Mapping[str, Any]


def opened(name: str, classes: int | None = None, space: Space | None = None, device: str = "cpu") -> Opened:
    """The model of a name or file. classes: of the new task, where other than in the meta-training; its classifier is then fresh.

    space: that the model must be of. Raises UnknownName, or UserError where it is of another method, version or space.
    """
    path = model_file(name)
    contents = checkpoint.last(path)
    if contents is None or contents[1].get("method") != METHOD:
        raise UserError(f"'{path}' holds no model of {METHOD}; make one with archscout meta train {METHOD} --data NAME")
    tensors, facts = contents
    record = facts["space"]
    made: Space = catalogue.make("spaces", record["name"], **record["settings"])
    if space is not None and space != made:
        raise UserError(f"the model '{name}' is of {made!r}, but {space!r} was asked for; take its space and settings")
    entry = facts["task"]
    task = Task(entry["name"], FEW_SHOT, tuple(entry["shape"]), classes or entry["ways"], entry["fingerprint"])
    network = MetaNetwork(Problem(made, task, device=device), 0, facts["supernet"]["channels"], facts["supernet"]["cells"])
    weights = checkpoint.under("weights.", tensors)
    own = {name: tuple(weight.shape) for name, weight in network.weights.items()}
    fresh = [name for name, shape in own.items() if name not in weights or tuple(weights[name].shape) != shape]
    if set(weights) != set(own) or any(tuple(weights[name].shape)[1:] != own[name][1:] for name in fresh):
        raise UserError(f"the model '{name}' was made by another version of archscout; train it again")
    with torch.no_grad():
        for known in fresh:
            weights[known] = torch.zeros(own[known])
    put_back(network.weights, {f"weights.{name}": np.asarray(tensor) for name, tensor in weights.items()}, "weights.")
    population = tuple(architectures_in(made, tensors["population"].numpy()))
    return Opened(network, made, task, population, Inner(**facts["inner"]), facts)


def of_shape(found: Opened, shape: tuple[int, ...]) -> None:
    """Raises UserError where images of a shape do not fit."""
    known = tuple(found.task.shape)
    if tuple(shape) != known:
        raise UserError(
            f"the model was meta-trained on images of {_size(known)}, but these are of {_size(shape)}; "
            f"give --image-size {known[-1]} and --channels {known[0]}"
        )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def recorded(space: Space, task: Task, settings: Any, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with which a model is kept, JSON-able. settings: of `nn.at_nas.AcrossTasks`."""
    data = task.splits["train"]
    return {
        "method": METHOD,
        "space": catalogue.record(space) | {"name": space.name},
        "task": {
            "name": task.name, "shape": list(task.shape), "ways": task.classes, "shots": data.shots, "queries": data.queries,
            "fingerprint": task.fingerprint,
        },
        "supernet": {"channels": settings.channels, "cells": settings.cells},
        "inner": adaptation_of(settings),
        "preprocessing": dict(preprocessing),
    }  # fmt: skip
