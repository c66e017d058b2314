"""The trace of the tangent kernel, in its versions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from archscout.core.draw import sample
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.estimators._probe import images_of
from archscout.estimators.ntk_trace import NtkTrace
from archscout.nn.executor import WeightBank, execute
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

TASK = image_task((3, 8, 8), 3, 64)
PROBLEM = Problem(Nas201(channels=4, cells=1), TASK)
CELL = PROBLEM.space.architecture([3, 1, 2, 3, 1, 4])
rng = generator(0, "cells")
CELLS = [CELL, *(sample(PROBLEM.space, rng) for _ in range(4))]


def value(cell=CELL, **settings):
    return NtkTrace(**{"batch": 4, **settings}).estimate(PROBLEM, cell, seed=0).value


def jacobian(batch=4):
    """(B * K, weights): the gradient of every logit by all weights."""
    x, y = images_of(PROBLEM, "ntk-trace", "train", batch)
    graph = PROBLEM.space.operations(CELL, TASK)
    weights = {name: part.clone().requires_grad_() for name, part in WeightBank().draw(graph, 0, "kaiming-normal").items()}
    logits = execute(graph, weights, x)
    rows = []
    for logit in logits.flatten():
        found = torch.autograd.grad(logit, list(weights.values()), retain_graph=True, allow_unused=True)
        rows.append(torch.cat([part.flatten() for part in found if part is not None]))
    return torch.stack(rows).double(), logits.detach().double(), y


@pytest.mark.parametrize("batch", [2, 4])
def test_the_exact_trace_is_that_of_the_kernel(batch):
    rows, _, _ = jacobian(batch)
    assert value(version="exact", batch=batch) == pytest.approx(float((rows @ rows.T).trace()), rel=1e-4)


@pytest.mark.parametrize("batch", [2, 4])
def test_the_gradient_version_is_the_squared_norm_of_the_mean_gradient(batch):
    rows, logits, y = jacobian(batch)
    wrong = (torch.softmax(logits, 1) - F.one_hot(y, 3)) / len(y)
    assert value(batch=batch) == pytest.approx(float((wrong.flatten() @ rows).square().sum()), rel=1e-4)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_loss_bounds_the_trace_from_below(cell):
    """With cross-entropy a gradient by the logits is at most the root of 2 long, and the loss is a mean: s / 2 <= exact / B."""
    bound = value(cell, version="exact") / 4
    assert 0 < value(cell) / 2 <= bound


def test_a_loss_three_times_as_large_has_nine_times_the_trace(monkeypatch):
    plain, cross_entropy = value(), F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *given: 3 * cross_entropy(*given))
    assert value() == pytest.approx(9 * plain, rel=1e-5)


def test_probes_agree_with_the_exact_trace_in_the_mean():
    exact = value(version="exact")
    assert value(version="probes", probes=200) == pytest.approx(exact, rel=0.2)


def test_labels_and_images_may_be_made_up():
    values = {value(), value(labels="random"), value(images="noise")}
    assert len(values) == 3


def test_settings_are_checked():
    with pytest.raises(ValueError, match="version is gradient, exact or probes"):
        NtkTrace(version="guessed")
