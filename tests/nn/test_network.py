from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.nn.executor import WeightBank, execute
from archscout.nn.network import Network


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


def test_narrow_strided_pointwise_convolutions_leave_the_memory_alone() -> None:
    """Where oneDNN computes them as they stand, most processes of one thread end with a corrupted heap (x86-64)."""
    done = subprocess.run([sys.executable, "-c", _TRAINING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


_TRAINING = """
import torch
from archscout.core.operations import GraphBuilder
from archscout.nn.network import Network

torch.set_num_threads(1)
builder = GraphBuilder((4, 16, 16))
found = builder.conv(builder.input, 4, stride=2)
network = Network(builder.finish(builder.linear(builder.global_pool(found), 2))).to(memory_format=torch.channels_last)
for _ in range(30):
    images = torch.randn(64, 4, 16, 16).contiguous(memory_format=torch.channels_last)
    network(images).sum().backward()
"""
