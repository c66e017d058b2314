"""Adaptation to a task by some steps of training, and the derivative through them (MAML): supernets as functions of weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from archscout.core.architecture import Decision
from archscout.core.operations import GraphBuilder
from archscout.nn.bilevel import gradient, stepped
from archscout.nn.supernet import GraphSupernet, supernet_of
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

RATE = 0.1
_STEP = 1e-8
"""Of differences: so small that no unit of a ReLU changes sides."""


def one_weight() -> GraphSupernet:
    """x -> w x, behind a gate."""
    builder = GraphBuilder((1, 1, 1))
    graph = builder.finish(builder.mix([(builder.conv(builder.input, 1, name="scale"), (0, 0))]))
    space = SimpleNamespace(name="one weight", gates=(Decision("only", ("scale",)),))
    return GraphSupernet(space, graph, seed=0).double()  # type: ignore[arg-type]


def adapted(loss, weights, steps, *, first_order):
    for _ in range(steps):
        found = gradient(loss(weights), weights, create_graph=True)
        if first_order:
            found = {name: part.detach() for name, part in found.items()}
        weights = stepped(weights, found, RATE)
    return weights


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_derivative_through_an_inner_loop_has_its_closed_form(steps, first_order):
    """L = mean (g w x - y)^2: a step takes w to r w + 2 a g s_xy, with r = 1 - 2 a g^2 s_xx."""
    net, gate = one_weight(), torch.tensor([[1.5]], dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    x, y, other_x, other_y = torch.randn(4, 8, 1, 1, 1, generator=draw, dtype=torch.float64)

    def loss(weights, inputs=x, targets=y):
        return (net(inputs, gate, weights=weights) - targets).square().mean()

    start = dict(net.named_parameters())
    [weight] = start.values()
    trained = adapted(loss, start, steps, first_order=first_order)
    outer = loss(trained, other_x, other_y)
    [found] = torch.autograd.grad(outer, [weight])
    g, w = float(gate), float(weight.detach())
    ratio = 1 - 2 * RATE * g * g * float(x.square().mean())
    end = ratio**steps * w + 2 * RATE * g * float((x * y).mean()) * sum(ratio**k for k in range(steps))
    slope = float((2 * g * other_x * (g * end * other_x - other_y)).mean())
    [after] = trained.values()
    assert float(after.detach()) == pytest.approx(end, rel=1e-12)
    assert float(found) == pytest.approx(slope if first_order else ratio**steps * slope, rel=1e-10)
    assert float(weight.detach()) == w, "the supernet's own weight stays"


def test_only_the_path_is_adapted_and_second_order_is_in_the_derivative():
    task = image_task((3, 8, 8), 3, 48)
    net = supernet_of(Nas201(channels=2, cells=1), task, seed=0).double()
    architecture = net.space.architecture([3, 1, 2, 4, 1, 3])
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 6, 3, 8, 8, generator=draw, dtype=torch.float64), torch.randint(3, (2, 6), generator=draw)
    gates, start = net.gates(architecture), dict(net.named_parameters())

    def outer(weights, first_order=False):
        trained = adapted(
            lambda at: F.cross_entropy(net(x[0], gates, weights=at), y[0]), weights, 2, first_order=first_order
        )  # fmt: skip
        return F.cross_entropy(net(x[1], gates, weights=trained), y[1]), trained

    value, trained = outer(start)
    active = net.active_parameters(architecture)
    assert {name for name in start if not torch.equal(trained[name], start[name])} == active < set(start)
    found, rough = gradient(value, start), gradient(outer(start, True)[0], start)
    assert all(not bool(found[name].any()) for name in set(start) - active)
    direction = {name: torch.randn(tensor.shape, generator=draw, dtype=torch.float64) for name, tensor in start.items()}
    there, back = (
        float(outer({n: (w + sign * _STEP * direction[n]).detach().requires_grad_() for n, w in start.items()})[0].detach())
        for sign in (1, -1)
    )
    exact, simple = (sum(float((part[name] * direction[name]).sum()) for name in start) for part in (found, rough))
    assert exact == pytest.approx((there - back) / (2 * _STEP), rel=1e-4)
    assert abs(simple - exact) > 1e-2 * abs(exact), "the first order leaves something out"
