"""Loss gradients of untrained networks: the executor against the module of the same graph, and what is remembered."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archscout.core.architecture import Decision, checked
from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.core.seeds import generator, seeded
from archscout.nn import probes
from archscout.nn.executor import WeightBank
from archscout.nn.network import Network
from archscout.spaces.darts import Darts
from archscout.spaces.mobile import Mobile
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task, token_task

TASK = image_task((3, 16, 16), classes=5, rows=60)
SPACES = {"nas201": Nas201(4, 2), "darts": Darts(4, 3), "mobile": Mobile()}


def plain(network, images, labels):
    """Every layer's weight and gradient (None where it is dead), and the Fisher sum, by hooks on a module."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    outputs, handles = {}, []

    def keep(layer, inputs, output):
        output.retain_grad()
        outputs[layer] = output

    handles = [layer.register_forward_hook(keep) for layer in layers]
    F.cross_entropy(network(images), labels).backward()
    for handle in handles:
        handle.remove()
    fisher = 0.0
    for layer, output in outputs.items():
        if output.grad is not None:
            signal = (output.detach() * output.grad).reshape(len(output), output.shape[1], -1).sum(2)
            for channel, weight in enumerate(layer.weight):
                fisher += float(signal[:, channel].square().mean() / 2) * weight.numel()
    return [(layer.weight.detach(), layer.weight.grad) for layer in layers], fisher


def twins(space, number):
    """A graph without dead parts, and its module with the same weights, in float64."""
    graph = space.operations(sample(space, generator(number, "probe")), TASK).live()
    weights = WeightBank(torch.float64).draw(graph, number)
    network = Network(graph).double().train()
    network.load_state_dict(dict(weights), strict=False)
    return probes.subject_of_graph(graph, weights), network


def batch_of(count=6):
    noise = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=noise), torch.arange(count) % 5


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_executor_and_module_agree(space, number):
    subject, network = twins(space, number)
    images, labels = batch_of()
    expected, fisher = plain(network, images, labels)
    found = probes.measure(subject, images, labels)
    alive = [pair for pair in expected if pair[1] is not None]
    assert len(found.layers) == len(alive)
    total = sum(gradient.norm() for _, gradient in alive)
    by_shape = sorted(found.layers, key=lambda pair: (tuple(pair[0].shape), float(pair[0].sum())))
    for (weight, gradient), (same, known) in zip(
        by_shape, sorted(alive, key=lambda pair: (tuple(pair[0].shape), float(pair[0].sum()))), strict=True
    ):
        assert torch.equal(weight, same)
        assert torch.isfinite(gradient).all()
        assert (gradient - known).norm() <= 1e-9 * known.norm() + 1e-13 * total
    assert found.fisher == pytest.approx(fisher, rel=1e-9)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_module_gives_what_its_graph_gives(space):
    by_graph, network = twins(space, 7)
    images, labels = batch_of()
    by_module = probes.measure(probes.subject_of_module(network, 0), images, labels)
    found = probes.measure(by_graph, images, labels)
    for part in (lambda w, g: (w * g).abs().sum(), lambda w, g: g.norm(), lambda w, g: w.norm()):
        assert found.total(part) == pytest.approx(by_module.total(part), rel=1e-9)
    assert found.fisher == pytest.approx(by_module.fisher, rel=1e-9)


def test_only_layers_are_differentiated():
    subject, network = twins(SPACES["nas201"], 0)
    by_module = probes.subject_of_module(network, 0)
    layers = {id(module.weight) for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {id(weight) for weight in by_module.weights} == layers
    assert {id(parameter) for parameter in network.parameters() if parameter.requires_grad} == layers
    assert len(subject.weights) == len(layers)


def test_whether_fisher_is_asked_for_changes_no_gradient():
    subject, _ = twins(SPACES["nas201"], 1)
    images, labels = batch_of()
    with_it, without = (probes.measure(subject, images, labels, fisher=fisher) for fisher in (True, False))
    assert without.fisher is None and with_it.fisher > 0
    assert all(torch.equal(one[1], two[1]) for one, two in zip(with_it.layers, without.layers, strict=True))


def test_judges_that_ask_for_the_same_share_one_pass(monkeypatch):
    problem = Problem(Nas201(4, 1), TASK)
    cell = problem.space.at(6111)
    passes = []
    monkeypatch.setattr(probes, "measure", lambda *asked, **also: passes.append(1) or probes.LossPass((), 0.0))
    probes._remembered.cache_clear()
    for _ in range(3):
        probes.loss_pass(problem, cell, seed=0, batch=8, split="train", fisher=True)
        probes.loss_pass(problem, cell, seed=0, batch=8, split="train")
    assert len(passes) == 1
    settings = {"seed": 0, "batch": 8, "split": "train"}
    for change in ({"seed": 1}, {"batch": 9}, {"split": "valid"}, {"number": 1}, {"precision": "bf16"}):
        probes.loss_pass(problem, cell, **{**settings, **change})
    probes.loss_pass(Problem(Nas201(4, 2), TASK), cell, **settings)
    probes.loss_pass(Problem(Nas201(4, 1), image_task((3, 16, 16), 5, seed=2)), cell, **settings)
    probes.loss_pass(problem, problem.space.at(6112), **settings)
    assert len(passes) == 9
    probes._remembered.cache_clear()


def test_what_is_remembered_equals_what_is_computed():
    problem = Problem(Nas201(4, 1), TASK)
    asked = {"seed": 3, "batch": 8, "split": "train"}
    first = probes.loss_pass(problem, problem.space.at(6111), **asked)
    again = probes.loss_pass(problem, problem.space.at(6111), **asked)
    probes._remembered.cache_clear()
    fresh = probes.loss_pass(problem, problem.space.at(6111), **asked)
    assert again is first and fresh is not first
    assert all(torch.equal(one[1], two[1]) for one, two in zip(first.layers, fresh.layers, strict=True))


def test_batches_of_different_numbers_share_no_image():
    problem = Problem(SPACES["nas201"], TASK)
    one, two = (probes.labelled_batch(problem, 16, "train", number)[0] for number in (0, 1))
    assert torch.equal(one, probes.labelled_batch(problem, 16, "train")[0])
    assert len(one) == len(two) == 16
    assert not any(torch.equal(a, b) for a in one for b in two)
    assert [len(probes.labelled_batch(problem, 100, "train", number)[1]) for number in (0, 1)] == [60, 30]


@dataclass(frozen=True)
class Loose:
    """A space without graphs whose values cannot be hashed, with dropout, an in-place ReLU and a dead layer."""

    widths: list

    name = "loose"
    decisions = (Decision("width", ("4", "8")),)

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture, task):
        width = self.widths[architecture.choices[0]]
        network = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, task.classes),
        )  # fmt: skip
        network.add_module("dead", Dead())
        return network


class Dead(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return x


def test_a_space_that_cannot_be_hashed_is_served_and_its_dead_layers_left_out():
    problem = Problem(Loose([4, 8]), TASK)
    cell = problem.space.architecture([1])
    before = torch.get_rng_state()
    one, two = (probes.loss_pass(problem, cell, seed=1, batch=8, split="train", fisher=True) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert [tuple(weight.shape) for weight, _ in one.layers] == [(8, 3, 3, 3), (5, 8)]
    assert all(torch.equal(a[1], b[1]) for a, b in zip(one.layers, two.layers, strict=True))
    with seeded(1):
        network = problem.space.build(cell, TASK)
    network[2].p, network[1].inplace = 0.0, False
    _, fisher = plain(network, *probes.labelled_batch(problem, 8, "train"))
    assert one.fisher == two.fisher == pytest.approx(fisher, rel=1e-5)


def test_a_network_without_layers_has_no_gradients():
    builder = GraphBuilder((5, 4, 4))
    graph = builder.finish(builder.global_pool(builder.relu(builder.input)))
    found = probes.measure(probes.subject_of_graph(graph, {}), torch.ones(2, 5, 4, 4), torch.arange(2))
    assert found.layers == () and found.fisher == 0


def test_tasks_of_other_kinds_are_refused():
    with pytest.raises(UserError, match="image-classification"):
        probes.loss_pass(Problem(SPACES["nas201"], token_task()), SPACES["nas201"].at(0), seed=0, batch=4, split="train")


def test_settings_are_checked():
    with pytest.raises(ValueError, match="at least 2, but 1"):
        probes.check_settings(1)
    with pytest.raises(ValueError, match="'fp16' came"):
        probes.check_settings(2, "fp16")
