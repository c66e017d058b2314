"""Runs operation graphs without modules: the hot path of judges that look at many untrained networks.

A `WeightBank` draws all weights of a network into one reused buffer; `execute` runs the graph as functions, with the statistics
of the batch in every normalisation. What nobody asked for is not computed, equal activations and poolings of one value are
computed once, and every value is freed after its last use. Weights carry the names of `nn.network.Network`'s state dictionary,
and equal weights give equal logits and gradients.

Feature maps are in channels-last memory inside. Affine weights of a normalisation must be real memory: with channels-last input,
`F.batch_norm` of torch 2.13 (CPU) gives NaN gradients for an `expand`ed one, hence the check in `_batch_norm`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.operations import Operation, OperationGraph
from archscout.nn.mixing import weighted_sum
from archscout.nn.network import combine, convolve

Weights = Mapping[str, Tensor]
Precision = Literal["fp32", "bf16"]
Observer = Callable[[Operation, Tensor, int], None]
"""Told (operation, its output, how many equal operations of the graph it stands for)."""
Init = Literal["default", "kaiming-normal", "normal"]
"""How fresh weights are drawn: as PyTorch does by default; N(0, 2 / fan-in); N(0, 1). With the last two, biases are nought."""

_MOMENTUM = 0.1
_SHARED = ("relu", "silu", "sigmoid", "max_pool", "avg_pool", "global_pool", "narrow", "shift", "crop", "zero")


class WeightBank:
    """Weights of one network at a time; the memory is reused, so a draw overwrites the weights of the draw before."""

    def __init__(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        self._dtype = dtype
        self._device = device
        self._buffer = torch.empty(0, dtype=dtype)

    def draw(self, graph: OperationGraph, seed: int, init: Init = "default") -> Weights:
        """Fresh weights, by default as PyTorch initialises: uniform within 1 / sqrt(fan-in), normalisations 1 and 0.

        They are drawn on the CPU whatever the device, so that a seed means the same weights everywhere.
        """
        entries = [entry for operation in graph.operations for entry in _entries(graph, operation, init)]
        total = sum(prod(shape) for _, shape, _ in entries)
        if self._buffer.numel() < total:
            self._buffer = torch.empty(total, dtype=self._dtype)
        flat = self._buffer[:total]
        source = torch.Generator().manual_seed(seed)
        if init == "default":
            flat.uniform_(-1, 1, generator=source)
        else:
            flat.normal_(generator=source)
        start = 0
        for name, shape, scale in entries:
            part = flat[start : (start := start + prod(shape))]
            if scale is None:
                part.fill_(1.0 if name.endswith(".weight") else 0.0)
            else:
                part.mul_(scale)
        flat = flat.to(self._device)
        return {name: _view(part, shape) for (name, shape, _), part in zip(entries, _split(flat, entries), strict=True)}

    @staticmethod
    def from_module(module: nn.Module) -> Weights:
        """The parameters of a `Network` by name, shared with it (so that gradients can be taken with respect to them)."""
        return dict(module.named_parameters())


class Statistics:
    """Running means and variances of a graph's normalisations, as PyTorch keeps them.

    momentum: by how much each batch moves them; None for the mean over all batches.
    moving: whether normalisations use the batch's statistics and move these (training), or use these (evaluation).
    """

    def __init__(self, graph: OperationGraph, like: Tensor, momentum: float | None = _MOMENTUM) -> None:
        self._momentum = momentum
        self._batches: Counter[str] = Counter()
        shapes = {operation.name: operation.shape[0] for operation in graph.operations if operation.kind == "batch_norm"}
        self._kept = {name: (like.new_zeros(channels), like.new_ones(channels)) for name, channels in shapes.items()}
        self.moving = True

    def normalise(self, operation: Operation, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """One normalisation."""
        mean, variance = self._kept[operation.name]
        if self.moving:
            self._batches[operation.name] += 1
        momentum = 1 / max(1, self._batches[operation.name]) if self._momentum is None else self._momentum
        return F.batch_norm(x, mean, variance, weight, bias, training=self.moving, momentum=momentum)


class Program:
    """The steps of a graph for the operations that are wanted, laid out once for many runs.

    outputs: their positions; the graph's own by default. observed: kinds of operations that `run` tells an observer of; they are
    computed even where no output needs them (hand in `graph.live()` to leave them out).
    """

    def __init__(self, graph: OperationGraph, outputs: Sequence[int] | None = None, observed: Collection[str] = ()) -> None:
        self._graph = graph
        self._observed = frozenset(observed)
        wanted = (graph.output,) if outputs is None else outputs
        self._folded = _folded(graph, wanted, observed)
        self._steps, self._outputs = _plan(graph, wanted, observed, self._folded)

    def run(
        self, weights: Weights, x: Tensor, *, observe: Observer | None = None, before: bool = False, batch_norm: bool = True,
        precision: Precision = "fp32", statistics: Statistics | None = None, gates: Tensor | None = None,
        kept: Mapping[str, Tensor] | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """The outputs for images (B, C, H, W), in the images' type. statistics: of normalisations; the batch's own without them.

        gates: (G, O), what a supernet's mixtures weight their terms with. kept: by the names of such terms, factors (B,) of them.
        The other arguments are those of `execute`.
        """
        kind = x.dtype
        value = x.to(torch.bfloat16) if precision == "bf16" else x
        values: dict[int, Tensor] = {0: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value}
        for position, inputs, count, done in self._steps:
            operation = self._graph.operations[position]
            found = [values[i] for i in inputs]
            if operation.kind == "mix":
                assert gates is not None, "a supernet needs gates"
                norms = self._folded[position]
                factors = [(kept or {}).get(self._graph.operations[i].name) for i in operation.inputs]
                values[position] = result = _mixed(operation, found, norms, factors, gates, weights, batch_norm, statistics)
            else:
                values[position] = result = _apply(operation, found, weights, batch_norm, statistics, value)
            if observe is not None and operation.kind in self._observed:
                observe(operation, found[0] if before else result, count)
            for i in done:
                del values[i]
        return [values[output].to(kind) for output in self._outputs]


def execute(
    graph: OperationGraph,
    weights: Weights,
    x: Tensor,
    *,
    observe: Observer | None = None,
    observed: Collection[str] = ("relu",),
    before: bool = False,
    batch_norm: bool = True,
    precision: Precision = "fp32",
) -> Tensor:
    """The logits (B, K) of images (B, C, H, W), in the images' type.

    observe: called after every operation whose kind is in `observed`, also those without influence on the logits (hand in
    `graph.live()` to leave them out). before: it gets the operation's (first) input in place of the output.
    batch_norm: False leaves normalisations out (they become identities), affine part included.
    precision: "bf16" computes with 8 significant bits, which is faster on processors with matrix units for it (AMX) and may be
    slower on others; the logits come back in the type of `x`.
    """
    program = Program(graph, observed=observed if observe is not None else ())
    [logits] = program.run(weights, x, observe=observe, before=before, batch_norm=batch_norm, precision=precision)
    return logits


def weight_names(graph: OperationGraph) -> dict[int, tuple[str, ...]]:
    """By the position of every operation with weights, their names."""
    found = {n: tuple(name for name, _, _ in _entries(graph, op, "default")) for n, op in enumerate(graph.operations)}
    return {position: names for position, names in found.items() if names}


def _entries(graph: OperationGraph, operation: Operation, init: Init) -> list[tuple[str, tuple[int, ...], float | None]]:
    """Names, shapes and scales of an operation's weights; the scale is None for a constant (normalisations, zero biases)."""
    shape = graph.weight_shape(operation)
    if shape is None:
        return []
    if operation.kind == "batch_norm":
        return [(f"{operation.name}.weight", shape, None), (f"{operation.name}.bias", shape, None)]
    fan_in = prod(shape[1:])
    scale = {"default": 1 / sqrt(fan_in), "kaiming-normal": sqrt(2 / fan_in), "normal": 1.0}[init]
    found: list[tuple[str, tuple[int, ...], float | None]] = [(f"{operation.name}.weight", shape, scale)]
    if operation.bias:
        found.append((f"{operation.name}.bias", shape[:1], scale if init == "default" else None))
    return found


def _split(flat: Tensor, entries: list[tuple[str, tuple[int, ...], float | None]]) -> tuple[Tensor, ...]:
    return torch.split(flat, [prod(shape) for _, shape, _ in entries])


def _view(part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A filter lies in channels-last memory from the start: the draws are independent, so their order is free."""
    if len(shape) == 4:
        return part.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
    return part.view(shape)


def _canonical(graph: OperationGraph) -> list[int]:
    """For each position, the first position that computes the same value."""
    first: dict[tuple[object, ...], int] = {}
    places: list[int] = []
    for position, operation in enumerate(graph.operations):
        place = position
        if operation.kind in _SHARED:
            inputs = tuple(places[i] for i in operation.inputs)
            window = (operation.kernel, operation.stride, operation.padding, operation.start, operation.shape)
            place = first.setdefault((operation.kind, inputs, window), position)
        places.append(place)
    return places


_Step = tuple[int, tuple[int, ...], int, tuple[int, ...]]
"""Position, those of its inputs, how many equal operations it stands for, what is free afterwards."""


_Folded = Mapping[int, Sequence[Operation | None]]
"""By the position of a mixture: for each of its terms the normalisation that is done with the term's gate for a scale, or None."""


def _folded(graph: OperationGraph, outputs: Sequence[int], observed: Collection[str]) -> _Folded:
    """The normalisations that nobody reads but one mixture, once: their gate costs nothing as a part of their scale."""
    uses = Counter(i for operation in graph.operations for i in operation.inputs)
    uses.update(outputs)
    found = {}
    for position, operation in enumerate(graph.operations):
        if operation.kind == "mix":
            terms = [graph.operations[i] for i in operation.inputs]
            alone = [uses[i] == 1 and "batch_norm" not in observed for i in operation.inputs]
            found[position] = [
                term if term.kind == "batch_norm" and once else None for term, once in zip(terms, alone, strict=True)
            ]
    return found


def _plan(
    graph: OperationGraph, outputs: Sequence[int], observed: Collection[str], folded: _Folded
) -> tuple[list[_Step], list[int]]:
    """The steps, and the positions of the outputs. A normalisation that is folded is no step; its mixture reads its input."""
    places = _canonical(graph)

    def read(position: int) -> list[int]:
        inputs = graph.operations[position].inputs
        norms = folded.get(position, [None] * len(inputs))
        return [places[i if norm is None else norm.inputs[0]] for i, norm in zip(inputs, norms, strict=True)]

    ends = [places[output] for output in outputs]
    wanted = {*ends} | {places[p] for p, operation in enumerate(graph.operations) if operation.kind in observed}
    for position in range(len(places) - 1, 0, -1):
        operation = graph.operations[position]
        if position in wanted and operation.kind != "zero":
            wanted.update(read(position))
    counts = Counter(places)
    last: dict[int, int] = {}
    steps: list[tuple[int, tuple[int, ...]]] = []
    for position in sorted(wanted - {0}):
        operation = graph.operations[position]
        inputs = (0,) if operation.kind == "zero" else tuple(read(position))
        steps.append((position, inputs))
        last.update(dict.fromkeys((*inputs, position), position))
    free: dict[int, list[int]] = {}
    for value, position in last.items():
        if value not in (0, *ends):
            free.setdefault(position, []).append(value)
    return [(position, inputs, counts[position], tuple(free.get(position, ()))) for position, inputs in steps], ends


def _apply(
    operation: Operation, inputs: list[Tensor], weights: Weights, batch_norm: bool, statistics: Statistics | None, image: Tensor
) -> Tensor:
    x = inputs[0]
    match operation.kind:
        case "conv":
            weight, bias = _affine(operation, weights, x.dtype)
            return convolve(operation, x, weight, bias)
        case "linear":
            return F.linear(x, *_affine(operation, weights, x.dtype))
        case "batch_norm":
            return _batch_norm(operation, x, weights, statistics) if batch_norm else x
        case "relu":
            return torch.relu(x)
        case "silu":
            return F.silu(x)
        case "sigmoid":
            return torch.sigmoid(x)
        case "max_pool":
            return F.max_pool2d(x, operation.kernel, operation.stride, operation.padding)
        case "avg_pool":
            return F.avg_pool2d(x, operation.kernel, operation.stride, operation.padding, count_include_pad=False)
        case "zero":
            empty = image.new_zeros((image.shape[0], *operation.shape))
            return empty.contiguous(memory_format=torch.channels_last)
        case _:
            return combine(operation, inputs)


def _mixed(
    operation: Operation, inputs: list[Tensor], norms: Sequence[Operation | None], factors: Sequence[Tensor | None],
    gates: Tensor, weights: Weights, batch_norm: bool, statistics: Statistics | None,
) -> Tensor:  # fmt: skip
    """The sum of the terms times their gates, and times factors (B,) where there are any."""
    rows, columns = (list(places) for places in zip(*operation.gates, strict=True))
    opened = gates[rows, columns].unbind()
    plain: list[Tensor] = []
    scaled: dict[int, tuple[Tensor, Tensor]] = {}
    for source, x, norm, factor, gate in zip(operation.inputs, inputs, norms, factors, opened, strict=True):
        if norm is not None and batch_norm:
            plain.append(_times(_batch_norm(norm, x, weights, statistics, gate), factor))
        elif source in scaled:  # one map behind several gates costs one pass: their sum is its gate
            scaled[source] = x, scaled[source][1] + gate.to(x.dtype)
        else:
            scaled[source] = _times(x, factor), gate.to(x.dtype)
    return weighted_sum(plain, [x for x, _ in scaled.values()], [scale for _, scale in scaled.values()])


def _times(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor[:, None, None, None].to(x.dtype)


def _affine(operation: Operation, weights: Weights, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    weight, bias = weights[f"{operation.name}.weight"], weights.get(f"{operation.name}.bias")
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def _batch_norm(
    operation: Operation, x: Tensor, weights: Weights, statistics: Statistics | None, gate: Tensor | None = None
) -> Tensor:
    """Weights and statistics stay in full precision; the kernel takes both types. gate: a factor (scalar) of the result."""
    weight, bias = (weights[f"{operation.name}.{part}"] if operation.affine else None for part in ("weight", "bias"))
    if gate is not None:
        weight = gate * (gate.new_ones(operation.shape[0]) if weight is None else weight)
        bias = torch.zeros_like(weight) if bias is None else gate * bias
    if weight is not None and bias is not None:
        assert 0 not in weight.stride() + bias.stride(), "an expanded weight gives NaN gradients"
    if statistics is not None:
        return statistics.normalise(operation, x, weight, bias)
    return F.batch_norm(x, None, None, weight, bias, training=True)
