"""AT-NAS as a strategy."""

from __future__ import annotations

import pytest

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.problem import Problem
from archscout.nn.at_nas import MetaTraining
from archscout.strategies.at_nas import AtNas
from archscout.testing.tasks import episode_task


def test_no_step_of_a_search_is_for_its_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is meta-trained anew, so that weights learned for it would be of no use."""
    finish, ended = MetaTraining.finish, list[int]()

    def told(self: MetaTraining) -> Architecture:
        ended.append(self.step)
        return finish(self)

    monkeypatch.setattr(MetaTraining, "finish", told)
    strategy = AtNas(
        iterations=5, every=1, population=3, parents=1, crossed=1, mutated=1, tasks=1, final_tasks=1, batch=2, paths=1, report=1
    )
    problem = Problem(catalogue.make("spaces", "few-shot", channels=4, nodes=2), episode_task())
    assert len(list(strategy.search(problem, seed=0))) == 5 and ended == [5]
