"""Runs strategies on a table, many seeds each, beside random search and aging evolution at the same charged budget.

The driver and the record are those of every other search; only the judge looks up what was recorded. Runs are independent, so that
each is one piece of work for an executor. A run's answer is then looked up in the columns of the verdict, which nothing before has
seen. The regret of a run after q queries is the best recorded test value less that of the architecture that would be the answer
after q queries of the main judge (proxy scores and refusals cost none); a strategy that has no answer yet has no regret yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout import catalogue
from archscout.analysis.intervals import mean_interval
from archscout.analysis.ranks import mean_gap
from archscout.comparison.telling import Countdown
from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UserError
from archscout.core.evidence import Estimate, Observation
from archscout.core.moves import Progress, Propose
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, Space, Strategy, Table
from archscout.core.tables import Recorded
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Executor, Inline
from archscout.store.log import MemoryLog

BASELINES = ("random", "regularized-evolution")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Verdict:
    """A recorded column that decides, and that no search has seen. searchable: (rows,) where the searched column has a value."""

    recorded: Recorded
    searchable: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if not (self.searchable & np.isfinite(self.recorded.scores)).any():
            raise UserError(f"no row that can be searched has a value of {self.recorded.column.name}; choose other --epochs")

    @cached_property
    def optimum(self) -> int:
        """The row of the best value among those that a search can find."""
        scores = self.recorded.scores
        return int(np.argmax(np.where(self.searchable & np.isfinite(scores), scores, -inf)))

    def value(self, row: int | None) -> float:
        """The recorded value of a row; NaN where there is no row or no value."""
        return float("nan") if row is None else float(self.recorded.values[row])

    def regret(self, row: int | None) -> float:
        """How far a row is from the optimum; NaN where there is no row or no value."""
        worse = self.value(self.optimum) - self.value(row)
        return worse if self.recorded.column.higher_is_better else -worse


@dataclass(frozen=True, eq=False)
class Contest:
    """Where strategies meet.

    judges: `main`, and perhaps `proxy`. valid, test: what decides. budget: of one run; where it counts no evaluations, curves are
    as long as the longest run. seeds: of the runs.
    """

    table: Table
    dataset: str
    problem: Problem
    judges: Mapping[str, Estimator]
    valid: Verdict
    test: Verdict
    budget: Budget
    seeds: range


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the runs of a strategy came to.

    answers: one per run. valid, test: (R,) their recorded values, NaN where none is recorded. valid_regret, test_regret:
    (R, queries) after each query.
    """

    answers: tuple[Architecture, ...]
    valid: Floats
    test: Floats
    valid_regret: Floats
    test_regret: Floats


@dataclass(frozen=True)
class Run:
    """A whole run as a judgement of no architecture in particular, so that any executor can make it.

    The metrics say from which query on which architecture would have been the answer; the last is the answer.
    """

    strategy: Strategy
    judges: tuple[tuple[str, Estimator], ...]
    budget: Budget

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The path of the run with this seed. Raises UserError where it finds no answer."""
        _, path = run_once(problem, dict(self.judges), self.budget, self.strategy, seed, MemoryLog())
        metrics: dict[str, float] = {}
        for number, (query, found) in enumerate(path):
            metrics[f"query {number}"] = query
            metrics |= {f"choice {number} {place}": choice for place, choice in enumerate(found.choices)}
        return Estimate(0.0, metrics=metrics)

    @staticmethod
    def path(space: Space, metrics: Mapping[str, float]) -> list[tuple[int, Architecture]]:
        """What the metrics say: queries, and the answer from each on."""
        choices: dict[int, list[int]] = {}
        for name, value in metrics.items():
            if name.startswith("choice "):
                choices.setdefault(int(name.split()[1]), []).append(int(value))
        return [(int(metrics[f"query {number}"]), Architecture(space.name, tuple(found))) for number, found in choices.items()]


def compete(contest: Contest, strategy: Strategy, what: str, executor: Executor | None = None) -> Outcome:
    """Run a strategy once per seed; in this process where no executor is given. Raises UserError where a run finds no answer."""
    table, space = contest.table, contest.problem.space
    executor, run = executor or Inline(), Run(strategy, tuple(contest.judges.items()), contest.budget)
    countdown = Countdown(what, len(contest.seeds))
    nothing = Architecture(space.name, ())
    flying = {executor.submit(run, contest.problem, nothing, seed): seed for seed in contest.seeds}
    found: dict[int, list[tuple[int, Architecture]]] = {}
    while len(found) < len(flying):
        for job in executor.wait(1.0):
            if not isinstance(job.outcome, Estimate):
                why = job.outcome.message if job.outcome else ""
                told = why.removeprefix("UserError: ")
                raise UserError(told if told != why else f"the run with seed {flying[job]} could not be made: {why}")
            found[flying[job]] = Run.path(space, job.outcome.metrics)
        countdown.at(len(found), executor.state and f" ({executor.state})")
    countdown.close()
    answers = [found[seed][-1][1] for seed in contest.seeds]
    paths = [[(query, table.row(space, architecture)) for query, architecture in found[seed]] for seed in contest.seeds]
    queries = contest.budget.evaluations or max(query for path in paths for query, _ in path)
    valid, test = (np.array([verdict.value(path[-1][1]) for path in paths]) for verdict in (contest.valid, contest.test))
    curves = [np.stack([_curve(verdict, path, queries) for path in paths]) for verdict in (contest.valid, contest.test)]
    return Outcome(tuple(answers), valid, test, *curves)


def run_once(
    problem: Problem, judges: Mapping[str, Estimator], budget: Budget, strategy: Strategy, seed: int, log: MemoryLog
) -> tuple[Architecture, list[tuple[int, Architecture]]]:
    """The answer of one run, and what it would have been from which query on; goes on where the log ends.

    Raises UserError where there is none.
    """
    try:
        with Inline() as executor:
            answer = drive(strategy, judges, problem, seed=seed, log=log, executor=executor, budget=budget, counted=False)
    except UserError:
        raise
    except ArchscoutError as error:
        raise UserError(f"the run with seed {seed} could not be made: {error}") from error
    if answer is None:
        failures = [seen.failure.message for seen in log.results.values() if seen.failure]
        raise UserError(
            f"the run with seed {seed} has no answer: {failures[-1] if failures else 'nothing was judged'}; give it more queries"
        )
    queries, path = _path(log, "main")
    return answer, [*path, (max(queries, 1), answer)]


def _path(log: MemoryLog, main: str) -> tuple[int, list[tuple[int, Architecture]]]:
    """How many queries the main judge had, and from which query on which architecture would have been the answer."""
    queries, best = 0, (-inf, -inf)
    path: list[tuple[int, Architecture]] = []
    for number, entry in enumerate(log.moves):
        if isinstance(entry.move, Progress) and entry.move.best is not None:
            path.append((max(queries, 1), entry.move.best))
        seen = log.results.get(number) if isinstance(entry.move, Propose) else None
        if seen is None or seen.refused or seen.judge != main:
            continue
        queries += 1
        if seen.estimate is not None and _rank(seen) > best:
            best = _rank(seen)
            path.append((queries, seen.architecture))
    return queries, path


def _rank(seen: Observation) -> tuple[float, float]:
    """As the driver ranks: higher fidelity before lower, then the value."""
    return (inf if seen.fidelity is None else seen.fidelity), seen.value


def _curve(verdict: Verdict, path: Sequence[tuple[int, int | None]], queries: int) -> Floats:
    """The regret after each query (queries,), NaN before the first answer."""
    curve = np.full(queries, np.nan)
    for query, row in path:
        curve[query - 1 :] = verdict.regret(row)
    return curve


def summary(contest: Contest, name: str, own: Outcome, others: Mapping[str, Outcome], seed: int = 0) -> dict[str, Any]:
    """The keys that `archscout bench search --json` prints."""
    verdicts = {"valid": contest.valid, "test": contest.test}
    return {
        "strategy": name,
        "table": contest.table.name,
        "dataset": contest.dataset,
        "queries": contest.budget.evaluations,
        "seeds": len(contest.seeds),
        **numbers(own),
        "baselines": {each: {**numbers(other), "difference": _differences(own, other, seed)} for each, other in others.items()},
        **{f"{part}_interval": _interval(getattr(own, part)) for part in verdicts},
        "optimum": {
            part: {"value": verdict.value(verdict.optimum), "architecture": _written(contest, verdict.optimum)}
            for part, verdict in verdicts.items()
        },
        "columns": {part: verdict.recorded.column.name for part, verdict in verdicts.items()},
        "caveats": [*filter(None, dict.fromkeys(verdict.recorded.column.caveat for verdict in verdicts.values()))],
    }


def _written(contest: Contest, row: int) -> str | None:
    """The architecture of a row; None where the space holds only a part of the table, without that row."""
    try:
        return str(contest.table.architecture(contest.problem.space, row))
    except UserError:
        return None


def numbers(outcome: Outcome) -> dict[str, Any]:
    """Means, standard deviations (of single runs, n - 1) and mean regrets after each query; None where nothing is recorded."""
    return {
        "valid_mean": _mean(outcome.valid),
        "valid_std": _spread(outcome.valid),
        "test_mean": _mean(outcome.test),
        "test_std": _spread(outcome.test),
        "regret": [_mean(column) for column in outcome.test_regret.T],
        "valid_regret": [_mean(column) for column in outcome.valid_regret.T],
    }


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _spread(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def _interval(values: Floats) -> list[float] | None:
    known = values[np.isfinite(values)]
    return list(mean_interval(known.tolist())) if len(known) > 1 else None


def _differences(one: Outcome, other: Outcome, seed: int) -> dict[str, list[float] | None]:
    """How much higher the mean of the one is, with the bootstrap interval: [difference, low, high]."""
    found: dict[str, list[float] | None] = {}
    for part in ("valid", "test"):
        a, b = (values[np.isfinite(values)] for values in (getattr(one, part), getattr(other, part)))
        found[part] = list(mean_gap(a, b, seed=seed)) if len(a) > 1 and len(b) > 1 else None
    return found


def baseline(name: str) -> Strategy:
    """Random search, or aging evolution with a population of 10 and a tournament of 3."""
    made: Strategy = catalogue.make("strategies", name, **({} if name == "random" else {"population": 10, "tournament": 3}))
    return made


def hold(
    contest: Contest, strategy: Strategy, name: str, executor: Executor | None = None
) -> tuple[dict[str, Any], dict[str, Outcome]]:
    """A strategy and its baselines compete: the summary, and the outcomes by name. What is equal runs once."""
    own = compete(contest, strategy, name, executor)
    others = {
        each: own if baseline(each) == strategy else compete(contest, baseline(each), f"{each} (baseline)", executor)
        for each in BASELINES
    }
    return summary(contest, name, own, others), {name: own, **{f"{each} (baseline)": other for each, other in others.items()}}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The summary for a person."""
    best = " and ".join(f"{found['optimum'][part]['value']:.2f} ({found['columns'][part]})" for part in ("valid", "test"))
    spent = f"{found['queries']} queries" if found["queries"] else "the budget"
    text = [f"{found['table']}, {found['dataset']}: {spent} a run, {found['seeds']} runs each; the optimum is {best}"]
    for name, row in [(found["strategy"], found), *((f"baseline {n}", r) for n, r in found["baselines"].items())]:
        pairs = [f"{part} {_shown(row[f'{part}_mean'])} ± {_shown(row[f'{part}_std'])}" for part in ("valid", "test")]
        text.append(f"{name:32}{'   '.join(pairs)}   test regret {_shown(row['regret'][-1])}")
    return text


def _shown(value: float | None) -> str:
    return f"{value:.2f}" if value is not None and isfinite(value) else "–"
