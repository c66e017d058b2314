"""GenNAS: how well regression of signals ranks, the search for signals, and the search for architectures; into results/gennas.csv.

    python benchmarks/gennas.py --data-dir ../shared/data --minutes 120 [--parts nas201 nas101 nlp tasks search]

    nas201  the published subsets of NAS-Bench-201, a seeded part of them: `combo` and the transferred task beside NASWOT, synflow
            and MACs on the same cells; Spearman's rho, and the paired difference to MACs
    batch   the full size, evaluated with the statistics of the batch
    presets the same with the cheaper presets and smaller networks, and how well those agree with the full size
    nas101  the published 500 of NAS-Bench-101, those of them that have a label
    nlp     recurrent cells of NAS-Bench-NLP, against their best validation loss
    tasks   the search for signals with 20 labelled cells, small and quick; what it finds on other cells beside `combo` and the
            random tasks that it began with
    search  aging evolution on NAS-Bench-201 by small and quick scores, beside NASWOT and MACs at equal time

Resumes: scores lie in --scores. Published: Li, Hao, Li, Xiong and Chen 2021 (arXiv 2108.01899); the rank correlation of 0.85 on
NAS-Bench-101 is in its abstract.

Deviations: CIFAR-10 is the re-compressed copy in ../shared/data, and both data sets are judged by its images; fewer architectures
than published, for time; on NAS-Bench-101 half of the 500 have a label here (one test run of three); the searches for signals are
shorter (20 random tasks and 80 copies, not 50 and 400); a mutation changes one edge (there, each of six with a chance of a fifth).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from _rows import HERE, answer, append, claimed, command, commit, machine
from numpy.typing import NDArray

from archscout import catalogue
from archscout.analysis.ranks import agreement, gap
from archscout.benchmarks import verdict
from archscout.cli import questions
from archscout.comparison.scoring import Question, scores_of
from archscout.core.architecture import Architecture
from archscout.core.problem import Problem, Task
from archscout.core.protocols import Estimator, Space, Table
from archscout.core.scores import ScoreTable, read_scores
from archscout.core.seeds import generator
from archscout.engine.placement import Placement
from archscout.meta.signal_tasks import random_task
from archscout.nn.measure import counts

REDUCED = {"space.channels": "8", "space.cells": "1"}
"""Of NAS-Bench-201: half the channels and one cell a stage; with the preset `quick` this is called small and quick."""
QUICK = {"estimator.preset": "quick"}
LABELLED = 20
EVALUATIONS = 450


class Bench:
    """What all parts share: the time, the files and the words of the command."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self._end = monotonic() + asked.minutes * 60

    def left(self) -> float:
        """Minutes left."""
        return max((self._end - monotonic()) / 60, 0.0)

    def task(self, space: Space) -> Task:
        """CIFAR-10."""
        return questions.task_of(space, "cifar10", self.asked.data_dir, {})

    def judged(
        self, name: str, space: Space, task: Task, judges: Mapping[str, Estimator], architectures: Sequence[Architecture]
    ) -> ScoreTable | None:
        """The scores of those architectures that there was time for."""
        path = self.asked.scores / f"{name}.npz"
        question = Question(Problem(space, task), judges, architectures)
        if self.left() <= 0 and not path.exists():
            return None
        return scores_of(question, path, what=name, placement=Placement(workers=self.asked.workers), minutes=self.left())

    def write(self, part: str, rows: Iterable[Mapping[str, object]], seconds: float, seed: int = 0) -> None:
        """Rows of a part."""
        words = f"python benchmarks/gennas.py --data-dir ../shared/data --parts {part} --cells {self.asked.cells}"
        tail = {"seed": seed, "command": words, "commit": commit(), "seconds": round(seconds, 1), "machine": machine(1)}
        append(self.asked.results, [{**row, **tail} for row in rows])


def nas201(bench: Bench) -> None:
    """Rank correlations on the published subsets."""
    table, space = questions.table_of("nas201"), catalogue.make("spaces", "nas201")
    cells = [space.at(int(index)) for index in _published_cells(bench.asked)]
    scores = bench.judged("nas201", space, bench.task(space), _contestants(), cells)
    if scores is not None:
        _against_tests(bench, "nas201", table, space, cells, scores)


def batch(bench: Bench) -> None:
    """The full size once more, evaluated with the statistics of the batch, as the released code does inside its cells."""
    table, space = questions.table_of("nas201"), catalogue.make("spaces", "nas201")
    cells = [space.at(int(index)) for index in _published_cells(bench.asked)]
    judges = {f"signal-regression ({name}), batch": _signals(name, statistics="batch") for name in ("combo", "nb101")}
    scores = bench.judged("nas201-batch", space, bench.task(space), judges, cells)
    if scores is not None:
        _against_tests(bench, "batch", table, space, cells, scores)


def presets(bench: Bench) -> None:
    """The cheaper presets on the same cells, also of smaller networks; their agreement with the full size where that is there.

    NASWOT and synflow stand beside them on all of the cells, of which the full size may have seen only some.
    """
    table, space = questions.table_of("nas201"), catalogue.make("spaces", "nas201")
    cells = [space.at(int(index)) for index in _published_cells(bench.asked)]
    full = bench.asked.scores / "nas201.npz"
    others = bench.judged("nas201-others", space, bench.task(space), _others(), cells)
    if others is not None:
        _against_tests(bench, "presets", table, space, cells, others)
    for label, size, names in (("", space, ("quick",)), (", C = 8", _reduced_space(), ("small-images", "quick"))):
        judges = {
            f"signal-regression ({signals}), {preset}{label}": _signals(signals, preset=preset)
            for signals in ("combo", "nb101")
            for preset in names
        }
        scores = bench.judged(f"nas201-presets{size.channels}", size, bench.task(size), judges, cells)
        if scores is None:
            return
        _against_tests(bench, "presets", table, size, cells, scores)
        if full.exists():
            _against_full(bench, scores, read_scores(full), cells)


def _against_full(bench: Bench, scores: ScoreTable, full: ScoreTable, cells: Sequence[Architecture]) -> None:
    both = [cell for cell in cells if scores.row(cell) is not None and full.row(cell) is not None]
    rows = []
    for name in scores.judges:
        [other] = [other for other in full.judges if name.startswith(other)]
        found = agreement(_column(scores, name, both), _column(full, other, both), statistic="spearman")
        claim = f"nas201, {len(both)} architectures: Spearman's rho of {name} with the full size"
        rows.append(claimed(claim, found.spearman, *found.interval))
    bench.write("presets", rows, _seconds(scores))


def _against_tests(bench: Bench, part: str, table: Table, space: Space, cells: Sequence[Architecture], scores: ScoreTable) -> None:
    for dataset in ("cifar10", "cifar100"):
        recorded = verdict.reveal(table, dataset, None).scores
        known = {cell: float(recorded[table.row(space, cell)]) for cell in cells}
        bench.write(
            part,
            correlations(f"nas201 {dataset} test", scores, known, space),
            _seconds(scores),
        )


def nas101(bench: Bench) -> None:
    """The published 500 that have a label here, at the stem of 16 channels."""
    table, space = questions.table_of("nas101"), catalogue.make("spaces", "nas101", stem=16)
    recorded = table.objective("cifar10", None).scores
    rows = [int(row) for row in np.load(bench.asked.data_dir / "nasbench101.npz")["gennas500_index"] if np.isfinite(recorded[row])]
    rows = [rows[place] for place in generator(0, "gennas", "nas101").permutation(len(rows))[: bench.asked.cells]]
    cells = {table.architecture(space, row): recorded[row] for row in rows}
    scores = bench.judged("nas101", space, bench.task(space), _contestants(), list(cells))
    if scores is not None:
        published = {"signal-regression (nb101)": 0.85}
        bench.write("nas101", correlations("nas101 cifar10", scores, cells, space, published), _seconds(scores))


def nlp(bench: Bench) -> None:
    """Recurrent cells against their recorded validation loss."""
    table, space = questions.table_of("nlp-rnn"), catalogue.make("spaces", "nlp-rnn")
    recorded = table.objective("ptb", None).scores
    rows = generator(0, "gennas", "nlp").permutation(np.flatnonzero(np.isfinite(recorded)))[: bench.asked.cells]
    cells = {table.architecture(space, int(row)): recorded[row] for row in rows}
    judges = {f"signal-regression ({name})": _signals(name) for name in ("nlp", "nlp-combo", "nlp-single")}
    scores = bench.judged("nlp", space, questions.task_of(space, None, None, {}), judges, list(cells))
    if scores is not None:
        bench.write("nlp", correlations("nlp-rnn ptb", scores, cells, space), _seconds(scores))


def tasks(bench: Bench) -> None:
    """The search for signals, and what it finds on other cells."""
    asked = bench.asked
    for seed in range(asked.seeds):
        words = ["meta", "train", "signal-tasks", "--table", "nas201", "--dataset", "cifar10", "--labelled", str(LABELLED)]
        words += ["--data", "cifar10", "--data-dir", str(asked.data_dir), "--seed", str(seed), "--workers", str(asked.workers)]
        words += ["--name", f"gennas-{seed}", *_settings(REDUCED | QUICK)]
        words += _settings({"meta.population": str(asked.population), "meta.steps": str(asked.steps)})
        if bench.left() <= 0:
            return
        found = answer([*words, "--minutes", f"{bench.left():.1f}"])
        if found is None or not found["complete"]:
            return
        _found_task(bench, seed, found, command(words))


def _found_task(bench: Bench, seed: int, found: Mapping[str, Any], words: str) -> None:
    """The found task, `combo` and the first random tasks, on cells that were not labelled."""
    table, space = questions.table_of("nas201"), _reduced_space()
    recorded = table.objective("cifar10", None).scores
    labelled = set(found["architectures"])
    order = generator(seed, "gennas", "others").permutation(np.flatnonzero(np.isfinite(recorded)))
    cells = {
        cell: float(recorded[row]) for row in order for cell in [table.architecture(space, int(row))] if str(cell) not in labelled
    }
    cells = dict(list(cells.items())[: bench.asked.cells])
    rng = generator(seed, "signal-tasks")
    random = {f"random {number + 1}": str(random_task(rng)) for number in range(bench.asked.random_tasks)}
    named = {"found": found["settings"]["signals"], "combo": "combo", **random}
    judges = {name: _signals(text, preset="quick") for name, text in named.items()}
    scores = bench.judged(f"tasks-{seed}", space, bench.task(space), judges, list(cells))
    if scores is None or not scores.facts["complete"]:
        return
    values = list(cells.values())
    columns = {name: _column(scores, name, list(cells)) for name in judges}
    rho = {name: agreement(column, values, statistic="spearman") for name, column in columns.items()}
    others = [rho[name].spearman for name in random]
    claim = f"nas201 cifar10 valid, {len(cells)} other cells, quick, signal search of seed {seed}: Spearman's rho"
    rows = [
        claimed(f"{claim} of the found task", rho["found"].spearman, *rho["found"].interval),
        claimed(f"{claim} of combo", rho["combo"].spearman, *rho["combo"].interval),
        claimed(
            f"{claim} of the first {len(random)} random tasks (mean, least, most)", float(np.mean(others)), min(others), max(others)
        ),
        claimed(
            f"{claim} of the found task less that of combo", *gap(columns["found"], columns["combo"], values, statistic="spearman")
        ),
        claimed(
            f"signal search of seed {seed}, {found['trials']} trials: fitness of the found task on {LABELLED} labelled cells",
            found["fitness"],
        ),
    ]
    tail = {"seed": seed, "command": words, "commit": commit(), "seconds": round(found["seconds"], 1), "machine": machine(1)}
    append(bench.asked.results, [{**row, **tail} for row in rows])


def search(bench: Bench) -> None:
    """Evolution by small and quick scores over the whole space; NASWOT with as many queries as take as long; the most MACs."""
    asked = bench.asked
    path = asked.scores / "nas201-all.npz"
    words = ["score", "--all", "--per-class", "--space", "nas201", "--estimator", "signal-regression", "--signals", "nb101"]
    words += ["--data", "cifar10", "--data-dir", str(asked.data_dir), "--workers", str(asked.workers), "--out", str(path)]
    facts = answer([*words, *_settings(REDUCED | QUICK), "--minutes", f"{bench.left():.1f}"]) if bench.left() > 0 else None
    if facts is None:
        return
    scores = read_scores(path)
    among = "" if facts["complete"] else f" among {len(scores):,} scored cells"
    [each] = scores.facts["seconds"].values()
    naswot = HERE / "runs" / "naswot" / "nas201-live.npz"
    judged: dict[str, tuple[str, int]] = {"signal-regression (nb101), small and quick": (str(path), EVALUATIONS)}
    if not naswot.exists():
        print(f"without '{naswot}' (benchmarks/naswot.py) there is no search by naswot", file=sys.stderr)
    else:
        [other] = read_scores(naswot).facts["seconds"].values()
        judged["naswot"] = (str(naswot), max(100, round(EVALUATIONS * each / other)))
    judged["macs"] = ("macs", 5_000)
    for dataset in ("cifar10", "cifar100"):
        for name, (judge, queries) in judged.items():
            _searched(bench, dataset, f"{name}{among if judge == str(path) else ''}", judge, queries)


def _searched(bench: Bench, dataset: str, name: str, judge: str, queries: int) -> None:
    evolution = _settings({"strategy.population": "50", "strategy.tournament": "10", "space.mutation": "uniform"})
    words = [
        "bench",
        "search",
        "--strategy",
        "regularized-evolution",
        "--table",
        "nas201",
        "--dataset",
        dataset,
        "--estimator",
        judge,
    ]
    words += ["--queries", str(queries), "--seeds", str(bench.asked.runs), *evolution]
    begun = monotonic()
    found = answer(words)
    if found is None:
        return
    half = 1.96 * found["test_std"] / bench.asked.runs**0.5
    claim = f"nas201 {dataset}: test accuracy of aging evolution by {name}, {queries:,} evaluations, {bench.asked.runs} seeds"
    tail = {
        "seed": 0,
        "command": command(words),
        "commit": commit(),
        "seconds": round(monotonic() - begun, 1),
        "machine": machine(1),
    }
    row = claimed(
        f"{claim}, deviation {found['test_std']:.2f}", found["test_mean"], found["test_mean"] - half, found["test_mean"] + half
    )
    append(bench.asked.results, [{**row, **tail}])


def correlations(
    what: str, scores: ScoreTable, values: Mapping[Architecture, float], space: Space, published: Mapping[str, float] | None = None
) -> list[dict[str, object]]:
    """A row per judge and for MACs, and the paired difference of each judge to MACs where a space counts them."""
    cells = [cell for cell in values if scores.row(cell) is not None]
    known = [values[cell] for cell in cells]
    task = questions.task_of(space, None, None, {})
    columns = {name: _column(scores, name, cells) for name in scores.judges}
    macs = np.array([counts(space, cell, task)["macs"] for cell in cells], float)
    rows = []
    for name, column in {**columns, "macs": macs}.items():
        found = agreement(column, known, statistic="spearman")
        claim = f"{what}, {len(cells)} architectures: Spearman's rho of {name}"
        rows.append(claimed(claim, found.spearman, *found.interval, published=(published or {}).get(name)))
        if name != "macs":
            rows.append(claimed(f"{claim} less that of macs", *gap(column, macs, known, statistic="spearman")))
    return rows


def _contestants() -> dict[str, Estimator]:
    signals = {f"signal-regression ({name})": _signals(name) for name in ("combo", "nb101")}
    return signals | _others()


def _others() -> dict[str, Estimator]:
    return {name: catalogue.make("estimators", name) for name in ("naswot", "synflow")}


def _signals(name: str, **settings: Any) -> Estimator:
    made: Estimator = catalogue.make("estimators", "signal-regression", signals=name, **settings)
    return made


def _reduced_space() -> Any:
    return catalogue.make("spaces", "nas201", channels=int(REDUCED["space.channels"]), cells=int(REDUCED["space.cells"]))


def _column(scores: ScoreTable, judge: str, cells: Sequence[Architecture]) -> NDArray[np.float64]:
    """What a judge said of the cells, all of which are there."""
    rows = [row for cell in cells if (row := scores.row(cell)) is not None]
    assert len(rows) == len(cells)
    return scores.values[rows, scores.column(judge)]


def _published_cells(asked: argparse.Namespace) -> list[int]:
    sets = np.load(asked.data_dir / "nasbench201_gennas_subsets.npz")
    every = np.unique(np.concatenate([sets[name] for name in ("set0", "set1", "set2")]))
    return [int(index) for index in generator(0, "gennas", "nas201").permutation(every)[: asked.cells]]


def _settings(settings: Mapping[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def _seconds(scores: ScoreTable) -> float:
    """What judging took."""
    return float(sum(scores.facts["seconds"].values())) * len(scores)


PARTS: dict[str, Callable[[Bench], None]] = {
    "nas201": nas201, "batch": batch, "presets": presets, "nas101": nas101, "nlp": nlp, "tasks": tasks, "search": search,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=360, help="start nothing after so many minutes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--cells", type=int, default=200, help="architectures of a correlation")
    parser.add_argument("--seeds", type=int, default=3, help="searches for signals")
    parser.add_argument("--population", type=int, default=20, help="of the search for signals")
    parser.add_argument("--steps", type=int, default=80, help="changed copies of the search for signals")
    parser.add_argument("--random-tasks", type=int, default=5, help="random tasks that the found one is compared with")
    parser.add_argument("--runs", type=int, default=3, help="searches for architectures")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scores", type=Path, default=HERE / "runs" / "gennas")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "gennas.csv")
    asked = parser.parse_args()
    asked.scores.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked)
    for part in asked.parts:
        PARTS[part](bench)


if __name__ == "__main__":
    main()
