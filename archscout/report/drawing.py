"""A network drawn as boxes: one row per block, as wide as its channels, with arcs where an input jumps over blocks.

And one cell of it as a graph in layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from math import prod, sqrt

from markupsafe import Markup, escape

from archscout.core.operations import Operation, OperationGraph
from archscout.report.cells import kind_of, params_of, unit
from archscout.report.facts import Block
from archscout.report.layers import layout
from archscout.report.words import short

MOST = 60
_WIDTH, _LEFT, _COLUMN, _TEXT = 760, 60, 170, 252
_NARROW = 0.58
"""The share of the width that a drawing beside others has; its letters keep their size."""
_LETTER = 7.2


def blocks(graph: OperationGraph, most: int = MOST) -> tuple[Block, ...]:
    """The graph in blocks of operations: the cells and layers of the space, else what shares the first two parts of its name.

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


def draw(found: Sequence[Block], *, narrow: bool = False) -> Markup:
    """The blocks, folded, as SVG; colours come from the page's style sheet (classes `block` and `block-<kind>`).

    narrow: to stand beside another one.
    """
    rows = fold(found)
    share = _NARROW if narrow else 1.0
    width, left, column, text = (round(share * size) for size in (_WIDTH, _LEFT, _COLUMN, _TEXT))
    letters = int((width - text) / _LETTER)
    step = 44 if len(rows) <= 30 else 36
    height = len(rows) * step + 8
    widest = max((block.shape[0] for block in rows if block.shape), default=1)
    bound = f' style="max-width:{1.2 * width:.0f}px"' if narrow else ""  # one that stands alone after all is not blown up
    parts = [
        f'<svg class="drawing" viewBox="0 0 {width} {height}"{bound} role="img" aria-label="The network in {len(rows)} blocks" '
        'xmlns="http://www.w3.org/2000/svg">'
    ]
    centre = left + column / 2
    wide = [36 + (column - 36) * sqrt((block.shape[0] if block.shape else 1) / widest) for block in rows]
    box = step - 16
    for position, block in enumerate(rows):
        top = position * step + 4
        for i in block.inputs:
            if i == position - 1:
                parts.append(
                    f'<path class="flow" d="M{centre} {top - 16}V{top - 5}"/>'
                    f'<path class="tip" d="M{centre - 3.5} {top - 6}h7l-3.5 6z"/>'
                )
            else:
                parts.append(_arc(centre - wide[i] / 2, i * step + 4 + box / 2, centre - wide[position] / 2, top + box / 2))
        parts.append(
            f'<rect class="block block-{escape(block.kind)}" x="{centre - wide[position] / 2:.1f}" y="{top}" '
            f'width="{wide[position]:.1f}" height="{box}" rx="6"><title>{escape(block.name)}: {escape(block.label)}</title></rect>'
        )
        parts.append(
            f'<text class="name" x="{text}" y="{top + box / 2 - 3}">{escape(block.name)}</text>'
            f'<text class="what" x="{text}" y="{top + box / 2 + 11}">{escape(_line(block, letters))}</text>'
        )
    return Markup("".join(parts) + "</svg>")


_FONT, _BOX, _LAYER, _PAD = 6.9, 40, 78, 6


def draw_cell(nodes: Sequence[Block], about: str = "A cell") -> Markup:
    """Nodes as a graph in layers, every edge leading down: what each does, and below it the shape of its output and its weights."""
    lines = [(node.name, _within(node)) for node in nodes]
    widths = [
        30.0 if node.name == "+" else max(len(a) * _FONT, len(b) * _FONT * 0.86) + 24
        for node, (a, b) in zip(nodes, lines, strict=True)
    ]
    found = layout([node.inputs for node in nodes], widths)
    height = (max(found.layer, default=0) + 1) * _LAYER - (_LAYER - _BOX) + 2 * _PAD
    width = max(found.width + 2 * _PAD, 240.0)
    left = _PAD + (width - 2 * _PAD - found.width) / 2
    parts = [
        f'<svg class="drawing" viewBox="0 0 {width:.0f} {height}" style="max-width:{width * 1.1:.0f}px" role="img" '
        f'aria-label="{escape(about)}, {len(nodes)} nodes" xmlns="http://www.w3.org/2000/svg">'
    ]
    tops = [_PAD + layer * _LAYER for layer in found.layer]
    for target, node in enumerate(nodes):
        for source in node.inputs:
            ends = _half(nodes[source]), _half(node)
            stops = [(found.x[source], tops[source] + _BOX / 2 + ends[0])]
            for step, x in enumerate(found.ways[source, target], 1):
                middle = tops[source] + step * _LAYER + _BOX / 2
                stops += [(x, middle - _BOX / 2), (x, middle + _BOX / 2)]
            stops.append((found.x[target], tops[target] + _BOX / 2 - ends[1] - 5))
            parts.append(_edge([(left + x, y) for x, y in stops]))
    for node, x, top, wide, (name, what) in zip(nodes, found.x, tops, widths, lines, strict=True):
        middle = top + _BOX / 2
        title = f"<title>{escape(name)}{f': {escape(what)}' if what else ''}</title>"
        shape = 'rx="8"' if node.name != "+" else 'rx="15"'
        tall = 2 * _half(node)
        parts.append(
            f'<rect class="block block-{escape(node.kind)}" x="{left + x - wide / 2:.1f}" y="{middle - tall / 2:.1f}" '
            f'width="{wide:.1f}" height="{tall}" {shape}>{title}</rect>'
            f'<text class="name middle" x="{left + x:.1f}" y="{middle + (-3 if what else 4.5)}">{escape(name)}</text>'
        )
        if what:
            parts.append(f'<text class="within middle" x="{left + x:.1f}" y="{middle + 12}">{escape(what)}</text>')
    return Markup("".join(parts) + "</svg>")


def _within(node: Block) -> str:
    if node.name == "+":
        return ""
    shape = "×".join(map(str, node.shape))
    return f"{shape} · {short(node.params)} params" if node.params else shape  # empty where neither is known


def _half(node: Block) -> float:
    return 15 if node.name == "+" else _BOX / 2


def _edge(stops: Sequence[tuple[float, float]]) -> str:
    """A path through pairs of stops: straight within a layer, a curve between layers, and a tip at its end."""
    path = f"M{stops[0][0]:.1f} {stops[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(stops):
        middle = (y1 + y2) / 2
        path += f"V{y2:.1f}" if abs(x1 - x2) < 0.05 else f"C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    x, y = stops[-1]
    return f'<path class="flow" d="{path}"/><path class="tip" d="M{x - 3.5:.1f} {y - 1:.1f}h7l-3.5 6z"/>'


def _arc(x1: float, y1: float, x2: float, y2: float) -> str:
    reach = max(6.0, min(x1, x2) - min(60.0, 18 + (y2 - y1) * 0.12))
    return (
        f'<path class="flow skip" d="M{x1:.1f} {y1:.1f}C{reach:.1f} {y1:.1f} {reach:.1f} {y2:.1f} {x2 - 6:.1f} {y2:.1f}"/>'
        f'<path class="tip" d="M{x2 - 6:.1f} {y2 - 3.5:.1f}v7l6 -3.5z"/>'
    )


def _line(block: Block, letters: int) -> str:
    shape = f"{block.shape[0]} ch, {block.shape[1]}×{block.shape[2]}" if len(block.shape) == 3 else f"{prod(block.shape)} values"
    parts = [shape, f"{short(block.params)} params" if block.params else "", block.label]
    text = " · ".join(part for part in parts if part)
    return text if len(text) <= letters else text[: letters - 1].rstrip(" ,·") + "…"


def _key(operation: Operation, depth: int) -> str:
    parents = operation.name.split(".")[:-1]
    if depth == 2 and (found := unit(operation)):
        return found
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
                name if seen[name] == 1 else f"{name} ({seen[name]})", _kind(operations), _label(operations),
                graph.operations[ends[-1] if ends else run[-1]].shape, params_of(graph, operations), tuple(inputs),
            )
        )  # fmt: skip
    return tuple(found)


def _kind(operations: list[Operation]) -> str:
    """As of a cell's node, and input or halving besides."""
    if operations[0].kind == "input":
        return "input"
    kind = kind_of(operations)
    return "halving" if kind != "head" and any(max(operation.stride) > 1 for operation in operations) else kind


def _label(operations: list[Operation]) -> str:
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
