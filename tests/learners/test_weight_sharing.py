"""Weight sharing: a supernet trained on random paths, and the judge that it becomes."""

from __future__ import annotations

import pickle
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archscout.core.draw import enumerate_space
from archscout.core.errors import RunError, UserError
from archscout.core.problem import Problem
from archscout.learners._shared_weights import SharedWeights
from archscout.learners.weight_sharing import WeightSharing
from archscout.nn import checkpoint
from archscout.spaces.handmade import Handmade
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

PROBLEM = Problem(Nas201(channels=2, cells=1), image_task((3, 8, 8), 3, 64))


@pytest.fixture
def learner(tmp_path):
    return WeightSharing(epochs=2, batch=8, channels=2, depth=1, images=16, keep=str(tmp_path))


def weights(fitted):
    found, _ = checkpoint.load(Path(fitted.path))
    return {name: tensor for name, tensor in found[0].items() if name.startswith("weights.")}


@pytest.mark.parametrize("settings", [{}, {"sampler": "fair"}, {"statistics": "recalibrated"}])
def test_it_becomes_a_judge_that_conforms(learner, settings):
    fitted = replace(learner, **settings).fit(PROBLEM, seed=0)
    assert isinstance(fitted, SharedWeights)
    cell = PROBLEM.space.architecture([3, 1, 2, 3, 1, 4])
    one, two = (fitted.estimate(PROBLEM, cell, seed=seed) for seed in (0, 1))
    assert one.value == two.value and 0 <= one.value <= 1, "the value should not depend on the seed of the estimate"
    assert pickle.loads(pickle.dumps(fitted)) == fitted


def test_a_supernet_is_trained_once(learner):
    first = learner.fit(PROBLEM, seed=0)
    steps = list(learner.fitting(PROBLEM, seed=0))
    assert steps == [], "a finished training should not be made again"
    assert learner.fit(PROBLEM, seed=0) == first
    assert replace(learner, images=32).fit(PROBLEM, seed=0).digest == first.digest, "how it judges is no matter of its training"
    assert learner.fit(PROBLEM, seed=1).digest != first.digest


def test_a_training_that_was_cut_goes_on_to_the_same_weights(learner, tmp_path):
    learner = replace(learner, drop_path=0.3)
    straight = learner.fit(PROBLEM, seed=0)
    other = replace(learner, keep=str(tmp_path / "other"))
    steps = other.fitting(PROBLEM, seed=0)
    with pytest.raises(KeyboardInterrupt):
        for done, _ in steps:
            if done == 5:
                signal.raise_signal(signal.SIGINT)
    left = list(other.fitting(PROBLEM, seed=0))
    assert 0 < len(left) < 14
    resumed = other.fit(PROBLEM, seed=0)
    one, two = weights(straight), weights(resumed)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_minutes_bound_a_training(learner):
    steps = list(replace(learner, epochs=1_000, minutes=0.005).fitting(PROBLEM, seed=0))
    assert 20 <= len(steps) < 2_000
    assert steps[-1][0] == steps[-1][1]


def test_it_learns(learner):
    """More than chance on images that tell their class, in the mean over some cells; with 40 passes it sees them often."""
    fitted = replace(learner, epochs=40, learning_rate=0.1).fit(PROBLEM, seed=0)
    cells = [PROBLEM.space.architecture([3, 1, 3, 1, 1, 3]), PROBLEM.space.architecture([1, 3, 3, 3, 1, 1])]
    assert sum(fitted.estimate(PROBLEM, cell, seed=0).value for cell in cells) / 2 > 0.5


def test_a_file_that_changed_is_told_of(learner):
    fitted = learner.fit(PROBLEM, seed=0)
    with pytest.raises(RunError, match="or another one; train it again"):
        replace(fitted, digest="0").estimate(PROBLEM, next(enumerate_space(PROBLEM.space)), seed=0)


def test_a_space_without_a_supernet_is_told_of(learner):
    with pytest.raises(UserError, match="has no supernet"):
        learner.fit(replace(PROBLEM, space=Handmade()), seed=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="sampler is uniform or fair"):
        WeightSharing(sampler="lucky")


def test_minutes_take_the_place_of_few_epochs(learner):
    steps = list(replace(learner, epochs=0.5, minutes=0.02).fitting(PROBLEM, seed=0))
    assert len(steps) > 20


def test_a_supernet_of_another_device_is_another(learner):
    assert len({learner._path(replace(PROBLEM, device=device), 0) for device in ("cpu", "cuda", "cuda:0")}) == 2
