"""What every judge must do: a list of checks that take an estimator and a problem and raise AssertionError.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_estimator(check):
    check(MyEstimator(...), Problem(space, image_task()))
"""

from __future__ import annotations

import pickle
from math import isfinite
from typing import Any

import numpy as np
import torch

from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.errors import CandidateError
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.core.seeds import generator

ARCHITECTURES = 3
"""Random architectures that a check judges."""


def is_finite(estimator: Estimator, problem: Problem) -> None:
    """Value, cost and metrics are finite numbers; a judge may refuse some architectures, not all."""
    found = [_judged(estimator, problem, architecture, 1) for architecture in _drawn(problem)]
    judged = [estimate for estimate in found if estimate is not None]
    assert judged, "every architecture was refused"
    for estimate in judged:
        assert isfinite(estimate.value) and isfinite(estimate.cost_seconds) and estimate.cost_seconds >= 0
        assert all(isinstance(name, str) and isfinite(value) for name, value in estimate.metrics.items())


def repeats(estimator: Estimator, problem: Problem) -> None:
    """The same seed gives the same value, in any order, also after other architectures and seeds."""
    architectures = _drawn(problem)
    first = [_value(estimator, problem, architecture, 1) for architecture in architectures]
    _judged(estimator, problem, architectures[0], 2)
    again = [_value(estimator, problem, architecture, 1) for architecture in reversed(architectures)]
    assert first == again[::-1], f"the same seed gave {first} and {again[::-1]}"


def leaves_randomness_alone(estimator: Estimator, problem: Problem) -> None:
    """Judging neither reads nor moves the global generators of torch and NumPy, and restores torch's switches."""
    [architecture, *_] = _drawn(problem)
    before = _global_state()
    value = _value(estimator, problem, architecture, 1)
    assert _same(before, _global_state()), "judging changed a global generator, the default type or the gradient mode"
    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002 - moves the global generator on purpose
    # A judge that measures time says so by giving other values; `repeats` is what finds that.
    again = _value(estimator, problem, architecture, 1)
    assert value == again or not _steady(estimator, problem, architecture), "the value depends on a global generator"


def pickles(estimator: Estimator, problem: Problem) -> None:
    """A judge and its problem travel to a worker."""
    [architecture, *_] = _drawn(problem)
    text = pickle.dumps((estimator, problem))
    copy, there = pickle.loads(text)
    assert copy == estimator
    assert (_judged(copy, there, architecture, 1) is None) == (_judged(estimator, problem, architecture, 1) is None)
    untouched, _ = pickle.loads(text)
    assert estimator == copy == untouched, "judging must not change the judge"


def leaves_the_data_alone(estimator: Estimator, problem: Problem) -> None:
    """Judging does not write into the images or labels."""
    [architecture, *_] = _drawn(problem)
    before = {name: (split.images.copy(), split.labels.copy()) for name, split in problem.task.splits.items()}
    _judged(estimator, problem, architecture, 1)
    for name, split in problem.task.splits.items():
        assert np.array_equal(before[name][0], split.images) and np.array_equal(before[name][1], split.labels)


CHECKS = (is_finite, repeats, leaves_randomness_alone, pickles, leaves_the_data_alone)


def check_estimator(estimator: Estimator, problem: Problem) -> None:
    """All checks."""
    for check in CHECKS:
        check(estimator, problem)


def _drawn(problem: Problem) -> list[Architecture]:
    rng = generator(0, "conformance", problem.space.name)
    return [sample(problem.space, rng) for _ in range(ARCHITECTURES)]


def _judged(estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> Estimate | None:
    try:
        return estimator.estimate(problem, architecture, seed=seed)
    except CandidateError:
        return None


def _value(estimator: Estimator, problem: Problem, architecture: Architecture, seed: int) -> float | None:
    estimate = _judged(estimator, problem, architecture, seed)
    return None if estimate is None else estimate.value


def _steady(estimator: Estimator, problem: Problem, architecture: Architecture) -> bool:
    return len({_value(estimator, problem, architecture, 1) for _ in range(3)}) == 1


def _global_state() -> tuple[Any, ...]:
    numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - looks at the global generator on purpose
    switches = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    return torch.get_rng_state(), numpy["key"], numpy["pos"], *switches


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(bool(np.array_equal(a, b)) if hasattr(a, "__len__") else a == b for a, b in zip(one, other, strict=True))
