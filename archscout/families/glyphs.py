"""Characters of invented alphabets, and some of print: strokes, corners, arcs, lit segments, small emblems, the letters of a font.

In some tasks the characters of an alphabet are variations of one. No font of the machine is used, so that a task is the same
everywhere: the one font is that which Pillow carries in itself (Aileron), and of that only letters and signs, since printed digits
are near to the handwritten ones on which methods are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

from archscout.core.errors import DataError
from archscout.core.pictures import Pictures, TaskForm
from archscout.families._drawing import Design, Part, class_count, drawn
from archscout.families._look import Floats, Look
from archscout.families._writing import drawn_paper

_PIXELS = 48
"""The side at which characters are written."""
_HANDS = 24
"""How many ways of writing a character there are in a part of a task."""
_SIGNS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnqrty&%$#@?!*+=<>§£€"

_ARC = ((-0.35, 0.35), (-0.35, 0.35), (0.25, 0.6), (0.0, 2 * np.pi), (1.5, 6.3))

Writer = Callable[[int, np.random.Generator], Image.Image]
"""(class, generator) -> the character once, bright on black."""


@dataclass(frozen=True)
class Glyphs:
    """Characters of invented alphabets, or of print."""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number; reads no data. Raises DataError where Pillow was built without FreeType."""
        if not features.check("freetype2"):
            raise DataError(
                "the family 'glyphs' writes with Pillow's own font, but this Pillow has no FreeType; install a wheel of it"
            )
        return drawn("glyphs", number, form, seed, _designed)


def _designed(rng: np.random.Generator, look: Look, form: TaskForm) -> Design:
    style = str(rng.choice([name for name, (most, _) in STYLES.items() if most >= form.fewest]))
    most, made = STYLES[style]
    count = class_count(rng, form, most)
    names, write = made(count, rng)
    look = replace(look, turn=min(look.turn, 0.3), shift=max(look.shift, 0.1))
    paper = drawn_paper(rng)

    def paint(part: Part, labels: NDArray[np.int64], side: int, rng: np.random.Generator) -> Floats:
        hands = min(_HANDS, -(-len(labels) // count))
        written = np.stack([np.asarray(write(label, rng)) for label in range(count) for _ in range(hands)])[..., None]
        written = np.pad(written, ((0, 0), (1, 1), (1, 1), (0, 0)))  # what is beyond the border is empty
        chosen = written[labels * hands + rng.integers(hands, size=len(labels))]
        return paper.written(chosen, lambda many: written[rng.integers(len(written), size=many)], look, side, rng)

    return Design(names, paint, look)


def _lines(paths: list[NDArray[np.float64]], width: float) -> Image.Image:
    """Paths of places (P, 2), -1 to 1, drawn with a round pen of this width."""
    page = Image.new("L", (_PIXELS, _PIXELS))
    pen = ImageDraw.Draw(page)
    radius = width * _PIXELS / 4
    for path in paths:
        corners = [(float(x), float(y)) for x, y in (path + 1) * (_PIXELS / 2)]
        pen.line(corners, fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in (corners[0], corners[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return page


def _around(middle: NDArray[np.float64], own: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Letters (K, ...) moved towards one letter, by as much as is drawn."""
    apart = rng.choice([0.35, 0.6, 1.0])
    return np.asarray(middle + apart * (own - middle))


def _changed(one: NDArray[np.int64], options: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count, P): different sequences, each of which differs from one (P,) in one to three places, or in any."""
    most = int(rng.choice([2, 3, len(one)]))
    found: dict[tuple[int, ...], None] = {}
    tries = 0
    while len(found) < count:
        tries += 1
        changes = min(most + tries // 100, len(one))  # where there are too few so near, some farther away are taken
        other = one.copy()
        places = rng.permutation(len(one))[: rng.integers(1, changes + 1)]
        other[places] = rng.integers(options, size=len(places))
        found.setdefault(tuple(other.tolist()))
    return np.array(list(found))


def _pen(rng: np.random.Generator) -> tuple[float, float]:
    """The width of the pen, and how unsteady the hand is."""
    return float(rng.uniform(0.12, 0.28)), float(rng.choice([0.03, 0.06, 0.1]))


def _strokes(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Writer]:
    """Bent strokes (quadratic Bézier curves), two to four a character."""
    width, unsteady = _pen(rng)
    form = (int(rng.integers(2, 5)), 3, 2)
    letters = _around(rng.uniform(-0.8, 0.8, form), rng.uniform(-0.8, 0.8, (count, *form)), rng)
    time = np.linspace(0, 1, 9)[:, None]
    weights = np.concatenate([(1 - time) ** 2, 2 * time * (1 - time), time**2], 1)

    def write(label: int, rng: np.random.Generator) -> Image.Image:
        points = letters[label] + rng.normal(0, unsteady, letters[label].shape)
        points[:, 1] += points[:, 1] - (points[:, 0] + points[:, 2]) / 2  # the curve comes closer to its middle point
        return _lines(list(weights @ points), width * np.exp(rng.normal(0, 0.15)))

    return _numbered("stroke letter", count), write


def _corners(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Writer]:
    """Paths of four to six straight lines between the points of a grid of three by three, as in runes."""
    width, unsteady = _pen(rng)
    places = _changed(rng.integers(9, size=rng.integers(5, 8)), 9, count, rng)
    letters = np.stack([places % 3 - 1, places // 3 - 1], 2) * 0.75

    def write(label: int, rng: np.random.Generator) -> Image.Image:
        path = letters[label]
        return _lines([path + rng.normal(0, unsteady, path.shape)], width * np.exp(rng.normal(0, 0.15)))

    return _numbered("rune", count), write


def _arcs(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Writer]:
    """Parts of circles and lines from them, two or three a character."""
    width, unsteady = _pen(rng)
    form = (count + 1, int(rng.integers(2, 4)))
    # Of each arc: the middle, the radius, where it starts and how far it goes; and whether a line goes on from its end.
    drawn = np.stack([rng.uniform(low, high, form) for low, high in _ARC], 2)
    letters, tails = _around(drawn[0], drawn[1:], rng), rng.integers(3, size=form)

    def write(label: int, rng: np.random.Generator) -> Image.Image:
        paths = []
        for (x, y, radius, start, sweep), tail in zip(letters[label], tails[label], strict=True):
            noise = rng.normal(0, unsteady, 4)
            angle = np.linspace(start, start + sweep, 14) + noise[3]
            curve = np.stack([x + noise[0] + radius * np.cos(angle), y + noise[1] + radius * np.sin(angle)], 1)
            if tail:
                end = curve[-1] + (1.0 if tail == 1 else -0.8) * radius * np.array([np.cos(angle[-1]), np.sin(angle[-1])])
                curve = np.concatenate([curve, end[None]])
            paths.append(curve)
        return _lines(paths, width * np.exp(rng.normal(0, 0.15)))

    return _numbered("arc letter", count), write


def _segments(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Writer]:
    """Segments of a display that are lit or not: seven between the points of a grid of two by three, and four diagonals."""
    width, unsteady = _pen(rng)
    points = np.array([(x, y) for y in (-0.8, 0.0, 0.8) for x in (-0.5, 0.5)])
    pairs = np.array([(0, 1), (2, 3), (4, 5), (0, 2), (2, 4), (1, 3), (3, 5), (0, 3), (1, 2), (2, 5), (3, 4)])
    codes = _changed(rng.integers(2, size=len(pairs)), 2, count, rng)

    def write(label: int, rng: np.random.Generator) -> Image.Image:
        lit = pairs[codes[label] == 1]
        moved = points + rng.normal(0, unsteady / 2, points.shape)
        return _lines([moved[pair] for pair in lit], width * np.exp(rng.normal(0, 0.15)))

    return tuple(f"segments {''.join(map(str, code))}" for code in codes), write


def _emblems(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Writer]:
    """Random fields of five by five, the same left and right; in each writing a few are wrong."""
    halves = _changed(rng.integers(2, size=15), 2, count, rng).reshape(count, 5, 3) == 1
    fields = np.concatenate([halves, halves[:, :, 1::-1]], 2)
    wrong = float(rng.choice([0.0, 0.04, 0.1]))

    def write(label: int, rng: np.random.Generator) -> Image.Image:
        seen = fields[label] ^ (rng.random((5, 5)) < wrong)
        page = Image.new("L", (_PIXELS, _PIXELS))
        page.paste(Image.fromarray((seen * 255).astype(np.uint8)).resize((35, 35), Image.Resampling.NEAREST), (6, 6))
        return page

    return _numbered("emblem", count), write


def _print(count: int, rng: np.random.Generator) -> tuple[tuple[str, ...], Writer]:
    """Letters and signs of the font in Pillow, of different sizes and weights."""
    chosen = [_SIGNS[place] for place in np.sort(rng.permutation(len(_SIGNS))[:count])]
    weight = int(rng.integers(0, 3))
    fonts = {size: ImageFont.load_default(size) for size in range(34, 46, 3)}

    def write(label: int, rng: np.random.Generator) -> Image.Image:
        page = Image.new("L", (_PIXELS, _PIXELS))
        font = fonts[int(rng.choice(list(fonts)))]
        bold = int(rng.integers(0, weight + 1))
        ImageDraw.Draw(page).text((_PIXELS / 2, _PIXELS / 2), chosen[label], 255, font, anchor="mm", stroke_width=bold)
        return page

    return tuple(f"'{sign}'" for sign in chosen), write


def _numbered(what: str, count: int) -> tuple[str, ...]:
    return tuple(f"{what} {place}" for place in range(1, count + 1))


STYLES: dict[str, tuple[int, Callable[[int, np.random.Generator], tuple[tuple[str, ...], Writer]]]] = {
    "strokes": (500, _strokes), "corners": (500, _corners), "arcs": (500, _arcs), "segments": (500, _segments),
    "emblems": (500, _emblems), "print": (len(_SIGNS), _print),
}  # fmt: skip
"""How characters are made, and how many there are at most."""
