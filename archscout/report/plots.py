"""Small plots as inline SVG. Colours come from the page's style sheet, so they follow light and dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, floor, isfinite, log10
from typing import TypeVar

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike

from archscout.report.words import percent, short

_W, _H = 480, 300
_L, _R, _T, _B = 58, 14, 14, 42
Format = Callable[[float], str]
_Point = TypeVar("_Point")


@dataclass(frozen=True)
class Dot:
    """A point of a scatter. role: searched, baseline or random; `strong` marks the chosen one."""

    x: float
    y: float
    role: str
    title: str
    strong: bool = False


@dataclass(frozen=True)
class Line:
    """A curve; `role` is its colour, `strong` the one that matters; `band`: (x, low, high), drawn behind it."""

    name: str
    points: tuple[tuple[float, float], ...]
    role: str = "searched"
    strong: bool = False
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Bar:
    """A value with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float
    role: str = "searched"
    strong: bool = False


class Axis:
    """Where values lie on a line of pixels, with ticks at round numbers; logarithmic on request."""

    def __init__(self, values: Sequence[float], start: float, stop: float, *, logarithmic: bool = False, pad: float = 0.05) -> None:
        self.logarithmic = logarithmic and min(values) > 0
        low, high = self._to(min(values)), self._to(max(values))
        alone = 0.1 if self.logarithmic else abs(high) * 0.05 or 0.5  # around the only value there is
        margin = (high - low) * pad or alone
        self.low, self.high = low - margin, high + margin
        self.start, self.stop = start, stop

    def _to(self, value: float) -> float:
        return log10(value) if self.logarithmic else value

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (self._to(value) - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values inside the axis."""
        if self.logarithmic:
            decades = range(floor(self.low), ceil(self.high) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), range(1, 10)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                found = [tick for tick in found if self.low <= log10(tick) <= self.high]
                if len(found) >= 3:
                    return found[:: max(1, len(found) // 6)]
            return found
        rough = (self.high - self.low) / wanted
        unit = 10.0 ** floor(log10(rough))
        step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough)
        return [number * step for number in range(ceil(self.low / step), floor(self.high / step) + 1)]


def pareto(dots: Sequence[Dot]) -> list[Dot]:
    """Those that no other beats: none is as small and better, or smaller and as good. By increasing x."""
    front: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, -dot.y)):
        if not front or dot.y > front[-1].y:
            front.append(dot)
    return front


def scatter(
    dots: Sequence[Dot], x_label: str, y_label: str, *, front: bool = True, logarithmic: bool = True,
    x_format: Format = short, y_format: Format = percent, most: int = 700,
) -> Markup:  # fmt: skip
    """Points, and the front of the best (high y, small x). Of more than `most` points an even share is shown, the front always."""
    dots = [dot for dot in dots if isfinite(dot.x) and isfinite(dot.y)]
    if not dots:
        return Markup("")
    best = pareto(dots)
    shown = [*dots[:: ceil(len(dots) / most)], *best, *(dot for dot in dots if dot.strong or dot.role != "searched")]
    x = Axis([dot.x for dot in dots], _L, _W - _R, logarithmic=logarithmic)
    y = Axis([dot.y for dot in dots], _H - _B, _T)
    parts = [_frame(x, y, x_label, y_label, x_format, y_format)]
    if front and len(best) > 1:
        path = f"M{x.at(best[0].x):.1f} {y.at(best[0].y):.1f}" + "".join(f"H{x.at(d.x):.1f}V{y.at(d.y):.1f}" for d in best[1:])
        parts.append(f'<path class="front" d="{path}H{_W - _R}"/>')
    for dot in sorted(dict.fromkeys(shown), key=lambda dot: (dot.strong, dot.role != "searched")):
        kind = f"dot {escape(dot.role)}{' strong' if dot.strong else ''}{' many' if len(shown) > 60 else ''}"
        title = f"<title>{escape(dot.title)}</title>" if len(shown) <= 60 or dot.strong or dot.role != "searched" else ""
        radius = 7 if dot.strong else 2.4 if len(shown) > 60 and dot.role == "searched" else 4.5
        parts.append(_mark(kind, dot.role, x.at(dot.x), y.at(dot.y), radius, title))
    return _svg(parts, f"{y_label} against {x_label}, {len(dots)} points")


def curves(
    lines: Sequence[Line], x_label: str, y_label: str, *, y_format: Format = percent, logarithmic: bool = False
) -> Markup:  # fmt: skip
    """Lines over a common axis, the strong one on top; `logarithmic` is the upright axis, where all values are positive."""
    lines = [replace(line, points=_thinned(line.points), band=_thinned(line.band)) for line in lines if line.points]
    every = [point for line in lines for point in line.points]
    if not every:
        return Markup("")
    ends = [end for line in lines for _, *pair in line.band for end in pair if end > 0 or not logarithmic]
    x = Axis([0.0, *(point[0] for point in every)], _L, _W - _R, pad=0.0)
    y = Axis([*(point[1] for point in every), *ends], _H - _B, _T, logarithmic=logarithmic)
    parts = [_frame(x, y, x_label, y_label, short, y_format)]
    parts.extend(_band(line, x, y) for line in lines if line.band)
    for line in sorted(lines, key=lambda line: line.strong):
        kind = f"line {escape(line.role)}{' strong' if line.strong else ''}"
        path = "L".join(f"{x.at(a):.1f} {y.at(b):.1f}" for a, b in line.points)
        last = line.points[-1]
        parts.append(f'<path class="{kind}" d="M{path}"><title>{escape(line.name)}</title></path>')
        radius = 4 if line.strong else 2.5
        title = f"<title>{escape(line.name)}: {escape(y_format(last[1]))}</title>"
        parts.append(_mark(f"dot {escape(line.role)}", line.role, x.at(last[0]), y.at(last[1]), radius, title))
    return _svg(parts, f"{y_label} by {x_label}")


def bars(rows: Sequence[Bar], *, form: Format = percent, nought: bool = False) -> Markup:
    """Horizontal: a dot at the value and a whisker over its interval, one row each. nought: it is shown, as for differences."""
    if not rows:
        return Markup("")
    row, left, wide = 34, 166, 560
    height = len(rows) * row + 30
    x = Axis([end for bar in rows for end in (bar.low, bar.high)] + [0.0] * nought, left, wide - 74)
    parts = [
        f'<path class="grid" d="M{x.at(tick):.1f} 4V{height - 24}"/><text class="tick middle" x="{x.at(tick):.1f}" '
        f'y="{height - 8}">{escape(form(tick))}</text>'
        for tick in x.ticks()
    ]
    for number, bar in enumerate(rows):
        y = number * row + row / 2 + 2
        kind = f"{escape(bar.role)}{' strong' if bar.strong else ''}"
        name = _cut(bar.name, 24)
        if x.low < 0 < x.high and number == 0 and nought:
            parts.append(f'<path class="nought" d="M{x.at(0.0):.1f} 4V{height - 24}"/>')
        parts.append(
            f'<text class="label{" strong" if bar.strong else ""}" x="0" y="{y + 4}">{escape(name)}</text>'
            f'<path class="whisker {kind}" d="M{x.at(bar.low):.1f} {y}H{x.at(bar.high):.1f}"/>'
            + _mark(f"dot {kind}", bar.role, x.at(bar.value), y, 6, f"<title>{escape(bar.name)}: {escape(form(bar.value))}</title>")
            + f'<text class="label end" x="{wide}" y="{y + 4}">{escape(form(bar.value))}</text>'
        )
    return _svg(parts, "values with their intervals", wide, height)


def trace(
    points: Sequence[tuple[float, float]], best: Sequence[tuple[float, float]], levels: Sequence[tuple[str, str, float]],
    count: int, x_label: str, y_label: str, *, y_format: Format = short,
) -> Markup:  # fmt: skip
    """How a search went: each candidate (number, value), the best so far as a line, and (name, role, value) as levels across."""
    if not points:
        return Markup("")
    x = Axis([0.0, float(max(count, 1))], _L, _W - _R, pad=0.0)
    y = Axis([*(value for _, value in points), *(value for *_, value in levels)], _H - _B, _T)
    parts = [_frame(x, y, x_label, y_label, short, y_format)]
    many = " many" if len(points) > 60 else ""
    parts.extend(
        f'<circle class="dot searched{many}" cx="{x.at(number):.1f}" cy="{y.at(value):.1f}" r="{2.2 if many else 3.5}">'
        f"<title>candidate {number:.0f}: {escape(y_format(value))}</title></circle>"
        for number, value in points
    )
    placed: list[float] = []
    for name, role, value in sorted(levels, key=lambda level: -level[2]):
        at = y.at(value)
        parts.append(f'<path class="level {escape(role)}" d="M{_L} {at:.1f}H{_W - _R}"><title>{escape(name)}</title></path>')
        beside = max(at - 4, placed[-1] + 13) if placed else at - 4
        placed.append(beside)
        shown = f"{escape(_cut(name, 24))} {escape(y_format(value))}"
        parts.append(f'<text class="note end" x="{_W - _R - 2}" y="{beside:.1f}">{shown}</text>')
    if best:
        path = f"M{x.at(best[0][0]):.1f} {y.at(best[0][1]):.1f}" + "".join(f"H{x.at(n):.1f}V{y.at(v):.1f}" for n, v in best[1:])
        title = f"<title>best so far, in the end {escape(y_format(best[-1][1]))}</title>"
        parts.append(f'<path class="line searched strong" d="{path}H{_W - _R}">{title}</path>')
    return _svg(parts, f"{y_label} by {x_label}, {count} candidates")


def stacked(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], *, form: Format = short) -> Markup:
    """A bar per row, made of named parts, all on one scale; colours follow the names in the order in which they first come."""
    names = list(dict.fromkeys(name for _, parts in rows for name, _ in parts))
    longest = max((sum(value for _, value in parts) for _, parts in rows), default=0.0)
    if longest <= 0:
        return Markup("")
    wide, row, left = 560, 34, 0 if all(not name for name, _ in rows) else 150
    found = []
    for number, (label, parts) in enumerate(rows):
        top, x = number * row + 4, float(left)
        total = sum(value for _, value in parts)
        if label:
            found.append(f'<text class="label" x="0" y="{top + 17}">{escape(_cut(label, 22))}</text>')
        for name, value in parts:
            span = value / longest * (wide - left - 76)
            title = f"<title>{escape(label)}{': ' if label else ''}{escape(name)}, {escape(form(value))}</title>"
            kind = f"part run{names.index(name) % 8}"
            found.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{top}" width="{max(span - 1, 0.5):.1f}" height="24" rx="3">{title}</rect>'
            )
            x += span
        found.append(f'<text class="label" x="{x + 8:.1f}" y="{top + 17}">{escape(form(total))}</text>')
    return _svg(found, "parts of a whole", wide, len(rows) * row + 4)


def part_names(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> list[tuple[str, str]]:
    """The legend of `stacked`: (colour, name)."""
    names = dict.fromkeys(name for _, parts in rows for name, _ in parts)
    return [(f"part run{number % 8}", name) for number, name in enumerate(names)]


def _mark(kind: str, role: str, x: float, y: float, radius: float, title: str) -> str:
    """The sign of a role, told by its shape too: a disc, a square for hand-made networks, a triangle for random ones."""
    if role == "baseline":
        side = radius * 1.8
        place = f'x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"'
        return f'<rect class="{kind}" {place} rx="1">{title}</rect>'
    if role == "random":
        r = radius * 1.2
        return f'<path class="{kind}" d="M{x:.1f} {y - r:.1f}L{x + r:.1f} {y + r * 0.8:.1f}H{x - r:.1f}Z">{title}</path>'
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>'


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Rows are true classes, columns what they were taken for; shade is the share of the row. Right answers lie on the diagonal."""
    count = len(labels)
    cell = 40 if count <= 12 else max(9, 480 // count)
    left, top = 116, 8
    parts = []
    for i, row in enumerate(matrix):
        total = sum(row) or 1
        middle = top + i * cell + cell / 2 + 4
        parts.append(f'<text class="tick end" x="{left - 8}" y="{middle}">{escape(_cut(labels[i]))}</text>')
        for j, number in enumerate(row):
            if number == 0:
                continue
            kind, share = ("right" if i == j else "wrong"), number / total
            opacity = min(1.0, 0.12 + 0.88 * (share if i == j else min(1.0, share * 4)))
            title = f"<title>{escape(labels[i])} taken for {escape(labels[j])}: {number} of {total}</title>"
            parts.append(
                f'<rect class="cell {kind}" x="{left + j * cell}" y="{top + i * cell}" width="{cell - 1}" height="{cell - 1}" '
                f'rx="3" fill-opacity="{opacity:.2f}">{title}</rect>'
            )
            if count <= 12:
                dark = " on" if opacity > 0.55 else ""
                parts.append(f'<text class="count{dark}" x="{left + j * cell + cell / 2 - 0.5}" y="{middle}">{number}</text>')
    bottom = top + count * cell
    for j, label in enumerate(labels):
        x = left + j * cell + cell / 2 + 4
        parts.append(f'<text class="tick end" transform="translate({x} {bottom + 8}) rotate(-55)">{escape(_cut(label))}</text>')
    return _svg(parts, f"Confusion of {count} classes", left + count * cell + 6, bottom + 92, "plot matrix")


def heat(
    labels: Sequence[str], matrix: ArrayLike, spread: ArrayLike | None = None, framed: Sequence[tuple[int, int]] = ()
) -> Markup:  # fmt: skip
    """A square matrix (N, N) with its numbers, darker where they are larger; rows are sources, columns targets.

    spread: (N, N) of their standard deviations. framed: (row, column) that stand out. What is not finite stays empty.
    """
    values = np.asarray(matrix, np.float64)
    deviations = np.full_like(values, np.nan) if spread is None else np.asarray(spread, np.float64)
    count, cell = len(labels), 62 if len(labels) <= 8 else max(16, 500 // len(labels))
    left, top = 136, 8
    most = max((float(value) for value in values.flat if isfinite(value)), default=0.0) or 1.0
    parts = []
    for i, j in product(range(count), range(count)):
        value = float(values[i, j])
        if not isfinite(value):
            continue
        x, y, opacity = left + j * cell, top + i * cell, 0.06 + 0.94 * max(0.0, value) / most
        title = f"<title>from {escape(labels[i])} to {escape(labels[j])}: {value:.3f}</title>"
        frame = " framed" if (i, j) in framed else ""
        parts.append(
            f'<rect class="cell{frame}" x="{x + 1}" y="{y + 1}" width="{cell - 3}" height="{cell - 3}" rx="3" '
            f'fill-opacity="{opacity:.2f}">{title}</rect>'
        )
        if count <= 8:
            dark, deviation = " on" if opacity > 0.55 else "", float(deviations[i, j])
            middle = x + cell / 2
            parts.append(f'<text class="count{dark}" x="{middle}" y="{y + cell / 2 + 2}">{value:.3f}</text>')
            if isfinite(deviation) and i != j:
                parts.append(f'<text class="count small{dark}" x="{middle}" y="{y + cell / 2 + 17}">±{deviation:.3f}</text>')
    for n, label in enumerate(labels):
        at = n * cell + cell / 2 + 4
        parts.append(f'<text class="tick end" x="{left - 8}" y="{top + at}">{escape(_cut(label, 20))}</text>')
        move = f"translate({left + at} {top + count * cell + 8}) rotate(-55)"
        parts.append(f'<text class="tick end" transform="{move}">{escape(_cut(label, 20))}</text>')
    return _svg(parts, f"Distances between {count} tasks", left + count * cell + 6, top + count * cell + 120, "plot matrix")


def _cut(label: str, most: int = 15) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _band(line: Line, x: Axis, y: Axis) -> str:
    def at(value: float) -> float:
        return _H - _B if y.logarithmic and value <= 0 else y.at(value)  # nought lies below a logarithmic axis

    edge = [f"{x.at(a):.1f} {at(high):.1f}" for a, _, high in line.band] + [
        f"{x.at(a):.1f} {at(low):.1f}" for a, low, _ in reversed(line.band)
    ]
    return f'<path class="band {escape(line.role)}" d="M{"L".join(edge)}Z"/>'


def _thinned(points: tuple[_Point, ...], most: int = 300) -> tuple[_Point, ...]:
    step = ceil(len(points) / most)
    return points if step <= 1 else (*points[:-1:step], points[-1])


def _frame(x: Axis, y: Axis, x_label: str, y_label: str, x_format: Format, y_format: Format) -> str:
    parts = []
    for tick in y.ticks():
        at = y.at(tick)
        parts.append(f'<path class="grid" d="M{_L} {at:.1f}H{_W - _R}"/>')
        parts.append(f'<text class="tick end" x="{_L - 8}" y="{at + 4:.1f}">{escape(y_format(tick))}</text>')
    for tick in x.ticks():
        parts.append(f'<text class="tick middle" x="{x.at(tick):.1f}" y="{_H - _B + 17}">{escape(x_format(tick))}</text>')
    parts.append(f'<path class="axis" d="M{_L} {_H - _B}H{_W - _R}"/>')
    parts.append(f'<text class="axis-label end" x="{_W - _R}" y="{_H - 6}">{escape(x_label)}</text>')
    parts.append(f'<text class="axis-label" x="{_L}" y="{_T - 2}">{escape(y_label)}</text>')
    return "".join(parts)


def _svg(parts: Sequence[str], about: str, width: float = _W, height: float = _H, kind: str = "plot") -> Markup:
    head = f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.2:g}px" role="img" '
    head += f'aria-label="{escape(about)}" '
    return Markup(head + 'xmlns="http://www.w3.org/2000/svg">' + "".join(parts) + "</svg>")
