"""NAO as a strategy: rounds, moves, limits, what is new, and a search that was stopped."""

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
from commandline import Command

from archscout.core.draw import sample
from archscout.core.encoding import architecture_of
from archscout.core.evidence import Estimate, Failure, Observation
from archscout.core.moves import Progress, Propose
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.nn.controller import Trained, learned, written
from archscout.spaces.nao_cell import NaoCell
from archscout.spaces.nas101 import Nas101
from archscout.spaces.nas201 import Nas201
from archscout.spaces.rnn import Rnn
from archscout.store.snapshots import pack, unpack
from archscout.strategies import nao
from archscout.strategies._climbing import climbed
from archscout.strategies._fresh import Known
from archscout.strategies.nao import Nao
from archscout.testing.drive import run, stop_and_go
from archscout.testing.problems import Counting, Unreliable, counting
from archscout.testing.tasks import image_task

TINY = {"embedding": 8, "hidden": 16, "layers": 1, "width": 16, "epochs": 20, "refresh": 10}
SMALL = Nao(**TINY, initial=12, new=6, seeds=6)
HASTY = replace(SMALL, epochs=4, refresh=2)
NAS201 = Problem(Nas201(channels=2, cells=1), image_task((3, 8, 8), 3, 64))


class Level:
    """Finds all alike."""

    def estimate(self, problem, architecture, *, seed):
        return Estimate(0.25)


def reports(log):
    return [dict(entry.move.metrics) for entry in log.moves if isinstance(entry.move, Progress)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"moves": "random"},
        {"moves": "mutation"},
        {"moves": "both"},
        {"rescore": False},
        {"refresh": 0},
        {"members": 2},
        {"relative": False, "increment": 1.0, "targets": "min-max"},
        {"pseudo": 20},
        {"overlap": 4},
        {"overlap": 9, "members": 2},
    ],
    ids=str,
)
def test_whatever_the_settings_a_search_goes_on_where_it_was_stopped(change):
    stop_and_go(replace(HASTY, **change), counting(), Counting(), evaluations=28, stops=(1, 13, 4, 9))


@pytest.mark.parametrize("overlap", [3, 8])
@pytest.mark.parametrize("workers", [1, 4])
def test_rounds_that_overlap_leave_so_many_out_and_go_on_the_same(overlap, workers):
    search = replace(HASTY, overlap=overlap)
    stop_and_go(search, counting(), Unreliable(), evaluations=40, workers=workers, stops=(1, 13, 4, 9, 11))
    log = run(search, counting(), Counting(), evaluations=40, workers=workers)
    proposed = 0
    for entry in log.moves:
        proposed += isinstance(entry.move, Propose)
        if isinstance(entry.move, Progress):
            assert proposed - entry.delivered == min(overlap, workers - 1)


def test_it_goes_on_from_its_snapshot_and_not_by_learning_again():
    search = HASTY.search(counting(), seed=0)

    def on(search, move, count):
        found, reports = [], []
        while len(found) < count:
            if isinstance(move, Progress):
                reports.append(move)
                move = search.send([])
                continue
            found.append(move.architecture)
            move = search.send([Observation(move.architecture, Counting().estimate(counting(), move.architecture, seed=0))])
        return found, reports, move

    _, first, move = on(search, next(search), 12 + 6)
    straight, later, _ = on(search, move, 12)
    snapshot = unpack(pack(later[0].state))
    assert snapshot["turn"] == 1 and len(first) == 1
    again = HASTY.search(counting(), seed=0, state=snapshot)
    resumed, new, _ = on(again, next(again), 6)
    assert resumed == straight[:6]
    assert not new, "the controllers of the snapshot should be used"


def test_rounds_and_what_is_reported():
    log = run(replace(SMALL, initial=24, held_out=0.9), counting(), Counting(), evaluations=24 + 13)
    found = reports(log)
    assert [report["turn"] for report in found] == [0, 1, 2]
    assert [report["epochs"] for report in found] == [20, 10, 10]
    assert all(0 <= report["reconstructed"] <= 1 and 0.4 <= report["pairs"] <= 1 for report in found)
    assert ["held out pairs" in report for report in found] == [True, False, False], "later weights have seen all"
    assert "pairs foretold" not in found[0] and 0 <= found[1].get("pairs foretold", 0.5) <= 1


def test_a_controller_that_is_trained_anew_holds_out_anew():
    log = run(replace(SMALL, initial=24, held_out=0.9, refresh=0), counting(), Counting(), evaluations=24 + 7)
    assert [report["epochs"] for report in reports(log)] == [20, 20]
    assert all("held out pairs" in report for report in reports(log))


@pytest.mark.parametrize("space", [NAS201.space, Nas101(), NaoCell(4, 1), Rnn(nodes=3, size=4)], ids=lambda space: space.name)
def test_nothing_is_proposed_twice_up_to_isomorphism(space):
    log = run(replace(HASTY, new=10, increment=0.5), replace(NAS201, space=space), Steps(), evaluations=40)
    identity = getattr(space, "signature", str)
    assert len({identity(seen.architecture) for seen in log.observations}) == 40


class Steps:
    """Likes large choices."""

    def estimate(self, problem, architecture, *, seed):
        return Estimate(float(sum(architecture.choices)))


def test_equal_values_are_borne():
    log = run(HASTY, counting(), Level(), evaluations=30)
    assert len(log.observations) == 30 and log.answer is not None
    assert all("pairs" not in report for report in reports(log))


def test_a_space_that_is_exhausted_ends_the_search():
    log = run(replace(HASTY, initial=5, new=4), counting(2, 3), Counting(), evaluations=50)
    assert len(log.observations) == 9 and log.finished
    log = run(replace(HASTY, initial=5, new=4), counting(1, 1), Counting(), evaluations=50)
    assert len(log.observations) == 1 and log.answer is not None


def test_what_fails_is_met_and_teaches_nothing():
    for kind in ("nan", "error"):
        log = run(HASTY, counting(), Unreliable(every=3, kind=kind), evaluations=40)
        proposed = [seen.architecture for seen in log.observations]
        assert len(set(proposed)) == 40 and any(seen.failure for seen in log.observations)
        assert all(np.isfinite(list(report.values())).all() for report in reports(log))


def taught(count=40):
    cells = list(dict.fromkeys(sample(NAS201.space, generator(0, place)) for place in range(count)))
    values = [Steps().estimate(NAS201, cell, seed=0).value for cell in cells]
    trained = learned(NAS201.space, cells, values, replace(SMALL, epochs=40), 0)
    best = [cells[place] for place in np.argsort(-np.array(values), kind="stable")[:10]]
    return cells, best, trained


@pytest.mark.parametrize("moves", ["gradient", "random", "mutation", "both"])
def test_climbing_gives_new_legal_ones_and_rescoring_better_ones(moves):
    cells, best, trained = taught()
    known = Known(NAS201.space)
    assert all(known.is_new(cell) for cell in cells[:1]) and not known.is_new(cells[0])
    for cell in cells:
        known.is_new(cell)
    means = {}
    for rescore in (True, False):
        settings = replace(SMALL, moves=moves, rescore=rescore, increment=0.5)
        found = climbed(NAS201.space, trained, best, 12, known, None, settings, 0)
        assert found == climbed(NAS201.space, trained, best, 12, known, None, settings, 0)
        assert len(found) == 12 and not set(found) & set(cells)
        assert len({NAS201.space.signature(cell) for cell in found}) == 12
        assert all(cell == NAS201.space.architecture(cell.choices) for cell in found)
        told = trained.predict(written(NAS201.space, found))
        means[rescore] = told.mean()
        if rescore:
            assert list(told) == sorted(told, reverse=True)
    assert means[True] > means[False]


def test_steps_grow_by_the_increment_and_what_the_shorter_ones_find_comes_first(monkeypatch):
    cells, best, trained = taught()
    climb, passes = Trained.climb, []

    def watched(self, tokens, steps, *given, **more):
        passes.append((steps, climb(self, tokens, steps, *given, **more)))
        return passes[-1][1]

    monkeypatch.setattr(Trained, "climb", watched)
    settings = replace(SMALL, moves="gradient", rescore=False, increment=0.5, furthest=3)
    space, known = NAS201.space, Known(NAS201.space, cells)
    found = climbed(space, trained, best, 10_000, known, None, settings, 0)
    assert [steps for steps, _ in passes] == [[0.5], [1.0], [1.5]]
    written_again = [architecture_of(space, row) for _, rows in passes for row in rows.tolist()]
    assert found == [cell for cell in written_again if known.is_new(cell)]
    passes.clear()
    assert climbed(space, trained, best, 2, Known(space, cells), None, settings, 0) == found[:2] and len(passes) < 3


def test_it_climbs_from_the_best_that_were_judged(monkeypatch):
    problem, given = counting(), []
    judged = [Estimate(0.2), None, Estimate(0.9), Estimate(0.5), Estimate(0.9), Estimate(0.1)]
    cells = [sample(problem.space, generator(0, place)) for place in range(len(judged))]
    pool = nao._Pool(problem)
    failure = Failure("nan", "not finite")
    pool.extend([Observation(cell, found, None if found else failure) for cell, found in zip(cells, judged, strict=True)])
    assert pool.best(3) == [cells[2], cells[4], cells[3]] and pool.best(9) == [*pool.best(3), cells[0], cells[5]]

    def watched(space, trained, best, *more):
        given.append(best)
        return climbed(space, trained, best, *more)

    monkeypatch.setattr(nao, "climbed", watched)
    told = run(HASTY, problem, Counting(), evaluations=12 + 6 + 1).observations
    for best, count in zip(given, (12, 12 + 6), strict=True):
        assert best == [seen.architecture for seen in sorted(told[:count], key=lambda seen: -seen.value)[:6]]


def test_only_what_is_accepted_is_found():
    _, best, trained = taught()
    few = climbed(NAS201.space, trained, best, 12, Known(NAS201.space), lambda cell: cell.choices[0] == 2, SMALL, 0)
    assert few and all(cell.choices[0] == 2 for cell in few)
    assert climbed(NAS201.space, trained, best, 12, Known(NAS201.space), lambda cell: False, SMALL, 0) == []


def test_what_is_climbed_to_is_better_than_what_was_drawn():
    strategy = replace(SMALL, initial=30, new=20, hidden=32, epochs=40)
    logs = [run(strategy, counting(8, 4), Counting(), seed=seed, evaluations=50) for seed in range(3)]
    drawn, found = (mean(seen.value for log in logs for seen in log.observations[part]) for part in (slice(30), slice(30, None)))
    assert found > drawn + 0.06, "three standard errors"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"moves": "sideways"}, "gradient, random, mutation, both"),
        ({"initial": 1}, "initial is at least 2"),
        ({"initial": 10, "overlap": 9}, "two of 10 initial architectures must land before a round, but overlap is 9"),
        ({"new": 0}, "new is at least 1"),
        ({"seeds": 0}, "seeds is at least 1"),
        ({"increment": 0.0}, "increment is above 0"),
        ({"epochs": 0}, "epochs is at least 1"),
    ],
)
def test_settings_are_checked(wrong, words):
    with pytest.raises(ValueError, match=words):
        Nao(**wrong)


def test_what_is_decoded_from_a_partial_space_is_an_architecture_or_left_out():
    space = Nas101()
    cells = [sample(space, generator(0, place)) for place in range(12)]
    trained = learned(space, cells, [float(place) for place in range(12)], HASTY, 0)
    rows = trained.climb(written(space, cells), [0.5, 3.0], relative=True, seed=0).tolist()
    refused = sum(architecture_of(space, row) is None for row in rows)
    found = climbed(space, trained, cells, 10, Known(space), None, SMALL, 0)
    assert refused > 0, "the test should meet sequences that are no cells"
    assert all(cell == space.architecture(cell.choices) for cell in found)


SEARCH = ("bench", "search", "--strategy", "nao", "--table", "nas201", "--dataset", "cifar10", "--queries", 20, "--seeds", 2)


def words(**settings):
    return [word for name, value in settings.items() for word in ("--set", f"strategy.{name}={value}")]


def test_bench_search(archscout: Command):
    done = archscout(*SEARCH, *words(**TINY | {"epochs": 5}, initial=10, new=5, moves="random", members=2), "--json")
    assert done.json["strategy"] == "nao" and len(done.json["regret"]) == 20 and done.json["test_mean"] > 85


def test_bad_settings_are_one_sentence(archscout: Command):
    archscout(*SEARCH, *words(moves="sideways"), code=2).refused("moves", "gradient")
