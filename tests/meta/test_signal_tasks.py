"""The search for signals: the tasks that it draws, its fitness, its evolution."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.evidence import Episode, Estimate, Failure, Observation
from archscout.core.moves import Judge, Learned
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task
from archscout.core.seeds import generator
from archscout.core.signals import SIGNALS, SignalTask, signal_task
from archscout.meta.signal_tasks import SignalTasks, agreement, mutated, random_task
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

SPACE = Nas201(4, 1)
ARCHITECTURES = [sample(SPACE, generator(0, "labelled")) for _ in range(5)]
EPISODE = Episode(Problem(SPACE, image_task()), ARCHITECTURES, [1.0, 2.0, 3.0, 4.0, 5.0])


def landed(values):
    return [
        Observation(architecture, None, Failure("nan", "")) if value is None else Observation(architecture, Estimate(value))
        for architecture, value in zip(ARCHITECTURES, values, strict=True)
    ]


@given(st.integers(0, 10**6), st.booleans(), st.floats(0, 0.99))
def test_drawn_and_changed_tasks_are_tasks(seed, for_sequences, keep):
    rng = generator(seed)
    task = random_task(rng, for_sequences=for_sequences)
    for one in (task, mutated(task, rng, keep)):
        assert SignalTask.parse(str(one)) == one and one.for_sequences is for_sequences and one.batch == 16


def test_random_tasks_have_each_signal_half_of_the_time_and_all_options():
    rng = generator(0)
    tasks = [random_task(rng) for _ in range(600)]
    for stage in range(3):
        for name in SIGNALS:
            assert 0.42 < np.mean([getattr(task.stages[stage], name) is not None for task in tasks]) < 0.58
        assert {task.stages[stage].width for task in tasks} == {0.25, 0.5, 0.75, 1.0, 1.25, 1.5}
    assert {task.noise for task in tasks} == {"uniform", "gaussian"}
    assert {task.noise_level for task in tasks} == {round(0.1 * n, 1) for n in range(10)}
    levels = Counter(task.stages[0].dots.level for task in tasks if task.stages[0].dots)
    assert min(levels) == 0.5 and max(levels) == 2.9 and len(levels) == 25
    shared = [task.stages[1].sin1d.per_sample for task in tasks if task.stages[1].sin1d]
    assert 0.4 < np.mean(shared) < 0.6


def test_a_copy_keeps_four_fifths_of_the_parts():
    rng = generator(1)
    parent = signal_task("nb101")
    children = [mutated(parent, rng, 0.8) for _ in range(800)]
    kept = [child.stages[1].sin2d == parent.stages[1].sin2d for child in children]
    assert np.mean(kept) == pytest.approx(0.8, abs=0.05)
    gone = [child.stages[1].sin2d is None for child in children]
    assert np.mean(gone) == pytest.approx(0.1, abs=0.04)
    assert np.mean([child.noise_level == 0.1 and child.noise == "uniform" for child in children]) == pytest.approx(0.81, abs=0.05)
    new = [child.stages[0].dots is not None for child in children]
    assert np.mean(new) == pytest.approx(0.1, abs=0.04)
    assert len(set(map(str, children))) > 700


def test_tasks_for_sequences_have_two_stages_of_one_width_and_no_images():
    rng = generator(2)
    for _ in range(200):
        task = mutated(random_task(rng, for_sequences=True), rng, 0.5)
        assert len(task.stages) == 2 and task.stages[0].width == task.stages[1].width
        assert all(stage.resized is None for stage in task.stages)


@pytest.mark.parametrize(
    ("values", "fitness"),
    [
        ([1, 2, 3, 4, 5], 1.0),
        ([5, 4, 3, 2, 1], -1.0),  # signed: the wrong way round is bad
        ([None, 2, 3, 4, 5], 1.0),  # failures rank last
        ([2, 3, 4, 5, None], -0.0),
        ([1, 1, 1, 1, 1], -1.0),
        ([None] * 5, -1.0),
    ],
)
def test_the_fitness_is_the_signed_rank_correlation(values, fitness):
    assert agreement([EPISODE], [landed(values)]) == pytest.approx(fitness, abs=1e-9)


def test_the_fitness_of_several_problems_is_the_mean():
    assert agreement([EPISODE, EPISODE], [landed([1, 2, 3, 4, 5]), landed([5, 4, 3, 2, 1])]) == 0


def evolve(learner, quality, seed=0):
    """Every task with its own fitness and what was learned, where a task's values rank as well as `quality` of it says."""
    learning, history = learner.learn([EPISODE], seed=seed), []
    move = next(learning)
    while True:
        assert isinstance(move, Judge)
        task = SignalTask.parse(move.settings["signals"])
        noise = generator(0, str(task)).normal(size=5)
        found = [landed([label * quality(task) + e for label, e in zip(EPISODE.labels, noise, strict=True)])]
        move = learning.send(found)
        assert isinstance(move, Learned)
        history.append((task, agreement([EPISODE], found), move))
        try:
            move = next(learning)
        except StopIteration:
            return history


def test_evolution_finds_more_of_what_helps_than_random_tasks_have():
    def quality(task):
        return sum(stage.sin1d is not None for stage in task.stages) / 3

    history = evolve(SignalTasks(population=20, steps=150), quality)
    first, last = (np.mean([quality(task) for task, *_ in part]) for part in (history[:20], history[-20:]))
    assert last > first + 0.2


def test_the_answer_is_the_best_of_all_trials():
    history = evolve(SignalTasks(population=5, steps=20), lambda task: task.noise_level)
    fitness = [each for _, each, _ in history]
    last = history[-1][2]
    assert last.fitness == max(fitness) and history[0][2].fitness == fitness[0]
    assert last.settings["signals"] == str(history[int(np.argmax(fitness))][0])


def test_text_is_learned_with_sequences():
    problem = Problem(SPACE, Task("no data", LANGUAGE_MODELLING, (8,), 100, "no data"))
    move = next(SignalTasks().learn([Episode(problem, ARCHITECTURES, EPISODE.labels)], seed=0))
    assert SignalTask.parse(move.settings["signals"]).for_sequences


def test_what_was_learned_is_kept_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_SIGNALS", str(tmp_path))
    task = random_task(generator(0))
    assert SignalTasks().keep_lesson({"signals": str(task)}, "mine") == tmp_path / "mine.json"
    assert signal_task("mine") == task
    with pytest.raises(UserError):
        SignalTasks().keep_lesson({"signals": str(task)}, "combo")


@pytest.mark.parametrize("settings", [{"population": 0}, {"steps": -1}, {"tournament": 0}, {"keep": 1.0}, {"keep": -0.1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError):
        SignalTasks(**settings)
