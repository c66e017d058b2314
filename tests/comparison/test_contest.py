from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from commandline import SLOWNESS
from toy_table import PROBLEM, REPORT, ROWS, SPACE, TABLE, Fickle, LookUp

from archscout import catalogue
from archscout.comparison.curves import write_outcome
from archscout.comparison.search import BASELINES, Contest, Verdict, baseline, compete, hold, lines
from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.moves import Progress, Propose
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.core.tables import Recorded
from archscout.engine.budget import Budget
from archscout.testing.problems import Raising

SEARCHED = np.isfinite(TABLE.objective("toy").values)


def contest(queries: int | None = 12, seeds: int = 6, **changes: object) -> Contest:
    made = Contest(
        TABLE, "toy", PROBLEM, {"main": LookUp()}, Verdict(TABLE.objective("toy"), SEARCHED), Verdict(REPORT, SEARCHED),
        Budget(evaluations=queries, judges=("main",)), range(seeds),
    )  # fmt: skip
    return replace(made, **changes)


def test_the_keys_and_what_they_hold() -> None:
    found, outcomes = hold(contest(), catalogue.make("strategies", "local"), "local")
    assert list(found)[:11] == [
        "strategy", "table", "dataset", "queries", "seeds", "valid_mean", "valid_std", "test_mean", "test_std", "regret",
        "valid_regret",
    ]  # fmt: skip
    assert list(found["baselines"]) == list(BASELINES)
    assert found["queries"] == len(found["regret"]) == 12 and found["seeds"] == 6
    own = outcomes["local"]
    tests = [REPORT.values[ROWS.index(answer.choices)] for answer in own.answers]
    assert found["test_mean"] == pytest.approx(np.mean(tests)) and found["test_std"] == pytest.approx(np.std(tests, ddof=1))
    best = np.nanmax(np.where(SEARCHED, REPORT.values, np.nan))
    assert found["optimum"]["test"]["value"] == best
    assert found["regret"][-1] == pytest.approx(best - np.mean(tests))
    assert found["caveats"] == ["one run"]
    json.dumps(found, allow_nan=False)
    assert len(lines(found)) == 4


def test_regret_is_that_of_the_answer_so_far() -> None:
    one = compete(contest(queries=30, seeds=1), catalogue.make("strategies", "random"), "random")
    [valid], [test] = one.valid_regret, one.test_regret
    assert (np.diff(valid) <= 0).all(), "on the searched column itself it never rises"
    assert valid[-1] == pytest.approx(np.nanmax(TABLE.objective("toy").values) - one.valid[0])
    rng = generator(0, "random")
    first = sample(SPACE, rng)
    while not SEARCHED[ROWS.index(first.choices)]:
        first = sample(SPACE, rng)  # a refused row is no query
    row = ROWS.index(first.choices)
    assert test[0] == pytest.approx(np.nanmax(np.where(SEARCHED, REPORT.values, np.nan)) - REPORT.values[row])


def test_a_run_is_repeated_by_its_seed_alone() -> None:
    made = catalogue.make("strategies", "regularized-evolution")
    both = compete(contest(seeds=3), made, "x")
    last = compete(contest(seeds=1), made, "x")
    alone = compete(replace(contest(), seeds=range(2, 3)), made, "x")
    assert both.answers[0] == last.answers[0] and both.answers[2] == alone.answers[0]


def test_a_strategy_that_is_a_baseline_runs_once() -> None:
    _, outcomes = hold(contest(), baseline("random"), "random")
    assert outcomes["random"] is outcomes["random (baseline)"]
    found, outcomes = hold(contest(), catalogue.make("strategies", "regularized-evolution", population=3), "regularized-evolution")
    assert outcomes["regularized-evolution"] is not outcomes["regularized-evolution (baseline)"]
    assert set(found["baselines"]) == set(BASELINES)


def test_proxy_scores_cost_no_queries() -> None:
    judges = {"main": LookUp(), "proxy": Fickle()}
    made = catalogue.make("strategies", "assisted-evolution", candidates=20, population=5)
    found, _ = hold(contest(queries=8, judges=judges), made, "assisted-evolution")
    plain, _ = hold(contest(queries=8), baseline("regularized-evolution"), "regularized-evolution")
    assert found["baselines"]["regularized-evolution"]["regret"] == plain["regret"]
    assert len(found["regret"]) == 8 and all(value is not None for value in found["regret"])


def test_a_charged_clock_ends_runs_after_recorded_seconds() -> None:
    charged = contest(judges={"main": LookUp(cost=60.0)}, budget=Budget(seconds=600, clock="charged"))
    outcome = compete(charged, catalogue.make("strategies", "random"), "random")
    assert outcome.test_regret.shape == (6, 10)


@dataclass(frozen=True)
class Owner:
    """Owns its loop: judges nothing, reports progress, answers."""

    proposals: int = 0

    def search(self, problem: Problem, *, seed: int, state: object = None):  # type: ignore[no-untyped-def]
        for _ in range(self.proposals):
            yield Propose(SPACE.architecture((0, 0, 0, 1)))
        for step in (1, 2):
            yield Progress(SPACE.architecture((step, 1, 1, 1)))
        return SPACE.architecture((2, 2, 2, 1))


@pytest.mark.parametrize("proposals", [0, 3])
def test_strategies_that_own_their_loop_just_work(proposals: int) -> None:
    outcome = compete(contest(queries=5, seeds=2), Owner(proposals), "owner")
    row = ROWS.index((2, 2, 2, 1))
    assert outcome.valid.tolist() == [TABLE.objective("toy").values[row]] * 2
    assert np.isfinite(outcome.test_regret[:, -1]).all()


def test_columns_where_less_is_better() -> None:
    column = replace(REPORT.column, higher_is_better=False, metric="log-loss")
    worse = Verdict(Recorded(column, REPORT.values), SEARCHED)
    assert worse.value(worse.optimum) == np.nanmin(np.where(SEARCHED, REPORT.values, np.nan))
    assert worse.regret(int(np.nanargmax(REPORT.values))) > 0 == worse.regret(worse.optimum)
    assert np.isnan(worse.regret(None)) and np.isnan(worse.regret(0))


def test_what_cannot_be_held_is_told_in_one_sentence() -> None:
    with pytest.raises(UserError, match=r"could not be made: the first 3 candidates all failed alike"):
        compete(contest(judges={"main": Raising()}), baseline("random"), "random")
    with pytest.raises(UserError, match="no row that can be searched"):
        Verdict(REPORT, np.zeros(81, bool))


def test_the_files_of_a_search(tmp_path: Path) -> None:
    arena = contest(seeds=3)
    found, outcomes = hold(arena, catalogue.make("strategies", "local"), "local")
    page = write_outcome(tmp_path / "out", arena, found, outcomes, "archscout bench search --strategy <local>")
    text = page.read_text("utf8")
    assert text.count("<svg") == 2 and "&lt;local&gt;" in text and 'class="band searched"' in text
    assert not re.search(r'src=|href="(?!#)|https?://(?!www\.w3\.org)', text), "nothing comes from elsewhere"
    rows = list(csv.DictReader((tmp_path / "out" / "runs.csv").read_text().splitlines()))
    assert len(rows) == 9 and {row["strategy"] for row in rows} >= {"local"}
    assert json.loads((tmp_path / "out" / "search.json").read_text())["command"].startswith("archscout")


def test_three_hundred_queries_a_hundred_times_take_seconds() -> None:
    arena = contest(queries=300, seeds=10)
    began = time.perf_counter()
    compete(arena, baseline("regularized-evolution"), "evolution")
    moves = 10 * 300 / (time.perf_counter() - began)
    assert moves > 1500 / SLOWNESS, f"{moves:.0f} moves a second"
