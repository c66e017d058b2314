"""Judges by gradients of the loss, against hand calculations, invariances and plain autograd."""

from math import log

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import NotFinite, UserError
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.estimators import gradsign, grasp, zico
from archscout.nn import probes
from archscout.nn.executor import WeightBank
from archscout.nn.network import Network
from archscout.spaces.darts import Darts
from archscout.spaces.mobile import Mobile
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

TASK = image_task((3, 16, 16), classes=5)
PROBLEM = Problem(Nas201(4, 1), TASK)
PASSED = ("grad-norm", "snip", "plain", "fisher")
JUDGES = (*PASSED, "grasp", "zico", "gradsign")
FULL, DEAD = PROBLEM.space.at(1462), PROBLEM.space.at(1651)


def judge(name, **settings):
    return catalogue.make("estimators", name, **({"batch": 12} | settings))


def value(name, architecture=FULL, seed=0, problem=PROBLEM, **settings):
    return judge(name, **settings).estimate(problem, architecture, seed=seed).value


def chain(depth, *, bias=False):
    """A network without normalisations: convolutions and ReLUs, a mean, a linear layer."""
    builder = GraphBuilder((3, 8, 8))
    x = builder.input
    for layer in range(depth - 1):
        x = builder.relu(builder.conv(x, 4, 3, bias=bias, name=f"conv{layer}"))
    return builder.finish(builder.linear(builder.global_pool(x), 5, bias=bias))


def drawn(graph, seed=0):
    return dict(WeightBank(torch.float64).draw(graph, seed))


def batch_of(count=6, shape=(3, 8, 8)):
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 5


def snip(weight, gradient):
    return (weight * gradient).abs().sum()


def plain(weight, gradient):
    return (weight * gradient).sum()


def test_one_linear_layer_by_hand():
    builder = GraphBuilder((2,))
    graph = builder.finish(builder.linear(builder.input, 2, bias=False))
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    x, y = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor([1])
    found = probes.measure(probes.subject_of_graph(graph, {"linear.weight": weight.clone()}), x, y)
    logits = x @ weight.T
    error = torch.softmax(logits, 1) - torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    gradient = error.T @ x
    assert found.total(lambda w, g: g.norm()) == pytest.approx(float(gradient.norm()), rel=1e-12)
    assert found.total(snip) == pytest.approx(float((weight * gradient).abs().sum()), rel=1e-12)
    assert found.total(plain) == pytest.approx(float((weight * gradient).sum()), rel=1e-12)
    assert found.fisher == pytest.approx(float(((logits * error) ** 2).sum() / 2 * 2), rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_plain_of_a_homogeneous_network_is_depth_times_the_last_layers(depth):
    graph = chain(depth)
    subject, (images, labels) = probes.subject_of_graph(graph, drawn(graph)), batch_of()
    logits = subject.forward(images, None).detach().requires_grad_()
    [error] = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    expected = depth * float((logits.detach() * error).sum())
    assert probes.measure(subject, images, labels).total(plain) == pytest.approx(expected, rel=1e-10)


def test_gradients_scale_with_the_loss():
    graph = chain(3)
    subject, (images, labels) = probes.subject_of_graph(graph, drawn(graph)), batch_of()
    found = probes.measure(subject, images, labels).total(lambda w, g: g.norm())
    loss = 7 * F.cross_entropy(subject.forward(images, None), labels)
    assert sum(float(g.norm()) for g in torch.autograd.grad(loss, subject.weights)) == pytest.approx(7 * found, rel=1e-12)


def test_snip_does_not_mind_in_which_layer_the_scale_lies():
    graph, (images, labels) = chain(3), batch_of()
    weights = drawn(graph)
    scaled = {**weights, "conv0.weight": weights["conv0.weight"] * 5, "linear.weight": weights["linear.weight"] / 4}
    one, two = (
        probes.measure(probes.subject_of_graph(graph, {name: weight.clone() for name, weight in found.items()}), x, labels)
        for found, x in ((weights, images), (scaled, images * 4 / 5))
    )
    assert one.total(snip) == pytest.approx(two.total(snip), rel=1e-10)
    assert one.total(plain) == pytest.approx(two.total(plain), rel=1e-10)
    assert one.fisher == pytest.approx(two.fisher, rel=1e-10)


@pytest.mark.parametrize("space", [Nas201(4, 2), Darts(4, 3), Mobile()], ids=["nas201", "darts", "mobile"])
def test_grasp_is_a_product_with_the_hessian(space):
    graph = space.operations(sample(space, generator(2, "grasp")), TASK).live()
    weights = drawn(graph)
    network = Network(graph).double().train()
    network.load_state_dict(weights, strict=False)
    images, labels = batch_of(shape=TASK.shape)
    layers = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]

    def slopes():
        return torch.autograd.grad(F.cross_entropy(network(images), labels), layers, create_graph=True)

    held = [gradient.detach() for gradient in slopes()]
    bent = torch.autograd.grad(sum((a * b).sum() for a, b in zip(held, slopes(), strict=True)), layers)
    expected = -sum(float((weight.detach() * h).sum()) for weight, h in zip(layers, bent, strict=True))
    assert grasp.flow(probes.subject_of_graph(graph, weights), images, labels) == pytest.approx(expected, rel=1e-9)


def test_grasp_against_a_difference_of_gradients():
    graph = chain(2, bias=True)
    weights, (images, labels) = drawn(graph), batch_of()
    start = probes.gradients(probes.subject_of_graph(graph, {n: w.clone() for n, w in weights.items()}), images, labels)
    names = [name for name in weights if name.endswith("weight")]
    step = 1e-5

    def moved(sign):
        there = {name: weight.clone() for name, weight in weights.items()}
        for name, gradient in zip(names, start, strict=True):
            there[name] = there[name] + sign * step * gradient
        return probes.gradients(probes.subject_of_graph(graph, there), images, labels)

    bent = [(after - before) / (2 * step) for after, before in zip(moved(1), moved(-1), strict=True)]
    expected = -sum(float((weights[name] * h).sum()) for name, h in zip(names, bent, strict=True))
    assert grasp.flow(probes.subject_of_graph(graph, weights), images, labels) == pytest.approx(expected, rel=1e-5)


def test_the_sign_of_grasp_can_be_turned():
    assert value("grasp") == -value("grasp", sign=-1) != 0
    with pytest.raises(UserError, match="1 or -1"):
        judge("grasp", sign=2)


def test_zico_by_hand():
    one, two = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([2.0, -1.0, 2.0])
    expected = log((1.5 / 0.5) + (2.0 / 2.0))  # the third weight has deviation 0
    layers = [(one, two), (torch.ones(4), torch.ones(4)), (torch.zeros(2), torch.zeros(2))]
    assert zico.score(layers) == pytest.approx(expected, rel=1e-6)
    assert zico.score([(one, two), (one, two)]) == pytest.approx(2 * expected, rel=1e-6)
    assert zico.score([(7 * one, 7 * two)]) == pytest.approx(expected, rel=1e-6)


def test_zico_reads_two_batches_at_the_same_weights():
    subject = probes.subject(PROBLEM, FULL, 0)
    first, second = (probes.gradients(subject, *probes.labelled_batch(PROBLEM, 12, "train", number)) for number in (0, 1))
    expected = 0.0
    for one, two in zip(first, second, strict=True):
        both = torch.stack([one, two]).double()
        deviation = both.std(0, unbiased=False)
        expected += log(float((both.abs().mean(0) / deviation)[deviation > 0].sum()))
    assert value("zico") == pytest.approx(expected, rel=1e-4)


def test_gradsign_counts_agreement():
    graph = chain(2)
    subject, (images, labels) = probes.subject_of_graph(graph, drawn(graph)), batch_of()
    found = gradsign.agreement(subject, images, labels)
    each = [
        torch.cat([g.flatten() for g in probes.gradients(subject, images[i : i + 1], labels[i : i + 1])])
        for i in range(len(images))
    ]
    assert found == float(torch.stack(each).sign().sum(0).abs().sum())
    alone = gradsign.agreement(subject, images[:1], labels[:1])
    assert alone == float((each[0] != 0).sum())
    assert gradsign.agreement(subject, images[:1].repeat(3, 1, 1, 1), labels[:1].repeat(3)) == 3 * alone


def test_l2_norm_needs_no_data_and_counts_what_reaches_the_logits():
    graph = PROBLEM.space.operations(FULL, TASK).live()
    weights = WeightBank().draw(graph, 4)
    layers = [f"{operation.name}.weight" for operation in graph.operations if operation.kind in ("conv", "linear")]
    found = catalogue.make("estimators", "l2-norm").estimate(PROBLEM, FULL, seed=4).value
    assert found == pytest.approx(sum(float(weights[name].norm()) for name in layers), rel=1e-6)


@pytest.mark.parametrize("name", ("grad-norm", "snip", "plain", "grasp", "gradsign"))
def test_a_dead_network_scores_nought(name):
    assert value(name, DEAD) == 0


def test_a_dead_network_has_no_logarithm_and_only_the_signal_of_its_bias():
    with pytest.raises(NotFinite, match="logarithms"):
        value("zico", DEAD)
    assert 0 <= value("fisher", DEAD) < value("fisher")


@pytest.mark.parametrize("name", ("grad-norm", "snip", "fisher", "gradsign"))
def test_scores_are_not_negative(name):
    for number in range(5):
        assert value(name, sample(PROBLEM.space, generator(number, "signs"))) >= 0


@pytest.mark.parametrize("name", JUDGES)
def test_the_value_is_that_of_weights_and_batch(name):
    assert value(name) == value(name)
    assert value(name) != value(name, seed=1)
    assert value(name) != value(name, batch=10)
    assert value(name) != value(name, split="valid")


def test_judges_in_turn_give_what_each_gives_alone():
    alone = {}
    for name in JUDGES:
        probes._remembered.cache_clear()
        alone[name] = value(name)
    probes._remembered.cache_clear()
    assert {name: value(name) for name in reversed(JUDGES)} == alone


@pytest.mark.parametrize("name", PASSED)
def test_bf16_is_near(name):
    full, half = value(name, batch=24), value(name, batch=24, precision="bf16")
    assert half != full
    scale = value("snip", batch=24) if name == "plain" else abs(full)
    assert abs(half - full) < 0.1 * scale


@pytest.mark.parametrize("name", PASSED)
def test_a_gradient_that_is_not_finite_is_a_failure(name, monkeypatch):
    broken = probes.LossPass(((torch.ones(2), torch.tensor([1.0, float("nan")])),), float("inf"))
    monkeypatch.setattr("archscout.estimators._loss_score.loss_pass", lambda *asked, **also: broken)
    with pytest.raises(NotFinite):
        value(name)


@pytest.mark.parametrize("name", JUDGES)
def test_a_batch_without_statistics_is_refused(name):
    with pytest.raises(UserError, match="batch must be at least"):
        judge(name, batch=0)
