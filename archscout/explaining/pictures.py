"""Pictures of cells, patterns and surfaces as inline SVG, whose colours are those of the page's style sheet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite, sqrt

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from archscout.core.topology import Topology
from archscout.core.wiring import Patterns
from archscout.report.words import short

Floats = NDArray[np.float64]
Point = tuple[float, float]
_COLUMN, _ROW, _RADIUS = 186, 74, 17
_SHORT = {
    "skip_connect": "skip", "identity": "identity", "max_pool_3x3": "max 3", "avg_pool_3x3": "mean 3", "sep_conv_3x3": "sep 3",
    "sep_conv_5x5": "sep 5", "sep_conv_7x7": "sep 7", "dil_conv_3x3": "dil 3", "dil_conv_5x5": "dil 5", "nor_conv_1x1": "conv 1",
    "nor_conv_3x3": "conv 3", "conv3x3-bn-relu": "conv 3", "conv1x1-bn-relu": "conv 1", "maxpool3x3": "max 3",
}  # fmt: skip
_LEVELS = 12
_LEGIBLE = 0.75
"""The share of its own size below which the letters of a cell cannot be read."""
_SIDE, _LEFT, _TOP = 300, 40, 12


def side_by_side(pictures: Sequence[tuple[str, Markup]]) -> Markup:
    """Pictures with captions, as many in a row as there is room for."""
    parts = [
        f'<div style="flex:1 1 260px;max-width:360px"><p class="legend" style="margin:0 0 4px">{escape(caption)}</p>{picture}</div>'
        for caption, picture in pictures
    ]
    return Markup('<div style="display:flex;flex-wrap:wrap;gap:20px">' + "".join(parts) + "</div>")


def cell_picture(cell: Topology, name: str) -> Markup:
    """A cell: nodes in columns by level, the inputs on the left, the output on the right; dead nodes are pale."""
    columns: defaultdict[int, list[int]] = defaultdict(list)
    for node, level in enumerate(cell.levels):
        columns[level].append(node)
    output = len(cell.levels) if cell.joined else None
    if output is not None:
        columns[max(columns) + 1].append(output)
    tallest = max(map(len, columns.values()))
    place: dict[int, Point] = {}
    for level, nodes in columns.items():
        for number, node in enumerate(nodes):
            # Every second column lies a little lower, so that edges that pass a column do not pass through its nodes.
            place[node] = 34 + level * _COLUMN, 30 + (number + (tallest - len(nodes)) / 2) * _ROW + (level % 2) * 16
    height = 30 + tallest * _ROW
    width = 68 + max(columns) * _COLUMN
    parts, labels = [], []
    taken: defaultdict[tuple[int, int], int] = defaultdict(int)
    for number, (operation, source, node) in enumerate(cell.edges):
        turn = taken[source, node]
        taken[source, node] += 1
        order = sum(node == other for _, _, other in cell.edges[:number])
        arrow, label = _arrow(place[source], place[node], _SHORT.get(operation, operation), turn, node in cell.live, order)
        parts.append(arrow)
        labels.append(label)
    if output is not None:
        parts += [_arrow(place[node], place[output], "", 0, True)[0] for node in cell.outputs]
    parts += labels
    for node, (x, y) in place.items():
        pale = "" if node < cell.inputs or node in cell.live or node == output else ";opacity:.35"
        kind = "var(--baseline)" if node < cell.inputs else "var(--good)" if node == output else "var(--searched)"
        label = "out" if node == output else f"in {node}" if node < cell.inputs else str(node)
        parts.append(
            f'<circle cx="{x}" cy="{y:.1f}" r="{_RADIUS}" style="fill:var(--card);stroke:{kind};stroke-width:2.5{pale}"/>'
            f'<text class="middle" x="{x}" y="{y + 4.5:.1f}" style="font-size:12.5px{pale}">{label}</text>'
        )
    return _svg(parts, f"The cell '{name}': width {float(cell.width):g}, depth {cell.depth}", width, height, _LEGIBLE * width)


def _arrow(start: Point, end: Point, label: str, turn: int, live: bool, order: int = 0) -> tuple[str, str]:
    """The arrow, and its label.

    turn, order: how many edges between the same nodes, and into the same node, were drawn before.
    """
    (x1, y1), (x2, y2) = (start[0] + _RADIUS, start[1]), (end[0] - _RADIUS - 4, end[1])
    bend, middle = 26 * turn + max(0.0, 0.06 * (x2 - x1 - _COLUMN)), (x1 + x2) / 2
    path = f"M{x1} {y1:.1f}C{middle:.1f} {y1 + bend:.1f} {middle:.1f} {y2 + bend:.1f} {x2} {y2:.1f}"
    pale = "" if live else ";opacity:.35"
    text = ""
    if label:
        t = (0.72, 0.5, 0.61)[order % 3]  # labels of edges into one node side by side
        x = (1 - t) ** 3 * x1 + 3 * (1 - t) * t * middle + t**3 * x2
        y = (1 - t) ** 2 * (1 + 2 * t) * y1 + t**2 * (3 - 2 * t) * y2 + 3 * (1 - t) * t * bend
        halo = "paint-order:stroke;stroke:var(--page);stroke-width:4px"
        text = f'<text class="tick middle" x="{x:.1f}" y="{y + 4:.1f}" style="{halo}{pale}">{escape(label)}</text>'
    head = f'<path d="M{x2} {y2 - 4:.1f}l6 4l-6 4z" style="fill:var(--faint){pale}"/>'
    return f'<path d="{path}" style="fill:none;stroke:var(--faint);stroke-width:1.4{pale}"/>{head}', text


def pattern_picture(patterns: Patterns, found: Mapping[str, Topology]) -> Markup:
    """How often random cells have which width and depth, as discs, and where some cells lie, as rings."""
    widths = sorted({width for width, _ in patterns.counts} | {cell.width for cell in found.values()})
    depths = sorted({depth for _, depth in patterns.counts} | {cell.depth for cell in found.values()})
    left, top, step = 56, 14, min(58.0, 620 / max(1, len(widths)))
    rows = 46
    height = top + rows * len(depths) + 44
    most = max(patterns.counts.values())

    def at(width: Fraction, depth: int) -> Point:
        return left + (widths.index(width) + 0.5) * step, top + (depths.index(depth) + 0.5) * rows

    parts = []
    for (width, depth), count in sorted(patterns.counts.items()):
        x, y = at(width, depth)
        share = count / patterns.total
        parts.append(
            f'<circle class="dot random" cx="{x:.1f}" cy="{y:.1f}" r="{max(1.2, min(step, rows) * 0.46 * sqrt(count / most)):.1f}" '
            f'fill-opacity=".55"><title>width {float(width):g}, depth {depth}: {share:.2%} of random cells</title></circle>'
        )
    for name, cell in found.items():
        x, y = at(cell.width, cell.depth)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{min(step, rows) * 0.46:.1f}" style="fill:none;stroke:var(--searched);'
            f'stroke-width:3"><title>{escape(name)}</title></circle>'
            f'<text class="tick middle" x="{x:.1f}" y="{y + 4:.1f}" style="fill:var(--ink);font-weight:600;paint-order:stroke;'
            f'stroke:var(--page);stroke-width:4px">{escape(name)}</text>'
        )
    every = max(1, -(-len(widths) // 16))
    for width in widths[::every]:
        parts.append(f'<text class="tick middle" x="{at(width, depths[0])[0]:.1f}" y="{height - 26}">{float(width):.3g}</text>')
    for depth in depths:
        parts.append(f'<text class="tick end" x="{left - 10}" y="{at(widths[0], depth)[1] + 4:.1f}">{depth}</text>')
    wide = left + step * len(widths) + 12
    parts.append(f'<text class="axis-label end" x="{wide - 8:.0f}" y="{height - 8}">width, in channels of a node</text>')
    parts.append(f'<text class="axis-label" x="0" y="{top}">depth</text>')
    return _svg(parts, f"Width and depth of {patterns.total} random cells", wide, height)


def histograms(name: str, random: Mapping[float, float], found: Mapping[float, float]) -> Markup:
    """Shares by value: random cells behind, found ones before."""
    values = sorted({*random, *found})
    most = max([*random.values(), *found.values()], default=1.0) or 1.0
    left, top, high, step = 44, 12, 170, min(54.0, 420 / max(1, len(values)))
    parts = []
    for place, value in enumerate(values):
        x = left + place * step
        for share, role, shift in ((random.get(value, 0.0), "random", 0.1), (found.get(value, 0.0), "searched", 0.5)):
            tall = high * share / most
            parts.append(
                f'<rect class="dot {role}" x="{x + shift * step:.1f}" y="{top + high - tall:.1f}" width="{0.38 * step:.1f}" '
                f'height="{tall:.1f}"><title>{name} {value:g}: {share:.1%}</title></rect>'
            )
        if place % max(1, -(-len(values) // 14)) == 0:
            parts.append(f'<text class="tick middle" x="{x + step / 2:.1f}" y="{top + high + 16}">{value:.3g}</text>')
    wide = left + step * len(values) + 10
    parts.append(f'<path class="axis" d="M{left} {top + high}H{wide - 4:.0f}"/>')
    parts.append(f'<text class="tick end" x="{left - 6}" y="{top + 8}">{most:.0%}</text>')
    parts.append(f'<text class="axis-label end" x="{wide - 6:.0f}" y="{top + high + 34}">{escape(name)}</text>')
    return _svg(parts, f"Shares by {name}", wide, top + high + 42)


def contour_picture(axis: Sequence[float], surface: ArrayLike, name: str) -> Markup:
    """A loss surface (N, N): darker where higher, with lines at equal steps of its logarithm; a cross at the network itself."""
    logs = np.log(_clean(surface))
    low, high = float(logs.min()), float(logs.max())
    parts = _cells(axis, (logs - low) / max(high - low, 1e-12), [f"{value:.4g}" for value in np.exp(logs).ravel()])
    at = _scale(axis)
    for level in np.linspace(low, high, _LEVELS + 2)[1:-1]:
        path = "".join(
            f"M{at(a):.1f} {at(b, True):.1f}L{at(c):.1f} {at(d, True):.1f}" for (a, b), (c, d) in lines_at(axis, logs, float(level))
        )
        if path:
            value = short(float(np.exp(level)))
            parts.append(f'<path d="{path}" style="fill:none;stroke:var(--ink);stroke-opacity:.65"><title>{value}</title></path>')
    parts.append(f'<path d="M{at(0) - 5} {at(0, True)}h10m-5 -5v10" style="stroke:var(--bad);stroke-width:2;fill:none"/>')
    parts.append(_range(float(np.exp(low)), float(np.exp(high)), "loss"))
    return _svg([*parts, *_ticks(axis)], f"Loss around {name}", _LEFT + _SIDE + 8, _TOP + _SIDE + 58)


def heat_picture(axis: Sequence[float], surface: ArrayLike, name: str, what: str) -> Markup:
    """A surface (N, N) of positive numbers as cells, darker where higher, on a scale of logarithms."""
    logs = np.log(_clean(surface))
    low, high = float(logs.min()), float(logs.max())
    parts = _cells(axis, (logs - low) / max(high - low, 1e-12), [f"{value:.4g}" for value in np.exp(logs).ravel()])
    parts.append(_range(float(np.exp(low)), float(np.exp(high)), what))
    return _svg([*parts, *_ticks(axis)], f"{what} around {name}", _LEFT + _SIDE + 8, _TOP + _SIDE + 58)


def lines_at(axis: Sequence[float], values: ArrayLike, level: float) -> list[tuple[Point, Point]]:
    """The pieces of the contour of a surface (N, N) at a level, by linear interpolation along the sides of the squares.

    A square that the contour crosses twice is cut at both pairs of neighbouring sides; which pairs follows from its mean.
    """
    grid = np.asarray(values, np.float64) - level
    found: list[tuple[Point, Point]] = []
    for i in range(len(axis) - 1):
        for j in range(len(axis) - 1):
            corners = ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
            crossed: list[tuple[int, Point]] = []
            for side, (start, end) in enumerate(zip(corners, (*corners[1:], corners[0]), strict=True)):
                one, other = grid[start], grid[end]
                if (one < 0) != (other < 0):
                    t = one / (one - other)
                    crossed.append((side, _between(axis, start, end, float(t))))
            points = [point for _, point in crossed]
            if len(points) == 2:
                found.append((points[0], points[1]))
            elif len(points) == 4:
                middle = sum(float(grid[corner]) for corner in corners) / 4
                together = ((0, 3), (1, 2)) if (middle < 0) != (grid[corners[0]] < 0) else ((0, 1), (2, 3))
                found += [(points[one], points[other]) for one, other in together]
    return found


def _between(axis: Sequence[float], start: tuple[int, int], end: tuple[int, int], t: float) -> Point:
    return tuple(axis[one] + t * (axis[other] - axis[one]) for one, other in zip(start, end, strict=True))  # type: ignore[return-value]


def _clean(surface: ArrayLike) -> Floats:
    values = np.array([[np.nan if value is None else value for value in row] for row in surface], np.float64)  # type: ignore[union-attr]
    known = values[np.isfinite(values)]
    highest = float(known.max()) if len(known) else 1.0
    return np.clip(np.where(np.isfinite(values), values, highest), 1e-12, None)


class _scale:
    """Pixels of a point of the axis; upright with `True`."""

    def __init__(self, axis: Sequence[float]) -> None:
        self._step = _SIDE / len(axis)
        self._low, self._unit = axis[0], axis[1] - axis[0]

    def __call__(self, value: float, upright: bool = False) -> float:
        along = ((value - self._low) / self._unit + 0.5) * self._step
        return _TOP + _SIDE - along if upright else _LEFT + along


def _cells(axis: Sequence[float], shade: Floats, texts: Sequence[str]) -> list[str]:
    step, at = _SIDE / len(axis), _scale(axis)
    parts = []
    for i, a in enumerate(axis):
        for j, b in enumerate(axis):
            opacity = 0.06 + 0.84 * float(shade[i, j])
            parts.append(
                f'<rect class="cell" x="{at(a) - step / 2:.2f}" y="{at(b, True) - step / 2:.2f}" width="{step + 0.3:.2f}" '
                f'height="{step + 0.3:.2f}" fill-opacity="{opacity:.3f}">'
                f"<title>{a:.3g}, {b:.3g}: {texts[i * len(axis) + j]}</title></rect>"
            )
    return parts


def _ticks(axis: Sequence[float]) -> list[str]:
    at, marks = _scale(axis), (axis[0], 0.0, axis[-1])
    return [
        *(f'<text class="tick middle" x="{at(value):.1f}" y="{_TOP + _SIDE + 16}">{value:g}</text>' for value in marks),
        *(f'<text class="tick end" x="{_LEFT - 6}" y="{at(value, True) + 4:.1f}">{value:g}</text>' for value in marks),
    ]


def _range(low: float, high: float, what: str) -> str:
    text = f"{what}: {short(low) if isfinite(low) else '–'} to {short(high)}"
    return f'<text class="axis-label" x="{_LEFT}" y="{_TOP + _SIDE + 42}">{escape(text)}</text>'


def _svg(parts: Sequence[str], about: str, width: float, height: float, least: float = 0.0) -> Markup:
    """least: pixels below which it is not shrunk, but moved sideways."""
    bounds = f"max-width:{width:.0f}px" + (f";min-width:{least:.0f}px" if least else "")
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(about)}" style="{bounds}" '
    return Markup(head + 'xmlns="http://www.w3.org/2000/svg">' + "".join(parts) + "</svg>")
