"""The dictionary of baseline tasks: for each a file with its networks, one a seed, and what is known of it.

A task that was searched is added with the architecture that was found, so that the dictionary grows with what it is used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from archscout.core.baseline_tasks import baseline_file, baseline_tasks
from archscout.core.errors import UserError
from archscout.core.sketch import sketch, to_text
from archscout.nn import checkpoint
from archscout.nn.checkpoint import under
from archscout.nn.task_distance import centroids
from archscout.nn.task_networks import NetworkPlan, TaskImages, restored, small_network

VERSION = 1


@dataclass(frozen=True, eq=False)
class BaselineTask:
    """A task of the dictionary.

    data: as it was named. fingerprint, sketch: of its images. architectures: good ones, in text form, the best first. accuracies:
    of its networks, for the seeds 0, 1, ... weights: their state dictionaries. centroids: (K, F) for each, of its classes.
    """

    name: str
    data: str
    fingerprint: str
    sketch: str
    classes: int
    plan: NetworkPlan
    architectures: tuple[str, ...]
    accuracies: tuple[float, ...]
    weights: tuple[dict[str, Tensor], ...]
    centroids: tuple[Tensor, ...]

    def network(self, seed: int) -> nn.Module:
        """That of a seed, in evaluation mode."""
        return restored(small_network, self.plan, self.classes, self.weights[seed])

    def save(self, path: Path) -> None:
        """Write it to a file."""
        tensors = {f"{seed}.network.{name}": part for seed, state in enumerate(self.weights) for name, part in state.items()}
        tensors |= {f"{seed}.centroids": part for seed, part in enumerate(self.centroids)}
        checkpoint.save(path, tensors, {"version": VERSION, **self.facts()})

    def facts(self) -> dict[str, Any]:
        """What is known of it, as JSON takes it; without the weights."""
        return {
            "name": self.name, "data": self.data, "fingerprint": self.fingerprint, "sketch": self.sketch, "classes": self.classes,
            "plan": self.plan.record(), "architectures": list(self.architectures), "accuracies": list(self.accuracies),
        }  # fmt: skip


def baseline_of(
    name: str, data: str, images: TaskImages, plan: NetworkPlan, networks: Sequence[tuple[nn.Module, float]],
    architectures: Sequence[str],
) -> BaselineTask:  # fmt: skip
    """A task for the dictionary, from its trained networks with their accuracies."""
    train = images.task.splits["train"]
    return BaselineTask(
        name, data, images.task.fingerprint, to_text(sketch(train.images[train.rows[:4096]])), images.task.classes, plan,
        tuple(architectures), tuple(accuracy for _, accuracy in networks),
        tuple(dict(network.state_dict()) for network, _ in networks),
        tuple(centroids(network, images.x, images.y, images.task.classes) for network, _ in networks),
    )  # fmt: skip


def read_baseline(path: Path) -> BaselineTask:
    """The task of a file. Raises UserError where it holds none."""
    found = checkpoint.last(path)
    if found is None or found[1].get("version") != VERSION:
        raise UserError(f"'{path}' holds no baseline task of this version, or it is damaged; remove it, and add the task again")
    tensors, facts = found
    seeds = range(len(facts["accuracies"]))
    return BaselineTask(
        facts["name"], facts["data"], facts["fingerprint"], facts["sketch"], int(facts["classes"]),
        NetworkPlan.from_record(facts["plan"]), tuple(facts["architectures"]), tuple(facts["accuracies"]),
        tuple(under(f"{seed}.network.", tensors) for seed in seeds), tuple(tensors[f"{seed}.centroids"] for seed in seeds),
    )  # fmt: skip


def read_baselines(names: Sequence[str] = ()) -> list[BaselineTask]:
    """These tasks of the dictionary, or all. Raises UnknownName, or UserError for a damaged one."""
    files = [baseline_file(name) for name in names] if names else list(baseline_tasks().values())
    return [read_baseline(file) for file in files]
