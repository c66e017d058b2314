"""Geometric shapes, filled or outlined, among other things: told apart by form, number, colour, size, place, or form and colour.

Which of these tells the classes apart is drawn for each task; all else varies from image to image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.pictures import Pictures, TaskForm
from archscout.families._drawing import Design, Part, class_count, drawn
from archscout.families._look import AS_IS, Floats, Look, colours, contrasting, hues, moves, places, spots

Outline = Callable[[Floats, Floats], Floats]
"""(x, y) -> about the distance to the outline, positive inside; the shape is about as large as the unit disc."""


@dataclass(frozen=True)
class Shapes:
    """Shapes told apart by form, number, colour, size, place, or form and colour."""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number; reads no data."""
        return drawn("shapes", number, form, seed, _designed)


def _designed(rng: np.random.Generator, look: Look, form: TaskForm) -> Design:
    asked = [name for name, most in QUESTIONS.items() if most >= form.fewest]
    question = str(rng.choice(asked, p=np.array([_WEIGHTS[name] for name in asked]) / sum(_WEIGHTS[name] for name in asked)))
    count = class_count(rng, form, QUESTIONS[question])
    scene = _drawn_scene(rng)
    if question in ("colour", "form and colour"):
        look = replace(look, colour=AS_IS, light=min(look.light, 0.05), noise=min(look.noise, 0.1))
    if question == "number":  # all else that stands about would be counted
        scene, look = replace(scene, others=0, outlined=0.0), replace(look, clutter=0.0, covered=0.0, noise=min(look.noise, 0.05))
    if question == "place":
        look = replace(look, angle=0.0, turn=min(look.turn, 0.1))
    pick, names = _QUESTIONS[question](count, rng)

    def paint(part: Part, labels: NDArray[np.int64], side: int, rng: np.random.Generator) -> Floats:
        return scene.painted(pick(labels, rng, scene), look, side, rng)

    return Design(names, paint, look, mirrored=question != "place")


@dataclass(frozen=True, eq=False)
class _Objects:
    """What stands in N images, at most M things each. form: (N, M) places in FORMS, -1 for nothing; colour: (N, M, 3)."""

    form: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    size: NDArray[np.float64]
    colour: Floats


@dataclass(frozen=True, eq=False)
class _Scene:
    """What the images of a task have in common.

    outlined: the share of things that are outlines. any_turn: whether things are turned at will. background: "plain", "random",
    "spots" or "slope". others: how many small things stand about, at most. forms: of things whose form tells nothing. ground: RGB.
    """

    outlined: float
    any_turn: bool
    background: str
    others: int
    forms: NDArray[np.int64]
    ground: Floats

    def painted(self, objects: _Objects, look: Look, side: int, rng: np.random.Generator) -> Floats:
        """(N, side, side, 3), 0 to 1; the last things of an image lie on top."""
        count = len(objects.form)
        ground = np.repeat(self.ground, count, 0) if self.background == "plain" else colours(count, rng)
        if self.background != "plain":  # things have the colours that the question says, so the ground must give way
            ground = contrasting(objects.colour[:, -1], rng, 0.3)
        canvas = np.broadcast_to(ground[:, None, None, :], (count, side, side, 3)).copy()
        if self.background == "spots":
            canvas += np.float32(0.12) * spots(count, side, rng)
        if self.background == "slope":
            line = np.linspace(-0.25, 0.25, side, dtype=np.float32)
            tilt = rng.uniform(-1, 1, (2, count, 1, 1)).astype(np.float32)
            canvas += (tilt[0] * line[None, :, None] + tilt[1] * line[None, None, :])[..., None]
        for _ in range(self.others):
            some = np.flatnonzero(rng.random(count) < 0.6)
            small = _Objects(
                rng.integers(len(FORMS), size=(len(some), 1)),
                rng.uniform(-1, 1, (len(some), 1)), rng.uniform(-1, 1, (len(some), 1)),
                rng.uniform(0.1, 0.2, (len(some), 1)), colours(len(some), rng)[:, None],
            )  # fmt: skip
            self._put(canvas, some, small, 0, look, rng)
        for slot in range(objects.form.shape[1]):
            self._put(canvas, np.flatnonzero(objects.form[:, slot] >= 0), objects, slot, look, rng)
        return canvas

    def _put(
        self, canvas: Floats, rows: NDArray[np.int64], things: _Objects, slot: int, look: Look, rng: np.random.Generator
    ) -> None:
        """Paint one thing into each of some images; `things` has a row for each of them, or for each image."""
        own = np.arange(len(rows)) if len(things.form) == len(rows) else rows
        side = canvas.shape[1]
        free = replace(look, shift=0.0, turn=np.pi if self.any_turn else min(look.turn, 0.25))
        linear = moves(len(rows), free, rng)[:, :, :2] / things.size[own, slot, None, None].astype(np.float32)
        middle = np.stack([things.x[own, slot], things.y[own, slot]], 1)[:, :, None].astype(np.float32)
        maps = np.concatenate([linear, -linear @ middle], 2)
        hollow = rng.random(len(rows)) < self.outlined
        edge = (things.size[own, slot] * side / 2).astype(np.float32)[:, None, None]  # painted pixels of a unit
        for form in np.unique(things.form[own, slot]):
            chosen = np.flatnonzero(things.form[own, slot] == form)
            inside = FORMS[form][1](*places(maps[chosen], side)) * edge[chosen]
            ink = np.clip(inside + 0.5, 0, 1) * np.where(hollow[chosen, None, None], np.clip(3.5 - inside, 0, 1), 1)
            at = rows[chosen]
            canvas[at] += ink[..., None] * (things.colour[own[chosen], slot, None, None] - canvas[at])


def _drawn_scene(rng: np.random.Generator) -> _Scene:
    return _Scene(
        outlined=float(rng.choice([0.0, 0.0, 0.5, 1.0])),
        any_turn=bool(rng.random() < 0.5),
        background=str(rng.choice(["plain", "random", "spots", "slope"])),
        others=int(rng.choice([0, 0, 2, 4])),
        forms=rng.permutation(len(FORMS))[: rng.choice([1, 3, len(FORMS)])],
        ground=colours(1, rng),
    )


Pick = Callable[[NDArray[np.int64], np.random.Generator, _Scene], _Objects]


def _one(
    labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene, form: NDArray[np.int64] | None = None,
    colour: Floats | None = None, size: NDArray[np.float64] | None = None,
) -> _Objects:  # fmt: skip
    """One thing an image, as given or else at random."""
    count = len(labels)
    form = rng.choice(scene.forms, count) if form is None else form
    size = rng.uniform(0.4, 0.75, count) if size is None else size
    colour = contrasting(np.repeat(scene.ground, count, 0), rng) if colour is None else colour
    x, y = rng.uniform(-1, 1, (2, count)) * np.maximum(0.95 - size, 0)
    return _Objects(form[:, None], x[:, None], y[:, None], size[:, None], colour[:, None])


def _by_form(count: int, rng: np.random.Generator) -> tuple[Pick, tuple[str, ...]]:
    chosen = rng.permutation(len(FORMS))[:count]

    def pick(labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene) -> _Objects:
        return _one(labels, rng, scene, form=chosen[labels])

    return pick, tuple(FORMS[form][0] for form in chosen)


def _by_number(count: int, rng: np.random.Generator) -> tuple[Pick, tuple[str, ...]]:
    """One to `count` things, apart from each other in a grid of three by three."""

    def pick(labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene) -> _Objects:
        images = len(labels)
        cells = rng.random((images, 9)).argsort(1)[:, :count]
        x, y = ((axis - 1) * 0.62 + rng.uniform(-0.09, 0.09, cells.shape) for axis in (cells % 3, cells // 3))
        form = np.where(np.arange(count) <= labels[:, None], rng.choice(scene.forms, images)[:, None], -1)
        colour = contrasting(np.repeat(scene.ground, images, 0), rng, 0.5)
        colour = np.broadcast_to(colour[:, None], (images, count, 3)).astype(np.float32)
        return _Objects(form, x, y, rng.uniform(0.19, 0.27, cells.shape), colour)

    return pick, tuple(f"{place + 1} of them" for place in range(count))


def _by_colour(count: int, rng: np.random.Generator) -> tuple[Pick, tuple[str, ...]]:
    hue, jitter = rng.random() + np.arange(count) / count, rng.choice([0.1, 0.25, 0.4]) / count

    def pick(labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene) -> _Objects:
        images = len(labels)
        own = hue[labels] + rng.normal(0, jitter, images)
        return _one(labels, rng, scene, colour=hues(own, rng.uniform(0.6, 1, images), rng.uniform(0.6, 1, images)))

    return pick, tuple(f"hue {round(360 * (angle % 1))}" for angle in hue)


def _by_size(count: int, rng: np.random.Generator) -> tuple[Pick, tuple[str, ...]]:
    """Steps of size in equal ratios."""
    sizes, jitter = np.geomspace(0.18, 0.9, count), rng.choice([0.02, 0.05, 0.1])

    def pick(labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene) -> _Objects:
        return _one(labels, rng, scene, size=sizes[labels] * np.exp(rng.normal(0, jitter, len(labels))))

    return pick, tuple(f"size {size:.2f}" for size in sizes)


def _by_place(count: int, rng: np.random.Generator) -> tuple[Pick, tuple[str, ...]]:
    """Where the one thing of a chosen form stands, in a grid of five by five; another thing stands elsewhere."""
    cells, own_form = rng.permutation(25)[:count], rng.integers(len(FORMS))
    other_form = (own_form + rng.integers(1, len(FORMS))) % len(FORMS)

    def pick(labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene) -> _Objects:
        images = len(labels)
        own = cells[labels]
        other = (own + rng.integers(1, 25, images)) % 25
        both = np.stack([other, own], 1)
        x, y = ((axis - 2) * 0.36 + rng.uniform(-0.1, 0.1, both.shape) for axis in (both % 5, both // 5))
        form = np.tile([other_form, own_form], (images, 1))
        colour = contrasting(np.repeat(scene.ground, 2 * images, 0), rng).reshape(images, 2, 3)
        size = np.asarray(rng.uniform(0.22, 0.34, both.shape))
        return _Objects(form, x, y, size, colour)

    return pick, tuple(f"row {cell // 5 + 1}, column {cell % 5 + 1}" for cell in cells)


def _by_both(count: int, rng: np.random.Generator) -> tuple[Pick, tuple[str, ...]]:
    """Pairs of one of five forms and one of four hues: neither alone tells."""
    forms, hue = rng.permutation(len(FORMS))[:5], rng.random() + np.arange(4) / 4
    pairs = rng.permutation(20)[:count]

    def pick(labels: NDArray[np.int64], rng: np.random.Generator, scene: _Scene) -> _Objects:
        own = hue[pairs[labels] % 4] + rng.normal(0, 0.03, len(labels))
        return _one(labels, rng, scene, form=forms[pairs[labels] // 4], colour=hues(own, 0.8, rng.uniform(0.6, 1, len(labels))))

    return pick, tuple(f"{FORMS[forms[pair // 4]][0]}, hue {round(360 * (hue[pair % 4] % 1))}" for pair in pairs)


_QUESTIONS: dict[str, Callable[[int, np.random.Generator], tuple[Pick, tuple[str, ...]]]] = {
    "form": _by_form, "number": _by_number, "colour": _by_colour, "size": _by_size, "place": _by_place, "form and colour": _by_both,
}  # fmt: skip
QUESTIONS = {"form": 24, "number": 7, "colour": 12, "size": 7, "place": 25, "form and colour": 20}
"""What may tell classes apart, and how many classes it can."""
_WEIGHTS = {"form": 6, "number": 2, "colour": 1, "size": 1, "place": 1, "form and colour": 3}


def _polygon(corners: int) -> Outline:
    def outline(x: Floats, y: Floats) -> Floats:
        step = 2 * np.pi / corners
        angle = (np.arctan2(x, -y) + step / 2) % step - step / 2
        return np.float32(np.cos(step / 2)) - np.sqrt(x * x + y * y) * np.cos(angle.astype(np.float32))

    return outline


def _star(points: int, inner: float) -> Outline:
    """Tips at distance 1, notches at distance `inner`."""

    def outline(x: Floats, y: Floats) -> Floats:
        half = np.pi / points
        angle = np.abs((np.arctan2(x, -y) + half) % (2 * half) - half)
        radius = np.sqrt(x * x + y * y)
        along, across = radius * np.cos(angle), radius * np.sin(angle)
        end_along, end_across = inner * np.cos(half), inner * np.sin(half)
        length = np.hypot(end_along - 1, end_across)
        return np.asarray(((1 - along) * end_across + across * (end_along - 1)) / length, np.float32)

    return outline


def _petals(number: int, depth: float) -> Outline:
    def outline(x: Floats, y: Floats) -> Floats:
        return np.asarray(1 - depth + depth * np.cos(number * np.arctan2(x, -y)) - np.sqrt(x * x + y * y), np.float32)

    return outline


def _boxes(*boxes: tuple[float, float, float, float]) -> Outline:
    """The union of boxes: middle x and y, half the width and the height."""

    def outline(x: Floats, y: Floats) -> Floats:
        parts = [np.minimum(half_x - np.abs(x - mid_x), half_y - np.abs(y - mid_y)) for mid_x, mid_y, half_x, half_y in boxes]
        return np.asarray(np.maximum.reduce(parts))

    return outline


def _ellipse(width: float) -> Outline:
    def outline(x: Floats, y: Floats) -> Floats:
        return np.asarray((1 - np.sqrt((x / width) ** 2 + y * y)) * (1 + width) / 2, np.float32)

    return outline


def _ring(x: Floats, y: Floats) -> Floats:
    return 0.22 - np.abs(np.sqrt(x * x + y * y) - 0.78)


def _half(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.minimum(1 - np.sqrt(x * x + (y - 0.4) ** 2), 0.4 - y))


def _crescent(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.minimum(1 - np.sqrt(x * x + y * y), np.sqrt((x - 0.55) ** 2 + y * y) - 0.75))


def _heart(x: Floats, y: Floats) -> Floats:
    y = -y - 0.15 + 0.7 * np.sqrt(np.abs(x))
    return 0.85 - np.sqrt(x * x + (y - 0.25) ** 2)


def _arrow(x: Floats, y: Floats) -> Floats:
    head = np.minimum(0.05 - y, (y + 1 - 1.25 * np.abs(x)) * 0.62)
    return np.asarray(np.maximum(head, np.minimum(0.26 - np.abs(x), 0.5 - np.abs(y - 0.5))))


def _drop(x: Floats, y: Floats) -> Floats:
    tip = np.minimum((y + 1 - 2.0 * np.abs(x)) * 0.45, 0.35 - y)
    return np.asarray(np.maximum(0.58 - np.sqrt(x * x + (y - 0.4) ** 2), tip))


def _pacman(x: Floats, y: Floats) -> Floats:
    return np.asarray(np.minimum(1 - np.sqrt(x * x + y * y), (np.abs(y) - x) * 0.7))


FORMS: tuple[tuple[str, Outline], ...] = (
    ("triangle", _polygon(3)), ("square", _boxes((0, 0, 0.78, 0.78))), ("pentagon", _polygon(5)), ("disc", _ellipse(1.0)),
    ("ellipse", _ellipse(0.5)), ("bar", _boxes((0, 0, 0.22, 1))), ("rectangle", _boxes((0, 0, 0.5, 0.95))),
    ("plus", _boxes((0, 0, 0.28, 1), (0, 0, 1, 0.28))), ("thin star", _star(4, 0.28)), ("star", _star(5, 0.42)),
    ("three-pointed star", _star(3, 0.25)), ("six-pointed star", _star(6, 0.55)), ("flower", _petals(5, 0.3)),
    ("clover", _petals(3, 0.35)), ("ring", _ring), ("half disc", _half), ("crescent", _crescent), ("heart", _heart),
    ("arrow", _arrow), ("drop", _drop), ("open disc", _pacman), ("L", _boxes((-0.55, 0, 0.25, 0.9), (0, 0.65, 0.8, 0.25))),
    ("T", _boxes((0, -0.65, 0.9, 0.25), (0, 0, 0.25, 0.9))),
    ("H", _boxes((-0.6, 0, 0.24, 0.9), (0.6, 0, 0.24, 0.9), (0, 0, 0.8, 0.22))),
)  # fmt: skip
"""The forms by name. None is another one mirrored."""
