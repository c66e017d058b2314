"""An operation graph as an ONNX model, node by node.

The general exporter (`torch.onnx.export`) traces, decomposes and rewrites a network, which takes half a minute for one of 800
operations. A graph of ours is its own description, and this takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from archscout.core.operations import Operation
from archscout.nn.network import Network

_OPSET, _FORMAT = 18, 8
"""The operator set, and the version of the file format that came with it: old enough for every runtime that is in use."""
_EPSILON = 1e-5
"""PyTorch's default, which `nn.network` keeps."""
_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "add": "Sum", "multiply": "Mul"}
_TO_THE_END = 2**31 - 1


def model_of(network: Network) -> ModelProto:
    """The network in evaluation mode: "images" (batch, C, H, W) -> "logits" (batch, K). Weights keep their names."""
    operations, output = network.graph.operations, network.graph.output
    needed = {output}
    for position in range(output, 0, -1):
        if position in needed:
            needed.update(operations[position].inputs)
    names = {position: operations[position].name for position in needed} | {0: "images", output: "logits"}
    writer = _Writer(network.state_dict())
    for position in sorted(needed - {0}):
        operation = operations[position]
        writer.write(operation, [names[i] for i in operation.inputs], names[position])
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *operations[0].shape])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", *operations[output].shape])
    graph = helper.make_graph(writer.nodes, "network", [images], [logits], list(writer.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_FORMAT, producer_name="archscout")


class _Writer:
    """Collects the nodes and the constants of a model."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def write(self, operation: Operation, inputs: list[str], result: str) -> None:
        """The nodes that compute `result`."""
        name, window = operation.name, _window(operation)
        match operation.kind:
            case "conv":
                dilated = {"dilations": list(operation.dilation), "group": operation.groups}
                self._node("Conv", [*inputs, *self._affine(operation)], result, **window, **dilated)
            case "linear":
                self._node("Gemm", [*inputs, *self._affine(operation)], result, transB=1)
            case "batch_norm":
                statistics = [self._weight(f"{name}.{part}") for part in ("running_mean", "running_var")]
                self._node("BatchNormalization", [*inputs, *self._scale(operation), *statistics], result, epsilon=_EPSILON)
            case "silu":
                self._node("Sigmoid", inputs, f"{name}.sigmoid")
                self._node("Mul", [*inputs, f"{name}.sigmoid"], result)
            case "max_pool":
                self._node("MaxPool", inputs, result, **window)
            case "avg_pool":
                self._node("AveragePool", inputs, result, count_include_pad=0, **window)
            case "global_pool" if operation.keep:
                self._node("GlobalAveragePool", inputs, result)
            case "global_pool":
                self._node("GlobalAveragePool", inputs, f"{name}.kept")
                self._node("Flatten", [f"{name}.kept"], result)
            case "concat":
                self._node("Concat", inputs, result, axis=1)
            case "narrow":
                self._slice(inputs, result, {1: (operation.start, operation.start + operation.shape[0], 1)})
            case "zero":
                self._slice(inputs, f"{name}.strided", {2 + k: (0, _TO_THE_END, operation.stride[k]) for k in (0, 1)})
                self._node("Mul", [f"{name}.strided", self._constant("nought", np.float32(0))], result)
            case "crop":
                self._slice(inputs, result, {2: (1, _TO_THE_END, 1), 3: (1, _TO_THE_END, 1)})
            case "shift":
                self._slice(inputs, f"{name}.cut", {2: (1, _TO_THE_END, 1), 3: (1, _TO_THE_END, 1)})
                self._node("Pad", [f"{name}.cut", self._constant("last_row_and_column", [0, 0, 0, 0, 0, 0, 1, 1])], result)
            case _:
                self._node(_PLAIN[operation.kind], inputs, result)

    def _node(self, kind: str, inputs: list[str], result: str, **settings: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [result], result, **settings))

    def _slice(self, inputs: list[str], result: str, ranges: Mapping[int, tuple[int, int, int]]) -> None:
        """ranges: axis -> start, end, step."""
        starts, ends, steps = zip(*ranges.values(), strict=True)
        bounds = {"starts": starts, "ends": ends, "axes": list(ranges), "steps": steps}
        self._node("Slice", [*inputs, *(self._constant(f"{result}.{part}", values) for part, values in bounds.items())], result)

    def _affine(self, operation: Operation) -> list[str]:
        return [self._weight(f"{operation.name}.{part}") for part in (["weight", "bias"] if operation.bias else ["weight"])]

    def _scale(self, operation: Operation) -> list[str]:
        if operation.affine:
            return [self._weight(f"{operation.name}.{part}") for part in ("weight", "bias")]
        values = {"weight": np.ones, "bias": np.zeros}
        return [self._constant(f"{operation.name}.{part}", fill(operation.shape[0], np.float32)) for part, fill in values.items()]

    def _weight(self, name: str) -> str:
        return self._constant(name, self._state[name].numpy())

    def _constant(self, name: str, values: ArrayLike) -> str:
        """A float32 constant, or an int64 one of Python integers; gives its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name


def _window(operation: Operation) -> dict[str, list[int]]:
    return {"kernel_shape": list(operation.kernel), "strides": list(operation.stride), "pads": [*operation.padding] * 2}
