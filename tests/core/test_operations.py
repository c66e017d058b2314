"""Operation graphs: shapes, counts, pruning; the module's and PyTorch's own numbers as the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archscout.core.operations import GraphBuilder
from archscout.nn.network import Network


@settings(max_examples=60)
@given(
    extent=st.tuples(st.integers(3, 20), st.integers(3, 20)),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.none() | st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_a_convolution_has_pytorchs_shape_and_counts(extent, kernel, stride, padding, dilation, groups, bias):
    builder = GraphBuilder((4, *extent))
    try:
        x = builder.conv(builder.input, 8, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)
    except ValueError as error:
        assert "larger images" in str(error)
        return
    graph = builder.finish(x)
    same = dilation * (kernel - 1) // 2
    layer = nn.Conv2d(4, 8, kernel, stride, same if padding is None else padding, dilation, groups, bias)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        expected = layer(torch.zeros(1, 4, *extent))
    assert graph.operations[x].shape == tuple(expected.shape[1:])
    assert graph.params == sum(parameter.numel() for parameter in layer.parameters())
    assert graph.macs == counter.get_total_flops() // 2


@settings(max_examples=40)
@given(
    extent=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    kind=st.sampled_from(["max", "avg", "narrow", "zero", "shift", "crop"]),
)
def test_other_windows_have_the_shape_of_their_values(extent, kernel, stride, kind):
    builder = GraphBuilder((2, *extent))
    x = builder.input
    match kind:
        case "max":
            x = builder.max_pool(x, kernel, stride=stride)
        case "avg":
            x = builder.avg_pool(x, kernel, stride=stride)
        case "narrow":
            x = builder.narrow(x, 1)
        case "zero":
            x = builder.zero(x, stride=stride)
        case "shift":
            x = builder.shift(x)
        case "crop":
            x = builder.crop(x)
    graph = builder.finish(x)
    assert tuple(Network(graph)(torch.ones(3, 2, *extent)).shape[1:]) == graph.operations[x].shape
    assert graph.params == graph.macs == 0


def test_avg_pool_pads_either_side_on_its_own():
    builder = GraphBuilder((2, 9, 8))
    x = builder.avg_pool(builder.input, 2, stride=2, padding=(1, 0))
    assert builder.shape(x) == (2, 5, 4)
    ones = torch.ones(1, 2, 9, 8)
    assert torch.equal(Network(builder.finish(x))(ones), torch.ones(1, 2, 5, 4))  # padding is not counted


def test_max_pool_pads_either_side_on_its_own():
    builder = GraphBuilder((1, 3, 2))
    x = builder.max_pool(builder.input, 2, stride=2, padding=(1, 0))
    values = torch.tensor([[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]])
    assert torch.equal(Network(builder.finish(x))(values[None, None]), torch.tensor([[[[-1.0], [-3.0]]]]))


def test_counts_by_hand():
    builder = GraphBuilder((3, 8, 8))
    x = builder.batch_norm(builder.conv(builder.input, 4, 3, bias=True))
    x = builder.batch_norm(builder.conv(x, 4, 3, groups=4, stride=2, name="depthwise"), affine=False)
    graph = builder.finish(builder.linear(builder.global_pool(x), 5))
    assert graph.params == (4 * 3 * 9 + 4) + 8 + 4 * 9 + (4 * 5 + 5)
    assert graph.macs == 4 * 3 * 9 * 64 + 4 * 9 * 16 + 20


def test_names_are_unique_and_scoped():
    builder = GraphBuilder((1, 4, 4))
    with builder.scope("outer"), builder.scope("inner"):
        for _ in range(3):
            builder.conv(builder.input, 2)
    graph = builder.finish(builder.conv(builder.input, 2))
    assert [operation.name for operation in graph.operations] == [
        "input", "outer.inner.conv", "outer.inner.conv_2", "outer.inner.conv_3", "conv",
    ]  # fmt: skip


def test_an_error_leaves_the_scope():
    builder = GraphBuilder((1, 4, 4))
    with pytest.raises(RuntimeError), builder.scope("broken"):
        raise RuntimeError
    assert builder.finish(builder.conv(builder.input, 2)).operations[1].name == "conv"


def test_what_does_not_fit_is_refused():
    builder = GraphBuilder((3, 4, 4))
    with pytest.raises(ValueError, match="larger images"):
        builder.conv(builder.input, 4, 5, padding=0)
    with pytest.raises(ValueError, match="groups"):
        builder.conv(builder.input, 4, groups=2)
    for channels in (0, 4):
        with pytest.raises(ValueError, match="of 3 channels"):
            builder.narrow(builder.input, channels)
    with pytest.raises(ValueError, match="equal shapes"):
        builder.add(builder.input, builder.conv(builder.input, 4))


def test_one_term_is_no_sum_and_no_concatenation():
    builder = GraphBuilder((3, 4, 4))
    assert builder.add(builder.input) == builder.concat(builder.input) == builder.narrow(builder.input, 3) == builder.input


def test_live_keeps_what_the_output_needs():
    builder = GraphBuilder((3, 4, 4))
    alive = builder.mark("alive", builder.conv(builder.input, 4, name="alive"))
    builder.mark("dead", builder.conv(alive, 4, name="dead"))
    nothing = builder.zero(builder.conv(builder.input, 4, name="nullified"))
    graph = builder.finish(builder.linear(builder.global_pool(builder.add(alive, nothing)), 2))
    live = graph.live()
    assert [operation.name for operation in live.operations] == ["input", "alive", "zero", "add", "pool", "linear"]
    assert live.operations[live.output].kind == "linear"
    assert live.marks == {"alive": 1}
    assert live.params == graph.params - 2 * 0 - (4 * 4 + 4 * 3)
    assert all(i < position for position, operation in enumerate(live.operations) for i in operation.inputs)
    assert live.live() == live


def test_counts_are_those_of_the_module():
    builder = GraphBuilder((3, 10, 7))
    x = builder.activation(builder.batch_norm(builder.conv(builder.input, 6, (3, 1), bias=True)), "silu")
    gate = builder.activation(builder.conv(builder.global_pool(x, keep=True), 6, bias=True, name="gate"), "sigmoid")
    x = builder.concat(builder.multiply(x, gate), builder.max_pool(x, 3))
    graph = builder.finish(builder.linear(builder.global_pool(x), 4, bias=False))
    network = Network(graph).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        assert network(torch.zeros(1, 3, 10, 7)).shape == (1, 4)
    assert graph.params == sum(parameter.numel() for parameter in network.parameters())
    assert graph.macs == counter.get_total_flops() // 2
