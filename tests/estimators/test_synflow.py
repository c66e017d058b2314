"""Synflow against its conservation law and a plain implementation."""

from dataclasses import dataclass
from math import log

import pytest
import torch
from torch import nn

from archscout.core.architecture import Decision, checked
from archscout.core.draw import sample
from archscout.core.errors import NotFinite
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.core.seeds import generator, seeded
from archscout.estimators.synflow import Synflow, flow_of_graph, flow_of_module
from archscout.nn.executor import WeightBank
from archscout.nn.network import Network
from archscout.spaces.darts import Darts
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

TASK = image_task((3, 16, 16), classes=5)


def test_a_linear_network_by_hand():
    builder = GraphBuilder((3,))
    graph = builder.finish(builder.linear(builder.linear(builder.input, 4, bias=False, name="one"), 2, bias=False, name="two"))
    weights = WeightBank(torch.float64).draw(graph, 0)
    through = float((weights["two.weight"].abs() @ weights["one.weight"].abs()).sum())
    assert flow_of_graph(graph, weights, torch.ones(1, 3, dtype=torch.float64)) == pytest.approx(2 * through, rel=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_layer_of_a_chain_conserves_the_flow(depth):
    builder = GraphBuilder((2, 9, 9))
    x = builder.input
    for layer in range(depth):
        x = builder.relu(builder.batch_norm(builder.conv(x, 4, 3, stride=1 + layer % 2, name=f"conv{layer}")))
    graph = builder.finish(builder.linear(builder.global_pool(x), 3, bias=False))
    weights = WeightBank(torch.float64).draw(graph, 1)
    image = torch.ones(1, 2, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        network = Network(graph).double()
        network.load_state_dict({name: weight.abs() for name, weight in weights.items()}, strict=False)
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.running_mean)
                module.running_var.fill_(1 - module.eps)  # evaluation makes it an identity
                assert "norm" in name
        total = float(network.eval()(image).sum())
    assert flow_of_graph(graph, weights, image) == pytest.approx((depth + 1) * total, rel=1e-12)


@pytest.mark.parametrize("space", [Nas201(4, 2), Darts(4, 3)], ids=["nas201", "darts"])
def test_executor_and_module_agree(space):
    image = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    for number in range(5):
        graph = space.operations(sample(space, generator(number, "flow")), TASK)
        weights = WeightBank(torch.float64).draw(graph, number)
        network = Network(graph).double()
        network.load_state_dict(dict(weights), strict=False)
        expected = flow_of_module(network, image)
        assert flow_of_graph(graph, weights, image) == pytest.approx(expected, rel=1e-10)
        assert flow_of_graph(graph.live(), weights, image) == pytest.approx(expected, rel=1e-10)


def test_signs_do_not_matter_and_scale_does():
    space = Nas201(4, 1)
    graph = space.operations(space.at(6111), TASK)
    weights = WeightBank(torch.float64).draw(graph, 0)
    image = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    flow = flow_of_graph(graph, weights, image)
    assert flow_of_graph(graph, {name: -weight for name, weight in weights.items()}, image) == flow
    assert flow_of_graph(graph, weights, 2 * image) == pytest.approx(2 * flow, rel=0.05)  # the last bias adds a constant


def test_no_flow_is_not_finite():
    space = Nas201(4, 1)
    with pytest.raises(NotFinite, match="signal"):
        Synflow().estimate(Problem(space, TASK), space.at(1651), seed=0)


def test_more_convolutions_let_more_flow():
    space = Nas201(8, 2)
    values = [Synflow().estimate(Problem(space, TASK), space.at(number), seed=0).value for number in (1835, 4317, 1462)]
    assert values[0] < values[1] < values[2]


def test_it_reads_no_data():
    space = Nas201(4, 1)
    other = image_task((3, 16, 16), classes=5, seed=9)
    assert other.fingerprint != TASK.fingerprint
    one, two = (Synflow().estimate(Problem(space, task), space.at(6111), seed=4).value for task in (TASK, other))
    assert one == two != Synflow().estimate(Problem(space, TASK), space.at(6111), seed=5).value


@dataclass(frozen=True)
class Chain:
    """A space without graphs."""

    @property
    def name(self):
        return "chain"

    @property
    def decisions(self):
        return (Decision("depth", ("1", "3")),)

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture, task):
        layers, channels = [], task.shape[0]
        for _ in range((1, 3)[architecture.choices[0]]):
            layers += [nn.Conv2d(channels, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
            channels = 4
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, task.classes, bias=False))


@pytest.mark.parametrize(("choice", "layers"), [(0, 2), (1, 4)])
def test_a_space_without_graphs_is_judged_by_its_module(choice, layers):
    space = Chain()
    architecture = space.architecture([choice])
    found = Synflow().estimate(Problem(space, TASK), architecture, seed=2).value
    with seeded(2):
        network = space.build(architecture, TASK).double().eval()
    x = torch.ones(1, *TASK.shape, dtype=torch.float64)
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.abs_()
            x = x if isinstance(module, nn.BatchNorm2d) else module(x)
    assert found == pytest.approx(log(layers * float(x.sum())), rel=1e-12)
