"""What is special to DARTS: the second order on a supernet, and remedies against collapse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.nn.bilevel import mixed_product
from archscout.nn.supernet import supernet_of
from archscout.nn.supernet_training import Training
from archscout.spaces._genotypes import OPERATIONS
from archscout.spaces.darts import Darts as DartsSpace
from archscout.spaces.macro import Macro
from archscout.spaces.nao_cell import NaoCell
from archscout.spaces.nas201 import Nas201
from archscout.spaces.proxyless import Proxyless
from archscout.strategies import darts
from archscout.strategies._folded import Answers, Logits, SkipDropout
from archscout.strategies.darts import Darts
from archscout.strategies.lpt import Lpt
from archscout.testing.tasks import image_task

TASK = image_task((3, 8, 8), 3, 64)
PROBLEM = Problem(Nas201(channels=2, cells=1), TASK)
DARTS = Problem(DartsSpace(channels=2, layers=3), TASK)


class Smooth:
    """Two cells of one mixed edge, with activations that have derivatives everywhere."""

    name, decisions = "smooth", ()
    gates = Nas201().decisions[:1]

    def supernet(self, task):
        builder = GraphBuilder(task.shape)
        x = builder.conv(builder.input, 4, 3)
        for cell in range(2):
            with builder.scope(f"cell{cell}"):
                inner = builder.activation(x, "silu")
                terms = [(x, (0, 1)), (builder.batch_norm(builder.conv(inner, 4, 1)), (0, 2)), (builder.conv(inner, 4, 3), (0, 3))]
                x = builder.mix(terms)
        return builder.finish(builder.linear(builder.global_pool(x), task.classes))

    def opened(self, architecture):
        return ()

    def derived(self, weights):
        raise AssertionError

    def sized(self, channels=0, depth=0):
        return self


def prepared(rules, problem=PROBLEM):
    training = Training(supernet_of(problem.space, TASK, seed=0), problem, rules, 0)
    return training, Logits(training.net, rules, 0)


def test_differences_give_the_exact_product_on_a_supernet():
    net = supernet_of(Smooth(), TASK, seed=0).double()
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 3, 8, 8, generator=draw).double(), torch.randint(3, (6,), generator=draw)
    logits = torch.randn(net.gate_shape, generator=draw).double().requires_grad_()
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    direction = {name: torch.randn(weight.shape, generator=draw).double() for name, weight in weights.items()}

    def loss(v):
        return torch.nn.functional.cross_entropy(net(x, torch.softmax(logits, 1), weights=v, execute="all"), y)

    [exact] = mixed_product(loss, weights, direction, [logits], exact=True)
    [found] = mixed_product(loss, weights, direction, [logits])
    assert float((found - exact).norm() / exact.norm()) < 1e-4


def test_at_a_rate_of_nought_the_second_order_is_the_first_to_the_bit(monkeypatch):
    training, logits = prepared(Darts(order=2, batch=8))
    monkeypatch.setattr(training, "rate", lambda step: 0.0)
    train, judged = training.batch(training.weighed, 0), training.batch(training.judged, 0)
    ones = torch.ones(training.net.gate_shape)
    found = [Darts(order=order, batch=8).gate_gradient(training, logits, train, judged, ones, 0) for order in (1, 2)]
    assert torch.equal(found[0], found[1]) and bool(found[0].any())


def test_the_second_order_differs_from_the_first():
    training, logits = prepared(Darts(order=2, batch=8))
    train, judged = training.batch(training.weighed, 0), training.batch(training.judged, 0)
    ones = torch.ones(training.net.gate_shape)
    found = [Darts(order=order, batch=8).gate_gradient(training, logits, train, judged, ones, 0) for order in (1, 2)]
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def test_the_exact_second_order_is_that_of_differences_where_all_is_smooth():
    rules = Darts(order=2, batch=8, learning_rate=1.0)
    training, logits = prepared(rules, Problem(Smooth(), TASK))
    train, judged = training.batch(training.weighed, 0), training.batch(training.judged, 0)
    ones = torch.ones(training.net.gate_shape)
    first, found, exact = (
        replace(rules, **settings).gate_gradient(training, logits, train, judged, ones, 0)
        for settings in ({"order": 1}, {"exact": False}, {"exact": True})
    )
    assert torch.allclose(found, exact, rtol=1e-3, atol=1e-6) and not torch.equal(found, exact)
    assert not torch.allclose(first, exact, rtol=0.1)


def test_the_weights_that_the_second_order_looks_through_are_those_after_the_next_step(monkeypatch):
    """With momentum, decay, drop-path and a rate that falls."""
    rules = Darts(order=2, batch=8, epochs=2, clip=0, weight_decay=0.1, drop_path=0.3)
    training, logits = prepared(rules)
    train, then, judged = (
        training.batch(stream, step) for stream, step in ((training.weighed, 0), (training.weighed, 1), (training.judged, 1))
    )
    ones, caught = torch.ones(training.net.gate_shape), {}
    training.learn(logits.gates(), train, 0, "all")

    def unrolled(outer_loss, inner_loss, weights, trained, outer, rate, *, exact):
        caught.update(trained)
        return outer

    monkeypatch.setattr(darts, "unrolled", unrolled)
    rules.gate_gradient(training, logits, then, judged, ones, 1)
    before = {name: weight.detach().clone() for name, weight in training.weights.items()}
    training.learn(logits.gates(), then, 1, "all")
    for name, weight in training.weights.items():
        assert torch.allclose(caught[name], weight, rtol=0, atol=1e-6) and not torch.equal(before[name], weight), name


def test_a_gradient_that_is_not_finite_moves_nothing():
    _, logits = prepared(Darts(batch=8))
    before = logits.values.detach().clone()
    logits.move(torch.full_like(before, float("nan")))
    assert torch.equal(before, logits.values.detach()) and logits.refused == 1


def test_most_skips_is_kept_with_limits_and_without():
    net = supernet_of(PROBLEM.space, TASK, seed=0)
    weights = torch.rand(net.gate_shape, generator=torch.Generator().manual_seed(0)) * 0.1
    weights[:, 1] = 1.0
    free = Answers(PROBLEM, net, 0)
    assert free.of(weights).choices == (1,) * 6 and free.collapsed(free.of(weights)) and free.skips(free.of(weights)) == 6
    smallest = Problem(PROBLEM.space, TASK, {"params": 1_400})
    for problem in (PROBLEM, smallest):
        bound = Answers(problem, net, 0, most_skips=2, without_nothing=True)
        answer = bound.of(weights)
        assert bound.skips(answer) == 2 and 0 not in answer.choices


@pytest.mark.parametrize("rules", [Darts(), Lpt()])
def test_an_edge_with_nothing_is_no_answer_unless_it_is_asked_for(rules):
    net = supernet_of(PROBLEM.space, TASK, seed=0)
    weights = torch.tensor([0.4, 0.1, 0.2, 0.3, 0.0]).expand(net.gate_shape)
    assert rules.answers(PROBLEM, net, 0).of(weights).choices == (3,) * 6
    assert replace(rules, exclude_none=False).answers(PROBLEM, net, 0).of(weights).choices == (0,) * 6


@pytest.mark.parametrize(
    ("normal", "reduction", "collapsed"), [(2, 0, False), (2, 8, False), (3, 0, True), (3, 8, True), (8, 8, True)]
)
def test_three_of_the_eight_edges_of_the_normal_cell_are_a_collapse(normal, reduction, collapsed):
    skip, other = OPERATIONS.index("skip_connect"), OPERATIONS.index("sep_conv_3x3")
    operations = [skip if number < count else other for count in (normal, reduction) for number in range(8)]
    architecture = DartsSpace().architecture([choice for node in range(8) for choice in (0, *operations[2 * node : 2 * node + 2])])
    answers = Answers(DARTS, supernet_of(DARTS.space, TASK, seed=0, channels=2, depth=3), 0)
    assert answers.skips(architecture) == normal and answers.collapsed(architecture) == collapsed


@pytest.mark.parametrize("limits", [{}, {"params": 1_500}])
def test_answers_in_the_space_darts_do_not_depend_on_none(limits):
    problem = Problem(DARTS.space, TASK, limits)
    net = supernet_of(DARTS.space, TASK, seed=0, channels=2, depth=3)
    weights = torch.rand(net.gate_shape, generator=torch.Generator().manual_seed(0)) * 0.9
    found = []
    for none in (0.0, 1.0):
        weights[:, 0] = none
        found.append(Answers(problem, net, 0, without_nothing=True).of(weights))
    assert found[0] == found[1]


def test_dropout_of_skip_connections_fades_and_keeps_the_mean():
    net = supernet_of(PROBLEM.space, TASK, seed=0)
    early = torch.stack([SkipDropout(net, 0.4, seed).factors(0, 1) for seed in range(2_000)])
    assert torch.equal(early[:, :, [0, 2, 3, 4]], torch.ones(2_000, 6, 4)), "only skip connections are shut"
    assert float((early[:, :, 1] == 0).float().mean()) == pytest.approx(0.4, abs=0.02)
    assert float(early[:, :, 1].mean()) == pytest.approx(1.0, abs=0.03)
    late = torch.stack([SkipDropout(net, 0.4, seed).factors(10, 10) for seed in range(2_000)])
    assert float((late[:, :, 1] == 0).float().mean()) == pytest.approx(0.04, abs=0.01)
    assert torch.equal(SkipDropout(net, 0.0, 0).factors(0, 1), torch.ones(6, 5))


def test_a_supernet_too_shallow_for_its_cells_is_told_of():
    with pytest.raises(UserError, match="nothing depends on 14 of its 28 questions, such as 'normal edge 0->2'; make it deeper"):
        supernet_of(DartsSpace(), TASK, seed=0, channels=2, depth=1)
    assert supernet_of(DartsSpace(), TASK, seed=0).space.layers == 8, "as published"


def test_other_tasks_and_spaces_are_told_of():
    with pytest.raises(UserError, match="'macro' has no supernet"):
        next(Darts().search(Problem(Macro(), TASK), seed=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most_skips": 2}, "most_skips bounds skip connections, but 'proxyless' has none; leave it out"),
        ({"skip_dropout": 0.3}, "skip_dropout shuts skip connections behind gates, but this space has none; leave it out"),
    ],
)
def test_remedies_against_skip_connections_need_some(settings, message):
    spaces = [Proxyless(channels=2, depth=1)] + [Proxyless(channels=2, depth=2, skip=True)] * ("skip_dropout" in settings)
    for space in spaces:
        with pytest.raises(UserError, match=message):
            next(Darts(batch=8, **settings).search(Problem(space, TASK), seed=0))


def test_the_alarm_of_other_cells_counts_the_edges_of_the_normal_one():
    space, rng = NaoCell(2, 1), generator(0, "cells")
    answers = Answers(Problem(space, TASK), supernet_of(space, TASK, seed=0), 0, most_skips=2)
    for cell in (sample(space, rng) for _ in range(20)):
        normal = [choice for choice, row in zip(cell.choices, space.decisions, strict=True) if not row.name.startswith("reduc")]
        names = [row for row in space.decisions if not row.name.startswith("reduc")]
        identities = sum(row.options[choice].startswith("identity") for choice, row in zip(normal, names, strict=True))
        assert answers.skips(cell) == identities and answers.collapsed(cell) == (identities > 2)
