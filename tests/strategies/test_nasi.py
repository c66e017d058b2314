"""Search at initialisation: the trace, its bound, and where the answer goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.nn import gates as gating
from archscout.nn.batches import Stream
from archscout.nn.supernet import GraphSupernet, supernet_of
from archscout.spaces.nas201 import Nas201
from archscout.strategies.nasi import Nasi, _Ascent, _Traces, trace_of
from archscout.testing.tasks import image_task

TASK = image_task((3, 8, 8), 3, 64)
SPACE = Nas201(channels=4, cells=1)
SHORT = Nasi(batch=16, channels=4, depth=1)


def searched(strategy, seed=0, space=SPACE):
    search = strategy.search(Problem(space, TASK), seed=seed)
    reports = []
    while True:
        try:
            reports.append(next(search))
        except StopIteration as end:
            return end.value, reports


def batch(size=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, 8, 8, generator=draw).double(), torch.randint(3, (size,), generator=draw)


@pytest.mark.parametrize("size", [1, 6])
def test_the_trace_is_the_squared_norm_of_the_gradient_of_the_mean_loss(size):
    net = supernet_of(SPACE, TASK, seed=0).double()
    x, y = batch(size)
    architecture = SPACE.architecture([3, 1, 2, 3, 1, 4])
    gates = net.gates(architecture).double()
    loss = F.cross_entropy(net(x, gates), y)
    found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    wanted = sum(float(gradient.square().sum()) for gradient in found if gradient is not None)
    for execute_all in (True, False):
        assert float(trace_of(net, x, y, gates, execute_all=execute_all).detach()) == pytest.approx(wanted, rel=1e-9)


class Line:
    """A space of one edge, which hands on what of its input is above nought, or twice that, or nothing; then a linear layer."""

    name, decisions = "line", ()

    def __init__(self):
        self.gates = Nas201().decisions[:1]

    def supernet(self, task):
        builder = GraphBuilder(task.shape)
        above = builder.relu(builder.input)
        mixed = builder.mix([(above, (0, 1)), (builder.add(above, above), (0, 4))])
        return builder.finish(builder.linear(builder.global_pool(mixed), task.classes, bias=False))

    def opened(self, architecture):
        return ((0, 1),)

    def derived(self, weights):
        raise AssertionError

    def sized(self, channels=0, depth=0):
        return self


def test_the_trace_of_a_linear_model_by_hand():
    net = supernet_of(Line(), TASK, seed=0)
    assert isinstance(net, GraphSupernet)
    net = net.double()
    x, y = batch()
    gates = torch.zeros(net.gate_shape, dtype=torch.float64)
    gates[0, 1] = 1.0
    features = torch.relu(x).mean((2, 3))
    wrong = torch.softmax(features @ net.linear.weight.T, 1) - F.one_hot(y, 3)
    wanted = (wrong.T @ features / len(x)).square().sum()
    assert float(trace_of(net, x, y, gates, execute_all=False).detach()) == pytest.approx(float(wanted.detach()), rel=1e-9)


@pytest.mark.parametrize("estimator", ["full", "single-path"])
def test_the_mean_gradient_points_where_the_expected_trace_rises(estimator):
    """Of the three kinds of option, by p (R - E[R]), which for independent one-hot draws is the derivative of E[R]."""
    net = supernet_of(Line(), TASK, seed=0)
    x, y = batch(32)
    x = x.float()
    traces = torch.stack([trace_of(net, x, y, gating.one_hot(torch.tensor([option]), 5), execute_all=True) for option in range(5)])
    wanted = (traces - traces.mean()).detach() / 5
    strategy = replace(SHORT, penalty=0.0, estimator=estimator)
    found = torch.stack(
        [strategy._gradient(net, x, y, torch.Generator().manual_seed(seed), 1e9)[1][0] for seed in range(200)]
    ).mean(0)
    assert int(found.argmax()) == int(wanted.argmax()) == 4
    assert torch.equal(found.sign()[[0, 2, 3, 4]], wanted.sign()[[0, 2, 3, 4]])


@pytest.mark.parametrize(("limit", "slope"), [(1e9, 1.0), (1e-9, -0.5)])
def test_beyond_its_bound_a_trace_is_penalised(limit, slope):
    net = supernet_of(SPACE, TASK, seed=0)
    x, y = (part.float() if part.is_floating_point() else part for part in batch(16))

    def gradient(penalty, bound):
        strategy = replace(SHORT, penalty=penalty, limit=bound)
        return strategy._gradient(net, x, y, torch.Generator().manual_seed(0), bound)[1]

    plain, found = gradient(0.0, 1e9), gradient(1.5, limit)
    assert float(plain.norm()) > 0
    assert torch.allclose(found, slope * plain, rtol=1e-4, atol=1e-6)


def test_the_full_estimator_sees_what_is_not_drawn_and_the_single_path_does_not():
    net = supernet_of(SPACE, TASK, seed=0)
    x, y = (part.float() if part.is_floating_point() else part for part in batch(16))
    logits = torch.zeros(net.gate_shape, requires_grad=True)
    gates = gating.straight_through(gating.softmax(logits, net.valid) + 1e-6 * torch.eye(6, 5))
    [full] = torch.autograd.grad(trace_of(net, x, y, gates, execute_all=True), gates, retain_graph=True)
    [single] = torch.autograd.grad(trace_of(net, x, y, gates, execute_all=False), gates)
    shut = gates.detach() == 0
    assert not bool(single[shut].any()) and bool(full[shut].any())
    assert torch.allclose(full[~shut], single[~shut], rtol=1e-3, atol=1e-5), "their values on the path should agree"


def test_far_beyond_its_bound_and_with_a_penalty_of_two_the_ascent_goes_the_other_way():
    free, bound = (
        searched(replace(SHORT, steps=3, limit=1e-9, limit_rule="fixed", penalty=penalty))[1][-1].state["total"]
        for penalty in (0.0, 2.0)
    )
    assert np.any(free) and bound == pytest.approx(-free, rel=1e-4, abs=1e-6)


def test_a_gradient_counts_by_the_largest_norm_so_far():
    ascent = _Ascent((1, 2))
    norms = [ascent.add(torch.tensor([seen])) for seen in ((3.0, 4.0), (0.0, 1.0), (float("nan"), 1.0), (0.0, 10.0))]
    assert norms == [5.0, 1.0, 0.0, 10.0] and ascent.skipped == 1
    assert torch.allclose(ascent.mean, torch.tensor([[3 / 5, 4 / 5 + 1 / 5 + 10 / 10]]) / 3)


def test_a_first_gradient_of_nought_adds_nothing():
    ascent = _Ascent((1, 2))
    assert ascent.add(torch.zeros(1, 2)) == 0.0 and torch.equal(ascent.mean, torch.zeros(1, 2))
    ascent.add(torch.tensor([[0.0, 2.0]]))
    assert torch.equal(ascent.mean, torch.tensor([[0.0, 0.5]]))


def test_rules_of_the_bound():
    fixed, mean, ema, middle = (_Traces(10.0, rule) for rule in ("fixed", "running-mean", "ema", "quantile"))
    for traces in (fixed, mean, ema, middle):
        assert traces.limit == 10.0, "the first bound is the given one"
        for seen in (2.0, 3.0, float("nan")):
            traces.add(seen)
    assert fixed.limit == 10.0
    assert mean.limit == pytest.approx(15.0 / 3)
    assert ema.limit == pytest.approx(0.9 * (0.9 * 10 + 0.2) + 0.3)
    assert middle.limit == 3.0


def test_where_every_path_is_cut_a_step_adds_nothing():
    net = supernet_of(SPACE, TASK, seed=0)
    x, y = (part.float() if part.is_floating_point() else part for part in batch(16))
    logits = torch.zeros(net.gate_shape, requires_grad=True)
    shut = gating.one_hot(torch.zeros(6, dtype=torch.int64), 5) + 0 * logits
    trace = trace_of(net, x, y, shut, execute_all=False)
    found = torch.autograd.grad(trace, logits, allow_unused=True)[0] if trace.requires_grad else None
    assert found is None or not bool(found.any())
    answer, reports = searched(replace(SHORT, steps=3, penalty=0.0), 1)
    assert all(np.isfinite(list(report.metrics.values())).all() for report in reports) and answer is not None


def drawn(steps, **settings):
    """The batches of the first steps, images and labels."""
    problem, strategy = Problem(SPACE, TASK), replace(SHORT, **settings)
    stream = Stream(TASK.splits["train"], 16, seed=0)
    return [strategy._batch(stream, problem, 0, step) for step in range(steps)]


def test_random_labels_leave_the_images_alone_and_have_every_class_equally_often():
    found, true = drawn(200, labels="random"), drawn(200)
    assert all(torch.equal(x, wanted) for (x, _), (wanted, _) in zip(found, true, strict=True))
    labels, given = (torch.stack([y for _, y in batches]) for batches in (found, true))
    assert (labels.flatten().bincount(minlength=3) / labels.numel()).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert float((labels == given).float().mean()) == pytest.approx(1 / 3, abs=0.03), "they should know nothing of the true ones"
    assert torch.equal(labels, torch.stack([y for _, y in drawn(200, labels="random")])), "a step should repeat itself"


def test_noise_for_images_is_normal_and_another_in_every_step():
    found, true = drawn(20, images="noise"), drawn(20)
    assert all(x.shape == wanted.shape for (x, _), (wanted, _) in zip(found, true, strict=True))
    x = torch.stack([x for x, _ in found])
    assert float(x.mean()) == pytest.approx(0, abs=0.02) and float(x.std()) == pytest.approx(1, abs=0.02)
    assert len({images.numpy().tobytes() for images in x}) == 20
    assert torch.equal(x, torch.stack([x for x, _ in drawn(20, images="noise")])), "a step should repeat itself"
    labels = torch.cat([y for _, y in found])
    assert not torch.equal(labels, torch.cat([y for _, y in true])) and labels.unique().tolist() == [0, 1, 2]


def test_none_can_be_left_out_of_answers():
    answer, _ = searched(replace(SHORT, steps=5, penalty=2.0, limit=1e-6, limit_rule="fixed", exclude_none=True))
    assert 0 not in answer.choices


def test_where_no_step_has_a_gradient_there_is_no_answer():
    """All traces lie above the limit, and a penalty of 1 leaves nothing of a trace there."""
    problem = Problem(Nas201(), TASK)
    search = replace(SHORT, steps=3, penalty=1.0, limit=1e-6, limit_rule="fixed").search(problem, seed=0)
    with pytest.raises(UserError, match=r"none of 3 steps had a gradient to follow: 0 were not finite, and .* give a larger limit"):
        for report in search:
            assert report.best is None and report.metrics["over"] == 1.0


def test_settings_are_checked():
    with pytest.raises(ValueError, match="steps is at least 1"):
        Nasi(steps=0)
    with pytest.raises(ValueError, match="temperature is above 0"):
        Nasi(temperature=0.0)


def test_the_supernet_is_deep_where_a_usual_one_has_one_cell_a_stage():
    def depth(space, **settings):
        return Nasi(**settings)._depth(Problem(space, image_task((3, 8, 8), 3, 64)))

    assert depth(Nas201()) == depth(Nas201(cells=1)) == 5
    assert depth(Nas201(), depth=2) == 2
    assert depth(catalogue.make("spaces", "darts")) == depth(catalogue.make("spaces", "nao-cell")) == 0, (
        "these are deep as they are"
    )
