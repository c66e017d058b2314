"""The parts of which a network is made, each in detail: nodes for operations, found in the operation graph of the whole.

A cell is what the space names so (`units` below). Within it a chain of operations of one name, such as activation, convolution and
normalisation, is one node. Cells that differ in nothing but their channels are one cell that occurs several times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import prod

from archscout.core.operations import Operation, OperationGraph
from archscout.report.facts import Block, Cell

MOST = 4
_LEAST, _LARGEST = 2, 60
_UNIT = re.compile(r"(cell|block|layer)\d*$")
_LIGHT = ("batch_norm", "relu", "silu", "sigmoid")
_WORDS = {
    "relu": "ReLU",
    "silu": "SiLU",
    "sigmoid": "sigmoid",
    "batch_norm": "norm",
    "multiply": "gate",
    "narrow": "some channels",
}


def unit(operation: Operation) -> str | None:
    """The cell, block or layer that an operation belongs to, by its dotted name; None where it belongs to none."""
    parents = operation.name.split(".")[:-1]
    place = next((n for n, part in enumerate(parents) if _UNIT.match(part)), None)
    return None if place is None else ".".join(parents[: place + 1])


def cells(graph: OperationGraph, most: int = MOST) -> tuple[Cell, ...]:
    """The different cells in the order in which they come; of more than `most` those that make up most of the network."""
    live = graph.live()
    members: dict[str, list[int]] = {}
    for position, operation in enumerate(live.operations):
        if name := unit(operation):
            members.setdefault(name, []).append(position)
    order = [unit(operation) or operation.name.split(".")[0] for operation in live.operations]
    found: dict[object, Cell] = {}
    for name, positions in members.items():
        nodes = _nodes(live, name, positions, order)
        if not _LEAST <= len(nodes) - 2 <= _LARGEST:
            continue
        key = tuple((node.name, node.inputs) for node in nodes)
        if key in found:
            seen = found[key]
            found[key] = Cell(seen.name, seen.times + 1, seen.nodes)
        else:
            found[key] = Cell(name, 1, nodes)
    kept = sorted(found.values(), key=lambda cell: -cell.times * len(cell.nodes))[:most]
    return tuple(cell for cell in found.values() if cell in kept)


def cell_of(nodes: Sequence[tuple[str, tuple[int, ...]]], name: str) -> Cell:
    """A cell that its space tells node by node (`core.protocols.PicturedSpace`); shapes and parameters are not known."""
    last = len(nodes) - 1
    kinds = ["input" if not inputs or place == last else "other" for place, (_, inputs) in enumerate(nodes)]
    return Cell(name, 1, tuple(Block(what, kind, "", (), 0, inputs) for (what, inputs), kind in zip(nodes, kinds, strict=True)))


def _nodes(graph: OperationGraph, name: str, positions: list[int], order: list[str]) -> tuple[Block, ...]:
    """Inputs, inner nodes and the output of one cell."""
    inside = set(positions)
    operations = graph.operations
    readers: dict[int, list[int]] = {}
    for position, operation in enumerate(operations):
        for i in operation.inputs:
            readers.setdefault(i, []).append(position)
    chains: list[list[int]] = []
    chain_of: dict[int, int] = {}
    nought: set[int] = set()
    for position in positions:
        operation = operations[position]
        if operation.kind == "zero" or all(i in nought for i in operation.inputs):
            nought.add(position)  # of what a `zero` reads nothing arrives, and what reads only such is nothing either
            continue
        before = operation.inputs[0] if len(operation.inputs) == 1 else None
        if before in chain_of and readers[before] == [position] and _together(name, operations[before], operation):
            chain_of[position] = chain_of[before]
            chains[chain_of[before]].append(position)
        else:
            chain_of[position] = len(chains)
            chains.append([position])
    outer = sorted({i for chain in chains for p in chain for i in operations[p].inputs if i not in inside})
    stages = list(dict.fromkeys(order))
    own = stages.index(name)
    nodes = [Block(_before(own - stages.index(order[i])), "input", "", operations[i].shape) for i in outer]
    place = {i: n for n, i in enumerate(outer)} | {p: len(outer) + n for p, n in chain_of.items()}
    for chain in chains:
        parts = [operations[p] for p in chain]
        inputs = [place[i] for i in parts[0].inputs if i in place]
        label, times = _described(parts)
        words = label if times == 1 else f"{label}, {times} times"
        nodes.append(Block(words, kind_of(parts), "", parts[-1].shape, params_of(graph, parts), tuple(dict.fromkeys(inputs))))
    ends = [p for p in positions if p in chain_of and (p == graph.output or any(r not in inside for r in readers.get(p, ())))]
    shape = operations[ends[-1]].shape if ends else operations[positions[-1]].shape
    nodes.append(Block("output", "input", "", shape, 0, tuple(dict.fromkeys(place[p] for p in ends))))
    return tuple(nodes)


def _before(steps: int) -> str:
    return "from the part before" if steps <= 1 else f"from {steps} parts before"


def _together(cell: str, before: Operation, operation: Operation) -> bool:
    """Whether two operations in a row are one node: those of one name below the cell, and what only normalises or activates."""
    one, other = (_branch(cell, each) for each in (before, operation))
    joins = before.kind in ("add", "concat", "multiply", "mix")
    return not joins and one == other and (bool(one) or operation.kind in _LIGHT)


def _branch(cell: str, operation: Operation) -> str:
    rest = operation.name.removeprefix(f"{cell}.").split(".")
    return rest[0] if len(rest) > 1 else ""


def _described(parts: list[Operation]) -> tuple[str, int]:
    """What a chain does in words, and how many times over: a separable convolution is a depthwise one and a 1×1."""
    words: list[str] = []
    heavy = [part for part in parts if part.kind not in _LIGHT]
    position = 0
    while position < len(heavy):
        part = heavy[position]
        follows = heavy[position + 1] if position + 1 < len(heavy) else None
        pointwise = follows is not None and follows.kind == "conv" and max(follows.kernel) == 1 and follows.groups == 1
        if _depthwise(part) and pointwise:
            words.append(_word(part).replace("depthwise", "separable"))
            position += 2
        else:
            words.append(_word(part))
            position += 1
    if not words:
        words = [_WORDS.get(parts[0].kind, parts[0].kind)]
    if len(words) > 1 and len({word.split(" /")[0] for word in words}) == 1:
        return words[0], len(words)
    counted = Counter(words)
    return " + ".join(word if times == 1 else f"{times}× {word}" for word, times in counted.items()), 1


def _depthwise(part: Operation) -> bool:
    return part.kind == "conv" and part.groups > 1 and part.groups == part.shape[0]


def _word(part: Operation) -> str:
    kernel = f"{part.kernel[0]}×{part.kernel[1]}"
    stride = f" /{max(part.stride)}" if max(part.stride) > 1 else ""
    dilated = "dilated " if max(part.dilation) > 1 else ""
    match part.kind:
        case "conv" if _depthwise(part):
            return f"{dilated}depthwise {kernel}{stride}"
        case "conv":
            return f"{dilated}{'grouped ' if part.groups > 1 else ''}conv {kernel}{stride}"
        case "max_pool":
            return f"max pool {kernel}{stride}"
        case "avg_pool":
            return f"mean pool {kernel}{stride}"
        case "global_pool":
            return "global mean"
        case "add" | "mix":
            return "+"
        case "concat":
            return "concatenate"
    return _WORDS.get(part.kind, part.kind)


def kind_of(parts: Sequence[Operation]) -> str:
    """What colours a box: head, depthwise, conv, pointwise, pool, or other, such as sums and concatenations."""
    convolutions = [part for part in parts if part.kind == "conv"]
    if any(part.kind == "linear" for part in parts):
        return "head"
    if any(part.groups > 1 for part in convolutions):
        return "depthwise"
    if any(max(part.kernel) > 1 for part in convolutions):
        return "conv"
    if convolutions:
        return "pointwise"
    return "pool" if any("pool" in part.kind for part in parts) else "other"


def params_of(graph: OperationGraph, parts: Sequence[Operation]) -> int:
    """The parameters of some operations of a graph."""
    shapes = [(operation, graph.weight_shape(operation)) for operation in parts]
    return sum(
        prod(shape) + (shape[0] if operation.bias or operation.kind == "batch_norm" else 0)
        for operation, shape in shapes
        if shape is not None
    )
