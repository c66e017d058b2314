"""MetaD2A's networks: the graph encoder on batches against object graphs, and what is learned from a made-up database.

    python benchmarks/metad2a.py --parts speed made-up

Rows go to results/metad2a.csv. All on one thread.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import _rows
import numpy as np
import torch
from _metad2a_reference import encode

from archscout import catalogue
from archscout.analysis.ranks import correlation
from archscout.core.draw import sample
from archscout.core.seeds import generator, seeded
from archscout.core.vertices import of_vertices, vertices_of
from archscout.meta.metad2a import MetaD2A
from archscout.nn.checkpoint import under
from archscout.nn.metad2a import Model, Sizes
from archscout.nn.vertex_graphs import GraphEncoder
from archscout.testing.databases import MadeUp

GRAPHS, ALONE, REPEATS = 256, 16, 3
"""Graphs in a batch; how many of them are walked as objects, one takes as long as another."""
TASKS, RECORDS, NEW_TASKS = 300, 10, 40
COMPARED, WRITTEN = 100, 40


def speed(asked: argparse.Namespace) -> list[dict[str, object]]:
    """How many times cheaper a batch is, values equal; forwards, and with gradients as in training."""
    rows = []
    for name in ("nas201", "mobile"):
        space = catalogue.make("spaces", name)
        encoding = Sizes(1).encoding(space)
        rng = generator(asked.seed, name)
        types = torch.tensor([vertices_of(space, sample(space, rng)) for _ in range(GRAPHS)])
        for hidden in (96, 512):
            with seeded(asked.seed):
                encoder = GraphEncoder(encoding, hidden, 56)
            ways: dict[str, tuple[Callable[[], torch.Tensor], int]] = {
                "batch": (lambda encoder=encoder, types=types: encoder(types), GRAPHS),
                "objects": (lambda encoder=encoder, types=types: encode(encoder, types[:ALONE]), ALONE),
            }
            with torch.no_grad():
                gap = float((ways["batch"][0]()[:ALONE] - ways["objects"][0]()).abs().max())
                times = {way: seconds(work) / count for way, (work, count) in ways.items()}
            learning = {
                way: seconds(lambda work=work: work().square().sum().backward()) / count for way, (work, count) in ways.items()
            }
            if gap > 1e-5:
                raise SystemExit(f"the codes of {name} differ by {gap}")
            what = f"{name}, batches of {GRAPHS}, {hidden} hidden"
            for kind, found in (("", times), (" with gradients", learning)):
                times_cheaper = found["objects"] / found["batch"]
                rows.append(_rows.claimed(f"graph encoder{kind}, {what}: objects / batch, seconds a graph", times_cheaper))
            rows.append(_rows.claimed(f"graph encoder, {what}: graphs a second on batches", 1 / times["batch"]))
    return rows


def made_up(asked: argparse.Namespace) -> list[dict[str, object]]:
    """What is learned from the made-up database of the specification, on new tasks."""
    space = catalogue.make("spaces", "nas201")
    made, rows = MadeUp(space), []
    database, features = made.database(TASKS, RECORDS), [made.features(task) for task in range(TASKS)]
    for name, settings in (
        ("", {"teacher": "records"}), (", ranking=0", {"teacher": "records", "ranking": 0.0}),
        (", teacher=predictor", {"teacher": "predictor"}),
    ):  # fmt: skip
        learner = MetaD2A(epochs=asked.epochs, **settings)
        begun = perf_counter()
        *_, last = learner.training(database, space, features, seed=asked.seed)
        took = perf_counter() - begun
        model = Model.from_state(under("learned.", last.state))
        ranked, lifts, valid = [], [], []
        for task in range(TASKS, TASKS + NEW_TASKS):
            rng = generator(asked.seed, "judged", task)
            some = [sample(space, rng) for _ in range(COMPARED)]
            true = np.array([made.accuracy(task, one) for one in some])
            told = model.predict(made.features(task), np.array([vertices_of(space, one) for one in some]), rng=rng)
            found = model.generate(made.features(task), WRITTEN, rng=rng)
            written = [made.accuracy(task, of_vertices(space, types)) for types in found.types.tolist()]
            ranked.append(correlation(told, true, "spearman"))
            lifts.append((np.mean(written) - true.mean()) / true.std())
            valid.append(found.valid / found.drawn)
        what = f"made-up database, {TASKS} tasks, {RECORDS} records each, {asked.epochs} epochs{name}"
        rows += [
            _rows.claimed(f"{what}: Spearman within {NEW_TASKS} new tasks", *interval(ranked)),
            _rows.claimed(f"{what}: written above random cells, in their deviations", *interval(lifts)),
            _rows.claimed(f"{what}: share of written graphs that are valid", float(np.mean(valid))),
            _rows.claimed(f"{what}: seconds of training", took),
        ]
    return rows


def interval(values: list[float]) -> tuple[float, float, float]:
    """A mean and its normal 95 % interval."""
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    mean = float(np.mean(values))
    return mean, mean - half, mean + half


def seconds(work: Callable[[], object]) -> float:
    """The median of a few times, after one that does not count."""
    work()
    times = []
    for _ in range(REPEATS):
        begun = perf_counter()
        work()
        times.append(perf_counter() - begun)
    return median(times)


PARTS = {"speed": speed, "made-up": made_up}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=_rows.HERE / "results" / "metad2a.csv")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for part in asked.parts:
        begun = perf_counter()
        rows = PARTS[part](asked)
        words = ["python", "benchmarks/metad2a.py", "--parts", part]
        words += ["--epochs", str(asked.epochs)] if part == "made-up" else []
        common = {
            "command": shlex.join(words), "seed": asked.seed, "commit": _rows.commit(),
            "seconds": round(perf_counter() - begun, 1), "machine": _rows.machine(1),
        }  # fmt: skip
        for row in rows:
            print(f"{row['claim']}: {row['ours']} {row['low']} {row['high']}", file=sys.stderr)
        _rows.append(asked.out, [{**row, **common} for row in rows])


if __name__ == "__main__":
    main()
