from __future__ import annotations

import pytest
from small_strategies import Chaotic, Evolution, Listed

from archscout.core.errors import UserError
from archscout.core.moves import Propose
from archscout.engine.asktell import AskTell
from archscout.testing.drive import run
from archscout.testing.problems import Counting, CountingSpace, counting, optimum

SPACE = CountingSpace()


def test_by_hand_equals_driven() -> None:
    search = AskTell(Evolution(), SPACE, seed=3)
    for _ in range(60):
        architecture = search.ask()
        assert search.ask() == architecture
        search.tell(architecture, Counting().estimate(search.problem, architecture, seed=0).value)
    log = run(Evolution(), counting(), Counting(), seed=3, evaluations=60)
    assert [seen.architecture for seen in search.observations] == [seen.architecture for seen in log.observations]
    assert search.best is not None and search.best.architecture == log.answer


def test_nan_is_a_failure() -> None:
    search = AskTell(Evolution(), SPACE)
    search.tell(search.ask(), float("nan"))
    assert search.best is None and search.observations[0].failure is not None
    search.tell(first := search.ask(), 0.5)
    assert search.best is not None and search.best.architecture == first


def test_misuse_is_said_in_a_sentence() -> None:
    search = AskTell(Listed((Propose(optimum(counting())),)), SPACE)
    with pytest.raises(UserError, match="nothing was asked"):
        search.tell(optimum(counting()), 1.0)
    search.ask()
    with pytest.raises(UserError, match="was asked for, but a value for"):
        search.tell(SPACE.architecture([0] * 6), 1.0)
    search.tell(search.ask(), 1.0)
    with pytest.raises(UserError, match="come to its end"):
        search.ask()


def test_strategies_that_report_are_stepped_over() -> None:
    search = AskTell(Chaotic(), SPACE, seed=1)
    for _ in range(10):
        search.tell(search.ask(), 0.5)
