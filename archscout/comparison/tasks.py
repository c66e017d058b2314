"""Distances between tasks: trains a network for each and each seed, measures, and tells which task is nearest to which.

Networks and distances are kept as soon as they are there, under names that follow from what was asked (images, plan, seed): a
killed comparison goes on to the same numbers, and one with more tasks or seeds does again only what is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from archscout.comparison.page import Cell, Section, page
from archscout.comparison.telling import Countdown
from archscout.core.errors import Interrupted, UserError
from archscout.engine.machine import versions
from archscout.nn import checkpoint
from archscout.nn.task_distance import Fisher, TaskDistance, centroids, matching, support, without_head
from archscout.nn.task_networks import Build, NetworkPlan, TaskImages, accuracy_of, restored, small_network, trained
from archscout.report.plots import heat
from archscout.store.files import checked_folder, write_atomic, write_json
from archscout.store.lines import LineFile

Floats = NDArray[np.float64]
SLACK = 0.03
"""So far below the best seed of its task an accuracy may lie, so that the network still stands for the task."""


@dataclass(frozen=True, eq=False)
class TaskMatrix:
    """Distances between T tasks of S seeds.

    found: (S, T, T), from source (row) to target (column). floors: (P, T), between the networks of two seeds of a task, for each of
    the P pairs of seeds. accuracies, supports: (S, T), of the networks on their own tasks. learned: (S, T), which of them count.
    chance: (T,).
    """

    names: tuple[str, ...]
    found: Floats
    floors: Floats
    accuracies: Floats
    supports: Floats
    learned: NDArray[np.bool_]
    chance: Floats

    @property
    def ranked(self) -> NDArray[np.bool_]:
        """(T,), the tasks that have a network which learned."""
        return np.asarray(self.learned.sum(0) > 0)

    def table(self) -> tuple[Floats, Floats]:
        """Means and standard deviations (T, T) over the seeds with which both networks learned; NaN where there is no such seed."""
        both = self.learned[:, :, None] & self.learned[:, None, :]
        count = both.sum(0)
        values = np.where(both, self.found, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count > 0, values.sum(0) / count, np.nan)
            spread = np.where(both, np.square(self.found - mean), 0.0).sum(0)
            return mean, np.where(count > 1, np.sqrt(spread / (count - 1)), np.nan)

    def nearest(self) -> list[tuple[str, ...]]:
        """For each target the nearest source, then those as near within one deviation; none where it is not ranked."""
        mean, std = self.table()
        answers: list[tuple[str, ...]] = []
        for target in range(len(self.names)):
            column = mean[:, target].copy()
            column[target] = np.nan
            if not np.isfinite(column).any():
                answers.append(())
                continue
            best = int(np.nanargmin(column))
            reach = column[best] + np.nan_to_num(std[best, target])
            others = [n for n in np.argsort(column) if n != best and column[n] <= reach]
            answers.append((self.names[best], *(self.names[n] for n in others)))
        return answers

    def floor(self) -> Floats:
        """(T,), the mean distance between two seeds of the same task; NaN for a single seed."""
        count = len(self.names)
        return self.floors.mean(0) if len(self.floors) else np.full(count, np.nan)

    def record(self) -> dict[str, Any]:
        """As JSON takes it: rows are sources, columns targets."""
        mean, std = self.table()
        ranked = self.ranked
        return {
            "tasks": [
                {
                    "name": name, "accuracies": self.accuracies[:, n].tolist(), "chance": float(self.chance[n]),
                    "ranked": bool(ranked[n]), "seeds_left_out": np.flatnonzero(~self.learned[:, n]).tolist(),
                    "support": self.supports[:, n].tolist(),
                }
                for n, name in enumerate(self.names)
            ],
            "mean": _plain(mean), "std": _plain(std), "noise_floor": _plain(self.floor()),
            "nearest": [list(names) for names in self.nearest()], "seeds": [_plain(one) for one in self.found],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class TaskQuestion:
    """What is compared, and how. tasks: by name. network: names what `build` builds."""

    tasks: Mapping[str, TaskImages]
    plan: NetworkPlan
    distance: TaskDistance
    seeds: int = 3
    network: str = "small"
    build: Build = small_network
    slack: float = SLACK

    def __post_init__(self) -> None:
        if self.seeds < 1 or not 0 <= self.slack <= 1:
            raise UserError(f"seeds is at least 1 and slack lies between 0 and 1, but {self.seeds} and {self.slack:g} came")


def compare_tasks(question: TaskQuestion, folder: Path) -> TaskMatrix:
    """Train, measure, and put the numbers together. folder: where networks and distances are kept.

    Raises UserError where fewer than two tasks have a network that learned.
    """
    if len(question.tasks) < 2:
        raise UserError(f"distances are between two tasks or more, but {len(question.tasks)} came; name more data")
    met: dict[str, str] = {}
    for name, task in question.tasks.items():
        if (other := met.setdefault(task.task.fingerprint, name)) != name:
            raise UserError(f"'{other}' and '{name}' have the same images and classes; name each task once")
    networks = KeptNetworks(question, folder)
    try:
        networks.train()
        return _measured(question, networks, folder)
    except Interrupted as stop:
        stop.hint = "Go on with the same command."
        raise


class KeptNetworks:
    """The networks of all tasks and seeds, each in a file of its own in a folder. accuracies: (S, T), when all are trained."""

    def __init__(self, question: TaskQuestion, folder: Path) -> None:
        self._question, self._folder = question, checked_folder(folder) / "networks"
        self.accuracies = np.full((question.seeds, len(question.tasks)), np.nan)

    def train(self) -> None:
        """Those that are not there yet."""
        question = self._question
        passes = max(1, round(question.plan.epochs))
        jobs = [(seed, n, task) for seed in range(question.seeds) for n, task in enumerate(question.tasks.values())]
        missing = [job for job in jobs if not self._kept(*job)]
        done = (len(jobs) - len(missing)) * passes
        countdown = Countdown("train networks", len(jobs) * passes, done)

        def tell() -> None:
            nonlocal done
            done += 1
            countdown.at(done)

        for seed, number, task in missing:
            network = trained(task, question.plan, seed, question.build, tell)
            accuracy = accuracy_of(network, task)
            checkpoint.save(self._path(seed, task), network.state_dict(), {"accuracy": accuracy})
            self.accuracies[seed, number] = accuracy
        countdown.close()

    def at(self, seed: int, task: TaskImages) -> nn.Module:
        """A trained network, in evaluation mode."""
        found = checkpoint.last(self._path(seed, task))
        assert found is not None
        return restored(self._question.build, self._question.plan, task.task.classes, found[0])

    def _kept(self, seed: int, number: int, task: TaskImages) -> bool:
        found = checkpoint.last(self._path(seed, task))
        if found is not None:
            self.accuracies[seed, number] = found[1]["accuracy"]
        return found is not None

    def _path(self, seed: int, task: TaskImages) -> Path:
        question = self._question
        asked = [question.plan.record(), question.network, task.task.fingerprint, seed, versions()["archscout"]]
        return self._folder / f"{_digest(asked)}.safetensors"


def _measured(question: TaskQuestion, networks: KeptNetworks, folder: Path) -> TaskMatrix:
    tasks = list(question.tasks.values())
    count, seeds = len(tasks), question.seeds
    left_out = question.distance.leaves_head_out({task.task.classes for task in tasks})
    asked = {
        "distance": asdict(question.distance), "plan": question.plan.record(), "network": question.network,
        "head_left_out": left_out, "archscout": versions()["archscout"],
    }  # fmt: skip
    lines = LineFile(folder / f"distances-{_digest(asked)}.lines", asked)
    try:
        known = {_key(entry): entry for entry in lines.entries}
        found, supports = np.zeros((seeds, count, count)), np.zeros((seeds, count))
        pairs = list(combinations(range(seeds), 2))
        floors = np.zeros((len(pairs), count))
        countdown, passes, done = Countdown("measure distances", seeds * count * count), 0, len(known)

        def passed() -> None:
            nonlocal passes
            passes += 1
            countdown.at(min(done + passes, seeds * count * count))

        def keep(entry: dict[str, Any]) -> dict[str, Any]:
            lines.add(entry)
            known[_key(entry)] = entry
            return entry

        for b, target in enumerate(tasks):
            own = _Own(question.distance, networks, target, left_out, passed)
            mark = target.task.fingerprint
            for seed in range(seeds):
                entry = known.get((mark, mark, seed, seed)) or keep(
                    {"source": mark, "target": mark, "seed": seed, "other": seed, "value": support(own.fisher(seed))}
                )
                supports[seed, b] = entry["value"]
                for a, source in enumerate(tasks):
                    if a == b:
                        continue
                    other = source.task.fingerprint
                    entry = known.get((other, mark, seed, seed)) or keep(
                        {"source": other, "target": mark, "seed": seed, "other": seed, "value": own.from_source(source, seed)}
                    )
                    found[seed, a, b] = entry["value"]
            for number, (one, two) in enumerate(pairs):
                entry = known.get((mark, mark, one, two)) or keep(
                    {"source": mark, "target": mark, "seed": one, "other": two, "value": own.between_seeds(one, two)}
                )
                floors[number, b] = entry["value"]
        countdown.close()
    finally:
        lines.close()
    accuracies = networks.accuracies
    learned = np.array([[task.learned(value) for task, value in zip(tasks, row, strict=True)] for row in accuracies])
    learned &= accuracies >= np.where(learned, accuracies, -np.inf).max(0) - question.slack
    chance = np.array([task.chance for task in tasks])
    matrix = TaskMatrix(tuple(question.tasks), found, floors, accuracies, supports, learned, chance)
    if matrix.ranked.sum() < 2:
        raise UserError(
            f"no two of the tasks have a network that learned ({'; '.join(refusals(matrix))}); "
            "give more images, or train longer with --epochs"
        )
    return matrix


class _Own:
    """One target: the Fisher information of its own networks, each taken once, and of others on its images."""

    def __init__(
        self, distance: TaskDistance, networks: KeptNetworks, target: TaskImages, left_out: bool, passed: Callable[[], None]
    ) -> None:  # fmt: skip
        self._distance, self._networks, self._target = distance, networks, target
        self._left_out, self._passed = left_out, passed
        self._known: dict[int, Fisher] = {}

    def fisher(self, seed: int) -> Fisher:
        if seed not in self._known:
            self._known[seed] = self._of(self._networks.at(seed, self._target), self._target.y)
        return self._known[seed]

    def from_source(self, source: TaskImages, seed: int) -> float:
        network = self._networks.at(seed, source)
        labels = matched_labels(network, source, self._target) if self._distance.match == "centroid" else self._target.y
        return self._distance.between(self._of(network, labels), self.fisher(seed))

    def between_seeds(self, one: int, two: int) -> float:
        return self._distance.between(self.fisher(two), self.fisher(one))

    def _of(self, network: nn.Module, labels: Tensor) -> Fisher:
        found = self._distance.fisher(network, self._target.x, labels)
        self._passed()
        return without_head(found, network) if self._left_out else found


def matched_labels(network: nn.Module, source: TaskImages, target: TaskImages) -> Tensor:
    """The labels of the target's samples, as the classes of the source that look most like them to the source's network."""
    one, other = (centroids(network, task.x, task.y, task.task.classes) for task in (source, target))
    return matching(one, other)[target.y]


def refusals(matrix: TaskMatrix) -> list[str]:
    """What is to be said of networks that did not learn."""
    said = []
    for n, name in enumerate(matrix.names):
        best, chance = matrix.accuracies[:, n].max(), matrix.chance[n]
        if not matrix.ranked[n]:
            said.append(f"the network of '{name}' did not learn: its accuracy is {best:.1%}, that of chance {chance:.1%}")
        elif not matrix.learned[:, n].all():
            seeds = ", ".join(map(str, np.flatnonzero(~matrix.learned[:, n])))
            said.append(f"seed {seeds} of '{name}' is left out, since its accuracy lies far below the best, {best:.1%}")
    return said


def table_lines(matrix: TaskMatrix) -> list[str]:
    """The table for a terminal."""
    mean, std = matrix.table()
    names = [name if len(name) <= 22 else f"{name[:21]}…" for name in matrix.names]
    width = max(14, *(len(name) + 2 for name in names))
    rows = [["source \\ target", *names]]
    for n, name in enumerate(names):
        rows.append([name, *(_shown(mean[n, m], std[n, m]) for m in range(len(names)))])
    rows.append(["nearest source", *(found[0] if found else "–" for found in matrix.nearest())])
    rows.append(["noise floor", *(_number(value) for value in matrix.floor())])
    rows.append(["accuracy", *(_shown(*_mean_std(matrix.accuracies[:, n])) for n in range(len(names)))])
    lines = ["".join(cell[: width - 1].ljust(width) for cell in row).rstrip() for row in rows]
    return [*lines, *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in refusals(matrix)), _floor_sentence(matrix)]


def write_tasks(folder: Path, matrix: TaskMatrix, facts: Mapping[str, Any], command: str) -> Path:
    """Write tasks.html and tasks.json; gives the page's path."""
    folder = checked_folder(folder)
    write_json(folder / "tasks.json", {**facts, **matrix.record(), "command": command})
    write_atomic(folder / "tasks.html", render(matrix, facts, command))
    return folder / "tasks.html"


def render(matrix: TaskMatrix, facts: Mapping[str, Any], command: str) -> str:
    """The page of a comparison."""
    mean, std = matrix.table()
    nearest, ranked, floor = matrix.nearest(), matrix.ranked, matrix.floor()
    marked = [(matrix.names.index(found[0]), n) for n, found in enumerate(nearest) if found]
    rows = []
    for n, name in enumerate(matrix.names):
        accuracy = _mean_std(matrix.accuracies[:, n])
        near = (
            Cell(nearest[n][0], "", f"as near: {', '.join(nearest[n][1:])}" if nearest[n][1:] else "") if nearest[n] else Cell("–")
        )
        rows.append([
            Cell(name), near, Cell(_shown(*accuracy), "n" if ranked[n] else "n bad", "" if ranked[n] else "did not learn"),
            Cell(_number(matrix.chance[n]), "n"), Cell(_number(floor[n]), "n"), Cell(f"{matrix.supports[:, n].mean():,.0f}", "n"),
        ])  # fmt: skip
    head = [
        Cell("Task"), Cell("Nearest source"), Cell("Accuracy", "n"), Cell("Chance", "n"), Cell("Noise floor", "n"),
        Cell("Effective support", "n"),
    ]  # fmt: skip
    sub = (
        "Rows are sources, columns targets: read a column to find which task is nearest to its target. "
        "The nearest source is framed. Means over the seeds, with their standard deviation."
    )
    sections = [
        Section("How far is it?", sub, plot=heat(matrix.names, mean, std, marked)),
        Section(
            "The tasks",
            f"{_floor_sentence(matrix)} Effective support: to how many weights the Fisher information comes down (1 / sum F²).",
            head=head, rows=rows,
        ),
        Section("How to repeat it", pre=command),
    ]  # fmt: skip
    said = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in refusals(matrix)]
    lead = (
        f"{facts['kind']} distances, Fisher information {facts['mode']}, {matrix.found.shape[0]} seeds, network {facts['network']}."
    )
    return page("tasks distance", "Task distances", " ".join([lead, *said]), sections, "Made by archscout tasks distance.")


def _floor_sentence(matrix: TaskMatrix) -> str:
    floor = matrix.floor()
    if not np.isfinite(floor).any():
        return "The noise floor needs two seeds or more."
    return (
        f"The noise floor, the distance between networks of one task from two starts, is {np.nanmin(floor):.3f} to "
        f"{np.nanmax(floor):.3f}: networks of one seed are compared, and what is as far as that may be as unlike as tasks can be."
    )


def _mean_std(values: Sequence[float] | Floats) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _shown(mean: float, std: float) -> str:
    return "–" if not np.isfinite(mean) else f"{mean:.3f}" + (f" ±{std:.3f}" if np.isfinite(std) else "")


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _plain(values: Floats) -> Any:
    """With None for what is not finite."""
    return [_plain(row) if row.ndim else (float(row) if np.isfinite(row) else None) for row in np.asarray(values)]


def _key(entry: Mapping[str, Any]) -> tuple[str, str, int, int]:
    return entry["source"], entry["target"], entry["seed"], entry["other"]


def _digest(asked: Any) -> str:
    return blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()
