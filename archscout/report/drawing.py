"""A network drawn as boxes: one row per block, as wide as its channels, with arcs where an input jumps over blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import prod, sqrt

from markupsafe import Markup, escape

from archscout.core.operations import Operation, OperationGraph
from archscout.report.facts import Block
from archscout.report.words import short

MOST = 60
_WIDTH, _LEFT, _COLUMN, _TEXT = 760, 60, 170, 252
_CHARACTERS = 70


def blocks(graph: OperationGraph, most: int = MOST) -> tuple[Block, ...]:
    """The graph in blocks of operations that share the first two parts of their dotted names.

    Where that gives more than `most` blocks, those that share the first part; where even that does, runs of equal length.
    """
    live = graph.live()
    for depth in (2, 1):
        keys = [_key(operation, depth) for operation in live.operations]
        runs = [list(run) for _, run in groupby(range(len(keys)), keys.__getitem__)]
        if len(runs) <= most:
            return _blocks(live, runs, [keys[run[0]] for run in runs])
    size = -(-len(keys) // most)
    runs = [list(range(start, min(start + size, len(keys)))) for start in range(0, len(keys), size)]
    return _blocks(live, runs, [f"part {number + 1}" for number in range(len(runs))])


def fold(found: Sequence[Block], least: int = 3) -> tuple[Block, ...]:
    """Runs of at least `least` equal blocks (same label, shape, parameters and relative inputs) as one, named 'a … b × n'."""

    def alike(position: int) -> tuple[object, ...]:
        block = found[position]
        return block.kind, block.label, block.shape, block.params, tuple(position - i for i in block.inputs)

    place: dict[int, int] = {}
    folded: list[Block] = []
    for _, run in groupby(range(len(found)), alike):
        members = list(run)
        for group in [members] if len(members) >= least else [[member] for member in members]:
            first, last = found[group[0]], found[group[-1]]
            place.update(dict.fromkeys(group, len(folded)))
            inputs = tuple(sorted({place[i] for member in group for i in found[member].inputs} - {len(folded)}))
            name = first.name if len(group) == 1 else f"{first.name} … {last.name.rsplit('.', 1)[-1]}  × {len(group)}"
            folded.append(replace(last, name=name, inputs=inputs, params=sum(found[member].params for member in group)))
    return tuple(folded)


def draw(found: Sequence[Block]) -> Markup:
    """The blocks, folded, as SVG; colours come from the page's style sheet (classes `block` and `block-<kind>`)."""
    rows = fold(found)
    step = 44 if len(rows) <= 30 else 36
    height = len(rows) * step + 8
    widest = max((block.shape[0] for block in rows if block.shape), default=1)
    parts = [
        f'<svg class="drawing" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="The network in {len(rows)} blocks" '
        'xmlns="http://www.w3.org/2000/svg">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
    ]
    centre = _LEFT + _COLUMN / 2
    wide = [36 + (_COLUMN - 36) * sqrt((block.shape[0] if block.shape else 1) / widest) for block in rows]
    box = step - 16
    for position, block in enumerate(rows):
        top = position * step + 4
        for i in block.inputs:
            if i == position - 1:
                parts.append(f'<path class="flow" d="M{centre} {top - 16}V{top - 1}"/>')
            else:
                parts.append(_arc(centre - wide[i] / 2, i * step + 4 + box / 2, centre - wide[position] / 2, top + box / 2))
        parts.append(
            f'<rect class="block block-{escape(block.kind)}" x="{centre - wide[position] / 2:.1f}" y="{top}" '
            f'width="{wide[position]:.1f}" height="{box}" rx="6"><title>{escape(block.name)}: {escape(block.label)}</title></rect>'
        )
        parts.append(
            f'<text class="name" x="{_TEXT}" y="{top + box / 2 - 3}">{escape(block.name)}</text>'
            f'<text class="what" x="{_TEXT}" y="{top + box / 2 + 11}">{escape(_line(block))}</text>'
        )
    return Markup("".join(parts) + "</svg>")


def _arc(x1: float, y1: float, x2: float, y2: float) -> str:
    reach = max(6.0, min(x1, x2) - min(60.0, 18 + (y2 - y1) * 0.12))
    return f'<path class="flow skip" d="M{x1:.1f} {y1:.1f}C{reach:.1f} {y1:.1f} {reach:.1f} {y2:.1f} {x2 - 1:.1f} {y2:.1f}"/>'


def _line(block: Block) -> str:
    shape = f"{block.shape[0]} ch, {block.shape[1]}×{block.shape[2]}" if len(block.shape) == 3 else f"{prod(block.shape)} values"
    parts = [shape, f"{short(block.params)} params" if block.params else "", block.label]
    text = " · ".join(part for part in parts if part)
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1].rstrip(" ,·") + "…"


def _key(operation: Operation, depth: int) -> str:
    parents = operation.name.split(".")[:-1]
    return ".".join(parents[:depth]) or operation.name


def _blocks(graph: OperationGraph, runs: list[list[int]], names: list[str]) -> tuple[Block, ...]:
    home = {position: number for number, run in enumerate(runs) for position in run}
    used_outside = {i for position, op in enumerate(graph.operations) for i in op.inputs if home[i] != home[position]}
    seen: Counter[str] = Counter()
    found = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        operations = [graph.operations[position] for position in run]
        ends = [position for position in run if position in used_outside or position == graph.output]
        # Of what a `zero` reads nothing arrives, so no arrow is drawn for it.
        inputs = sorted({home[i] for operation in operations if operation.kind != "zero" for i in operation.inputs} - {number})
        seen[name] += 1
        found.append(
            Block(
                name if seen[name] == 1 else f"{name} ({seen[name]})", _kind(graph, operations), _label(graph, operations),
                graph.operations[ends[-1] if ends else run[-1]].shape, _params(graph, operations), tuple(inputs),
            )
        )  # fmt: skip
    return tuple(found)


def _params(graph: OperationGraph, operations: list[Operation]) -> int:
    total = 0
    for operation in operations:
        shape = graph.weight_shape(operation)
        if shape is not None:
            total += prod(shape) + (shape[0] if operation.bias or operation.kind == "batch_norm" else 0)
    return total


def _kind(graph: OperationGraph, operations: list[Operation]) -> str:
    """input, head, halving, depthwise, conv, pointwise, pool or other."""
    if operations[0].kind == "input":
        return "input"
    if any(operation.kind == "linear" for operation in operations):
        return "head"
    if any(max(operation.stride) > 1 for operation in operations):
        return "halving"
    convolutions = [operation for operation in operations if operation.kind == "conv"]
    if any(operation.groups > 1 for operation in convolutions):
        return "depthwise"
    if any(max(operation.kernel) > 1 for operation in convolutions):
        return "conv"
    if convolutions:
        return "pointwise"
    return "pool" if any("pool" in operation.kind for operation in operations) else "other"


def _label(graph: OperationGraph, operations: list[Operation]) -> str:
    words = Counter(word for operation in operations if (word := _word(operation)))
    parts = [word if count == 1 else f"{count}× {word}" for word, count in words.items()]
    return ", ".join(parts[:4]) + (", …" if len(parts) > 4 else "")


def _word(operation: Operation) -> str:
    kernel = f"{operation.kernel[0]}×{operation.kernel[1]}"
    match operation.kind:
        case "conv" if operation.groups > 1 and operation.groups == operation.shape[0]:
            return f"depthwise {kernel}"
        case "conv":
            return f"{'grouped ' if operation.groups > 1 else ''}conv {kernel}"
        case "max_pool" | "avg_pool":
            return f"{operation.kind[:3].replace('avg', 'mean')} pool {kernel}"
        case "global_pool":
            return "global mean" if not operation.keep else "squeeze"
        case "linear" | "concat":
            return operation.kind
        case "add":
            return "sum"
        case _:
            return ""
