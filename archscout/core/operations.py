"""A network as a graph of primitive operations: the one description from which everything else follows.

A space writes its network once, with a `GraphBuilder`. From the graph come the parameter and MAC counts (no torch, tens of
microseconds), the module for training and export (`nn.network`), the functional executor for scoring many untrained networks
(`nn.executor`), and the drawing in the report.

Shapes are (C, H, W) for feature maps and (C,) for vectors, without the batch. MACs are multiply-accumulates of convolutions and
linear layers for one input, without bias, normalisation, pooling and additions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Literal

Kind = Literal[
    "input", "conv", "batch_norm", "relu", "silu", "sigmoid", "max_pool", "avg_pool", "global_pool",
    "linear", "add", "mix", "multiply", "concat", "narrow", "zero", "shift", "crop",
]  # fmt: skip
Pair = tuple[int, int]
AUXILIARY = "auxiliary"
"""The mark of the logits of an auxiliary head, and the first word of the names of its operations."""

# Relative costs of a training step on a CPU at 64 images a step, for `OperationGraph.work`.
_POINTWISE, _DEPTHWISE, _PER_ELEMENT, _PER_LAYER, _PER_PARAMETER = 1.1, 5.2, 57.0, 2.4e5, 6.8


@dataclass(frozen=True, slots=True)
class Operation:
    """One primitive. `inputs` are positions of earlier operations; `shape` is that of the output.

    conv: no padding mode but zeros; `avg_pool` never counts padding; `global_pool` gives (C,) or, with `keep`, (C, 1, 1);
    `narrow` is C channels from `start` on; `zero` is the input (strided) times nought; `shift` drops the first row and column and
    pads the last (the second half of DARTS' factorised reduction), `crop` drops them only; `multiply` broadcasts a (C, 1, 1) gate;
    `mix` is the sum of its inputs, each times the number at its (row, column) of a matrix of `gates` that comes from outside: only
    supernets have it.
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = False
    affine: bool = True
    keep: bool = False
    start: int = 0
    gates: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class OperationGraph:
    """A network: operations in an order in which every input comes first; `output` is the position of the logits.

    marks: named positions, such as the ends of the stages ("stage1", ...), for taps and drawings. The mark `AUXILIARY` is the
    logits of an auxiliary head, which serves the training alone; its operations come after the output.
    paths: the positions whose results drop-path may drop in training, each with the share of the network's depth (0..1) up to it.
    """

    operations: tuple[Operation, ...]
    output: int
    marks: Mapping[str, int] = field(default_factory=dict)
    paths: Mapping[int, float] = field(default_factory=dict)

    def input_shape(self, operation: Operation) -> tuple[int, ...]:
        """The shape of the first input of `operation`."""
        return self.operations[operation.inputs[0]].shape

    def weight_shape(self, operation: Operation) -> tuple[int, ...] | None:
        """The shape of the main weight of a convolution, linear layer or affine batch norm; None for the others."""
        match operation.kind:
            case "conv":
                return (operation.shape[0], self.input_shape(operation)[0] // operation.groups, *operation.kernel)
            case "linear":
                return (operation.shape[0], self.input_shape(operation)[0])
            case "batch_norm" if operation.affine:
                return (operation.shape[0],)
            case _:
                return None

    @cached_property
    def gates(self) -> frozenset[Pair]:
        """The (row, column) gates that something in a supernet stands behind."""
        return frozenset(gate for operation in self.operations for gate in operation.gates)

    @cached_property
    def params(self) -> int:
        """Trainable parameters."""
        total = 0
        for operation in self.operations:
            shape = self.weight_shape(operation)
            if shape is not None:
                has_bias = operation.bias or operation.kind == "batch_norm"
                total += prod(shape) + (shape[0] if has_bias else 0)
        return total

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one input."""
        total = 0
        for operation in self.operations:
            if operation.kind in ("conv", "linear"):
                shape = self.weight_shape(operation)
                assert shape is not None
                total += prod(shape) * prod(operation.shape[1:])
        return total

    @cached_property
    def work(self) -> int:
        """What a training step costs per image, in MACs of a full convolution that take as long on a CPU.

        MACs alone mislead: a depthwise one takes five times as long as one of a full convolution, and normalisations, activations
        and sums move memory, as do the gradients and moves of the weights. The costs are fitted to measured steps
        (`benchmarks/work.py`): about 15 % error where MACs alone have over 50 %.
        """
        total = _PER_PARAMETER * self.params
        for operation in self.operations:
            size = prod(operation.shape)
            if operation.kind in ("conv", "linear"):
                shape = self.weight_shape(operation)
                assert shape is not None
                weight = _DEPTHWISE if operation.groups > 1 else (_POINTWISE if operation.kernel == (1, 1) else 1.0)
                total += weight * prod(shape) * prod(operation.shape[1:]) + _PER_LAYER
            elif operation.kind not in ("input", "narrow", "zero", "shift", "crop", "global_pool"):
                total += _PER_ELEMENT * size
        return round(total)

    def opened(self, gates: Collection[Pair], *, plain: bool = False) -> OperationGraph:
        """The part of a supernet behind these (row, column) gates; all others are shut, and what only they lead to is left out.

        plain: the open gates are all 1, so every `mix` becomes an ordinary sum and the graph that of a stand-alone network, in
        which nothing adds a mixture without open gates.
        """
        place: dict[int, int] = {}
        nought: set[int] = set()
        kept: list[Operation] = []
        for position, operation in enumerate(self.operations):
            if operation.kind == "mix":
                terms = [(i, gate) for i, gate in zip(operation.inputs, operation.gates, strict=True) if gate in gates]
                inputs = tuple(place[i] for i, _ in terms)
                if plain and len(inputs) == 1:
                    place[position] = inputs[0]
                    continue
                if not inputs:
                    nought.add(position)
                    changed = replace(operation, kind="zero", inputs=(0,), gates=())
                elif plain:
                    changed = replace(operation, kind="add", inputs=inputs, gates=())
                else:
                    changed = replace(operation, inputs=inputs, gates=tuple(gate for _, gate in terms))
            else:
                inputs = tuple(place[i] for i in operation.inputs)
                if plain and operation.kind == "add":
                    inputs = tuple(place[i] for i in operation.inputs if i not in nought) or inputs
                    if len(inputs) == 1:
                        place[position] = inputs[0]
                        continue
                changed = operation if inputs == operation.inputs else replace(operation, inputs=inputs)
            place[position] = len(kept)
            kept.append(changed)
        marks = {name: place[position] for name, position in self.marks.items()}
        paths = {place[position]: depth for position, depth in self.paths.items()}
        return OperationGraph(tuple(kept), place[self.output], marks, paths).live()

    def live(self) -> OperationGraph:
        """The same network without what the logits do not depend on.

        The input of a `zero` counts as not needed (its value is nought whatever comes), so its operation reads the network's
        input instead, through which only its shape is known.
        """
        needed = {0, self.output}
        for position in range(len(self.operations) - 1, -1, -1):
            if position in needed and self.operations[position].kind != "zero":
                needed.update(self.operations[position].inputs)
        place: dict[int, int] = {}
        kept: list[Operation] = []
        for position in sorted(needed):
            operation = self.operations[position]
            place[position] = len(kept)
            inputs = (0,) if operation.kind == "zero" else tuple(place[i] for i in operation.inputs)
            kept.append(operation if inputs == operation.inputs else replace(operation, inputs=inputs))
        marks = {name: place[position] for name, position in self.marks.items() if position in place}
        paths = {place[position]: depth for position, depth in self.paths.items() if position in place}
        return OperationGraph(tuple(kept), place[self.output], marks, paths)

    def without_auxiliary(self) -> OperationGraph:
        """The same network without an auxiliary head; itself where it has none."""
        if AUXILIARY not in self.marks:
            return self
        marks = {name: position for name, position in self.marks.items() if position <= self.output}
        return replace(self, operations=self.operations[: self.output + 1], marks=marks)


class GraphBuilder:
    """Writes an operation graph, checking shapes on the way. Every method returns the position of the operation it added.

    Names are dotted paths, made unique by the caller through `scope`; they become the names of the module's weights.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self._operations = [Operation("input", "input", (), tuple(shape))]
        self._scope: list[str] = []
        self._names: set[str] = {"input"}
        self._marks: dict[str, int] = {}
        self._paths: dict[int, float] = {}
        self._depth = 1.0
        self.input = 0

    @contextmanager
    def scope(self, name: str, *, depth: float | None = None) -> Iterator[None]:
        """Prefix the names of everything added inside with `name` and a dot.

        depth: the share of the network (0..1) up to the end of this part; that of the scope around it where left out.
        """
        self._scope.append(name)
        before, self._depth = self._depth, self._depth if depth is None else depth
        try:
            yield
        finally:
            self._scope.pop()
            self._depth = before

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of the operation at `position`."""
        return self._operations[position].shape

    def mark(self, name: str, position: int) -> int:
        """Name a position, for taps and drawings."""
        self._marks[name] = position
        return position

    def droppable(self, position: int) -> int:
        """Let drop-path drop the result at a position."""
        self._paths[position] = self._depth
        return position

    def finish(self, output: int) -> OperationGraph:
        """The graph whose result is the operation at `output`."""
        return OperationGraph(tuple(self._operations), output, dict(self._marks), dict(self._paths))

    def _path(self, name: str) -> str:
        path = full = ".".join([*self._scope, name])
        count = 1
        while full in self._names:
            count += 1
            full = f"{path}_{count}"
        self._names.add(full)
        return full

    def _add(self, operation: Operation) -> int:
        self._operations.append(operation)
        return len(self._operations) - 1

    def _window(
        self, kind: Kind, name: str, x: int, channels: int, kernel: int | Pair, stride: int | Pair, padding: int | Pair | None,
        dilation: int = 1, groups: int = 1, bias: bool = False,
    ) -> int:  # fmt: skip
        kernel, stride = _pair(kernel), _pair(stride)
        same = (dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2)
        padding = same if padding is None else _pair(padding)
        _, height, width = self.shape(x)
        out = tuple(
            (extent + 2 * p - dilation * (k - 1) - 1) // s + 1
            for extent, p, k, s in zip((height, width), padding, kernel, stride, strict=True)
        )
        if min(out) < 1:
            raise ValueError(f"'{name}' would shrink a {height} x {width} map to nothing; the network needs larger images")
        return self._add(
            Operation(self._path(name), kind, (x,), (channels, *out), kernel, stride, padding, (dilation, dilation), groups, bias)
        )

    def conv(
        self, x: int, channels: int, kernel: int | Pair = 1, *, stride: int | Pair = 1, padding: int | Pair | None = None,
        dilation: int = 1, groups: int = 1, bias: bool = False, name: str = "conv",
    ) -> int:  # fmt: skip
        """A convolution to `channels`; padding None keeps the extent (divided by the stride)."""
        if self.shape(x)[0] % groups or channels % groups:
            raise ValueError(f"{groups} groups do not divide {self.shape(x)[0]} and {channels} channels")
        return self._window("conv", name, x, channels, kernel, stride, padding, dilation, groups, bias)

    def max_pool(self, x: int, kernel: int, *, stride: int = 1, padding: int | Pair | None = None, name: str = "max_pool") -> int:
        """The maximum over a window."""
        return self._window("max_pool", name, x, self.shape(x)[0], kernel, stride, padding)

    def avg_pool(self, x: int, kernel: int, *, stride: int = 1, padding: int | Pair | None = None, name: str = "avg_pool") -> int:
        """The mean over a window, padding not counted."""
        return self._window("avg_pool", name, x, self.shape(x)[0], kernel, stride, padding)

    def batch_norm(self, x: int, *, affine: bool = True, name: str = "norm") -> int:
        """Batch normalisation."""
        return self._add(Operation(self._path(name), "batch_norm", (x,), self.shape(x), affine=affine))

    def activation(self, x: int, kind: Literal["relu", "silu", "sigmoid"] = "relu") -> int:
        """A pointwise non-linearity."""
        return self._add(Operation(self._path(kind), kind, (x,), self.shape(x)))

    def relu(self, x: int) -> int:
        """max(x, 0)."""
        return self.activation(x, "relu")

    def add(self, *inputs: int) -> int:
        """The sum of equal shapes; of one input, that input."""
        if len(inputs) == 1:
            return inputs[0]
        shapes = {self.shape(i) for i in inputs}
        if len(shapes) != 1:
            raise ValueError(f"a sum needs equal shapes, but {sorted(shapes)} came")
        return self._add(Operation(self._path("add"), "add", tuple(inputs), shapes.pop()))

    def mix(self, terms: Sequence[tuple[int, Pair]]) -> int:
        """The sum of feature maps of one shape, each times its (row, column) gate."""
        shapes = {self.shape(x) for x, _ in terms}
        if len(shapes) != 1:
            raise ValueError(f"a mixture needs terms of equal shapes, but {sorted(shapes)} came")
        inputs, gates = (tuple(column) for column in zip(*terms, strict=True))
        return self._add(Operation(self._path("mix"), "mix", inputs, shapes.pop(), gates=gates))

    def multiply(self, x: int, gate: int) -> int:
        """A feature map times a (C, 1, 1) gate."""
        return self._add(Operation(self._path("multiply"), "multiply", (x, gate), self.shape(x)))

    def concat(self, *inputs: int) -> int:
        """The channels of all inputs, one after another; of one input, that input."""
        if len(inputs) == 1:
            return inputs[0]
        channels = sum(self.shape(i)[0] for i in inputs)
        return self._add(Operation(self._path("concat"), "concat", tuple(inputs), (channels, *self.shape(inputs[0])[1:])))

    def narrow(self, x: int, channels: int, start: int = 0) -> int:
        """`channels` channels, the first or those from `start` on; of all there are, the input."""
        present = self.shape(x)[0]
        if channels < 1 or start < 0 or start + channels > present:
            raise ValueError(f"of {present} channels, 1 to {present} can be kept, but {channels} from {start} were asked for")
        if channels == present:
            return x
        return self._add(Operation(self._path("narrow"), "narrow", (x,), (channels, *self.shape(x)[1:]), start=start))

    def zero(self, x: int, *, stride: int = 1) -> int:
        """The input, strided, times nought."""
        channels, height, width = self.shape(x)
        shape = (channels, (height - 1) // stride + 1, (width - 1) // stride + 1)
        return self._add(Operation(self._path("zero"), "zero", (x,), shape, stride=(stride, stride)))

    def shift(self, x: int) -> int:
        """The input moved one pixel up and left; the extent stays (the last row and column become zero)."""
        return self._add(Operation(self._path("shift"), "shift", (x,), self.shape(x)))

    def crop(self, x: int) -> int:
        """The input without its first row and column."""
        channels, height, width = self.shape(x)
        if min(height, width) < 2:
            raise ValueError(f"a map of {height} x {width} has no second row and column")
        return self._add(Operation(self._path("crop"), "crop", (x,), (channels, height - 1, width - 1)))

    def global_pool(self, x: int, *, keep: bool = False) -> int:
        """The mean over the whole map: (C,), or (C, 1, 1) with `keep`."""
        channels = self.shape(x)[0]
        return self._add(Operation(self._path("pool"), "global_pool", (x,), (channels, 1, 1) if keep else (channels,), keep=keep))

    def linear(self, x: int, features: int, *, bias: bool = True, name: str = "linear") -> int:
        """A fully connected layer on a vector."""
        return self._add(Operation(self._path(name), "linear", (x,), (features,), bias=bias))


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
