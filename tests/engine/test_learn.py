"""The driver of methods that learn across tasks: resume, time, workers, damage."""

from dataclasses import dataclass, replace

import pytest

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import CandidateError, Interrupted, ReplayMismatch, RunError, UserError
from archscout.core.evidence import Episode, Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.engine import learn as learning
from archscout.engine.executors import Inline, Pool
from archscout.engine.learn import learn
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201", channels=4, cells=1)
CELLS = [sample(SPACE, generator(0, "labelled")) for _ in range(5)]
EPISODES = [Episode(Problem(SPACE, image_task((3, 16, 16))), CELLS, [1.0, 2.0, 3.0, 4.0, 5.0])]
LEARNER = catalogue.make("meta", "signal-tasks", population=4, steps=3)
JUDGE = catalogue.make("estimators", "signal-regression", steps=3, every=3, statistics="batch")


@dataclass(frozen=True)
class Counting:
    """A judge whose values follow from the signals, that counts, and that may fail or be stopped from outside."""

    signals: str = "combo"

    def estimate(self, problem, architecture, *, seed):
        CALLS.append(str(architecture))
        if len(CALLS) in STOPS:
            raise Interrupted(15)
        if generator(0, self.signals, architecture).random() < 0.1:
            raise CandidateError("unlucky")
        return Estimate(float(generator(0, self.signals, architecture, "value").random()))


CALLS: list[str] = []
STOPS: set[int] = set()


@pytest.fixture(autouse=True)
def fresh():
    CALLS.clear()
    STOPS.clear()


def test_real_signals_are_learned_and_a_second_time_costs_nothing(tmp_path, monkeypatch):
    told = []
    with Inline() as executor:
        first = learn(LEARNER, JUDGE, EPISODES, executor, tmp_path / "log", tell=lambda n, m: told.append((n, m["best"])))
        monkeypatch.setattr(learning, "_judge", None)  # a second time nothing may be judged
        again = learn(LEARNER, JUDGE, EPISODES, executor, tmp_path / "log")
    assert first == again and first.complete and first.trials == LEARNER.trials == 7
    assert [n for n, _ in told] == list(range(1, 8)) and told[-1][1] == first.metrics["best"]


@pytest.mark.parametrize("after", [3, 13, 31])
def test_stopped_anywhere_it_goes_on_to_the_same_answer(tmp_path, after):
    with Inline() as executor:
        whole = learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "whole")
        assert len(CALLS) == 35
        CALLS.clear()
        STOPS.add(after)
        with pytest.raises(Interrupted) as stop:
            learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "cut")
        assert "same command" in stop.value.hint
        executor.cancel()
        with (tmp_path / "cut").open("ab") as file:
            file.write(b'{"half a li')  # what a kill leaves
        CALLS.clear()
        STOPS.clear()
        again = learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "cut")
    assert again == whole and len(CALLS) == 35 - 5 * ((after - 1) // 5)


def test_a_log_of_another_judge_is_refused(tmp_path):
    with Inline() as executor:
        learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "log")
        with pytest.raises(RunError):
            learn(LEARNER, JUDGE, EPISODES, executor, tmp_path / "log")


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path):
    with Inline() as one, Pool(2) as two:
        assert learn(LEARNER, JUDGE, EPISODES, one, tmp_path / "1") == learn(LEARNER, JUDGE, EPISODES, two, tmp_path / "2")


def test_when_the_time_is_up_the_best_so_far_is_the_answer(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr(learning, "monotonic", lambda: next(clock))
    with Inline() as executor:
        part = learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "log", minutes=3.5)
        assert not part.complete and part.trials == 3
        monkeypatch.undo()
        whole = learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "log")
    assert whole.complete and whole.metrics["best"] >= part.metrics["best"]


def test_no_time_at_all_is_told_of(tmp_path):
    with Inline() as executor, pytest.raises(UserError, match="give more --minutes"):
        learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "log", minutes=0)


def test_other_code_than_that_of_the_log_is_told_of(tmp_path, monkeypatch):
    with Inline() as executor:
        learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "log")
        kind = type(LEARNER)
        honest = kind.learn
        monkeypatch.setattr(kind, "learn", lambda self, episodes, *, seed: honest(self, episodes, seed=seed + 1))
        with pytest.raises(ReplayMismatch, match="trial 1"):
            learn(LEARNER, Counting(), EPISODES, executor, tmp_path / "log")


def test_another_question_has_another_file_name():
    names = {
        learning.lesson_name(learner, judge, EPISODES, seed)
        for learner in (LEARNER, replace(LEARNER, steps=4))
        for judge in (JUDGE, replace(JUDGE, steps=4))
        for seed in (0, 1)
    }
    assert len(names) == 8
