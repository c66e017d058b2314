"""NAO: searches by table beside others, what its parts do for it, what its controller learns; into results/nao.csv.

    python benchmarks/nao.py --workers 16 --minutes 60                     everything, in the order of what matters
    python benchmarks/nao.py --parts search ablations pairs --workers 2 --seeds 5
    python benchmarks/nao.py --minutes 0                                   only the rows, of what the folder --runs holds

    search      at equal queries, with and without mutations, beside random search, regularised evolution and local search: nas201
                (CIFAR-10 and CIFAR-100) at 100, 200 and 400 queries, nas101 at 500 and 2,000, where the one recorded accuracy is
                objective and report
    ablations   nas201 CIFAR-10 at 200 queries and nas101 at 500: other settings, as differences to the default with equal seeds
    pairs       held-out architectures of a table in the right order, by the number of labelled ones, beside ridge regression and
                gradient boosting (scikit-learn) on one-hot tokens
    controller  600 cells of nao-cell: reconstruction, novelty by step, seconds; an epoch against decoding token by token

Every (setting, seed) is a job of one thread; --workers of them run at a time, and what a job found lies in a file of its own in
--runs, so that the same command goes on where it was cut. Rows are written at the end, of the seeds that both of what is compared
have; pages with the regret curves lie beside. A run of more queries holds those of fewer, since no strategy here knows its budget.
Intervals are those of means over seeds (t, 95 %), of paired differences where two are compared.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: a job is a thread

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time

import numpy as np
import torch
from _rows import HERE, append, claimed, commit, machine
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from archscout import catalogue
from archscout.analysis.intervals import mean_interval
from archscout.benchmarks import verdict
from archscout.cli import questions
from archscout.comparison.curves import write_outcome
from archscout.comparison.search import Contest, Outcome, Verdict, compete, summary
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.encoding import encoding_of
from archscout.core.problem import Problem
from archscout.core.protocols import Space, Strategy, Table
from archscout.core.seeds import generator
from archscout.engine.budget import Budget
from archscout.nn.controller import (
    Controller,
    ControllerSettings,
    Trained,
    learned,
    ordered_pairs,
    targets_of,
    train,
    written,
)
from archscout.strategies._climbing import climbed
from archscout.strategies._fresh import Known
from archscout.strategies.nao import Nao

Floats = NDArray[np.float64]

ROUNDS = {500: {"initial": 100, "new": 50}, 2000: {"initial": 200, "new": 200}}
"""Settings of NAO on nas101, by queries."""
OTHERS = ("random", "regularized-evolution", "local")
STRICT = {
    "moves": "gradient", "refresh": 0, "reads": "mean", "targets": "min-max", "rescore": False, "relative": False,
    "increment": 1.0, "furthest": 50, "rate": 1e-3,
}  # fmt: skip
"""As published: trained anew every round, steps of whole gradients, nothing scored again."""
ABLATIONS: Mapping[str, Mapping[str, object]] = {
    "gradients": {"moves": "gradient"},
    "random directions": {"moves": "random"},
    "mutations": {"moves": "mutation"},
    "gradients, no rescoring": {"moves": "gradient", "rescore": False},
    "random directions, no rescoring": {"moves": "random", "rescore": False},
    "as published": STRICT,
    "mean of states": {"reads": "mean"},
    "min-max targets": {"targets": "min-max"},
    "ranking loss 0.3": {"ranking": 0.3},
    "3 controllers": {"members": 3},
    "increment 0.1": {"increment": 0.1},
    "increment 1": {"increment": 1.0},
    "1,000 pseudo-labels": {"pseudo": 1000},
}
LABELLED = (100, 300, 600, 1000)
HELD_OUT = 1000
REGRESSIONS = {
    "nao": {},
    "nao, mean of states": {"reads": "mean"},
    "nao, 3 controllers": {"members": 3},
    "nao, ranking loss 0.3": {"ranking": 0.3},
    "nao, 1,000 pseudo-labels": {"pseudo": 1000},
    "ridge regression": None,
    "gradient boosting": None,
}
"""Settings of the controller; None for what has none."""
CELLS, STEPS = 600, (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True)
class Race:
    """A strategy, with its settings, on a table."""

    table: str
    dataset: str
    queries: int
    name: str
    settings: tuple[tuple[str, object], ...] = ()

    @property
    def slug(self) -> str:
        return f"{self.table}-{self.dataset}-{self.queries}/{_slug(self.name)}"

    def find(self, seed: int) -> Mapping[str, NDArray[np.generic]]:
        """The answer and the curves of one run."""
        outcome = compete(contest(self.table, self.dataset, self.queries, (seed,)), self.strategy(), self.name)
        curves = {"valid_regret": outcome.valid_regret[0], "test_regret": outcome.test_regret[0]}
        return {"answer": np.array(str(outcome.answers[0])), "valid": outcome.valid, "test": outcome.test, **curves}

    def strategy(self) -> Strategy:
        """As it runs; evolution with the population that `bench search` gives it."""
        if self.name in OTHERS:
            evolving = {"population": 10, "tournament": 3} if self.name == "regularized-evolution" else {}
            made: Strategy = catalogue.make("strategies", self.name, **evolving)
            return made
        return Nao(**dict(self.settings))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Regression:
    """A way to predict, from some labelled architectures of a table."""

    table: str
    labelled: int
    name: str

    @property
    def slug(self) -> str:
        return f"pairs-{self.table}/{_slug(self.name)}-{self.labelled}"

    def find(self, seed: int) -> Mapping[str, NDArray[np.generic]]:
        """Pairs in the right order and Spearman's rho, of what was held out."""
        table, space = questions.table_of(self.table), space_of(self.table)
        scores = table.objective("cifar10").scores
        known = np.flatnonzero(np.isfinite(scores))
        rows = generator(seed, "labelled", self.table).choice(known, max(LABELLED) + HELD_OUT, replace=False)
        aside, rows = rows[:HELD_OUT], rows[HELD_OUT : HELD_OUT + self.labelled]
        cells, others = ([table.architecture(space, int(row)) for row in part] for part in (rows, aside))
        told = predicted(self.name, space, cells, scores[rows], others, seed)
        rho = spearmanr(told, scores[aside]).statistic
        return {"pairs": np.array(ordered_pairs(told, scores[aside])), "spearman": np.array(rho)}


Job = Race | Regression


def predicted(
    name: str, space: Space, cells: Sequence[Architecture], values: Floats, others: Sequence[Architecture], seed: int
) -> Floats:
    """What a way of prediction, which learns the ranks of values, says of other architectures (N,)."""
    settings = REGRESSIONS[name]
    if settings is not None:
        trained = learned(space, cells, values.tolist(), replace(ControllerSettings(), **settings), seed)
        return trained.predict(written(space, others))
    encoding = encoding_of(space)
    x, y = ((np.eye(encoding.vocabulary)[written(space, some)]).reshape(len(some), -1) for some in (cells, others))
    targets = targets_of(values, "ranks")
    if name == "gradient boosting":
        from sklearn.ensemble import HistGradientBoostingRegressor

        boosted: Floats = HistGradientBoostingRegressor(random_state=seed).fit(x, targets).predict(y)
        return boosted
    mean = x.mean(0)
    weights = np.linalg.solve((x - mean).T @ (x - mean) + np.eye(x.shape[1]), (x - mean).T @ (targets - targets.mean()))
    linear: Floats = (y - mean) @ weights
    return linear


def contest(table: str, dataset: str, queries: int, seeds: Sequence[int]) -> Contest:
    """As `archscout bench search` makes it."""
    opened, space = questions.table_of(table), space_of(table)
    valid, test = opened.objective(dataset), verdict.reveal(opened, dataset)
    searchable = np.isfinite(valid.scores)
    problem = Problem(space, questions.task_of(space, None, None, {}))
    judges = {"main": catalogue.make("estimators", "tabular", table=table, dataset=dataset)}
    verdicts = Verdict(valid, searchable), Verdict(test, searchable)
    return Contest(
        opened, dataset, problem, judges, *verdicts, Budget(evaluations=queries, judges=("main",)), range(seeds[0], seeds[-1] + 1)
    )


@lru_cache
def space_of(table: str) -> Space:
    """Of a table."""
    opened: Table = questions.table_of(table)
    space: Space = catalogue.make("spaces", opened.facts.space)
    return space


def races(table: str, dataset: str, queries: int) -> list[Race]:
    """NAO and the others."""
    settings = tuple(rounds(table, queries).items())
    return [Race(table, dataset, queries, "nao", settings), *(Race(table, dataset, queries, other) for other in OTHERS)]


def climbing(table: str, dataset: str, queries: int) -> Race:
    """NAO by gradients alone, without mutations."""
    return Race(table, dataset, queries, "nao, gradients alone", tuple((rounds(table, queries) | {"moves": "gradient"}).items()))


def ablations(table: str, queries: int, names: Sequence[str]) -> list[Race]:
    """NAO with other settings."""
    return [Race(table, "cifar10", queries, name, tuple((rounds(table, queries) | ABLATIONS[name]).items())) for name in names]


def rounds(table: str, queries: int) -> dict[str, object]:
    """NAO's settings of rounds; the default ones on nas201."""
    return dict(ROUNDS[queries]) if table == "nas101" else {}


def regressions() -> list[Regression]:
    """All ways and numbers of labels, on both tables."""
    ways = [name for name in REGRESSIONS if name != "gradient boosting" or _boosting()]
    return [Regression(table, count, name) for table in ("nas101", "nas201") for count in LABELLED for name in ways]


def _boosting() -> bool:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        print("pairs: without gradient boosting, which needs scikit-learn: pip install -e '.[bench]'")
        return False
    return True


def planned(parts: Sequence[str], seeds: int) -> Iterator[tuple[Job, int]]:
    """All jobs, first those that matter most; what is compared goes seed by seed, so that a cut leaves whole comparisons."""
    first, second, rest = list(ABLATIONS)[:3], list(ABLATIONS)[3:6], list(ABLATIONS)[6:]
    groups: list[tuple[str, Sequence[Job], int]] = [
        ("search", [*races("nas201", "cifar10", 400), *races("nas201", "cifar100", 400)], seeds),
        ("search", races("nas101", "cifar10", 500), seeds),
        ("search", [climbing("nas101", "cifar10", 500)], seeds),
        ("search", [climbing("nas201", "cifar10", 400)], seeds),
        ("search", [climbing("nas201", "cifar100", 400)], seeds),
        ("ablations", ablations("nas201", 200, first), seeds),
        ("pairs", regressions() if "pairs" in parts else [], 5),
        ("ablations", ablations("nas201", 200, second), seeds),
        ("ablations", ablations("nas101", 500, first), seeds),
        ("ablations", ablations("nas201", 200, rest), seeds),
        ("search", [*races("nas101", "cifar10", 2000), climbing("nas101", "cifar10", 2000)], seeds),
        ("ablations", ablations("nas101", 500, second), seeds),
        ("ablations", ablations("nas101", 500, rest), seeds),
    ]
    for part, jobs, count in groups:
        if part in parts:
            yield from ((job, seed) for seed in range(count) for job in jobs)


@dataclass(frozen=True)
class Files:
    """Where what was found lies."""

    folder: Path

    def path(self, job: Job, seed: int) -> Path:
        return self.folder / f"{job.slug}-{seed}.npz"

    def read(self, job: Job, seed: int) -> dict[str, NDArray[np.generic]] | None:
        """What a job found, with its processor seconds; None where it has not been made."""
        path = self.path(job, seed)
        if not path.exists():
            return None
        with np.load(path) as found:
            return dict(found)

    def seeds(self, jobs: Sequence[Job], most: int) -> list[int]:
        """The first seeds that all these jobs have been made with."""
        found: list[int] = []
        for seed in range(most):
            if not all(self.path(job, seed).exists() for job in jobs):
                break
            found.append(seed)
        return found


def work(job: Job, seed: int, path: Path) -> float:
    """Make a job and keep what it found; gives its processor seconds."""
    torch.set_num_threads(1)
    begun = process_time()
    found = job.find(seed)
    seconds = process_time() - begun
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(f".{os.getpid()}").open("wb") as file:
        np.savez(file, **found, seconds=np.array(seconds))
    Path(file.name).replace(path)
    return seconds


def make(jobs: Iterator[tuple[Job, int]], files: Files, workers: int, end: float) -> None:
    """Make what has not been made, until the time is over; jobs that run then are let go on to their end."""
    left = ((job, seed) for job, seed in jobs if not files.path(job, seed).exists())
    running: dict[Future[float], str] = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        while True:
            while len(running) < workers and monotonic() < end and (following := next(left, None)) is not None:
                job, seed = following
                running[pool.submit(work, job, seed, files.path(job, seed))] = f"{job.slug}, seed {seed}"
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                print(f"{running.pop(future)}: {future.result():.1f} s, {max(end - monotonic(), 0):.0f} s left", flush=True)


class Rows:
    """Writes rows of results/nao.csv."""

    def __init__(self, asked: argparse.Namespace, files: Files) -> None:
        self.asked, self.files = asked, files

    def write(self, part: str, rows: Sequence[dict[str, object]], seconds: float) -> None:
        """With what is needed to measure them again."""
        words = f"python benchmarks/nao.py --parts {part} --seeds {self.asked.seeds}"
        about = self.asked.machine or machine(1)
        tail = {
            "seed": 0,
            "command": words,
            "commit": self.asked.commit or commit(),
            "seconds": round(seconds, 1),
            "machine": about,
        }
        append(self.asked.results, [{**row, **tail} for row in rows])

    def curves(self, race: Race, seeds: Sequence[int]) -> list[dict[str, NDArray[np.generic]]]:
        """What was found with each of some seeds."""
        return [found for seed in seeds if (found := self.files.read(race, seed)) is not None]

    def tests(self, race: Race, seeds: Sequence[int], queries: int) -> Floats:
        """Test values (R,) of the answers after so many queries."""
        column = contest(race.table, race.dataset, queries, [0]).test
        regret = np.array([found["test_regret"][queries - 1] for found in self.curves(race, seeds)])
        best = column.value(column.optimum)
        return best - regret if column.recorded.column.higher_is_better else best + regret

    def compared(self, race: Race, others: Sequence[Race], queries: int, part: str, *, shown: bool) -> None:
        """The mean of NAO (where `shown`) and of others after so many queries, and how much higher NAO's is, by equal seeds."""
        for_each = {other: self.files.seeds([race, other], self.asked.seeds) for other in others}
        where = f"{race.table} {race.dataset}, {queries} queries"
        where += " (one recorded accuracy, objective and report)" if race.table == "nas101" else ""
        rows, spent = [], dict[tuple[Race, int], float]()
        if shown and len(own := self.files.seeds([race], self.asked.seeds)) > 1:
            rows.append(_mean(f"{where}: test accuracy of {race.name}", self.tests(race, own, queries)))
        for other, seeds in for_each.items():
            if len(seeds) < 2:
                continue
            mine, theirs = (_known(self.tests(each, seeds, queries)) for each in (race, other))
            rows.append(_mean(f"{where}: test accuracy of {_called(other)}", theirs))
            less, more = (other, race) if shown else (race, other)
            gaps = mine - theirs if shown else theirs - mine
            rows.append(_mean(f"{where}: test accuracy of {_called(more)} less that of {_called(less)}, equal seeds", gaps))
            for each in (race, other):
                spent |= {
                    (each, seed): float(found["seconds"]) for seed, found in zip(seeds, self.curves(each, seeds), strict=True)
                }
        if rows:
            self.write(part, rows, sum(spent.values()))

    def page(self, own: Race, others: Sequence[Race]) -> None:
        """The page of `archscout bench search`, with regret curves, of the seeds that all have."""
        seeds = self.files.seeds([own, *others], self.asked.seeds)
        if not seeds:
            return
        held = contest(own.table, own.dataset, own.queries, seeds)
        outcomes = {race.name: _outcome(self.curves(race, seeds)) for race in (own, *others)}
        found = summary(held, own.name, outcomes[own.name], {race.name: outcomes[race.name] for race in others})
        drawn = {own.name: outcomes[own.name], **{f"{race.name} (baseline)": outcomes[race.name] for race in others}}
        folder = self.files.folder / f"{own.table}-{own.dataset}-{own.queries}" / "page"
        folder.parent.mkdir(parents=True, exist_ok=True)
        print(write_outcome(folder, held, found, drawn, "python benchmarks/nao.py --parts search"))


def search_rows(rows: Rows) -> None:
    """Of the part `search`."""
    at = [("nas201", "cifar10", 400, (100, 200, 400)), ("nas201", "cifar100", 400, (100, 200, 400))]
    for table, dataset, queries, shown in [*at, ("nas101", "cifar10", 500, (500,)), ("nas101", "cifar10", 2000, (2000,))]:
        own, *others = races(table, dataset, queries)
        for count in shown:
            rows.compared(own, others, count, "search", shown=True)
            rows.compared(climbing(table, dataset, queries), [own, *others], count, "search", shown=True)
        rows.page(own, others)


def ablation_rows(rows: Rows) -> None:
    """Of the part `ablations`: the others less the default, and gradients less random directions."""
    for table, queries, run in (("nas201", 200, 400), ("nas101", 500, 500)):
        [own, *_] = races(table, "cifar10", run)
        rows.compared(own, ablations(table, queries, list(ABLATIONS)), queries, "ablations", shown=False)
        gradients, random = ablations(table, queries, ["gradients", "random directions"])
        rows.compared(random, [gradients], queries, "ablations", shown=False)


def pair_rows(rows: Rows) -> None:
    """Of the part `pairs`."""
    written_rows, seconds = [], 0.0
    for table in ("nas101", "nas201"):
        for count in LABELLED:
            for name in REGRESSIONS:
                job = Regression(table, count, name)
                found = [one for seed in range(5) if (one := rows.files.read(job, seed)) is not None]
                if len(found) < 2:
                    continue
                seconds += sum(float(one["seconds"]) for one in found)
                what = f"{table} cifar10, {count} labelled, {HELD_OUT} held out"
                for key, called in (("pairs", "share of pairs in order"), ("spearman", "Spearman's rho")):
                    written_rows.append(_mean(f"{what}: {called}, {name}", np.array([float(one[key]) for one in found])))
    if written_rows:
        rows.write("pairs", written_rows, seconds)


def controller(rows: Rows) -> None:
    """What the controller learns from 600 cells of nao-cell, and what that takes; made at once, not in the pool."""
    torch.set_num_threads(torch.get_num_threads() if rows.asked.threads == 0 else rows.asked.threads)
    space, rng = catalogue.make("spaces", "nao-cell"), generator(0, "cells")
    drawn = list(dict.fromkeys(sample(space, rng) for _ in range(CELLS + 300)))[: CELLS + 200]
    tokens = written(space, drawn)
    worth = made_up(tokens, encoding_of(space).vocabulary)
    begun = monotonic()
    settings = ControllerSettings(held_out=0.0)  # of the 600: the 200 others are held out
    trained = learned(space, drawn[:CELLS], worth[:CELLS].tolist(), settings, 0)
    seconds = monotonic() - begun
    held_out = tokens[CELLS:], worth[CELLS:]
    rebuilt = trained.rebuilt(held_out[0]) == held_out[0]
    what = f"nao-cell, {CELLS} cells, {settings.epochs} epochs"
    found = [
        claimed(f"{what}: seconds of training (goal: at most 180)", seconds),
        claimed(f"{what}: share of training cells rebuilt exactly (goal: above 0.95)", trained.fits[0].reconstructed),
        claimed(
            f"{what}: mean Hamming distance of training cells and what is rebuilt (goal: below 0.1)",
            float((trained.rebuilt(tokens[:CELLS]) != tokens[:CELLS]).sum(1).mean()),
        ),
        claimed(f"{what}: share of training pairs in order", trained.fits[0].pairs),
        claimed(f"{what}: share of 200 held-out cells rebuilt exactly", float(rebuilt.all(1).mean())),
        claimed(f"{what}: share of held-out tokens rebuilt", float(rebuilt.mean())),
        claimed(f"{what}: share of held-out pairs in order", ordered_pairs(trained.predict(held_out[0]), held_out[1])),
    ]  # fmt: skip
    found += novelty(trained, space, drawn[:CELLS], worth, what)
    best = [drawn[int(place)] for place in np.argsort(-worth[:CELLS], kind="stable")[:100]]
    known = Known(space)
    for cell in drawn[:CELLS]:
        known.is_new(cell)
    for rescore in (False, True):
        begun = monotonic()
        new = climbed(space, trained, best, 300, known, None, replace(Nao(), rescore=rescore), 0)
        how = "3,000 climbed and the 300 of best prediction" if rescore else "300 climbed"
        found.append(claimed(f"{what}: seconds until {how} new cells (goal: at most 20), {len(new)} found", monotonic() - begun))
        value = made_up(written(space, new), encoding_of(space).vocabulary)
        found.append(claimed(f"{what}: mean worth of them, in deviations of random cells, {how}", float(value.mean())))
    found += speed(tokens[:CELLS], targets_of(worth[:CELLS], "ranks"), space, rows.asked.pairs)
    rows.write("controller", found, seconds)


def made_up(tokens: NDArray[np.int64], vocabulary: int) -> Floats:
    """A worth (N,) of sequences: a normal number per token and place, and per pair of neighbouring tokens; standardised."""
    draw = generator(0, "worth")
    single = draw.standard_normal((tokens.shape[1], vocabulary))
    double = draw.standard_normal((tokens.shape[1] - 1, vocabulary, vocabulary))
    places = np.arange(tokens.shape[1])
    raw = single[places, tokens].sum(1) + double[places[1:] - 1, tokens[:, :-1], tokens[:, 1:]].sum(1)
    return np.asarray(raw) / np.sqrt(2 * tokens.shape[1])


def novelty(trained: Trained, space: Space, cells: Sequence[Architecture], worth: Floats, what: str) -> list[dict[str, object]]:
    """Changed tokens, new cells and the mean worth by the length of the step, from the best 100."""
    tokens = written(space, cells)
    best = tokens[np.argsort(-worth[: len(cells)], kind="stable")[:100]]
    met, found = {tuple(row) for row in tokens.tolist()}, []
    for direction in ("gradient", "random"):
        for step in STEPS:
            there = trained.climb(best, [step], direction, relative=True, seed=0)
            new = {tuple(row) for row in there.tolist()} - met
            name = f"{what}, a step of {step:g} along {'the gradient' if direction == 'gradient' else 'a random direction'}"
            found.append(claimed(f"{name}: changed tokens of {best.shape[1]}", float((there != best).sum(1).mean())))
            found.append(claimed(f"{name}: new sequences of 100", len(new)))
            found.append(
                claimed(
                    f"{name}: mean worth (of the 100: {made_up(best, trained.encoding.vocabulary).mean():.2f})",
                    made_up(there, trained.encoding.vocabulary).mean(),
                )
            )
    return found


def speed(tokens: NDArray[np.int64], targets: Floats, space: Space, pairs: int) -> list[dict[str, object]]:
    """An epoch of training against one whose decoder goes token by token, CPU time, in turn; equal losses and gradients first."""
    settings = replace(ControllerSettings(), dropout=0.0)
    [member] = train(encoding_of(space), tokens[:100], targets[:100], replace(settings, epochs=1), 0).members
    member.train()
    given, wanted = torch.from_numpy(tokens), torch.from_numpy(targets).float()
    batches = [slice(first, first + settings.batch) for first in range(0, len(tokens), settings.batch)]

    def loss(part: slice, decode: Callable[[Controller, Tensor, Tensor], Tensor]) -> Tensor:
        memory = member.encode(given[part])
        wrong = F.mse_loss(member.predict(memory), wanted[part])
        logits = decode(member, memory, given[part])
        return settings.trade_off * wrong + (1 - settings.trade_off) * F.cross_entropy(logits.flatten(0, 1), given[part].flatten())

    def seconds(decode: Callable[[Controller, Tensor, Tensor], Tensor]) -> float:
        begun = process_time()
        for part in batches:
            member.zero_grad()
            loss(part, decode).backward()
        return process_time() - begun

    sides = (Controller.decode, by_token)
    gradients = [torch.autograd.grad(loss(batches[0], side), list(member.parameters())) for side in sides]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(*gradients, strict=True)), "gradients should be equal"
    times = []
    for turn in range(pairs):
        both = [(side, seconds(side)) for side in (sides if turn % 2 else sides[::-1])]
        times.append(tuple(dict(both)[side] for side in sides))
    ratios = sorted(slow / fast for fast, slow in times)
    gain, quarter = sum(slow for _, slow in times) / sum(fast for fast, _ in times), len(ratios) // 4
    what = f"nao-cell, an epoch of {len(tokens)} cells"
    return [
        claimed(f"{what}: times cheaper than decoding token by token (goal: 3.5)", gain, ratios[quarter], ratios[-1 - quarter]),
        claimed(f"{what}: processor seconds", float(np.mean([fast for fast, _ in times]))),
    ]


def by_token(member: Controller, memory: Tensor, tokens: Tensor) -> Tensor:
    """The logits of `Controller.decode`, a token at a time, as published code has it."""
    begun = F.pad(tokens[:, :-1], (1, 0))
    state, logits = member._first(memory), []
    for place in range(tokens.shape[1]):
        token = begun[:, place : place + 1]
        states, state = member.decoder(member.spoken(token), state)
        logits.append(member._logits(states, memory, token, place))
    return torch.cat(logits, 1)


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def _called(race: Race) -> str:
    return race.name if race.name.startswith("nao") or race.name in OTHERS else f"nao with {race.name}"


def _known(values: Floats) -> Floats:
    assert np.isfinite(values).all(), "every answer should have a recorded test value"
    return values


def _mean(claim: str, values: Floats) -> dict[str, object]:
    few = len(values) < 2 or np.ptp(values) == 0
    return claimed(f"{claim}, {len(values)} seeds", float(values.mean()), *(("", "") if few else mean_interval(values.tolist())))


def _outcome(runs: Sequence[Mapping[str, NDArray[np.generic]]]) -> Outcome:
    parts = ([np.atleast_1d(run[name]) for run in runs] for name in ("valid", "test"))
    curves = (np.stack([run[name] for run in runs]) for name in ("valid_regret", "test_regret"))
    return Outcome(tuple(Architecture.parse(str(run["answer"])) for run in runs), *map(np.concatenate, parts), *curves)


PARTS: dict[str, Callable[[Rows], None]] = {
    "search": search_rows,
    "ablations": ablation_rows,
    "pairs": pair_rows,
    "controller": controller,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=600, help="start no further job after so many minutes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=20, help="of searches and ablations")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--threads", type=int, default=1, help="of the part controller")
    parser.add_argument("--pairs", type=int, default=8, help="timings of both sides in the part controller")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "nao")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "nao.csv")
    parser.add_argument("--machine", default="", help="where the jobs were made, if elsewhere")
    parser.add_argument("--commit", default="", help="with which they were made, if another")
    asked = parser.parse_args()
    files = Files(asked.runs)
    make(planned(asked.parts, asked.seeds), files, asked.workers, monotonic() + 60 * asked.minutes)
    rows = Rows(asked, files)
    for part in asked.parts:
        if part != "controller" or asked.minutes:
            PARTS[part](rows)


if __name__ == "__main__":
    main()
