"""Task similarity: distances against known tables, and what near tasks are worth to a search, into results/task_similarity.csv.

    python benchmarks/task_similarity.py --data-dir ../shared/data --parts digits tasks transfer narrowed [--minutes 60] [--small]

    digits    four tasks of scikit-learn's 8 x 8 digits: the distances of a calculation that was made for the specification, kinds
              "per-sample" and "true"; needs scikit-learn (pip install scikit-learn)
    tasks     the eight tasks of the papers, four of MNIST and four of CIFAR-10: nearest sources, noise floor, and the rank
              correlation with the published log-determinant table
    transfer  what a distance is worth: the rank correlation of d[a, b] with the accuracy on b that is lost when the body of the
              network of a is kept as it is, and only its last layer learns b
    narrowed  the same tasks: FUSE in the space narrowed by the nearest of the other seven, against FUSE in the whole space, each in
              --seconds in all (distances included), and against random cells; cells of nas201, trained shortly and validated

Networks, distances, trainings and answers lie in --runs; a command that was cut goes on. --small: fewer and smaller images, for a
first look. MNIST is its test part alone where no more is at hand, and CIFAR-10 is re-compressed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from time import monotonic
from typing import Any

import numpy as np
import torch
from _rows import HERE, append, claimed, commit, machine
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from archscout import api, catalogue
from archscout.analysis.intervals import mean_interval
from archscout.analysis.ranks import correlation
from archscout.comparison.scoring import Question, scores_of
from archscout.comparison.tasks import KeptNetworks, TaskQuestion, compare_tasks
from archscout.core.architecture import Architecture
from archscout.core.baseline_tasks import baseline_tasks
from archscout.core.draw import sample
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.seeds import generator, seeded
from archscout.data._opened import DataRequest, open_data
from archscout.engine.placement import Placement
from archscout.nn.batches import ImageSplit
from archscout.nn.task_distance import TaskDistance
from archscout.nn.task_networks import NetworkPlan, TaskImages, images_of
from archscout.store.files import write_json
from archscout.strategies.fuse import Fuse

DIGITS = {
    "per-sample": [[0, 0.045, 0.340, 0.612], [0.041, 0, 0.346, 0.600], [0.587, 0.389, 0, 0.600], [0.672, 0.674, 0.599, 0]],
    "true": [[0, 0.047, 0.481, 0.765], [0.045, 0, 0.510, 0.754], [0.507, 0.504, 0, 0.668], [0.765, 0.772, 0.680, 0]],
}
TASKS = {
    "mnist-0": "mnist:0", "mnist-1": "mnist:6", "mnist-2": "mnist:0,1,2,3", "mnist-3": "mnist", "cifar-0": "cifar10:1+3+8",
    "cifar-1": "cifar10:3+8+9", "cifar-2": "cifar10:2,6,7", "cifar-3": "cifar10",
}  # fmt: skip
LOG_DETERMINANT = [
    [0, 0.43, 1.24, 0.77, 1.41, 1.33, 1.37, 1.43],
    [0.86, 0, 1.28, 0.52, 2.47, 2.52, 2.18, 1.9],
    [1.91, 2.07, 0, 0.44, 1.43, 1.49, 1.71, 0.91],
    [1.61, 0.89, 0.17, 0, 1.55, 1.51, 0.47, 0.54],
    [3.32, 2.36, 1.29, 1.47, 0, 0.04, 0.34, 0.58],
    [3.27, 2.42, 1.31, 1.51, 0.04, 0, 0.32, 0.61],
    [3.04, 2.05, 0.33, 0.27, 0.24, 0.24, 0, 0.34],
    [2.99, 2.39, 0.38, 0.23, 0.38, 0.39, 0.25, 0],
]


class Bench:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self._end = asked, monotonic() + 60 * asked.minutes

    def left(self) -> float:
        """Minutes left. Raises SystemExit where there are none."""
        left = (self._end - monotonic()) / 60
        if left <= 0:
            raise SystemExit("the time is up; the same command goes on")
        return left

    def write(self, part: str, rows: Sequence[dict[str, object]], begun: float) -> None:
        words = f"python benchmarks/task_similarity.py --data-dir ../shared/data --parts {part}"
        words += " --small" if self.asked.small and part != "digits" else ""
        if part == "narrowed":
            words += "".join(f" --{name} {getattr(self.asked, name):g}" for name in ("seconds", "seeds", "cells", "epochs"))
        tail = {"seed": 0, "command": words, "commit": commit(), "machine": machine(1), "seconds": round(monotonic() - begun, 1)}
        append(self.asked.results, [{**row, **tail} for row in rows])
        for row in rows:
            print(f"{row['claim']}: {row['ours']} [{row['low']}, {row['high']}]", flush=True)


def digits(bench: Bench) -> None:
    """1,200 images to learn from, the other 597 to judge, pixels from 0 to 1 as they are; the last layer is part of the vectors."""
    plan = NetworkPlan((1, 8, 8), samples=597)
    made = {f"digits {number}": images_of(task, plan) for number, task in enumerate(_digit_tasks())}
    for mode, published in DIGITS.items():
        begun = monotonic()
        matrix = compare_tasks(TaskQuestion(made, plan, TaskDistance(mode=mode, head="keep")), bench.asked.runs / "digits")
        ours, std = matrix.table()
        rows = [
            claimed(f"digits, {mode}: from task {a} to task {b}", ours[a, b], ours[a, b] - std[a, b], ours[a, b] + std[a, b],
                    published[a][b])
            for a in range(4) for b in range(4) if a != b
        ]  # fmt: skip
        most = float(np.abs(ours - published).max())
        rows.append(claimed(f"digits, {mode}: largest difference from the table (at most 0.1 is the aim)", most))
        near = sum(_nearly_nearest(np.array(published), target, int(_off(ours)[:, target].argmin())) for target in range(4))
        label = f"digits, {mode}: of 4 targets, those whose nearest source is the table's, within 0.05"
        rows.append(claimed(label, near, published=4))
        rows.append(claimed(f"digits, {mode}: noise floor", float(matrix.floor().mean()), *_ends(matrix.floor())))
        bench.write("digits", rows, begun)


def _digit_tasks() -> list[Task]:
    """0 against the rest, 6 against the rest, 0 to 3 and the rest, all ten; the rest is label 0."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SystemExit("the part 'digits' needs scikit-learn: pip install scikit-learn") from error
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = np.rint(found.images / 16 * 255).astype(np.uint8)[order][..., None]
    digit = found.target[order]
    labels = [(digit == 0) * 1, (digit == 6) * 1, np.where(digit < 4, digit + 1, 0), digit]
    parts = {"train": np.arange(1200), "valid": np.arange(1200, len(digit))}

    def task(number: int) -> Task:
        own = labels[number].astype(np.int64)
        splits = {name: ImageSplit(images, own, rows, (0.0,), (1.0,)) for name, rows in parts.items()}
        return Task(f"digits {number}", IMAGE_CLASSIFICATION, (1, 8, 8), int(own.max()) + 1, f"digits-{number}", splits)

    return [task(number) for number in range(4)]


def _nearly_nearest(table: NDArray[np.float64], target: int, source: int) -> bool:
    """The table's deviations are 0.02 to 0.07, so that it does not tell sources apart which are nearer to each other than that."""
    return bool(table[source, target] <= _off(table)[:, target].min() + 0.05)


def _off(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the diagonal."""
    return np.where(np.eye(len(table), dtype=bool) | ~np.isfinite(table), np.inf, table)


def tasks(bench: Bench) -> None:
    """Both kinds of distance, on one set of networks."""
    for kind in ("frechet", "log-determinant"):
        begun = monotonic()
        matrix = compare_tasks(_question(bench, kind), bench.asked.runs / "tasks")
        ours, std = matrix.table()
        rows = []
        for target, near in enumerate(matrix.nearest()):
            if not near:
                continue
            source = matrix.names.index(near[0])
            value, spread = ours[source, target], std[source, target]
            label = f"{kind}: to {matrix.names[target]} nearest is {near[0]}, at"
            rows.append(claimed(label, value, value - spread, value + spread))
        rows.append(claimed(f"{kind}: noise floor", float(matrix.floor().mean()), *_ends(matrix.floor())))
        off = ~np.eye(len(ours), dtype=bool) & np.isfinite(ours)
        table = np.array(LOG_DETERMINANT)
        rho = correlation(ours[off], table[off], "spearman")
        rows.append(claimed(f"{kind}: Spearman's rho with the published log-determinants of VGG-16, {off.sum()} pairs", rho))
        same = _same_nearest(ours, table)
        rows.append(claimed(f"{kind}: of 8 targets, those whose nearest source is the published one", same, published=8))
        bench.write("tasks", rows, begun)


def transfer(bench: Bench) -> None:
    begun, question = monotonic(), _question(bench, "frechet")
    networks = KeptNetworks(question, bench.asked.runs / "tasks")
    networks.train()
    matrix = compare_tasks(question, bench.asked.runs / "tasks")
    made = list(question.tasks.values())
    lost = np.full(matrix.found.shape, np.nan)
    for seed in range(question.seeds):
        for a, source in enumerate(made):
            network = networks.at(seed, source)
            for b, target in enumerate(made):
                bench.left()
                lost[seed, a, b] = matrix.accuracies[seed, b] - _head_only(network, target)
    off = ~np.eye(len(made), dtype=bool)
    every, own = correlation(matrix.table()[0][off], lost.mean(0)[off], "spearman"), []
    for b in range(len(made)):
        rows = off[:, b]
        own.append(correlation(matrix.table()[0][rows, b], lost.mean(0)[rows, b], "spearman"))
    label = "Spearman's rho of the distance and the accuracy lost with the body of the source"
    rows_of = [
        claimed(f"{label}, {off.sum()} pairs", every),
        claimed(f"{label}, mean over 8 targets", mean(own), *mean_interval(own)),
    ]
    bench.write("transfer", rows_of, begun)


def _head_only(network: nn.Module, target: TaskImages) -> float:
    """The validation accuracy of a linear classifier on the frozen features, trained on at most 2,000 images."""
    features = nn.Sequential(*list(network.children())[:-1])
    with torch.no_grad():
        x, y = target.train.take(np.arange(min(2000, len(target.train))))
        seen, other = features(target.train.normalise(x)), features(target.x)
    scale = seen.std(0) + 1e-3
    with seeded(0):
        head = nn.Linear(seen.shape[1], target.task.classes)
    optimizer = torch.optim.Adam(head.parameters(), 0.03)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(head(seen / scale), y).backward()
        optimizer.step()
    return float((head(other / scale).argmax(1) == target.y).float().mean())


def narrowed(bench: Bench) -> None:
    """Answers are compared by the validation accuracy after a short training, which no search sees."""
    begun, asked = monotonic(), bench.asked
    os.environ["ARCHSCOUT_TASKS"] = str(asked.runs / f"dictionary{'-small' if asked.small else ''}")
    space = catalogue.make("spaces", "nas201", channels=8, cells=1)
    problems = {name: Problem(space, _task(bench, data)) for name, data in TASKS.items()}
    judge = catalogue.make("estimators", "train", epochs=asked.epochs)
    rng = generator(0, "cells")
    cells = [sample(space, rng) for _ in range(asked.cells)]
    random: dict[str, float] = {}
    for name, problem in problems.items():
        values = _trained(bench, name, problem, judge, cells, 0)
        random[name] = float(np.nanmean(values))
        if name not in baseline_tasks():
            good = [str(cells[place]) for place in np.argsort(-values)[:2]]
            api.add_task(TASKS[name], architectures=good, name=name, seeds=2, data_dir=asked.data_dir, plan=_plan(bench))
    gains: list[float] = []
    rows = []
    for name, problem in problems.items():
        reached: dict[str, list[float]] = {"near": [], "whole": []}
        for seed in range(asked.seeds):
            for arm in reached:
                answer = _answer(bench, name, problem, arm, seed)
                reached[arm].append(float(_trained(bench, name, problem, judge, [answer], seed)[0]))
        gains += [near - whole for near, whole in zip(reached["near"], reached["whole"], strict=True)]
        label = f"{name}, {asked.seconds:g} s of search, {asked.seeds} seeds: validation accuracy of FUSE"
        rows.append(claimed(f"{label} near like tasks", mean(reached["near"])))
        rows.append(claimed(f"{label} in the whole space", mean(reached["whole"])))
        rows.append(claimed(f"{name}: the same of random cells, mean of {asked.cells}", random[name]))
    low, high = mean_interval(gains)
    rows.append(claimed(f"FUSE near like tasks less in the whole space, {len(gains)} pairs, points", mean(gains), low, high))
    bench.write("narrowed", rows, begun)


def _answer(bench: Bench, name: str, problem: Problem, arm: str, seed: int) -> Architecture:
    """What a search of so many seconds finds."""
    asked = bench.asked
    path = asked.runs / "answers" / f"{name}-{arm}-{asked.seconds:g}-{seed}{'-small' if asked.small else ''}.json"
    if not path.exists():
        bench.left()
        others = ",".join(other for other in TASKS if other != name)
        strategy = Fuse(neighbours=2 if arm == "near" else 0, baselines=others if arm == "near" else "", seeds=2)
        strategy = replace(strategy, **strategy.paced(problem, asked.seconds, seed=seed))
        search, begun, metrics = strategy.search(problem, seed=seed), monotonic(), {}
        while True:
            try:
                metrics = dict(next(search).metrics)
            except StopIteration as end:
                answer = end.value
                break
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"answer": str(answer), "seconds": monotonic() - begun, "metrics": metrics, "said": list(strategy.remarks(metrics))}
        write_json(path, facts)
    return problem.space.architecture(Architecture.parse(json.loads(path.read_text())["answer"]).choices)


def _trained(
    bench: Bench, name: str, problem: Problem, judge: object, cells: Sequence[Architecture], seed: int
) -> NDArray[np.float64]:
    """(N,) validation accuracies in percent."""
    text = "-".join(str(cell).partition(":")[2] for cell in cells) if len(cells) == 1 else f"{len(cells)}-random"
    path = bench.asked.runs / "trainings" / f"{name}-{text}-{seed}{'-small' if bench.asked.small else ''}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    question = Question(problem, {"train": judge}, list(dict.fromkeys(cells)), seed)
    table = scores_of(question, path, what=f"train for {name}", placement=Placement(workers=1), minutes=bench.left())
    if not table.facts["complete"]:
        raise SystemExit("the time is up; the same command goes on")
    found = {tuple(map(int, row)): value for row, value in zip(table.choices, table.values[:, 0], strict=True)}
    return 100 * np.array([found[cell.choices] for cell in cells])


def _question(bench: Bench, kind: str) -> TaskQuestion:
    """The eight tasks, of one size."""
    opened = {name: open_data(DataRequest(data, bench.asked.data_dir, augment="none")).task for name, data in TASKS.items()}
    plan = NetworkPlan((3, 16, 16) if bench.asked.small else (3, 32, 32), **_plan(bench))
    made = {name: images_of(task, plan) for name, task in opened.items()}
    return TaskQuestion(made, plan, TaskDistance(kind=kind), 2 if bench.asked.small else 3)


def _plan(bench: Bench) -> dict[str, Any]:
    return {"epochs": 8.0, "images": 2000, "samples": 300} if bench.asked.small else {}


def _task(bench: Bench, data: str) -> Task:
    limit = 60 if bench.asked.small else 1000
    return open_data(DataRequest(data, bench.asked.data_dir, image_size="16", augment="none", limit_per_class=limit)).task


def _same_nearest(ours: NDArray[np.float64], table: NDArray[np.float64]) -> int:
    return int((_off(ours).argmin(0) == _off(table).argmin(0)).sum())


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


PARTS = {"digits": digits, "tasks": tasks, "transfer": transfer, "narrowed": narrowed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=HERE.parent / "shared" / "data")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "task_similarity.csv")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "task-similarity")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a search in the part 'narrowed'")
    parser.add_argument("--seeds", type=int, default=3, help="of searches")
    parser.add_argument("--cells", type=int, default=20, help="random ones, the best two of which a dictionary entry gets")
    parser.add_argument("--epochs", type=float, default=15.0, help="of the trainings that compare cells")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked)
    for part in asked.parts:
        PARTS[part](bench)


if __name__ == "__main__":
    main()
