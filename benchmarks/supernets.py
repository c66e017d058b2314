"""Supernets: what the methods that own one find on NAS-Bench-201 by table, and what a step costs; into results/supernets.csv.

    python benchmarks/supernets.py --data-dir ../shared/data --parts nasi modes traces mdenas-table one-shot weight-sharing speed

    speed           a mixture step and a path step beside a plain module list (`_plain_supernet.py`), CPU time, one thread; there
                    both passes of a mixture step compute all gradients, as `backward` does, here those that are used
    nasi            NASI, T = 100: a path a step through five cells a stage; all operations of one; variants; by table, --seeds
    naswot          the best random cell by NASWOT in the time of a search by NASI
    nasi-limits     the gradients of all steps, recorded once, and what NASI would answer by them under other rules of its limit
    modes           the same with random labels, and with noise for images
    one-shot-spaces NASI in the three sub-spaces of NAS-Bench-101, at a reduced width
    trace-depth     what the trace of a path of the supernet knows of accuracy, by the number of cells a stage
    traces          the trace of 50 networks: random labels against true ones, noise against images; and against accuracy
    mdenas-table    multinomial distribution learning by table, 12-epoch accuracies, all kinds of bookkeeping, beside random search
    one-shot        `darts` (first and second order) and `lpt`, as long as takes a core a quarter of an hour, and `mdenas`, for
                    --search-minutes, beside uniform paths and then the best of random cells; C = 8 and one cell a stage
    small-space     27 networks of three edges, each trained alone, against the shared weights of their supernet
    lpt-toy         200 steps of LPT on 8 x 8 images with 20 % wrong labels: seconds, and whom the test creator picks
    weight-sharing  Kendall's tau of shared weights after --search-minutes of training, beside MACs

Resumes: runs lie in --runs and scores beside them; a run that was cut goes on. Published: NASI (arXiv 2109.00817) on NAS-Bench-201
93.08 +- 0.24 and 69.51 +- 0.59, as later papers quote it; a third party got 90.84 at 40 steps. Its test errors in the sub-spaces of
NAS-Bench-101 are 7.3, 7.2 and 7.2 %. All searches look at the re-compressed CIFAR-10 in ../shared/data; CIFAR-100's test accuracies
are those of the cells found on CIFAR-10.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from statistics import mean, stdev
from time import monotonic, process_time

import numpy as np
import torch
from _plain_supernet import PlainSupernet, load
from _rows import HERE, answer, append, claimed, command, commit, machine
from _small_space import SmallSpace, grating_task
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F

from archscout import catalogue
from archscout.analysis.intervals import mean_interval
from archscout.analysis.ranks import agreement
from archscout.benchmarks import verdict
from archscout.cli import questions
from archscout.comparison.scoring import Question, scores_of
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.moves import Progress
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.seeds import derive, generator
from archscout.engine.placement import Placement
from archscout.learners.weight_sharing import WeightSharing
from archscout.nn import gates as gating
from archscout.nn.batches import Stream
from archscout.nn.recipe import Recipe, new_network
from archscout.nn.supernet import GraphSupernet, supernet_of
from archscout.nn.supernet_training import Training
from archscout.nn.train import fit
from archscout.store.runs import RunStore
from archscout.strategies._folded import Answers
from archscout.strategies.lpt import Lpt, Tester
from archscout.strategies.nasi import Nasi, trace_of
from archscout.strategies.nasi import _Ascent as Ascent
from archscout.strategies.nasi import _Traces as Limits
from archscout.testing.tasks import image_task

BY_WEIGHTS, TRAINED = "random --estimator weight-sharing", 0.8
"""The best of random cells by shared weights, and the part of the time in which these are trained."""
SHALLOW = {"strategy.estimator": "full", "strategy.depth": "1"}
BY_NASWOT, NASI_SECONDS = "random --estimator naswot", 130
"""The best of random cells by NASWOT, and how long a search by NASI took on the machine that makes the rows."""
NASI = {
    "single path, N = 5": {},
    "full, N = 1": SHALLOW,
    "single path, N = 5, without none": {"strategy.exclude_none": "true"},
}
LIMITS = (
    *product(
        (("running-mean", 1000.0), ("fixed", 1000.0), ("fixed", 100.0), ("fixed", 10.0), ("ema", 1000.0), ("quantile", 1000.0)),
        (1.0, 2.0),
    ),
    (("fixed", 1000.0), 0.0), (("fixed", 0.01), 2.0),
)  # fmt: skip
"""Rules of the limit with their starts, and penalties; the last two climb the trace alone, and go down it alone."""
MODES = {
    f"{size}, {what}": {**settings, **mode}
    for size, settings in (("single path, N = 5", {}), ("full, N = 1", SHALLOW))
    for what, mode in (("random labels", {"strategy.labels": "random"}), ("noise for images", {"strategy.images": "noise"}))
}
SMALL = {"strategy.channels": "8", "strategy.depth": "1"}
FIRST = {**SMALL, "strategy.batch": "32", "strategy.order": "1", "strategy.epochs": "10.23", "strategy.gate_rate": "0.00147"}
SECOND = {**SMALL, "strategy.batch": "32", "strategy.order": "2", "strategy.epochs": "4.02", "strategy.gate_rate": "0.00373"}
ONE_SHOT = {
    "darts, first order, 10.23 epochs": ("darts", FIRST),
    "darts, second order, 4.02 epochs": ("darts", SECOND),
    "lpt, 1.6 epochs": ("lpt", {**SMALL, "strategy.batch": "32", "strategy.epochs": "1.6", "strategy.gate_rate": "0.0094"}),
    "darts, first order, 10.23 epochs, 1 of 4 channels": ("darts", {**FIRST, "strategy.partial": "4"}),
    "mdenas, last": ("mdenas", SMALL),
    "mdenas, mean": ("mdenas", {**SMALL, "strategy.bookkeeping": "mean"}),
    "mdenas, detrended": ("mdenas", {**SMALL, "strategy.bookkeeping": "detrended"}),
    "the best random cell by uniform shared weights": (BY_WEIGHTS, {"estimator.channels": "8", "estimator.depth": "1"}),
}
"""Where epochs are given they take about a quarter of an hour of a core, with logits as fast as the plan would make them then: so
all seeds have as many steps, whatever else the machine does."""
PUBLISHED = {"cifar10": 93.08, "cifar100": 69.51}


class Bench:
    """What all parts share: the time, the files, the words of the command."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self._end = monotonic() + asked.minutes * 60
        self.table, self.space = questions.table_of("nas201"), catalogue.make("spaces", "nas201")
        self.tests = {name: verdict.reveal(self.table, name, None).values for name in ("cifar10", "cifar100")}

    def left(self) -> float:
        """Minutes left."""
        return max((self._end - monotonic()) / 60, 0.0)

    def write(self, rows: Sequence[dict[str, object]], words: str, seconds: float, seed: int = 0) -> None:
        """Rows of a part."""
        tail = {"seed": seed, "command": words, "commit": commit(), "seconds": round(seconds, 1), "machine": machine(1)}
        append(self.asked.results, [{**row, **tail} for row in rows])

    def own(self, part: str) -> str:
        """This command, for a part."""
        return f"python benchmarks/supernets.py --data-dir ../shared/data --parts {part}"

    def searched(
        self, name: str, strategy: str, settings: dict[str, str], seed: int, budget: str, space: str = "nas201"
    ) -> Path | None:
        """The folder of a finished run of `archscout search --screen-only`, made or gone on with; None without time."""
        folder = self.asked.runs / f"{name}-{seed}".replace(" ", "-").replace(",", "").replace("=", "")
        if (folder / "summary.json").exists():
            return folder
        if self.left() <= 0:
            return None
        words = self.words(strategy, settings, seed, budget, space)
        if (folder / "run.sqlite").exists():
            words = ["resume"]
        else:
            words += ["--out"]
        done = subprocess.run([sys.executable, "-m", "archscout.cli.main", *words, str(folder)], stdout=subprocess.DEVNULL)
        return folder if done.returncode == 0 else None

    def search_all(self, jobs: Iterable[tuple[str, str, dict[str, str], int, str, str]]) -> None:
        """Make these runs, the arguments of `searched`, so many at a time; what reads them afterwards finds them made."""
        with ThreadPoolExecutor(self.asked.workers) as pool:
            list(pool.map(lambda job: self.searched(*job), jobs))

    def words(self, strategy: str, settings: dict[str, str], seed: int, budget: str, space: str = "nas201") -> list[str]:
        """Of the search. strategy: its name, and further words where they are needed."""
        words = ["search", "--data", "cifar10", "--data-dir", str(self.asked.data_dir), "--space", space]
        words += ["--strategy", *strategy.split()]
        words += ["--screen-only", "--budget", budget, "--workers", "1", "--seed", str(seed)]
        return [*words, *(word for item in settings.items() for word in ("--set", "=".join(item)))]

    def answer(self, folder: Path, share: float = 1.0) -> tuple[Architecture, float]:
        """The answer of a run when so much of its reports were there, and the seconds that it took in all."""
        with RunStore.read(folder) as store:
            best = [entry.best for _, _, entry in store.progress("screen") if entry.best is not None]
            found = store.stage("screen").answer if share == 1 else best[max(0, round(share * len(best)) - 1)]
            assert found is not None
            return found, store.stage("screen").seconds

    def value(self, architecture: Architecture, dataset: str) -> float:
        """Recorded test accuracy."""
        row = self.table.row(self.space, architecture)
        assert row is not None
        return float(self.tests[dataset][row])

    def summary(
        self, what: str, found: Sequence[Architecture], words: str, seconds: Sequence[float], published: bool = False
    ) -> None:
        """Mean and interval of the test accuracies of some answers."""
        rows = []
        for dataset in self.tests:
            values = [self.value(architecture, dataset) for architecture in found]
            interval = mean_interval(values) if len(values) > 1 else ("", "")
            spread = f", deviation {stdev(values):.2f}" if len(values) > 1 else ""
            claim = f"nas201 {dataset}: test accuracy of {what}, {len(found)} seeds{spread}"
            rows.append(claimed(claim, mean(values), *interval, published=PUBLISHED[dataset] if published else None))
        if seconds:
            rows.append(claimed(f"nas201: seconds of a search by {what}", mean(seconds), min(seconds), max(seconds)))
        self.write(rows, words, sum(seconds))


def nasi(bench: Bench) -> None:
    """NASI by table, also stopped at 40 steps; a random cell and the largest beside it."""
    bench.search_all(
        (f"nasi ({what})", "nasi", settings, seed, "10h", "nas201")
        for what, settings in NASI.items()
        for seed in range(bench.asked.seeds)
    )
    for what, settings in NASI.items():
        _told(bench, f"nasi ({what})", settings, published=what in ("single path, N = 5", "full, N = 1"), early=True)
    rng = generator(0, "random cells")
    bench.summary("a random cell", [sample(bench.space, rng) for _ in range(200)], bench.own("nasi"), [])
    bench.summary("the largest cell", [bench.space.architecture([3] * 6)], bench.own("nasi"), [])


def naswot(bench: Bench) -> None:
    """The best of as many random cells as NASWOT judges while NASI searches once."""
    name, budget = "the best random cell by naswot in the time of a search by nasi", f"{NASI_SECONDS}s"
    bench.search_all((name, BY_NASWOT, {}, seed, budget, "nas201") for seed in range(bench.asked.seeds))
    _told(bench, name, {}, strategy=BY_NASWOT, budget=budget)


def nasi_limits(bench: Bench) -> None:
    """Neither weights nor logits move in a search by NASI, so its gradients without a limit tell what it finds with any."""
    torch.set_num_threads(1)
    task = questions.task_of(bench.space, "cifar10", bench.asked.data_dir, {})
    problem, recorded = Problem(bench.space, task), []
    for seed in range(bench.asked.seeds):
        path = bench.asked.runs / f"nasi-gradients-{seed}.npz"
        if not path.exists():
            if bench.left() <= 0:
                return
            begun = monotonic()
            traces, gradients = _gradients(problem, derive(seed, "screen"))
            np.savez(path, traces=traces, gradients=gradients, seconds=monotonic() - begun)
        with np.load(path) as found:
            recorded.append((found["traces"], found["gradients"], float(found["seconds"])))
    net = supernet_of(bench.space, task, seed=0)
    for (rule, start), penalty in LIMITS:
        answers = []
        for seed, (traces, gradients, _) in enumerate(recorded):
            ascent, limits = Ascent(net.gate_shape), Limits(start, rule, quantile=0.75)
            for trace, gradient in zip(traces, gradients, strict=True):
                ascent.add(torch.from_numpy(gradient) * (1.0 if trace <= limits.limit else 1.0 - penalty))
                limits.add(float(trace))
            if ascent.peak:
                answers.append(Answers(problem, net, seed).of(gating.softmax(ascent.mean, net.valid)))
        what = f"nasi (single path, N = 5), limit: {rule} from {start:g}, penalty {penalty:g}"
        if not answers:
            continue
        bench.summary(what, answers, bench.own("nasi-limits"), [])
        for name, options in (("3 x 3 convolutions", (3,)), ("skip connections and none", (0, 1))):
            counts = [sum(choice in options for choice in architecture.choices) for architecture in answers]
            claim = f"nas201: {name} of six edges, {what}, {len(answers)} of {len(recorded)} searches had a gradient"
            bench.write([claimed(claim, mean(counts), min(counts), max(counts))], bench.own("nasi-limits"), 0)
    seconds = [seconds for _, _, seconds in recorded]
    claim = f"nas201: seconds of a search by nasi (single path, N = 5), {len(seconds)} seeds, one after another"
    bench.write([claimed(claim, mean(seconds), min(seconds), max(seconds))], bench.own("nasi-limits"), sum(seconds))


def _gradients(problem: Problem, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The trace of every step (T,) and its derivative by the logits (T, G, O), of a search without a penalty."""
    traces, gradients, before = [], [], 0.0
    for report in Nasi(penalty=0.0).search(problem, seed=seed):
        assert isinstance(report, Progress) and report.state is not None
        gradients.append((report.state["total"] - before) * report.state["peak"])
        traces.append(report.metrics["trace"])
        before = report.state["total"]
    return np.array(traces), np.array(gradients)


def modes(bench: Bench) -> None:
    """Without labels, and without data."""
    bench.search_all(
        (f"nasi ({what})", "nasi", settings, seed, "10h", "nas201")
        for what, settings in MODES.items()
        for seed in range(bench.asked.seeds)
    )
    for what, settings in MODES.items():
        _told(bench, f"nasi ({what})", settings)


def _told(
    bench: Bench, name: str, settings: dict[str, str], *, strategy: str = "nasi", budget: str = "10h", published: bool = False,
    early: bool = False,
) -> None:  # fmt: skip
    """Summaries of searches, once all have been made. early: also of their answers at 40 % of the reports."""
    folders = [bench.searched(name, strategy, settings, seed, budget) for seed in range(bench.asked.seeds)]
    found = [bench.answer(folder) for folder in folders if folder is not None]
    if len(found) < bench.asked.seeds:
        return
    words = command(bench.words(strategy, settings, 0, budget))
    bench.summary(name, [a for a, _ in found], words, [seconds for _, seconds in found], published)
    if early:
        answers = [bench.answer(folder, 0.4)[0] for folder in folders if folder is not None]
        bench.summary(f"{name}, at 40 steps", answers, words, [])


def one_shot_spaces(bench: Bench) -> None:
    """The three sub-spaces of NAS-Bench-101; recorded test accuracies exist for a half of its cells."""
    table = questions.table_of("nas101")
    recorded = verdict.reveal(table, "cifar10", None).values
    sizes = {1: "16", 2: "18", 3: "16"}
    bench.search_all(
        (f"nasi in sub-space {n}", "nasi", {"space.subspace": str(n), "strategy.channels": size}, seed, "10h", "nas101")
        for seed in range(bench.asked.seeds)
        for n, size in sizes.items()
    )
    for number, error in ((1, 7.3), (2, 7.2), (3, 7.2)):
        space = catalogue.make("spaces", "nas101", subspace=number)
        settings = {"space.subspace": str(number), "strategy.channels": sizes[number]}
        name = f"nasi in sub-space {number}"
        folders = [bench.searched(name, "nasi", settings, seed, "10h", "nas101") for seed in range(bench.asked.seeds)]
        found = [bench.answer(folder) for folder in folders if folder is not None]
        if len(found) < bench.asked.seeds:
            return
        values = [float(recorded[row]) for a, _ in found if (row := table.row(space, a)) is not None]
        known = [100 - value for value in values if np.isfinite(value)]
        rows = [claimed(f"nas101 sub-space {number}: answers of nasi, of {len(found)}, that have a record", len(known))]
        if len(known) > 1:
            claim = f"nas101 sub-space {number}: test error of nasi, {len(known)} of {len(found)} answers have a record"
            rows.append(claimed(claim, mean(known), *mean_interval(known), published=error))
        words = command(bench.words("nasi", settings, 0, "10h", "nas101"))
        bench.write(rows, words, sum(seconds for _, seconds in found))


def traces(bench: Bench) -> None:
    """How the trace of single networks depends on labels and images, and what it knows of accuracy."""
    rng = generator(0, "traces")
    cells = list(dict.fromkeys(sample(bench.space, rng) for _ in range(120)))[:50]
    task = questions.task_of(bench.space, "cifar10", bench.asked.data_dir, {})
    settings = {"true": {}, "random labels": {"labels": "random"}, "noise": {"images": "noise"}}
    judges = {what: catalogue.make("estimators", "ntk-trace", **given) for what, given in settings.items()}
    question = Question(Problem(bench.space, task), judges, cells)
    out, placement = bench.asked.runs / "traces.npz", Placement(workers=1)
    scores = scores_of(question, out, what="traces", placement=placement, minutes=bench.left())
    if not scores.facts["complete"]:
        return
    rows = [row for cell in cells if (row := scores.row(cell)) is not None]
    columns = {what: scores.values[rows, scores.column(what)] for what in judges}
    alive = np.isfinite(np.stack(list(columns.values()))).all(0)
    known = np.array([bench.value(cell, "cifar10") for cell in cells])
    pairs = {
        "random labels with true ones": (columns["random labels"], columns["true"]),
        "noise with images": (columns["noise"], columns["true"]),
        "true labels with cifar10 test accuracy": (columns["true"], known),
    }
    found = {what: agreement(one[alive], other[alive], statistic="spearman") for what, (one, other) in pairs.items()}
    claims = [
        claimed(f"nas201, {int(alive.sum())} networks: Spearman's rho of the trace, {what}", rho.spearman, *rho.interval)
        for what, rho in found.items()
    ]
    bench.write(claims, bench.own("traces"), sum(scores.facts["seconds"].values()) * len(scores))


def trace_depth(bench: Bench) -> None:
    """Rank correlation of the trace of a drawn path with test accuracy, at 1, 2, 3 and 5 cells a stage; no run is kept."""
    torch.set_num_threads(1)
    task = questions.task_of(bench.space, "cifar10", bench.asked.data_dir, {})
    rng = generator(0, "trace depth")
    cells = [sample(bench.space, rng) for _ in range(100)]
    known = np.array([bench.value(cell, "cifar10") for cell in cells])
    for depth in (1, 2, 3, 5):
        if bench.left() <= 0:
            return
        begun = monotonic()
        net = supernet_of(bench.space, task, seed=0, init="kaiming-normal", channels=16, depth=depth)
        stream = Stream(task.splits["train"], 64, seed=0)
        traces = []
        for number, cell in enumerate(cells):
            x, y = stream.at(number)
            traces.append(float(trace_of(net, x, y, net.gates(cell), execute_all=False).detach()))
        found = agreement(np.array(traces), known, statistic="spearman")
        spread = f"tenth to ninth decile {np.quantile(traces, 0.1):.2g} to {np.quantile(traces, 0.9):.2g}"
        claim = f"nas201 cifar10, {len(cells)} paths, C = 16, N = {depth}: Spearman's rho of the trace with test accuracy, {spread}"
        bench.write([claimed(claim, found.spearman, *found.interval)], bench.own("trace-depth"), monotonic() - begun)


def mdenas_table(bench: Bench) -> None:
    """By table: what a search sees is the accuracy at 12 epochs."""
    for rule in ("code", "paper"):
        for bookkeeping in ("last", "mean", "detrended"):
            for queries in (100, 200, 300):
                settings = {"supernet": "false", "rule": rule, "bookkeeping": bookkeeping}
                words = ["bench", "search", "--strategy", "mdenas", "--table", "nas201", "--dataset", "cifar10", "--epochs", "12"]
                words += ["--queries", str(queries), "--seeds", "30"]
                words += [word for name, value in settings.items() for word in ("--set", f"strategy.{name}={value}")]
                begun = monotonic()
                found = answer(words)
                if found is None:
                    continue
                other = found["baselines"]["random"]
                claim = f"nas201 cifar10, {queries} tells, 30 seeds: test accuracy of mdenas ({rule}, {bookkeeping})"
                rows = [
                    claimed(f"{claim}, deviation {found['test_std']:.2f}", found["test_mean"], *found["test_interval"]),
                    claimed(f"{claim} less random search's {other['test_mean']:.2f}", *other["difference"]["test"]),
                ]
                bench.write(rows, command(words), monotonic() - begun)


def one_shot(bench: Bench) -> None:
    """True one-shot searches at about equal time."""
    minutes = f"{bench.asked.search_minutes:g}"
    asked: dict[str, tuple[str, str, dict[str, str], str]] = {}
    for what in bench.asked.methods or ONE_SHOT:
        strategy, settings = ONE_SHOT[what]
        if strategy == BY_WEIGHTS:
            settings = {**settings, "estimator.minutes": f"{TRAINED * bench.asked.search_minutes:g}"}
        long = "strategy.epochs" in settings
        title = what if long else f"{what}, {minutes} minutes"
        asked[title] = (what, strategy, settings, "1" if long else f"{minutes}m")
    seeds = range(bench.asked.one_shot_seeds)
    bench.search_all((*words[:3], seed, words[3], "nas201") for seed in seeds for words in asked.values())
    for title, (what, strategy, given, budget) in asked.items():
        done = [folder for seed in seeds if (folder := bench.searched(what, strategy, given, seed, budget)) is not None]
        if len(done) < len(seeds):
            continue
        words, seconds = command(bench.words(strategy, given, 0, budget)), [bench.answer(folder)[1] for folder in done]
        if strategy == BY_WEIGHTS:  # those of the answer are without the training
            seconds = []
        if strategy not in ("darts", "lpt"):
            found = {title: [bench.answer(folder)[0] for folder in done]}
        else:
            logits = [_last_logits(folder) for folder in done]
            found = {title: [bench.space.derived(values * [0, 1, 1, 1, 1]) for values in logits]}
            found[f"{title}, `none` among the answers"] = [bench.space.derived(values) for values in logits]
        for name, answers in found.items():
            bench.summary(name, answers, words, seconds if name == title else [])
            skips = [sum(choice == 1 for choice in architecture.choices) for architecture in answers]
            rows = [claimed(f"nas201: skip connections of six edges, {name}", mean(skips), min(skips), max(skips))]
            bench.write(rows, words, 0)


def _last_logits(folder: Path) -> NDArray[np.float64]:
    """What the gates of a search by gradient weighed at its end, (6, 5)."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.stem.split("-")[-1]))
    return torch.softmax(load_file(newest)["logits.values"], 1).double().numpy()


def weight_sharing(bench: Bench) -> None:
    """Rank correlation of shared weights."""
    words = [
        "bench",
        "correlate",
        "--estimator",
        "weight-sharing",
        "--table",
        "nas201",
        "--dataset",
        "cifar10",
        "--data",
        "cifar10",
    ]
    words += ["--data-dir", str(bench.asked.data_dir), "--sample", "200", "--workers", "1"]
    settings = {"minutes": f"{bench.asked.search_minutes:g}", "channels": "8", "depth": "1"}
    words += [word for name, value in settings.items() for word in ("--set", f"estimator.{name}={value}")]
    begun = monotonic()
    found = answer([*words, "--out", str(bench.asked.runs / "weight-sharing.npz")])
    if found is None:
        return
    claim = f"nas201 cifar10 valid, {found['sample']} architectures: Kendall's tau of"
    rows = [claimed(f"{claim} weight-sharing, {bench.asked.search_minutes:g} minutes", found["kendall"], *found["interval"])]
    rows += [claimed(f"{claim} {name}", other["kendall"], *other["interval"]) for name, other in found["baselines"].items()]
    bench.write(rows, command(words), monotonic() - begun)


def small_space(bench: Bench) -> None:
    """Where every network can be trained alone: two seeds each, against a supernet after as many passes as one, and as all."""
    torch.set_num_threads(1)
    space, task, begun = SmallSpace(), grating_task(2048), monotonic()
    networks, recipe = space.every(), Recipe(augment=False, small_share=0.0, batch=32, learning_rate=0.1)
    for passes, shared_passes in ((1, (5, 20)), (3, (5, 20, 80))):
        alone = [
            float(np.mean([
                fit(new_network(space, a, task, seed=seed), task, recipe, seed=seed, epochs=passes).valid_value for seed in (0, 1)
            ]))
            for a in networks
        ]  # fmt: skip
        claim = f"{len(networks)} networks of three edges, {passes} pass{'es' if passes > 1 else ''} alone (mean of 2 seeds): "
        claim += "Kendall's tau (90 % interval) of "
        sizes = [space.operations(a, task).params for a in networks]
        rows = [_tau(f"{claim}parameters", sizes, alone)]
        for shared in shared_passes:
            with tempfile.TemporaryDirectory() as folder:
                learner = WeightSharing(
                    epochs=shared, batch=32, share=0.98, images=2048, augment=False, learning_rate=0.1, keep=folder
                )
                for name, settings in (("", {}), (", drop-path 0.1", {"drop_path": 0.1})):
                    judge = replace(learner, **settings).fit(Problem(space, task), seed=0)
                    values = [judge.estimate(Problem(space, task), a, seed=0).value for a in networks]
                    rows.append(_tau(f"{claim}shared weights after {shared} passes{name}", values, alone))
        bench.write(rows, bench.own("small-space"), monotonic() - begun)


def _tau(claim: str, scores: Sequence[float], values: Sequence[float]) -> dict[str, object]:
    found = agreement(scores, values, level=0.9)
    return claimed(claim, found.kendall, *found.interval)


def lpt_toy(bench: Bench) -> None:
    """Does the test creator pick wrongly labelled images, and does a meaning of the test keep it from that?"""
    torch.set_num_threads(1)
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    task, wrong = _mislabelled(image_task((3, 8, 8), 4, 640), 0.2)
    problem = Problem(space, task)
    for meaning in (0.0, 1.0, 3.0):
        gaps, seconds = [], []
        for seed in range(bench.asked.one_shot_seeds):
            rules = Lpt(epochs=10, batch=16, tester_channels=4, meaning=meaning, creator_rate=0.01, augment=False)
            begun, last = process_time(), None
            for move in rules.search(problem, seed=seed):
                assert isinstance(move, Progress) and all(np.isfinite(list(move.metrics.values())))
                last = move
            seconds.append(process_time() - begun)
            assert last is not None and last.best is not None and last.state is not None and last.state["step"] == 200
            tester = Tester(problem, rules, derive(seed, "tester"))
            tester.restore(last.state)
            training = Training(supernet_of(space, task, seed=0), problem, rules, seed)
            bank = training.judged_data
            images, labels = bank.take(np.arange(len(bank)))
            with torch.no_grad():
                picked = tester.tested(tester.weights, tester.creator, (bank.normalise(images), labels))[0].numpy()
            mislabelled = wrong[bank.rows]
            gaps.append(float(picked[mislabelled].mean() - picked[~mislabelled].mean()))
        what = f"lpt, 200 steps, 8 x 8 images, 20 % wrong labels, meaning {meaning:g}, {len(gaps)} seeds"
        rows = [
            claimed(f"{what}: weight in the test of wrong labels less that of others", mean(gaps), min(gaps), max(gaps)),
            claimed(f"{what}: seconds", mean(seconds), min(seconds), max(seconds)),
        ]
        bench.write(rows, bench.own("lpt-toy"), sum(seconds))


def _mislabelled(task: Task, share: float) -> tuple[Task, np.ndarray]:
    """The task with so many training labels changed to another class; and by row which."""
    data, rng = task.splits["train"], generator(0, "wrong labels")
    wrong = np.zeros(len(data.labels), bool)
    wrong[rng.permutation(len(data))[: round(share * len(data))]] = True
    labels = np.where(wrong, (data.labels + rng.integers(1, task.classes, len(wrong))) % task.classes, data.labels)
    train = replace(data, labels=labels, source=None)
    return replace(task, splits={**task.splits, "train": train}, fingerprint=f"{task.fingerprint} {share} wrong"), wrong


def speed(bench: Bench) -> None:
    """Steps of weights and gates, and of a path, beside the plain supernet with the same weights."""
    torch.set_num_threads(1)
    for channels, cells in ((16, 5), (16, 1), (8, 1)):
        ours, plain = _both(channels, cells)
        mixture, second = _checked(ours, plain)
        pairs = max(1, bench.asked.pairs // cells)
        path = _path_times(ours, plain, pairs)
        times = [mixture() for _ in range(pairs)]
        what = f"C = {channels}, N = {cells}, 64 images"
        rows = []
        for step, found in (("a step of weights and gates through the mixture", times), ("a step of a path", path)):
            rows.append(_ratio(f"{step}, {what}: times faster than a plain module list", found))
            rows.append(claimed(f"{step}, {what}: seconds", mean(fast for fast, _ in found)))
        rows.append(claimed(f"difference of the second step's loss, {what}", second))
        bench.write(rows, bench.own("speed"), sum(fast + slow for fast, slow in [*times, *path]))
    _partial(bench)
    _steps(bench)


def _steps(bench: Bench) -> None:
    """Steps of the searches by gradient, in turn, beside those of `darts` of first order; a report's snapshot counts in all."""
    task = image_task((3, 32, 32), 10, 640)
    problem = Problem(catalogue.make("spaces", "nas201"), task)
    rules = {"batch": 32, "channels": 8, "depth": 1, "report": 1, "epochs": 1000.0}
    names = ("darts", {"order": 1}), ("darts", {"order": 2}), ("lpt", {})
    searches = [catalogue.make("strategies", name, **rules, **more).search(problem, seed=0) for name, more in names]
    times = [[_seconds(lambda search=search: next(search)) for search in searches] for _ in range(1 + bench.asked.pairs)][1:]
    for place, what in ((1, "darts, second order"), (2, "lpt")):
        claim = f"a step of {what}, nas201, C = 8, N = 1, 32 images: times as dear as one of darts, first order"
        bench.write([_ratio(claim, [(row[0], row[place]) for row in times])], bench.own("speed"), sum(map(sum, times)))


def _ratio(claim: str, times: Sequence[tuple[float, float]]) -> dict[str, object]:
    """How much longer the second of two things takes in all, between the quartiles of the pairs."""
    ratios = sorted(slow / fast for fast, slow in times)
    quarter = len(ratios) // 4
    gain = sum(slow for _, slow in times) / sum(fast for fast, _ in times)
    return claimed(claim, gain, ratios[quarter], ratios[-1 - quarter])


def _partial(bench: Bench) -> None:
    """Steps through the mixture of which operations see one of four channels, beside those through all."""
    task = Task("noise", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "noise")
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 3, 32, 32, generator=draw), torch.randint(10, (32,), generator=draw)
    for name, depth in (("nas201", 1), ("darts", 8)):
        space = catalogue.make("spaces", name)
        nets = [supernet_of(space, task, seed=0, channels=16, depth=depth, partial=partial) for partial in (1, 4)]

        def step(net: torch.nn.Module) -> None:
            gates = torch.softmax(torch.zeros(net.gate_shape), 1).requires_grad_()
            loss = F.cross_entropy(net(x, gates), y)
            torch.autograd.grad(loss, [gates, *net.parameters()])

        times = [[_seconds(lambda net=net: step(net)) for net in nets] for _ in range(1 + bench.asked.pairs // 2)][1:]
        ratios = sorted(all_ / some for all_, some in times)
        gain = sum(all_ for all_, _ in times) / sum(some for _, some in times)
        what = f"{name}, C = 16, {depth} {'layers' if name == 'darts' else 'cell a stage'}, 32 images"
        claim = f"a step through the mixture, {what}: times cheaper with one of 4 channels in the operations"
        bench.write([claimed(claim, gain, ratios[0], ratios[-1])], bench.own("speed"), sum(map(sum, times)))


def _both(channels: int, cells: int) -> tuple[GraphSupernet, PlainSupernet]:
    task = Task("noise", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "noise")
    ours = supernet_of(catalogue.make("spaces", "nas201", channels=channels, cells=cells), task, seed=0, depth=cells)
    assert isinstance(ours, GraphSupernet)
    plain = PlainSupernet(channels, cells, 10)
    unknown = load(plain, {name: weight.detach() for name, weight in ours.named_parameters()})
    assert not unknown, f"the plain supernet does not know {unknown}"
    return ours, plain


def _checked(ours: GraphSupernet, plain: PlainSupernet) -> tuple[Callable[[], tuple[float, float]], float]:
    """What times a step of either side, after gradients were found equal in float64; and how the second losses differ."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 64, 3, 32, 32, generator=draw), torch.randint(10, (2, 64), generator=draw)
    logits = (1e-3 * torch.randn(6, 5, generator=draw)).requires_grad_()

    def equal() -> None:
        ours.double(), plain.double()
        gates = torch.softmax(logits.detach().double(), 1).requires_grad_()
        names = [name for name, _ in ours.named_parameters()]
        sides = []
        for net in (ours, plain):
            weights = dict(net.named_parameters())
            loss = F.cross_entropy(net(x[0, :16].double(), gates), y[0, :16])
            sides.append(torch.autograd.grad(loss, [gates, *(weights[name] for name in names)]))
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*sides, strict=True)), "gradients should be equal"
        ours.float(), plain.float()

    def our_step() -> float:
        loss = F.cross_entropy(ours(x[0], torch.softmax(logits.detach(), 1)), y[0])
        found = torch.autograd.grad(loss, list(ours.parameters()))
        fixed = {name: weight.detach() for name, weight in ours.named_parameters()}
        torch.autograd.grad(F.cross_entropy(ours(x[1], torch.softmax(logits, 1), weights=fixed), y[1]), logits)
        with torch.no_grad():
            for weight, gradient in zip(ours.parameters(), found, strict=True):
                weight -= 0.025 * gradient
        return float(loss.detach())

    def plain_step() -> float:
        found = []
        for images, labels in zip(x, y, strict=True):
            plain.zero_grad()
            logits.grad = None
            loss = F.cross_entropy(plain(images, torch.softmax(logits, 1)), labels)
            loss.backward()
            found.append((float(loss.detach()), [weight.grad.clone() for weight in plain.parameters()]))
        with torch.no_grad():
            for weight, gradient in zip(plain.parameters(), found[0][1], strict=True):
                weight -= 0.025 * gradient
        return found[0][0]

    equal()
    losses = [(our_step(), plain_step()) for _ in range(2)]
    turns = count()

    def timed() -> tuple[float, float]:
        if next(turns) % 2:
            return _seconds(our_step), _seconds(plain_step)
        slow, fast = _seconds(plain_step), _seconds(our_step)
        return fast, slow

    return timed, abs(losses[1][0] - losses[1][1])


def _path_times(ours: GraphSupernet, plain: PlainSupernet, pairs: int) -> list[tuple[float, float]]:
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randn(64, 3, 32, 32, generator=draw), torch.randint(10, (64,), generator=draw)
    times = []
    for number in range(pairs + 1):
        gates = ours.gates(sample(ours.space, generator(number, "paths")))

        def step(net: torch.nn.Module, gates: torch.Tensor = gates) -> None:
            net.zero_grad(set_to_none=True)
            F.cross_entropy(net(x, gates), y).backward()

        times.append((_seconds(lambda step=step: step(ours)), _seconds(lambda step=step: step(plain))))
    return times[1:]


def _seconds(work: Callable[[], object]) -> float:
    begun = process_time()
    work()
    return process_time() - begun


PARTS: dict[str, Callable[[Bench], None]] = {
    "speed": speed, "nasi": nasi, "naswot": naswot, "nasi-limits": nasi_limits, "modes": modes,
    "one-shot-spaces": one_shot_spaces, "traces": traces, "trace-depth": trace_depth, "mdenas-table": mdenas_table,
    "one-shot": one_shot, "weight-sharing": weight_sharing, "small-space": small_space, "lpt-toy": lpt_toy,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=360, help="start no further run after so many minutes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=10, help="of NASI")
    parser.add_argument("--one-shot-seeds", type=int, default=3)
    parser.add_argument(
        "--search-minutes", type=float, default=30, help="of a one-shot search, and of a training of shared weights"
    )
    parser.add_argument("--methods", nargs="*", default=[], choices=list(ONE_SHOT), help="of the one-shot searches; else all")
    parser.add_argument("--workers", type=int, default=1, help="searches that run at a time")
    parser.add_argument("--pairs", type=int, default=12, help="timings of both sides")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "supernets")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "supernets.csv")
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked)
    for part in asked.parts:
        PARTS[part](bench)


if __name__ == "__main__":
    main()
