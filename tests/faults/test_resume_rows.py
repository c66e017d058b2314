"""Row 17 of the fault table: resumed equals uninterrupted, for every method, at random moments and three seeds.

Equal means: the same moves, answers and numbers, and snapshots that are equal byte for byte, optimizers and random states included.
That the same holds through the command, with kills from outside, is what rows 1 and 2 and tests/cli look at.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small

from archscout import catalogue
from archscout.core.errors import Interrupted
from archscout.core.evidence import Estimate
from archscout.core.protocols import MetaLearner
from archscout.core.seeds import generator
from archscout.engine.executors import Inline, Job
from archscout.engine.learn import Lesson, Lessons
from archscout.testing import meta
from archscout.testing.drive import stop_and_go
from archscout.testing.strategies import Schooled, folded, goes_on_where_it_was_stopped, learns_on_where_it_was_stopped, owns_loop

SEEDS = range(3)
SCREENING = {
    "naswot": {"batch": 8},
    "signal-regression": {"steps": 3, "every": 3, "statistics": "batch"},
}


@pytest.mark.parametrize(("name", "settings"), small.strategies(), ids=str)
def test_row_17_strategies(name: str, settings: dict[str, Any]) -> None:
    strategy = catalogue.make("strategies", name, **settings)
    check = learns_on_where_it_was_stopped if owns_loop(strategy) else goes_on_where_it_was_stopped
    check(strategy)


@pytest.mark.parametrize("judge", SCREENING)
def test_row_17_a_search_screened_by_a_judge_that_trains_nothing(judge: str) -> None:
    """NASWOT's assisted evolution, and the same with GenNAS."""
    strategy = catalogue.make("strategies", "assisted-evolution", candidates=6, population=4, tournament=2)
    judges = {"main": Schooled(), "proxy": catalogue.make("estimators", judge, **SCREENING[judge])}
    for seed in SEEDS:
        stop_and_go(strategy, folded(), judges, seed=seed, evaluations=12)


def test_row_17_mdenas_with_a_judge() -> None:
    goes_on_where_it_was_stopped(catalogue.make("strategies", "mdenas", supernet=False, bookkeeping="mean"))


@pytest.mark.parametrize("name", catalogue.names("meta"))
def test_row_17_methods_that_learn_across_tasks(name: str, tmp_path: Path) -> None:
    learner = small.brief(name)
    if isinstance(learner, MetaLearner):
        for seed in SEEDS:
            _learned_alike(learner, seed, tmp_path)
    else:
        meta.resumes(learner, small.FEW_LESSONS if hasattr(learner, "training") else small.EPISODES)


def _learned_alike(learner: Any, seed: int, folder: Path) -> None:
    """A method that has its settings tried, cut at a random trial, and with half a line at the end of its file."""
    judge, episodes = catalogue.make("estimators", learner.judge), small.labelled()
    count = learner.trials * len(episodes[0].architectures)

    def lesson(name: str, cut: int = 0) -> tuple[Lesson, Drawing, Path]:
        question = Lessons(learner, judge, episodes, seed=seed, folder=folder / f"{seed}-{name}")
        with Drawing(cut) as executor:
            try:
                learned = question.learn(executor)
            except Interrupted as stop:
                assert stop.hint == "Go on with the same command."
                learned = Lesson({}, 0.0, 0, 0.0, complete=False)
        return learned, executor, question.log

    straight, executor, log = lesson("straight")
    assert executor.judged == count
    at = int(generator(seed, "cut").integers(2, count))
    _, cut, torn = lesson("cut", at)
    assert cut.judged == at - 1
    with torn.open("ab") as file:
        file.write(b"c0ffee00 [half a li")
    resumed, executor, torn = lesson("cut")
    assert replace(resumed, seconds=straight.seconds) == straight
    done = (at - 1) // len(episodes[0].architectures) * len(episodes[0].architectures)
    assert executor.judged == count - done, "finished trials should not be judged again"
    assert _without_seconds(torn) == _without_seconds(log)


def _without_seconds(log: Path) -> list[str]:
    return [line.partition(" ")[2].rpartition(",")[0] for line in log.read_text().splitlines()]


class Drawing(Inline):
    """Draws a value for each judge and architecture; interrupted at the job of this number."""

    def __init__(self, cut: int) -> None:
        super().__init__()
        self.judged, self._cut = 0, cut

    def wait(self, timeout: float | None = None) -> list[Job]:
        if not self._queue:
            return []
        if self.judged + 1 == self._cut:
            raise Interrupted(15)
        self.judged += 1
        job = self._queue.popleft()
        job.outcome = Estimate(float(generator(0, repr(job.estimator), job.architecture).random()))
        return [job]
