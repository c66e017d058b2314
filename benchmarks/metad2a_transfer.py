"""MetaD2A on data that it never saw: what its model is worth, into results/metad2a.csv.

    python benchmarks/metad2a_transfer.py --data-dir ../shared/data --minutes 120 [--parts predictor generator table ridge time]

    predictor   random cells freshly trained on Fashion-MNIST, MNIST and the sign digits, in the form and by the recipe of the
                database; Spearman's rho of the predictions within each set, beside MACs, NASWOT and the task-blind prediction (the
                mean over the tasks that were learned from)
    generator   40 written cells against 40 random ones, trained the same; the top predicted one against the best of 10 random ones
    table       NAS-Bench-201's CIFAR-10 and CIFAR-100, both with the images of CIFAR-10, a data set of the meta-training: the
                single best-predicted cell, the best of 30 by validation, and the published protocol, best of 30 by *test*
    ridge       image-free ridge regressions on the database itself, beside the model, on the tasks that it held out
    time        from the data to the ranked list, 10,000 images, two cores

Published: Lee, Hyung and Hwang 2021 (arXiv 2107.00860), test accuracies of the best of 30 by test. Trainings are kept in --scores
and go on after a kill.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, perf_counter

import numpy as np
from _rows import HERE, append, claimed, commit, machine
from numpy.typing import NDArray

from archscout import catalogue
from archscout.analysis.ranks import agreement, correlation, gap, mean_gap
from archscout.benchmarks import verdict
from archscout.cli import questions
from archscout.comparison.collecting import space_in
from archscout.comparison.scoring import Question, scores_of
from archscout.core.architecture import Architecture
from archscout.core.database import read_database
from archscout.core.draw import sample
from archscout.core.problem import Problem, Task
from archscout.core.seeds import generator
from archscout.core.vertices import of_vertices, vertices_of
from archscout.data._opened import DataRequest, open_data
from archscout.engine.placement import Placement
from archscout.learners._dataset_model import Opened, opened
from archscout.nn.measure import counts

SETS = ("sign-digits", "fashion-mnist", "mnist")
PER_CLASS = 64
"""Images of a class in each part, as many as most tasks of the database have of ten classes."""
CELLS, WRITTEN, RANDOM_OF = 40, 40, 10
PUBLISHED = {"cifar10": 94.37, "cifar100": 73.51}
KEPT, RUNS = 30, 10


class Bench:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self._end = asked, monotonic() + 60 * asked.minutes
        self.database = read_database(asked.database)
        self.space = space_in(self.database)
        self.judge = catalogue.from_record("estimators", self.database.facts["judge"])

    def problem(self, name: str) -> Problem:
        """A held-out set in the form of the database's tasks."""
        form = self.database.facts["form"]
        request = DataRequest(
            name, self.asked.data_dir, image_size=str(form["side"]), channels=3, augment="shift=1", limit_per_class=PER_CLASS
        )  # fmt: skip
        return Problem(self.space, open_data(request).task)

    def truth(self, name: str, problem: Problem, cells: Sequence[Architecture]) -> NDArray[np.float64]:
        """(N,) accuracies, the mean over the seeds, in percent."""
        found = []
        for seed in range(self.asked.trainings):
            question = Question(problem, {"train": self.judge}, cells, seed)
            path = self.asked.scores / f"{name}-{seed}.npz"
            left = max((self._end - monotonic()) / 60, 0.0)
            table = scores_of(
                question, path, what=f"{name}, seed {seed}", placement=Placement(workers=self.asked.workers), minutes=left
            )
            if len(table) < len(cells):
                raise SystemExit(f"{name}: the time is up; the same command goes on")
            found.append(table.values[:, 0])
        return 100 * np.mean(found, 0)

    def opened(self, problem: Problem) -> Opened:
        return opened(self.asked.model, problem, "this benchmark")

    def cells(self, label: str, count: int) -> list[Architecture]:
        rng = generator(self.asked.seed, label)
        return list(dict.fromkeys(sample(self.space, rng) for _ in range(3 * count)))[:count]

    def types(self, cells: Sequence[Architecture]) -> NDArray[np.int64]:
        return np.array([vertices_of(self.space, one) for one in cells], np.int64)

    def write(self, part: str, rows: list[dict[str, object]], begun: float) -> None:
        words = f"python benchmarks/metad2a_transfer.py --data-dir ../shared/data --parts {part}"
        tail = {"seed": self.asked.seed, "command": words, "commit": commit(), "machine": machine(1)}
        append(self.asked.out, [{**row, **tail, "seconds": round(perf_counter() - begun, 1)} for row in rows])
        for row in rows:
            print(f"{row['claim']}: {row['ours']} [{row['low']}, {row['high']}]", flush=True)


def predictor(bench: Bench) -> None:
    for name in SETS:
        begun, problem = perf_counter(), bench.problem(name)
        cells = bench.cells("cells", CELLS)
        true = bench.truth(name, problem, cells)
        found, types = bench.opened(problem), bench.types(cells)
        told = {
            "metad2a": found.model.predict(found.features, types, rng=generator(bench.asked.seed, "draws")),
            "task-blind prediction": found.model.predict_blind(types),
            "macs": np.array([counts(bench.space, one, problem.task)["macs"] for one in cells], float),
            "naswot": _naswot(problem, cells),
        }
        label = f"{name} (never seen), {len(cells)} cells, {bench.asked.trainings} trainings each: Spearman's rho of"
        rows = []
        for judge, values in told.items():
            kept = agreement(values, true, statistic="spearman")
            rows.append(claimed(f"{label} {judge}", kept.spearman, *kept.interval))
            if judge != "metad2a":
                less = gap(told["metad2a"], values, true, statistic="spearman")
                rows.append(claimed(f"{label} metad2a less that of {judge}", less.difference, less.low, less.high))
        seeds = _between_seeds(bench, name, problem, cells)
        rows.append(claimed(f"{name} (never seen): Spearman's rho between two trainings", seeds))
        rows.append(claimed(f"{name} (never seen): distance from what was learned from, 1 is its edge", found.distance))
        bench.write("predictor", rows, begun)


def _between_seeds(bench: Bench, name: str, problem: Problem, cells: Sequence[Architecture]) -> float:
    one, other = (
        scores_of(
            Question(problem, {"train": bench.judge}, cells, seed), bench.asked.scores / f"{name}-{seed}.npz", what=name
        ).values[:, 0]
        for seed in (0, 1)
    )  # fmt: skip
    return correlation(one, other, "spearman")


def _naswot(problem: Problem, cells: Sequence[Architecture]) -> NDArray[np.float64]:
    judge, found = catalogue.make("estimators", "naswot"), []
    for one in cells:
        try:
            found.append(judge.estimate(problem, one, seed=0).value)
        except ArithmeticError:  # a cell without a path has no score
            found.append(float("-inf"))
    return np.array(found)


def generator_part(bench: Bench) -> None:
    for name in SETS:
        begun, problem = perf_counter(), bench.problem(name)
        found = bench.opened(problem)
        made = found.model.generate(found.features, 200, rng=generator(bench.asked.seed, "write"))
        written = [cell for types in made.types.tolist() if (cell := of_vertices(bench.space, types)) is not None]
        told = found.model.predict(found.features, bench.types(written), rng=generator(bench.asked.seed, "draws"))
        top = written[int(np.argmax(told))]
        first = list(dict.fromkeys([top, *written]))[: WRITTEN + 1]
        true = bench.truth(f"{name}-written", problem, first)
        cells = bench.cells("cells", CELLS)
        random = bench.truth(name, problem, cells)[:WRITTEN]
        rest = true[1:]
        met = set(bench.database.architectures)
        lift = mean_gap(rest, random)
        rng = generator(bench.asked.seed, "best of random")
        best = [max(rng.choice(random, RANDOM_OF, replace=False)) for _ in range(2000)]
        rows = [
            claimed(f"{name} (never seen): mean accuracy of {len(rest)} written cells", float(rest.mean())),
            claimed(f"{name} (never seen): mean accuracy of {len(random)} random cells", float(random.mean())),
            claimed(f"{name} (never seen): written less random, mean accuracy", lift.difference, lift.low, lift.high),
            claimed(f"{name} (never seen): accuracy of the top predicted of {len(written)} written cells", float(true[0])),
            claimed(
                f"{name} (never seen): mean accuracy of the best of {RANDOM_OF} random cells, chosen by these accuracies",
                float(np.mean(best)), *map(float, np.quantile(best, (0.025, 0.975))),
            ),
            claimed(f"{name} (never seen): share of written graphs that are valid", made.valid / made.drawn),
            claimed(f"{name} (never seen): distinct cells among the valid ones written", made.distinct / max(1, made.valid)),
            claimed(
                f"{name} (never seen): distinct cells that are not in the database", float(np.mean([c not in met for c in written]))
            ),
        ]  # fmt: skip
        bench.write("generator", rows, begun)


def table(bench: Bench) -> None:
    begun, chosen = perf_counter(), questions.table_of("nas201")
    task = questions.task_of(bench.space, "cifar10", bench.asked.data_dir, {})
    found = bench.opened(Problem(bench.space, task))
    rows = []
    for dataset in ("cifar10", "cifar100"):
        tests = verdict.reveal(chosen, dataset).values
        valid = chosen.objective(dataset).values
        result: dict[str, list[float]] = {"top": [], "by validation": [], "by test": [], "random": []}
        for run in range(RUNS):
            made = found.model.generate(found.features, 500, rng=generator(run, "write"))
            written = [cell for types in made.types.tolist() if (cell := of_vertices(bench.space, types)) is not None]
            told = found.model.predict(found.features, bench.types(written), rng=generator(run, "draws"))
            places = np.array([chosen.row(bench.space, written[place]) for place in np.argsort(-told)[:KEPT]])
            drawn = np.array([chosen.row(bench.space, one) for one in bench.cells(f"random {run}", KEPT)])
            result["top"].append(float(tests[places[0]]))
            result["by validation"].append(float(tests[places[np.argmax(valid[places])]]))
            result["by test"].append(float(tests[places].max()))
            result["random"].append(float(tests[drawn[np.argmax(valid[drawn])]]))
        label = f"nas201 {dataset} test accuracy, images of CIFAR-10 (seen in meta-training), {RUNS} runs:"
        for what, key in (
            ("the top predicted cell", "top"), (f"best of {KEPT} by validation", "by validation"),
            (f"best of {KEPT} by test, as published", "by test"), (f"best of {KEPT} random cells by validation", "random"),
        ):  # fmt: skip
            values = np.array(result[key])
            half = 2.262 * values.std(ddof=1) / len(values) ** 0.5  # Student's t of 9 degrees of freedom
            published = PUBLISHED[dataset] if key == "by test" else None
            mean = float(values.mean())
            rows.append(claimed(f"{label} {what}", mean, mean - half, mean + half, published=published))
    bench.write("table", rows, begun)


def ridge(bench: Bench) -> None:
    """Image-free regressions on tasks that are left out whole, beside the mean of the architectures' accuracies elsewhere."""
    begun, database = perf_counter(), bench.database
    onehot = np.eye(5)[database.choices.astype(int)].reshape(len(database), -1)
    pairs = np.einsum("ni,nj->nij", onehot, onehot).reshape(len(database), -1)
    order = generator(bench.asked.seed, "folds").permutation(len(database.tasks))
    fold_of = np.empty(len(order), int)
    fold_of[order] = np.arange(len(order)) % 5
    accuracy = 100 * database.accuracy.astype(float)
    rows = []
    for label, inputs in (("operations", onehot), ("pairs of operations", pairs)):
        told = np.empty(len(database))
        for fold in range(5):
            aside = fold_of[database.task] == fold
            x, y = inputs[~aside], accuracy[~aside]
            # Within tasks: their means say how hard they are, which no operation tells.
            means = np.bincount(database.task[~aside], y) / np.maximum(np.bincount(database.task[~aside]), 1)
            target, middle = y - means[database.task[~aside]], x.mean(0)
            weights = np.linalg.solve((x - middle).T @ (x - middle) + 10 * np.eye(x.shape[1]), (x - middle).T @ target)
            told[aside] = (inputs[aside] - middle) @ weights
        within = [
            correlation(told[rows_], accuracy[rows_], "spearman")
            for task in range(len(database.tasks))
            if len(rows_ := np.flatnonzero(database.task == task)) >= 5 and np.ptp(accuracy[rows_]) > 0
        ]
        spread = 1.96 * np.std(within) / len(within) ** 0.5
        mean = float(np.mean(within))
        rows.append(
            claimed(f"database, held-out tasks: Spearman within tasks of ridge on {label}", mean, mean - spread, mean + spread)
        )
        pooled = float(np.corrcoef(told, accuracy)[0, 1])
        rows.append(claimed(f"database, held-out tasks: Pearson of all together of ridge on {label}", pooled))
    spread_of_tasks = [accuracy[database.task == task].mean() for task in range(len(database.tasks))]
    rows.append(claimed("database: deviation of accuracy between tasks", float(np.std(spread_of_tasks))))
    inside = [accuracy[database.task == task].std() for task in range(len(database.tasks))]
    rows.append(claimed("database: deviation of accuracy within tasks, mean", float(np.mean(inside))))
    bench.write("ridge", rows, begun)


def time(bench: Bench) -> None:
    """The whole way, in this process: the data are decoded already, as in a second search."""
    task = questions.task_of(bench.space, "fashion-mnist", bench.asked.data_dir, {})
    train = task.splits["train"]
    small: Task = replace(task, splits={**task.splits, "train": replace(train, rows=train.rows[:10_000], source=None)})
    begun = perf_counter()
    *_, last = catalogue.make("strategies", "metad2a", model=bench.asked.model).search(Problem(bench.space, small), seed=0)
    took = perf_counter() - begun
    assert last.best is not None
    bench.write("time", [claimed("from 10,000 decoded images to the ranked list, seconds", took)], begun)


PARTS: dict[str, Callable[[Bench], None]] = {
    "predictor": predictor, "generator": generator_part, "table": table, "ridge": ridge, "time": time,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--database", type=Path, default=HERE / "archscout" / "meta" / "databases" / "nas201.npz")
    parser.add_argument("--model", default="", help="the shipped one by default")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--trainings", type=int, default=2, help="of each cell, two or more")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", type=Path, default=HERE / "runs" / "metad2a")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "metad2a.csv")
    asked = parser.parse_args()
    asked.scores.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked)
    for part in asked.parts:
        PARTS[part](bench)


if __name__ == "__main__":
    main()
