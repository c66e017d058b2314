from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from archscout.core.operations import AUXILIARY, GraphBuilder, OperationGraph
from archscout.nn.evaluate import precision_context
from archscout.nn.executor import WeightBank, execute
from archscout.nn.network import Network, without_auxiliary


def shortcut(channels: int, stride: int) -> OperationGraph:
    """A strided 1 x 1 convolution of so many channels, as in a residual block that halves its map."""
    builder = GraphBuilder((channels, 9, 9))
    found = builder.conv(builder.input, 6, stride=stride)
    return builder.finish(builder.linear(builder.global_pool(found), 2))


@pytest.mark.parametrize("channels", [3, 15, 16])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strided_pointwise_convolutions_give_the_usual_values_and_gradients(channels: int, stride: int) -> None:
    graph = shortcut(channels, stride)
    [name] = [operation.name for operation in graph.operations if operation.kind == "conv"]
    images = torch.randn(4, channels, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = Network(graph).double()
    weight, head = network.get_parameter(f"{name}.weight"), [p for n, p in network.named_parameters() if not n.startswith(name)]
    expected = F.linear(F.conv2d(images, weight, None, stride).mean((2, 3)), *head)
    [gradient] = torch.autograd.grad(expected.square().sum(), weight)
    for found in (network(images), execute(graph, WeightBank.from_module(network), images)):
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), weight)[0], gradient)


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("dilation", [1, 2])
def test_gradients_in_half_precision_are_about_those_in_full(groups: int, dilation: int) -> None:
    builder = GraphBuilder((8, 32, 32))
    found = builder.conv(builder.input, 8, 3, dilation=dilation, groups=groups)
    network = Network(builder.finish(builder.linear(builder.global_pool(found), 2))).to(memory_format=torch.channels_last)
    images = torch.randn(4, 8, 32, 32, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
    gradients = []
    for precision in ("fp32", "bf16"):
        with precision_context(precision, images.device):
            logits = network(images)
        gradients.append(torch.autograd.grad(logits.float().square().sum(), network.get_parameter("conv.weight"))[0])
    full, half = gradients
    assert float((half - full).norm() / full.norm()) < 0.05


def headed() -> OperationGraph:
    """Two paths that may be dropped, added to their input; then an auxiliary head on the sum."""
    builder = GraphBuilder((3, 6, 6))
    first, second = (builder.droppable(builder.batch_norm(builder.conv(builder.input, 3, 3))) for _ in range(2))
    tap = builder.add(builder.input, first, second)
    logits = builder.linear(builder.global_pool(tap), 4)
    with builder.scope(AUXILIARY):
        normalised = builder.batch_norm(builder.conv(tap, 5))
        builder.mark(AUXILIARY, builder.linear(builder.global_pool(normalised), 4))
    return builder.finish(logits)


def test_the_auxiliary_head_has_no_part_but_in_learning() -> None:
    network, images = Network(headed()), torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    network(images)
    assert int(network.get_buffer("auxiliary.norm.num_batches_tracked")) == 0
    logits, auxiliary = network.learn(images)
    assert auxiliary is not None and auxiliary.shape == logits.shape == (5, 4)
    assert int(network.get_buffer("auxiliary.norm.num_batches_tracked")) == 1
    torch.testing.assert_close(logits, network(images))
    plain = without_auxiliary(network.eval())
    assert not plain.training and without_auxiliary(plain) is plain
    assert {name.split(".")[0] for name in plain.state_dict()} == {"conv", "conv_2", "norm", "norm_2", "linear"}
    assert torch.equal(plain(images), network(images))
    assert plain.get_parameter("linear.weight").data_ptr() == network.get_parameter("linear.weight").data_ptr()


def test_a_dropped_path_gives_nought_for_its_image_alone_and_the_identity_stays() -> None:
    network, images = Network(headed()).eval(), torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    kept = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    found, _ = network.learn(images, kept)
    head = network.get_submodule("linear")
    first, second = (network.get_submodule(f"norm{n}")(network.get_submodule(f"conv{n}")(images)) for n in ("", "_2"))
    expected = torch.stack([images[0], (images + first + second)[1], (images + 2 * first)[2]])
    torch.testing.assert_close(found, head(expected.mean((2, 3))))
    torch.testing.assert_close(network(images), head((images + first + second).mean((2, 3))))


def test_narrow_strided_pointwise_convolutions_leave_the_memory_alone() -> None:
    """Where oneDNN computes them as they stand, most processes of one thread end with a corrupted heap (x86-64)."""
    done = subprocess.run([sys.executable, "-c", _TRAINING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


_TRAINING = """
import torch
from archscout.core.operations import GraphBuilder
from archscout.nn.network import Network, without_auxiliary

torch.set_num_threads(1)
builder = GraphBuilder((4, 16, 16))
found = builder.conv(builder.input, 4, stride=2)
network = Network(builder.finish(builder.linear(builder.global_pool(found), 2))).to(memory_format=torch.channels_last)
for _ in range(30):
    images = torch.randn(64, 4, 16, 16).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
"""
