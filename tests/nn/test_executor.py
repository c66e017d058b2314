"""The functional executor against the module of the same graph."""

from math import sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archscout.core.draw import sample
from archscout.core.operations import GraphBuilder
from archscout.core.seeds import generator, seeded
from archscout.nn.executor import WeightBank, execute
from archscout.nn.network import Network
from archscout.spaces.darts import Darts
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

TASK = image_task((3, 16, 16), classes=5)


def random_graph(space, number):
    return space.operations(sample(space, generator(number, "graph")), TASK)


def every_kind_graph():
    builder = GraphBuilder((2, 9, 8))
    x = builder.batch_norm(builder.conv(builder.input, 8, 3, bias=True), affine=False)
    gate = builder.conv(builder.global_pool(builder.activation(x, "silu"), keep=True), 8, name="gate")
    x = builder.multiply(x, builder.activation(gate, "sigmoid"))
    x = builder.add(x, builder.shift(x), builder.zero(x), builder.max_pool(x, 3), builder.avg_pool(x, 3))
    x = builder.crop(builder.max_pool(x, 2, padding=1))
    x = builder.concat(x, builder.conv(builder.narrow(x, 6), 6, 3, groups=6, dilation=2, name="depthwise"))
    x = builder.add(builder.conv(x, 4, stride=2, name="last"), builder.zero(builder.conv(x, 4, name="unused"), stride=2))
    return builder.finish(builder.linear(builder.global_pool(builder.relu(builder.batch_norm(x))), 3))


def graphs():
    yield "every kind", every_kind_graph(), (4, 2, 9, 8)
    for number in range(4):
        yield f"nas201 {number}", random_graph(Nas201(8, 2), number), (4, 3, 16, 16)
    for number in range(2):
        yield f"darts {number}", random_graph(Darts(4, 3), number), (4, 3, 16, 16)
    yield "darts imagenet", random_graph(Darts(4, 3, imagenet=True), 9), (4, 3, 16, 16)


CASES = list(graphs())


@pytest.mark.parametrize(("graph", "shape"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
def test_logits_and_gradients_equal_the_modules(graph, shape, layout):
    with seeded(1):
        network = Network(graph).double().train()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).double().contiguous(memory_format=layout)
    y = torch.arange(len(x)) % 3
    plain = network(x)
    F.cross_entropy(plain, y).backward()
    weights = WeightBank.from_module(network)
    logits = execute(graph, weights, x)
    gradients = torch.autograd.grad(F.cross_entropy(logits, y), list(weights.values()), allow_unused=True)
    assert (logits - plain).abs().max() <= 1e-12 * plain.abs().max().clamp(min=1)
    for (name, parameter), gradient in zip(weights.items(), gradients, strict=True):
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        found = torch.zeros_like(parameter) if gradient is None else gradient
        assert torch.isfinite(found).all(), name
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max().clamp(min=1), name


def test_gradients_of_drawn_weights_are_finite_and_right_in_channels_last_memory():
    """The trap: expanded weights of a normalisation give NaN gradients with channels-last input."""
    graph = random_graph(Nas201(8, 2), 3)
    drawn = WeightBank(torch.float64).draw(graph, 5)
    weights = {name: weight.detach().requires_grad_() for name, weight in drawn.items()}
    network = Network(graph).double().train()
    network.load_state_dict(dict(drawn), strict=False)
    x = torch.randn(6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network(x).square().sum().backward()
    total = execute(graph, weights, x.contiguous(memory_format=torch.channels_last)).square().sum()
    gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    for (name, _), gradient in zip(weights.items(), gradients, strict=True):
        if gradient is None:
            continue
        expected = network.get_parameter(name).grad
        assert torch.isfinite(gradient).all(), name
        assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12), name


def test_an_expanded_weight_is_refused():
    graph = every_kind_graph()
    weights = dict(WeightBank().draw(graph, 0))
    name = next(name for name, weight in weights.items() if "norm" in name and name.endswith(".weight"))
    weights[name] = torch.ones(1).expand(weights[name].shape)
    with pytest.raises(AssertionError, match="NaN gradients"):
        execute(graph, weights, torch.ones(2, 2, 9, 8))


def test_the_bank_names_and_shapes_are_those_of_the_state_dict():
    for _, graph, _ in CASES:
        state = {name: tuple(p.shape) for name, p in Network(graph).named_parameters()}
        assert {name: tuple(weight.shape) for name, weight in WeightBank().draw(graph, 0).items()} == state


def test_the_bank_draws_pytorchs_default():
    graph = random_graph(Nas201(32, 3), 0)
    weights = WeightBank().draw(graph, 0)
    for operation in graph.operations:
        if operation.kind in ("conv", "linear"):
            shape = graph.weight_shape(operation)
            bound = 1 / sqrt(torch.Size(shape[1:]).numel())
            weight = weights[f"{operation.name}.weight"]
            assert weight.abs().max() <= bound
            if weight.numel() > 5000:
                assert weight.abs().max() > 0.99 * bound
                assert weight.std() == pytest.approx(bound / sqrt(3), rel=0.05)
                layer = nn.Conv2d(shape[1], shape[0], shape[2]) if len(shape) == 4 else nn.Linear(shape[1], shape[0])
                assert weight.std() == pytest.approx(float(layer.weight.detach().std()), rel=0.05)
        elif operation.kind == "batch_norm":
            assert (weights[f"{operation.name}.weight"] == 1).all() and (weights[f"{operation.name}.bias"] == 0).all()


@pytest.mark.parametrize(("init", "gain"), [("kaiming-normal", 2.0), ("normal", None)])
def test_the_bank_draws_normal_weights_and_no_biases(init, gain):
    builder = GraphBuilder((32, 9, 8))
    x = builder.batch_norm(builder.conv(builder.input, 64, 3, bias=True))
    x = builder.conv(x, 512, 5, groups=64)
    graph = builder.finish(builder.linear(builder.global_pool(x), 30))
    weights = WeightBank(torch.float64).draw(graph, 0, init)
    for operation in graph.operations:
        if operation.kind in ("conv", "linear"):
            weight = weights[f"{operation.name}.weight"]
            expected = sqrt(gain / weight[0].numel()) if gain else 1.0
            assert float(weight.std()) == pytest.approx(expected, rel=0.03)
            assert float(weight.abs().max()) > 3 * expected and abs(float(weight.mean())) < 0.05 * expected
            assert not operation.bias or not weights[f"{operation.name}.bias"].any()
        elif operation.kind == "batch_norm":
            assert (weights[f"{operation.name}.weight"] == 1).all() and (weights[f"{operation.name}.bias"] == 0).all()
    again = WeightBank(torch.float64).draw(graph, 0, init)
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


def test_the_observer_sees_what_enters_an_operation_where_asked():
    builder = GraphBuilder((3, 8, 8))
    x = builder.conv(builder.input, 4, 3, name="conv")
    graph = builder.finish(builder.linear(builder.global_pool(builder.relu(builder.batch_norm(x))), 2))
    weights = WeightBank(torch.float64).draw(graph, 0)
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    seen = []
    execute(graph, weights, image, observe=lambda _, value, count: seen.append(value), observed=("batch_norm",), before=True)
    assert len(seen) == 1 and torch.allclose(seen[0], F.conv2d(image, weights["conv.weight"], padding=1))


def test_the_bank_is_reused_and_repeats():
    bank = WeightBank()
    large, small = random_graph(Nas201(16, 2), 0), random_graph(Nas201(4, 1), 0)
    first = bank.draw(large, 1)["stem.conv.weight"].clone()
    view = bank.draw(small, 2)["stem.conv.weight"]
    again = bank.draw(large, 1)["stem.conv.weight"]
    assert torch.equal(first, again)
    assert view.untyped_storage().data_ptr() == again.untyped_storage().data_ptr()
    assert not torch.equal(first, bank.draw(large, 2)["stem.conv.weight"])


def test_the_observer_sees_each_activation_once_with_its_count():
    builder = GraphBuilder((3, 8, 8))
    x = builder.conv(builder.input, 4, 3)
    one, two = builder.conv(builder.relu(x), 4, name="one"), builder.conv(builder.relu(x), 4, name="two")
    builder.conv(builder.relu(one), 4, name="dead")
    graph = builder.finish(builder.linear(builder.global_pool(builder.relu(two)), 2))
    weights = WeightBank().draw(graph, 0)

    def seen(graph):
        found = []
        execute(graph, weights, torch.randn(2, 3, 8, 8), observe=lambda op, out, count: found.append((count, tuple(out.shape))))
        return found

    shape = (2, 4, 8, 8)
    assert seen(graph) == [(2, shape), (1, shape), (1, shape)]
    assert seen(graph.live()) == [(1, shape), (1, shape)]


def test_what_nobody_needs_is_not_computed():
    builder = GraphBuilder((3, 8, 8))
    dead = builder.zero(builder.conv(builder.input, 4, name="dead"))
    x = builder.add(builder.conv(builder.input, 4, name="alive"), dead)
    graph = builder.finish(builder.linear(builder.global_pool(x), 2))
    weights = dict(WeightBank().draw(graph, 0))
    del weights["dead.weight"]
    assert execute(graph, weights, torch.ones(2, 3, 8, 8)).shape == (2, 2)


def test_without_batch_norm_a_bias_free_network_is_homogeneous():
    graph = random_graph(Nas201(4, 1), 1)
    weights = {
        name: weight * (not name.endswith("linear.bias")) for name, weight in WeightBank(torch.float64).draw(graph, 1).items()
    }
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    once, twice = (execute(graph, weights, factor * x, batch_norm=False) for factor in (1, 2))
    assert torch.allclose(twice, 2 * once, rtol=1e-10)


def test_bf16_is_close_and_returns_the_images_type():
    graph = random_graph(Nas201(8, 2), 0)
    weights = WeightBank().draw(graph, 0)
    x = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    full, half = execute(graph, weights, x), execute(graph, weights, x, precision="bf16")
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert (full - half).abs().max() < 0.1 * full.abs().max()
