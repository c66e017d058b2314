"""An operation graph as a PyTorch module, for training and export."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.operations import AUXILIARY, Operation, OperationGraph

_FEW = 16
"""Channels below which oneDNN must not see a strided 1 x 1 convolution (`convolve`)."""


class Network(nn.Module):
    """The module of a graph: x (B, C, H, W) -> logits (B, K).

    Submodules carry the operations' dotted names, so the state dictionary reads like a hand-written network's. Weights are
    initialised as PyTorch does by default. An auxiliary head has weights here but no part in `forward`: `learn` computes it.
    """

    def __init__(self, graph: OperationGraph) -> None:
        super().__init__()
        self.graph = graph
        self._steps: list[tuple[int, Operation, nn.Module | None, tuple[int, ...]]] = []
        self._auxiliary = graph.marks.get(AUXILIARY)
        self._column = {position: column for column, position in enumerate(graph.paths)}
        results = (graph.output, self._auxiliary)
        last_use = {i: position for position, op in enumerate(graph.operations) for i in op.inputs}
        for position, operation in enumerate(graph.operations):
            if operation.kind == "input":
                continue
            layer = _layer(graph, operation)
            if layer is not None:
                place(self, operation.name, layer)
            done = tuple(i for i in set(operation.inputs) if last_use[i] == position and i not in results)
            self._steps.append((position, operation, layer, done))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        return self._values(x, self.graph.output, None)[self.graph.output]

    def learn(self, x: Tensor, kept: Tensor | None = None, features: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The logits (B, K), and those of the auxiliary head where there is one, for a step of training.

        kept: (B, P) factors for the results of the P paths of the graph: 0 where drop-path drops one; None for 1 throughout.
        features: (B, F) the same for the F features that the classifier reads.
        """
        values = self._values(x, self.graph.output if self._auxiliary is None else self._auxiliary, kept, features)
        return values[self.graph.output], None if self._auxiliary is None else values[self._auxiliary]

    def _values(self, x: Tensor, end: int, kept: Tensor | None, features: Tensor | None = None) -> dict[int, Tensor]:
        """The results up to the position `end`, without those that nothing reads any more."""
        values: dict[int, Tensor] = {0: x}
        for position, operation, layer, done in self._steps:
            if position > end:
                break
            inputs = [values[i] for i in operation.inputs]
            if features is not None and position == self.graph.output:
                inputs[0] = inputs[0] * features.to(inputs[0].dtype)
            value = layer(inputs[0]) if layer is not None else combine(operation, inputs)
            if kept is not None and position in self._column:
                value = value * kept[:, self._column[position], None, None, None].to(value.dtype)
            values[position] = value
            for i in done:
                del values[i]
        return values


def without_auxiliary(network: nn.Module) -> nn.Module:
    """The network for use, on the same weights: without an auxiliary head. Itself where there is none."""
    if not isinstance(network, Network) or AUXILIARY not in network.graph.marks:
        return network
    with torch.device("meta"):
        plain = Network(network.graph.without_auxiliary())
    state = network.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()}, assign=True)
    return plain.train(network.training)


def place(root: nn.Module, path: str, part: nn.Module | nn.Parameter) -> None:
    """Put a layer or parameter where its dotted name says, making what must hold it."""
    *parents, name = path.split(".")
    holder = root
    for parent in parents:
        if not hasattr(holder, parent):
            holder.add_module(parent, nn.Module())
        holder = holder.get_submodule(parent)
    setattr(holder, name, part)


def combine(operation: Operation, inputs: list[Tensor]) -> Tensor:
    """The result of an operation that has no weights and is no layer."""
    first = inputs[0]
    match operation.kind:
        case "add":
            for other in inputs[1:]:
                first = first + other
            return first
        case "multiply":
            return first * inputs[1]
        case "concat":
            return torch.cat(inputs, 1)
        case "narrow":
            return first.narrow(1, operation.start, operation.shape[0])
        case "zero":
            if operation.inputs == (0,):  # what `OperationGraph.live` leaves: it reads the network's input, of another shape
                return first.new_zeros(first.shape[0], *operation.shape)
            return first[:, :, :: operation.stride[0], :: operation.stride[1]] * 0.0
        case "shift":
            return F.pad(first[:, :, 1:, 1:], (0, 1, 0, 1))
        case "crop":
            return first[:, :, 1:, 1:]
        case "global_pool":
            return first.mean((2, 3), keepdim=operation.keep)
        case _:
            raise AssertionError(operation.kind)


def convolve(operation: Operation, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution, without two faults of oneDNN, both of the gradient of the weights in channels-last memory.

    That of a strided 1 x 1 convolution of few channels writes past its buffer (fewer than 8 with AVX2, 16 with AVX-512;
    github.com/uxlfoundation/oneDNN/issues/6035), which corrupts memory or ends the process. The same values come from a dense
    convolution of the pixels that it reads. That of a dilated grouped convolution of more than about 28 columns is wrong in
    bfloat16 (AVX-512; seen in PyTorch 2.13), often not finite. So autocast leaves these in float32 on a CPU.
    """
    if operation.kernel == (1, 1) and operation.padding == (0, 0) and operation.stride != (1, 1) and x.shape[1] < _FEW:
        x = x[:, :, :: operation.stride[0], :: operation.stride[1]]
        return F.conv2d(x, weight, bias, groups=operation.groups)
    if operation.groups > 1 and operation.dilation != (1, 1) and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x.float(), weight, bias, operation.stride, operation.padding, operation.dilation, operation.groups)
    return F.conv2d(x, weight, bias, operation.stride, operation.padding, operation.dilation, operation.groups)


class _Convolution(nn.Conv2d):
    """The convolution of an operation."""

    def __init__(self, inputs: int, operation: Operation) -> None:
        super().__init__(
            inputs, operation.shape[0], operation.kernel, operation.stride, operation.padding, operation.dilation,
            operation.groups, operation.bias,
        )  # fmt: skip
        self._operation = operation

    def forward(self, input: Tensor) -> Tensor:
        return convolve(self._operation, input, self.weight, self.bias)


def _layer(graph: OperationGraph, operation: Operation) -> nn.Module | None:
    match operation.kind:
        case "conv":
            return _Convolution(graph.input_shape(operation)[0], operation)
        case "linear":
            return nn.Linear(graph.input_shape(operation)[0], operation.shape[0], operation.bias)
        case "batch_norm":
            return nn.BatchNorm2d(operation.shape[0], affine=operation.affine)
        case "relu":
            return nn.ReLU()
        case "silu":
            return nn.SiLU()
        case "sigmoid":
            return nn.Sigmoid()
        case "max_pool":
            return nn.MaxPool2d(operation.kernel, operation.stride, operation.padding)
        case "avg_pool":
            return nn.AvgPool2d(operation.kernel, operation.stride, operation.padding, count_include_pad=False)
        case _:
            return None
