"""The cache of estimates: known answers are not computed again, and only those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from archscout.core.evidence import Estimate, Failure
from archscout.engine.cache import Cached
from archscout.engine.executors import Inline
from archscout.testing.problems import Counting, Raising, counting
from archscout.testing.tasks import token_task


@pytest.fixture
def problem():
    return counting()


def judge(folder: Path, estimator, problem, choices, seed=0, device=""):
    architecture = problem.space.architecture(choices)
    inner = Inline()
    asked = []
    original = inner.submit
    inner.submit = lambda *job: asked.append(job) or original(*job)
    with Cached(inner, folder, device) as executor:
        job = executor.submit(estimator, problem, architecture, seed)
        assert executor.wait() == [job]
    return job.outcome, len(asked)


def test_a_known_estimate_is_not_computed_again(tmp_path, problem):
    first, asked = judge(tmp_path, Counting(), problem, [0] * 6)
    again, asked_again = judge(tmp_path, Counting(), problem, [0] * 6)
    assert isinstance(first, Estimate)
    assert (asked, asked_again) == (1, 0)
    assert (again.value, dict(again.metrics)) == (first.value, dict(first.metrics))


def test_another_seed_or_architecture_is_computed(tmp_path, problem):
    judge(tmp_path, Counting(), problem, [0] * 6)
    assert judge(tmp_path, Counting(), problem, [0] * 6, seed=1)[1] == 1
    assert judge(tmp_path, Counting(), problem, [1] + [0] * 5)[1] == 1


def test_what_a_cluster_computes_on_counts_not_what_the_driver_has(tmp_path, problem):
    judge(tmp_path, Counting(), problem, [0] * 6, device="cuda")
    assert judge(tmp_path, Counting(), problem, [0] * 6)[1] == 1
    assert judge(tmp_path, Counting(), replace(problem, device="cuda"), [0] * 6)[1] == 0


def test_another_part_of_a_validation_text_is_judged_anew(tmp_path, problem):
    task = token_task(length=5, classes=7, tokens=300)
    short = {**task.splits, "valid": task.splits["valid"].first(2)}
    for splits, expected in ((task.splits, 1), (short, 1), (task.splits, 0)):
        part = replace(problem, task=replace(task, splits=splits))
        assert judge(tmp_path, Counting(), part, [0] * 6)[1] == expected


def test_failures_are_not_kept(tmp_path, problem):
    for _ in range(2):
        outcome, asked = judge(tmp_path, Raising("no"), problem, [0] * 6)
        assert isinstance(outcome, Failure)
        assert asked == 1
