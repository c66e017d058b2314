"""NAO's controller as a judge."""

import pickle

import numpy as np
import pytest
import torch
from commandline import Command

from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate, Failure, Observation
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.learners._predicted import _trained
from archscout.learners.nao import Nao
from archscout.nn.controller import ordered_pairs
from archscout.spaces.nas101 import Nas101
from archscout.spaces.nas201 import Nas201
from archscout.testing.estimators import CHECKS
from archscout.testing.tasks import image_task

PROBLEM = Problem(Nas201(channels=2, cells=1), image_task((3, 8, 8), 3, 64))
CELLS = list(dict.fromkeys(sample(PROBLEM.space, generator(0, "cells", place)) for place in range(400)))
SMALL = Nao(embedding=16, hidden=32, layers=1, width=32, dropout=0.0, epochs=40, rate=4e-3)
WORTH = generator(0, "worth").standard_normal((6, 5))


def value(cell):
    return float(WORTH[range(6), cell.choices].sum())


def seen(cells):
    return [Observation(cell, Estimate(value(cell))) for cell in cells]


@pytest.fixture(scope="module")
def judge():
    return SMALL.fit(PROBLEM, seen(CELLS[:150]), seed=0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_becomes_a_judge_that_conforms(judge, check):
    _trained.cache_clear()  # so that it is read from its bytes
    check(judge, PROBLEM)


def test_a_copy_that_travelled_says_the_same(judge):
    copy = pickle.loads(pickle.dumps(judge))
    _trained.cache_clear()
    for cell in CELLS[:3]:
        one, other = (some.estimate(PROBLEM, cell, seed=seed) for some, seed in ((judge, 0), (copy, 1)))
        assert one.value == other.value and 0 < one.value < 1


def test_it_orders_what_it_has_not_seen(judge):
    others = CELLS[150:]
    told = [judge.estimate(PROBLEM, cell, seed=0).value for cell in others]
    assert ordered_pairs(np.array(told), np.array([value(cell) for cell in others])) > 0.7
    assert len(set(told)) > 150


def test_equal_seeds_give_equal_judges(judge):
    noise = torch.random.get_rng_state()
    quick = Nao(embedding=4, hidden=8, width=8, epochs=2)
    one, two, other = (quick.fit(PROBLEM, seen(CELLS[:20]), seed=seed) for seed in (1, 1, 2))
    assert one.weights == two.weights != other.weights
    assert torch.equal(noise, torch.random.get_rng_state())


def test_failures_teach_nothing(judge):
    failed = [Observation(cell, None, Failure("nan", "not finite")) for cell in CELLS[80:120]]
    mixed = [one for pair in zip(failed, seen(CELLS[:40]), strict=True) for one in pair]
    quick = Nao(embedding=4, hidden=8, width=8, epochs=2)
    assert quick.fit(PROBLEM, mixed, seed=0).weights == quick.fit(PROBLEM, seen(CELLS[:40]), seed=0).weights


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_are_told_of(count):
    history = [*seen(CELLS[:count]), Observation(CELLS[5], None, Failure("error", "it failed"))]
    with pytest.raises(UserError, match=f"two judged architectures or more, but {count} came; name a table"):
        Nao().fit(PROBLEM, history, seed=0)


def test_members_are_averaged():
    quick = Nao(embedding=4, hidden=8, width=8, epochs=2, members=3)
    judge = quick.fit(PROBLEM, seen(CELLS[:20]), seed=0)
    assert len(judge.weights) == len(judge.fits) == 3 and len(set(judge.weights)) == 3


LABELLED = {"table": "nas201", "labelled": 20, "embedding": 8, "hidden": 16, "layers": 1, "width": 16, "epochs": 2}


def test_it_learns_from_the_rows_of_a_table():
    problem = Problem(Nas201(), image_task((3, 8, 8), 3, 64))
    one, other = (Nao(**LABELLED).fit(problem, (), seed=0) for _ in range(2))
    assert one == other and 0 <= one.estimate(problem, problem.space.architecture([3] * 6), seed=0).value <= 1
    with pytest.raises(UserError, match="holds architectures of the space 'nas101', but 'nas201' is searched"):
        Nao(table="nas101").fit(problem, (), seed=0)


def test_it_learns_from_the_rows_that_lie_in_a_part_of_a_space():
    problem = Problem(Nas101(subspace=1), image_task((3, 8, 8), 3, 64))
    judge = Nao(**LABELLED | {"table": "nas101"}).fit(problem, (), seed=0)
    cell = sample(problem.space, generator(0))
    assert 0 <= judge.estimate(problem, cell, seed=0).value <= 1


def test_it_is_a_judge_of_the_command_line(archscout: Command):
    words = [word for name, value in LABELLED.items() for word in ("--set", f"estimator.{name}={value}")]
    table = ("--table", "nas201", "--dataset", "cifar10", "--sample", 20)
    done = archscout("bench", "correlate", "--estimator", "nao", *table, *words, "--json")
    assert -1 <= done.json["kendall"] <= 1
    archscout("bench", "correlate", "--estimator", "nao", *table, code=2).refused("two judged architectures", "estimator.table")


def test_one_labelled_architecture_is_too_few():
    with pytest.raises(ValueError, match="labelled is at least 2, but -1 came"):
        Nao(labelled=-1)
