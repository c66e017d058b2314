"""MetaD2A's predictor as a judge, and what it needs: a model, the features that it learned with, a task of images."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import RunError, UserError
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.core.sketch import sketch, to_text
from archscout.core.vertices import vertices_of
from archscout.engine.lectures import keep_model
from archscout.learners import _dataset_model
from archscout.learners._dataset_model import opened
from archscout.learners.metad2a import MetaD2A
from archscout.meta.metad2a import MetaD2A as Method
from archscout.nn.checkpoint import under
from archscout.nn.measure import counts
from archscout.spaces.nas201 import Nas201
from archscout.testing.databases import MadeUp
from archscout.testing.estimators import CHECKS
from archscout.testing.tasks import image_task

SPACE = Nas201(channels=2, cells=1)
PROBLEM = Problem(SPACE, image_task((3, 8, 8), 3, 64))
EYES = catalogue.make("extractors", "small")


def kept(path, **facts):
    made = MadeUp(SPACE, width=EYES.width, images=6)
    database, features = made.database(6, 4), [made.features(task) for task in range(6)]
    *_, last = Method(epochs=2, hidden=8, code=8).training(database, SPACE, features, seed=0)
    known = {"extractor": {"name": "small", "settings": {}, "digest": EYES.digest}, **facts}
    keep_model(path, under("learned.", last.state), known)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return kept(tmp_path_factory.mktemp("models") / "mine.safetensors")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_becomes_a_judge_that_conforms(file, check):
    check(MetaD2A(model=str(file)).fit(PROBLEM, seed=0), PROBLEM)


def test_a_copy_that_travelled_says_the_same_as_the_model(file):
    judge = MetaD2A(model=str(file), draws=3).fit(PROBLEM, seed=0)
    assert len(pickle.dumps(judge)) < 2000
    copy = pickle.loads(pickle.dumps(judge))
    cells = [sample(SPACE, generator(0, "cells", place)) for place in range(5)]
    told = [judge.estimate(PROBLEM, cell, seed=seed).value for seed, cell in enumerate(cells)]
    assert told == [copy.estimate(PROBLEM, cell, seed=9).value for cell in cells] and len(set(told)) > 1
    found = opened(str(file), PROBLEM, "a test")
    types = np.array([vertices_of(SPACE, cell) for cell in cells])
    np.testing.assert_allclose(told, found.model.predict(found.features, types, rng=generator(0, "draws"), draws=3), atol=1e-6)


def test_images_that_were_learned_from_are_known(file, tmp_path, monkeypatch):
    images, _ = _dataset_model._images(PROBLEM)
    assert opened(str(file), PROBLEM, "a test").known == ()
    path = kept(tmp_path / "seen.safetensors", sources={"other": to_text(sketch(images[:1] // 2)), "mine": to_text(sketch(images))})
    assert opened(str(path), PROBLEM, "a test").known == ("mine",)


def test_models_that_do_not_fit_are_told_of(file, tmp_path):
    with pytest.raises(UserError, match="was trained for architectures of 'nas201', but the space is 'mobile'"):
        MetaD2A(model=str(file)).fit(replace(PROBLEM, space=catalogue.make("spaces", "mobile")), seed=0)
    with pytest.raises(UserError, match="there is no model 'nobody'"):
        MetaD2A(model="nobody")
    path = kept(tmp_path / "blind.safetensors", extractor={"name": "small", "settings": {}, "digest": "other"})
    with pytest.raises(UserError, match="learned from features of other weights of 'small'"):
        MetaD2A(model=str(path)).fit(PROBLEM, seed=0)
    (tmp_path / "text.safetensors").write_text("no model")
    with pytest.raises(UserError, match="holds no model of archscout"):
        MetaD2A(model=str(tmp_path / "text.safetensors")).fit(PROBLEM, seed=0)
    judge = MetaD2A(model=str(kept(tmp_path / "gone.safetensors"))).fit(PROBLEM, seed=0)
    (tmp_path / "gone.safetensors").write_bytes(file.read_bytes()[:-1])
    from archscout.learners.metad2a import _opened

    _opened.cache_clear()
    with pytest.raises(RunError, match="is not there any more, or another one"):
        judge.estimate(PROBLEM, SPACE.architecture((1,) * 6), seed=0)


def test_the_strategy_says_where_nothing_that_it_wrote_kept_within_the_limits(file):
    strategy = catalogue.make("strategies", "metad2a", model=str(file), generate=4, keep=2, draws=1)
    least = min(counts(SPACE, SPACE.architecture((choice,) * 6), PROBLEM.task)["macs"] for choice in range(5))
    search = strategy.search(replace(PROBLEM, limits={"macs": least}), seed=0)  # cells of which there are few: without convolutions
    *_, last = search
    assert last.metrics["accepted"] < 0.1
    said = strategy.remarks({**last.metrics, "written": 4000.0, "accepted": 0.0})
    assert said[1].startswith("None of the 4,000 architectures that it wrote is valid and within the limits")
    assert not any("limits" in line for line in strategy.remarks({**last.metrics, "accepted": 0.5}))
