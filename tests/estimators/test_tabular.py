"""The judge that looks recorded values up."""

from __future__ import annotations

import numpy as np
import pytest

from archscout import catalogue
from archscout.benchmarks._import import Asked, import_values
from archscout.benchmarks._open import open_table, space_of
from archscout.core.draw import enumerate_space
from archscout.core.errors import CandidateError, UnknownName, UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Problem, Task
from archscout.core.seeds import generator
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Inline
from archscout.estimators.tabular import Tabular
from archscout.store.log import MemoryLog
from archscout.testing import estimators
from archscout.testing.drive import run, stop_and_go
from archscout.testing.tasks import image_task, token_task

IMAGES = Task("none", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "")
TOKENS = Task("none", LANGUAGE_MODELLING, (35,), 10_000, "")
TABLES = [(name, dataset) for name in catalogue.names("tables") for dataset in open_table(name).facts.datasets]


def problem_of(table):
    space = space_of(open_table(table))
    return Problem(space, TOKENS if table == "nlp-rnn" else IMAGES)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_TABLES", str(tmp_path / "tables"))


@pytest.fixture
def nas201():
    return problem_of("nas201")


def test_the_recorded_value(nas201):
    found = Tabular().estimate(nas201, nas201.space.at(6111), seed=3)
    assert found.value == pytest.approx(91.607, abs=1e-3) and found.cost_seconds == 1.0
    assert found.metrics == {"params": 1_073_466, "macs": pytest.approx(153.273e6, abs=500), "epochs": 200}
    twelve = Tabular(epochs=12).estimate(nas201, nas201.space.at(6111), seed=4)
    assert twelve.value == open_table("nas201").objective("cifar10", 12).values[6111] and twelve.metrics["epochs"] == 12


@pytest.mark.parametrize(("table", "dataset"), TABLES, ids=str)
def test_every_table(table, dataset):
    problem, judge, opened = problem_of(table), Tabular(table, dataset), open_table(table)
    check_kind(problem.task, judge, "the judge 'tabular'")
    recorded = opened.objective(dataset)
    judged = np.isfinite(recorded.values)
    if recorded.seconds is not None:
        judged &= np.isfinite(recorded.seconds)
    drawn = generator(0, table, dataset).integers(opened.facts.rows, size=60)
    seen = set()
    for row in [int(np.nanargmax(recorded.scores)), *map(int, drawn)]:
        architecture = opened.architecture(problem.space, row)
        found = opened.row(problem.space, architecture)
        why = judge.refusal(problem, architecture)
        seen.add(why is None)
        if why is None:
            estimate = judge.estimate(problem, architecture, seed=row)
            assert judged[found] and estimate.value == recorded.scores[found]
            assert estimate.cost_seconds == (1.0 if recorded.seconds is None else recorded.seconds[found])
            assert set(estimate.metrics) - {"seconds"} == {*opened.facts.metrics, "epochs"}
            assert estimate.metrics.get("seconds") == (None if recorded.seconds is None else estimate.cost_seconds)
        else:
            assert not judged[found] and why == f"has no recorded value for '{dataset}' in the table '{table}'"
            with pytest.raises(CandidateError, match=f"'{architecture}' {why}"):
                judge.estimate(problem, architecture, seed=row)
    assert True in seen and (False in seen) == (not judged.all())


@pytest.mark.parametrize("check", estimators.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    ("judge", "task"), [(Tabular("macro"), image_task()), (Tabular("transnas-cell", "normal"), image_task())], ids=str
)
def test_conforms(judge, task, check):
    check(judge, Problem(space_of(open_table(judge.table)), task))


def test_a_table_of_language_models():
    problem = Problem(space_of(open_table("nlp-rnn")), token_task())
    table = open_table("nlp-rnn")
    best = table.architecture(problem.space, int(np.nanargmin(table.objective("ptb").values)))
    estimate = Tabular("nlp-rnn", "ptb").estimate(problem, best, seed=0)
    assert estimate.value == -np.nanmin(table.objective("ptb").values), "a loss is negated"
    assert estimate.cost_seconds == estimate.metrics["seconds"] > 1_000


def test_what_the_table_does_not_hold():
    problem, table = problem_of("transnas-macro"), open_table("transnas-macro")
    absent = [a for a in enumerate_space(problem.space) if table.row(problem.space, a) is None]
    assert len(absent) == 1, "one of the 3,256 is missing"
    judge = Tabular("transnas-macro", "normal")
    assert judge.refusal(problem, absent[0]) == "is not in the table 'transnas-macro', so nothing is recorded for 'normal'"


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        (Tabular("nas202"), "there is no table 'nas202'; did you mean 'nas201'"),
        (Tabular(dataset="cifar11"), "no recorded values for the data set 'cifar11'; did you mean 'cifar10' or 'cifar100'?"),
        (Tabular(epochs=90), "after 200, 12 epochs, but 90 came"),
    ],
)
def test_what_is_not_there(judge, words, nas201):
    for ask in (judge.refusal, lambda *words: judge.estimate(*words, seed=0)):
        with pytest.raises(UnknownName) as caught:
            ask(nas201, nas201.space.at(0))
        assert words in str(caught.value)


def test_a_table_of_another_space(nas201):
    with pytest.raises(UserError, match="holds architectures of the space 'macro', but 'nas201' is searched; search that space"):
        Tabular("macro").refusal(nas201, nas201.space.at(0))


def test_refusals_are_uncharged():
    problem = problem_of("nas101")
    log = run(catalogue.make("strategies", "random"), problem, Tabular("nas101"), evaluations=40)
    refused = [seen for seen in log.results.values() if seen.failure is not None]
    assert {seen.failure.kind for seen in refused} == {"unrecorded"}
    assert len(log.results) - len(refused) == 40 and 20 <= len(refused) <= 70, "about half of the rows have a value"


def test_queries_are_charged_a_second_each_until_seconds_are_imported(nas201, tmp_path):
    strategy, cells = catalogue.make("strategies", "random"), [nas201.space.at(row) for row in range(0, 15_625, 3)]

    def queries(budget):
        log, limit = MemoryLog(), Budget(seconds=budget, clock="charged")
        drive(strategy, {"main": Tabular()}, nas201, seed=0, log=log, executor=Inline(), budget=limit, counted=False)
        return [seen for seen in log.results.values() if seen.failure is None]

    assert len(queries(30)) == 30
    path = tmp_path / "seconds.csv"
    path.write_text("architecture,value\n" + "".join(f"{cell},{10 + len(str(cell)) % 2}\n" for cell in cells))
    import_values(path, Asked("nas201", "cifar10", metric="seconds", epochs=200))
    found = queries(300)
    assert {seen.architecture for seen in found} <= set(cells) and {seen.estimate.cost_seconds for seen in found} <= {10.0, 11.0}
    assert 27 <= len(found) <= 31
    why = Tabular().refusal(nas201, nas201.space.at(1))
    assert why == "has no recorded seconds of training for 'cifar10' in the table 'nas201'"
    assert Tabular(epochs=12).estimate(nas201, nas201.space.at(1), seed=0).cost_seconds == 1.0, "those of another training"
    assert "seconds of training ('cifar10_seconds_200') were imported" in " ".join(open_table("nas201").facts.caveats)


@pytest.mark.parametrize("strategy", ["random", "regularized-evolution"])
@pytest.mark.parametrize("judge", [Tabular(), Tabular("nas101")], ids=str)
def test_row_17_resume_equals_uninterrupted(judge, strategy):
    """Also where a run is killed between a proposal and its refusal: what is refused is no evaluation."""
    for seed in range(3):
        stops = [int(stop) for stop in generator(seed, "stops").integers(1, 25, size=2)]
        made = catalogue.make("strategies", strategy)
        stop_and_go(made, problem_of(judge.table), {"main": judge}, seed=seed, evaluations=30, stops=stops)
