"""The driver of methods that learn across tasks: resume, time, workers, damage."""

from dataclasses import dataclass, replace

import pytest
import torch

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import CandidateError, ReplayMismatch, RunError, UserError
from archscout.core.evidence import Episode, Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.engine import learn as learning
from archscout.engine.executors import Inline, Pool
from archscout.engine.learn import Lessons
from archscout.store.lines import LineFile
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201", channels=4, cells=1)
CELLS = [sample(SPACE, generator(0, "labelled")) for _ in range(5)]
EPISODES = [Episode(Problem(SPACE, image_task((3, 16, 16))), CELLS, [1.0, 2.0, 3.0, 4.0, 5.0])]
LEARNER = catalogue.make("meta", "signal-tasks", population=4, steps=3)
JUDGE = catalogue.make("estimators", "signal-regression", steps=3, every=3, statistics="batch")


@dataclass(frozen=True)
class Counting:
    """A judge whose values follow from the signals, that counts, and that may fail."""

    signals: str = "combo"

    def estimate(self, problem, architecture, *, seed):
        CALLS.append(str(architecture))
        if FAILING or generator(0, self.signals, architecture).random() < 0.1:
            raise CandidateError("unlucky")
        return Estimate(float(generator(0, self.signals, architecture, "value").random()))


CALLS: list[str] = []
FAILING: list[bool] = []


@pytest.fixture(autouse=True)
def fresh():
    CALLS.clear()
    FAILING.clear()


def lessons(folder, judge=None, learner=LEARNER, seed=0):
    return Lessons(learner, judge or Counting(), EPISODES, seed=seed, folder=folder)


def test_real_signals_are_learned_and_a_second_time_costs_nothing(tmp_path, monkeypatch):
    told = []
    with Inline() as executor:
        first = lessons(tmp_path, JUDGE).learn(executor, tell=lambda n, fitness: told.append((n, fitness)))
        monkeypatch.setattr(Lessons, "_trial", None)  # a second time nothing may be judged
        again = lessons(tmp_path, JUDGE).learn(executor, tell=lambda n, fitness: told.append("replayed"))
    assert first == again and first.complete and first.trials == LEARNER.trials == 7 and first.seconds > 0
    assert [n for n, _ in told] == list(range(1, 8)) and told[-1][1] == first.fitness


def test_another_question_has_another_file(tmp_path):
    other = replace(LEARNER, steps=4), replace(JUDGE, steps=4)
    questions = [
        lessons(tmp_path, judge, learner, seed) for learner in (LEARNER, other[0]) for judge in (JUDGE, other[1]) for seed in (0, 1)
    ]
    assert len({question.log for question in questions}) == 8


def test_a_file_in_use_or_damaged_is_told_of(tmp_path):
    with Inline() as executor:
        question = lessons(tmp_path)
        question.learn(executor)
        text = question.log.read_bytes()
        question.log.write_bytes(text.replace(b'"signals', b'"Signals', 1))
        with pytest.raises(RunError, match="damaged"):
            question.learn(executor)
        question.log.write_bytes(text)
        holder = LineFile(question.log, question._question)
        with pytest.raises(RunError, match="in use"):
            question.learn(executor)
        holder.close()


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_neither_workers_nor_threads_change_what_is_learned(tmp_path):
    """Training amplifies rounding, so the observations are compared, not only the answer."""
    judge = replace(JUDGE, steps=6, every=6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with Inline() as executor:
            one = lessons(tmp_path / "1", judge)
            one.learn(executor)
        with Pool(2) as executor:
            two = lessons(tmp_path / "2", judge)
            two.learn(executor)
    finally:
        torch.set_num_threads(before)
    values = [[entry[:2] for entry in entries(question)] for question in (one, two)]
    assert values[0] == values[1]


def entries(question):
    file = LineFile(question.log, question._question)
    found = file.entries
    file.close()
    return found


def test_when_the_time_is_up_the_best_so_far_is_the_answer(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 20))  # asked at the start, before a trial, and twice in it
    monkeypatch.setattr(learning, "monotonic", lambda: next(clock))
    with Inline() as executor:
        part = lessons(tmp_path).learn(executor, minutes=3)
        assert not part.complete and part.trials == 3
        monkeypatch.undo()
        whole = lessons(tmp_path).learn(executor)
    assert whole.complete and whole.fitness >= part.fitness


def test_no_time_at_all_is_told_of(tmp_path):
    with Inline() as executor, pytest.raises(UserError, match="give more --minutes"):
        lessons(tmp_path).learn(executor, minutes=0)


def test_a_judge_that_can_judge_nothing_ends_it_after_the_first_trial(tmp_path):
    FAILING.append(True)
    with Inline() as executor, pytest.raises(UserError, match=r"none of 5 architectures could be judged.*unlucky"):
        lessons(tmp_path).learn(executor)
    assert len(CALLS) == 5


def test_other_code_than_that_of_the_log_is_told_of(tmp_path, monkeypatch):
    with Inline() as executor:
        lessons(tmp_path).learn(executor)
        kind = type(LEARNER)
        honest = kind.learn
        monkeypatch.setattr(kind, "learn", lambda self, episodes, *, seed: honest(self, episodes, seed=seed + 1))
        with pytest.raises(ReplayMismatch, match="trial 1"):
            lessons(tmp_path).learn(executor)
