"""Gradients through a step of training: closed forms, exact products, and faults that must be found."""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
import torch
from torch import nn

from archscout.nn import bilevel
from archscout.nn.bilevel import full_precision, gradient, leaves, mixed_product, stepped, unrolled

# The toy problem of DARTS: L_valid = a w - 2 a + 1, L_train = w^2 - 2 a w + a^2, from (a, w) = (2, -2). Then w*(a) = a, and a = 1
# is best.


def valid(w, a):
    return a * w - 2 * a + 1


def train(w, a):
    return w * w - 2 * a * w + a * a


def toy_gradient(a, w, rate, exact=False):
    a = torch.tensor(a, dtype=torch.float64, requires_grad=True)
    weights = {"w": torch.tensor(w, dtype=torch.float64)}
    at = leaves(weights)
    trained = stepped(weights, gradient(train(at["w"], a), at), rate)
    trained = {name: weight.detach() for name, weight in trained.items()}
    [found] = unrolled(lambda v: valid(v["w"], a), lambda v: train(v["w"], a), weights, trained, [a], rate, exact=exact)
    return float(trained["w"]), float(found)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("a", "w"), [(2.0, -2.0), (0.3, 1.7), (1.0, 1.0)])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_the_toy_problem_has_its_closed_form(a, w, rate, exact):
    after, found = toy_gradient(a, w, rate, exact)
    assert after == pytest.approx(w - 2 * rate * (w - a), abs=1e-12)
    assert found == pytest.approx(after - 2 + 2 * rate * a, abs=1e-6)  # first order: after = w


def test_at_the_start_a_step_of_a_half_gives_two():
    assert toy_gradient(2.0, -2.0, 0.5) == pytest.approx((2.0, 2.0), abs=1e-6)


def descended(rate, steps=2_000, speed=0.1):
    a, w = 2.0, -2.0
    for _ in range(steps):
        a -= speed * toy_gradient(a, w, rate)[1]
        w -= speed * 2 * (w - a)
    return a, w


def test_first_order_ends_at_a_wrong_point_and_second_order_at_the_right_one():
    assert descended(0.0, 300) == pytest.approx((2.0, 2.0), abs=1e-3)
    assert descended(0.5, 300) == pytest.approx((1.0, 1.0), abs=1e-3)


def smooth_net(seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"one": (5, 4), "two": (3, 5)}
    weights = {name: torch.randn(*shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    x, y = torch.randn(7, 4, generator=draw, dtype=torch.float64), torch.randint(3, (7,), generator=draw)
    gates = torch.randn(2, 5, generator=draw, dtype=torch.float64).requires_grad_()

    def loss(v):
        hidden = (
            torch.tanh(x @ v["one"].T) * torch.softmax(gates, 1)[0] + torch.sigmoid(x @ v["one"].T) * torch.softmax(gates, 1)[1]
        )
        return nn.functional.cross_entropy(hidden @ v["two"].T, y)

    direction = {name: torch.randn(*shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}
    return loss, weights, gates, direction


def test_differences_give_the_exact_product():
    loss, weights, gates, direction = smooth_net()
    [exact] = bilevel.mixed_product(loss, weights, direction, [gates], exact=True)
    [found] = bilevel.mixed_product(loss, weights, direction, [gates])
    assert float((found - exact).norm() / exact.norm()) < 1e-4


def test_the_known_fault_of_the_divisor_is_found(monkeypatch):
    """`(p - n) / 2 * eps` in place of `/ (2 * eps)`, as in several public copies."""

    def faulty(loss, weights, direction, outer, *, exact=False):
        length = torch.stack([part.square().sum() for part in direction.values()]).sum().sqrt()
        return [
            part if exact else part * (bilevel.RADIUS / length) ** 2
            for part in mixed_product(loss, weights, direction, outer, exact=exact)
        ]

    monkeypatch.setattr(bilevel, "mixed_product", faulty)
    test_the_toy_problem_has_its_closed_form(2.0, -2.0, 0.5, True)
    with pytest.raises(AssertionError):
        test_the_toy_problem_has_its_closed_form(2.0, -2.0, 0.5, False)
    with pytest.raises(AssertionError):
        test_differences_give_the_exact_product()


@pytest.fixture
def tensor_floats():
    """What says whether products and convolutions round to TF32, restored afterwards."""
    modules = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [module.allow_tf32 for module in modules]
    yield modules
    for module, allowed in zip(modules, before, strict=True):
        module.allow_tf32 = allowed


@pytest.mark.parametrize("fails", [False, True])
def test_inside_of_full_precision_nothing_is_rounded_and_afterwards_all_is_as_before(tensor_floats, fails):
    for module in tensor_floats:
        module.allow_tf32 = True
    with suppress(ArithmeticError), full_precision():
        assert [module.allow_tf32 for module in tensor_floats] == [False, False]
        if fails:
            raise ArithmeticError
    assert [module.allow_tf32 for module in tensor_floats] == [True, True]


def test_a_direction_of_length_nought_gives_noughts():
    loss, weights, gates, direction = smooth_net()
    [found] = mixed_product(loss, weights, {name: torch.zeros_like(part) for name, part in direction.items()}, [gates])
    assert torch.equal(found, torch.zeros_like(gates))


def test_a_rate_of_nought_is_first_order_to_the_bit():
    loss, weights, gates, _ = smooth_net()
    [direct] = torch.autograd.grad(loss(weights), [gates])
    [found] = unrolled(loss, loss, weights, weights, [gates], 0.0)
    assert torch.equal(found, direct)


def test_the_whole_derivative_agrees_with_differences_of_the_retrained_loss():
    loss, weights, gates, _ = smooth_net()

    def retrained(values):
        with torch.no_grad():
            gates.copy_(values)
        at = leaves(weights)
        after = stepped(weights, gradient(loss(at), at), 0.3)
        return {name: weight.detach() for name, weight in after.items()}

    start = gates.detach().clone()
    [found] = unrolled(lambda v: loss(v), loss, weights, retrained(start), [gates], 0.3, exact=True)
    for place in ((0, 0), (1, 3)):
        bump = torch.zeros_like(start)
        bump[place] = 1e-6
        values = []
        for sign in (1, -1):
            trained = retrained(start + sign * bump)
            values.append(float(loss(trained).detach()))
        assert float(found[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_virtual_step_is_the_optimizers_step(momentum):
    torch_net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    optimizer = torch.optim.SGD(torch_net.parameters(), lr=0.1, momentum=momentum, weight_decay=0.01)
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(6, 4, generator=draw, dtype=torch.float64)
        weights = {name: parameter.detach().clone() for name, parameter in torch_net.named_parameters()}
        buffers = {
            name: optimizer.state[parameter]["momentum_buffer"].clone()
            for name, parameter in torch_net.named_parameters()
            if optimizer.state[parameter].get("momentum_buffer") is not None
        }
        at = leaves(weights)
        loss = torch.func.functional_call(copy.deepcopy(torch_net), at, (x,)).square().mean()
        virtual = stepped(weights, gradient(loss, at), 0.1, momentum=momentum, buffers=buffers, decay=0.01)
        optimizer.zero_grad()
        torch_net(x).square().mean().backward()
        optimizer.step()
        for name, parameter in torch_net.named_parameters():
            assert torch.allclose(virtual[name], parameter.detach(), rtol=0, atol=1e-15)
