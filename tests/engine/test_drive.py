from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pytest
from small_strategies import Chaotic, Climbing, Evolution, Listed

from archscout.catalogue import make
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.errors import ArchscoutError, LimitError, ReplayMismatch, StrategyError, UserError
from archscout.core.evidence import Estimate
from archscout.core.moves import Propose, Search, Wait
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.engine.budget import Budget
from archscout.engine.drive import Event, at_fidelity, drive, failed_share
from archscout.engine.executors import Inline
from archscout.store.log import MemoryLog
from archscout.store.runs import RunStore
from archscout.strategies._fresh import fresh
from archscout.testing.drive import Shuffled, Stopped, first_moves, run, stop_and_go
from archscout.testing.problems import Counting, Noisy, Raising, Unreliable, counting, optimum

JUDGES = {"main": Noisy(), "proxy": Counting()}
PROBLEM = counting()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("strategy", [Evolution(), Chaotic(), Climbing(), Climbing(propose=True)], ids=str)
def test_stop_and_go_equals_straight(strategy: Any, seed: int, workers: int) -> None:
    stops = [int(stop) for stop in generator(seed, "stops").integers(1, 30, size=4)]
    stop_and_go(strategy, PROBLEM, JUDGES, seed=seed, evaluations=40, workers=workers, stops=stops)


def test_evolution_finds_the_optimum() -> None:
    log = run(Evolution(10), PROBLEM, Counting(), evaluations=400)
    assert log.answer == optimum(PROBLEM)
    assert log.reason == "evaluations" and len(log.results) == 400


def test_results_come_in_proposal_order_with_a_fixed_lag() -> None:
    heard: list[int] = []
    proposed = []

    @dataclass(frozen=True)
    class Listening:
        def search(self, problem: Problem, *, seed: int, state: object = None) -> Search:
            rng = generator(seed)
            for _ in range(20):
                proposed.append(sample(problem.space, rng))
                landed = yield Propose(proposed[-1])
                heard.append(len(landed))
                if landed:
                    assert [seen.architecture for seen in landed] == [proposed[len(proposed) - 3]]

    log = run(Listening(), PROBLEM, Counting(), workers=3)
    assert heard == [0, 0] + [1] * 18
    assert len(log.results) == 20 and log.reason == "done"


def test_results_come_as_they_land_where_that_is_asked_for() -> None:
    heard: list[Architecture] = []

    @dataclass(frozen=True)
    class Listening:
        def search(self, problem: Problem, *, seed: int, state: object = None) -> Search:
            for architecture in fresh(problem.space, generator(seed), None, heard):
                landed = yield Propose(architecture)
                heard.extend(seen.architecture for seen in landed)

    log = run(Listening(), PROBLEM, Counting(), workers=4, evaluations=30, order="landed")
    as_landed = [seen.architecture for seen in log.results.values()]
    assert heard == as_landed[: len(heard)] and len(heard) == 27
    assert heard != [seen.architecture for seen in log.observations][: len(heard)], "they landed in order by chance"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strategy", [Evolution(), Chaotic(), Climbing(propose=True)], ids=str)
def test_a_run_whose_results_came_as_they_landed_goes_on_by_its_record(strategy: Any, seed: int, tmp_path: Path) -> None:
    judges, moves, judged = JUDGES, [], []
    for turn, stop in enumerate((9, 25, 31, None)):

        def count(event: Event, stop: int | None = stop) -> None:
            if stop is not None and event.landed >= stop:
                raise Stopped

        make_store = RunStore.open if turn else partial(RunStore.create, request={}, seed=seed)
        with make_store(tmp_path / "run") as store:
            log = store.stage("screen")
            assert list(log.results) == judged, "the order in which results landed was lost"
            try:
                drive(
                    strategy, judges, PROBLEM, seed=seed, log=log, executor=Shuffled(3, seed=turn), budget=Budget(evaluations=40),
                    notify=count, order="landed",
                )  # fmt: skip
            except Stopped:
                pass
            assert [entry.move for entry in log.moves[: len(moves)]] == moves, "what was recorded is not what was repeated"
            judged = list(log.results)
        with RunStore.read(tmp_path / "run") as store:
            moves = [entry.move for entry in store.stage("screen").moves]
    assert log.finished and len(judged) == len(log.proposals)


def test_waiting_for_nothing_is_an_error() -> None:
    with pytest.raises(StrategyError, match="nothing is in flight"):
        run(Listed((Wait(),)), PROBLEM, Counting())


def test_foreign_proposals_are_errors() -> None:
    with pytest.raises(StrategyError, match="judges main"):
        run(Listed((Propose(optimum(PROBLEM), "nobody"),)), PROBLEM, Counting())


def test_replay_notices_another_strategy() -> None:
    log = run(Evolution(), PROBLEM, Counting(), evaluations=20)
    log.finished = False
    with pytest.raises(ReplayMismatch, match=r"move \d+: the log has counting:.*the strategy now makes counting:"):
        run(Evolution(6), PROBLEM, Counting(), evaluations=30, log=log)
    assert len(log.results) == 20

    events: list[Event] = []
    drive(
        Evolution(6), {"main": Counting()}, PROBLEM, seed=0, log=log, executor=Inline(), budget=Budget(evaluations=30),
        notify=events.append, verify=False,
    )  # fmt: skip
    assert len(log.results) == 30 and any(event.kind == "mismatch" for event in events)


def test_replay_notices_a_strategy_that_ends_early() -> None:
    architecture = optimum(PROBLEM)
    log = run(Listed((Propose(architecture), Propose(architecture))), PROBLEM, Counting())
    log.finished = False
    with pytest.raises(ReplayMismatch, match="comes to its end"):
        run(Listed((Propose(architecture),)), PROBLEM, Counting(), log=log)


def test_a_finished_stage_is_not_driven_again() -> None:
    log = run(Evolution(), PROBLEM, Counting(), evaluations=5)
    assert run(Listed((Wait(),)), PROBLEM, Counting(), log=log).answer == log.answer


def test_snapshots_are_where_a_resume_starts() -> None:
    states: list[Any] = []

    @dataclass(frozen=True)
    class Spied(Climbing):
        def search(self, problem: Problem, *, seed: int, state: Mapping[str, Any] | None = None) -> Search:
            states.append(state)
            return super().search(problem, seed=seed, state=state)

    stop_and_go(Spied(), PROBLEM, JUDGES, stops=[5, 3])
    assert [state and state["step"] for state in states] == [None, None, 4, 7]


@pytest.mark.parametrize("kind", ["nan", "error"])
def test_failures_are_evidence(kind: Any) -> None:
    log = run(Evolution(), PROBLEM, Unreliable(kind=kind), evaluations=100)
    failures = [seen for seen in log.observations if seen.failure]
    assert failures and {seen.failure.kind for seen in failures if seen.failure} == {kind}
    assert failed_share(log) == len(failures) / 100
    assert all(np.isfinite(seen.estimate.value) for seen in log.observations if seen.estimate)
    best = max(seen.value for seen in log.observations)
    assert next(seen for seen in log.observations if seen.architecture == log.answer).value == best


def test_a_metric_that_is_not_finite_is_a_failure_too() -> None:
    class Odd:
        def estimate(self, problem: Problem, architecture: object, *, seed: int) -> Estimate:
            return Estimate(1.0, metrics={"loss": float("inf")})

    log = run(Evolution(), PROBLEM, Odd(), evaluations=5)
    assert {seen.failure.kind for seen in log.observations if seen.failure} == {"nan"} and log.answer is None


def test_three_equal_errors_at_the_start_stop_the_run() -> None:
    log = MemoryLog()
    with pytest.raises(ArchscoutError, match=r"all failed alike \(RuntimeError: no such thing\).*doctor"):
        run(Evolution(), PROBLEM, Raising("no such thing"), log=log)
    assert len(log.results) == 3 and not log.finished


def test_limits_are_enforced_uncharged() -> None:
    problem = counting(limits={"params": 60})
    log = run(Evolution(), problem, Counting(), evaluations=8, seed=1)
    refused = [seen for seen in log.observations if seen.failure]
    judged = [seen for seen in log.observations if seen.estimate]
    assert len(judged) == 8 and refused
    assert {seen.failure.kind for seen in refused if seen.failure} == {"over_limit"}
    assert all(seen.estimate.metrics["params"] <= 60 for seen in judged if seen.estimate)
    assert failed_share(log) == 0.0
    stop_and_go(Evolution(), problem, Counting(), evaluations=8, seed=1, workers=3)


@dataclass(frozen=True)
class Forgetful(Counting):
    """Has no record of architectures whose choices add up to an odd number."""

    def refusal(self, problem: Problem, architecture: Architecture) -> str | None:
        return "there is no record of it" if sum(architecture.choices) % 2 else None


def test_what_a_judge_refuses_beforehand_is_uncharged() -> None:
    log = run(Evolution(), PROBLEM, Forgetful(), evaluations=8, seed=1)
    refused = [seen for seen in log.observations if seen.refused]
    assert refused and {seen.failure.kind for seen in refused if seen.failure} == {"unrecorded"}
    assert all(sum(seen.architecture.choices) % 2 for seen in refused)
    assert len(log.observations) - len(refused) == 8 and failed_share(log) == 0.0
    stop_and_go(Evolution(), PROBLEM, Forgetful(), evaluations=8, seed=1, workers=3)


def test_a_budget_may_count_one_judge_only() -> None:
    moves = tuple(Propose(optimum(PROBLEM), judge) for judge in ("proxy", "main", "proxy", "proxy", "main", "main"))
    log, budget = MemoryLog(), Budget(evaluations=2, judges=("main",))
    judges = {"main": Counting(), "proxy": Counting()}
    drive(Listed(moves), judges, PROBLEM, seed=0, log=log, executor=Inline(), budget=budget)
    assert len(log.results) == 5 and log.reason == "evaluations"
    del log.moves[3:], log.results[3], log.results[4]
    log.finished = False
    drive(Listed(moves), judges, PROBLEM, seed=0, log=log, executor=Inline(), budget=budget)
    assert len(log.results) == 5, "a resumed run counts alike"


def test_counts_that_no_limit_needs_can_be_left_out() -> None:
    space = make("spaces", "nas201", channels=2, cells=1)
    move = (Propose(space.architecture([3] * 6)),)
    for limits, counted in (({}, False), ({"params": 1e6}, True)):
        log = MemoryLog()
        problem = Problem(space, PROBLEM.task, limits)
        drive(Listed(move), {"main": Fixed()}, problem, seed=0, log=log, executor=Inline(), budget=Budget(), counted=False)
        [seen] = log.observations
        assert seen.estimate and ("params" in seen.estimate.metrics) is counted


@dataclass(frozen=True)
class Fixed:
    """Likes all alike."""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        return Estimate(1.0)


def test_latency_is_measured_once_and_limits() -> None:
    log = run(Listed((Propose(optimum(PROBLEM)),) * 2), counting(limits={"latency_ms": 1e-6}), Counting())
    first, second = log.observations
    assert first.failure and first.failure.kind == "over_limit" and first.failure == second.failure
    log = run(Listed((Propose(optimum(PROBLEM)),)), counting(limits={"latency_ms": 1e6}), Counting())
    assert log.observations[0].estimate and log.observations[0].estimate.metrics["latency_ms"] > 0


def test_a_strategy_that_only_proposes_what_is_over_the_limits_ends() -> None:
    moves = (Propose(optimum(PROBLEM)),) * 1100
    with pytest.raises(LimitError, match="1,000 proposals"):
        run(Listed(moves), counting(limits={"params": 1}), Counting())
    with pytest.raises(UserError, match="no limit 'watts'"):
        run(Listed(moves), counting(limits={"watts": 1}), Counting())


def test_charged_clock() -> None:
    log = MemoryLog()
    budget = Budget(seconds=7.5, clock="charged")
    drive(Evolution(), {"main": Counting()}, PROBLEM, seed=0, log=log, executor=Shuffled(1), budget=budget)
    assert len(log.results) == 8 and log.reason == "time"  # one second each


def test_wall_clock_counts_over_restarts() -> None:
    log = MemoryLog()
    log.seconds = 100.0
    started = perf_counter()
    drive(Evolution(), {"main": Counting()}, PROBLEM, seed=0, log=log, executor=Inline(), budget=Budget(seconds=100.2))
    assert 0.1 < perf_counter() - started < 2 and log.reason == "time"
    assert 100.2 <= log.seconds < 101


def test_the_answer_prefers_the_main_judge_and_the_highest_fidelity() -> None:
    space = PROBLEM.space
    best, other, poor = optimum(PROBLEM), space.architecture([0] * 6), space.architecture([3, 3, 3, 3, 3, 0])
    moves = Propose(best, fidelity=1.0), Propose(poor, fidelity=9.0), Propose(best, "proxy")
    log = run(Listed(moves), PROBLEM, {"main": Counting(), "proxy": Counting()})
    assert log.answer == poor and other != poor


def test_fidelity_replaces_the_named_field() -> None:
    @dataclass(frozen=True)
    class Timed:
        FIDELITY = "minutes"
        minutes: float = 1.0

        def estimate(self, problem: Problem, architecture: object, *, seed: int) -> Estimate:
            return Estimate(self.minutes)

    changed: Any = at_fidelity(Counting(), 3.0)
    assert changed == Counting(epochs=3) and isinstance(changed.epochs, int)
    assert at_fidelity(Timed(), 2) == Timed(2.0)
    assert at_fidelity(Noisy(), None) == Noisy()
    with pytest.raises(UserError, match="'Noisy' knows no fidelity"):
        at_fidelity(Noisy(), 2.0)


def test_events_count() -> None:
    events: list[Event] = []
    drive(
        Evolution(), {"main": Unreliable()}, PROBLEM, seed=0, log=MemoryLog(), executor=Shuffled(2),
        budget=Budget(evaluations=30), notify=events.append,
    )  # fmt: skip
    last = events[-1]
    assert last.kind == "stopped" and last.message == "evaluations"
    assert (last.proposed, last.landed, last.evaluations) == (30, 30, 30) and last.failed > 0
    assert last.best is not None and last.best.value == max(event.best.value for event in events if event.best)


def test_first_moves_are_text() -> None:
    assert first_moves(Chaotic(), PROBLEM, JUDGES, count=6) == first_moves(Chaotic(), PROBLEM, JUDGES, count=9)[:6]


def test_thousands_of_moves_a_second() -> None:
    log = MemoryLog()
    started = process_time()
    drive(Evolution(), {"main": Counting()}, PROBLEM, seed=0, log=log, executor=Inline(), budget=Budget(evaluations=3000))
    assert len(log.results) / (process_time() - started) > 2000
