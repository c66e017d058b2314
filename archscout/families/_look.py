"""How the images of a task look, drawn once a task, and how each is moved, drawn once an image.

Places in an image are pairs (u, v) from -1 to 1, right and down. Families paint at twice the wanted side, in RGB from 0 to 1; then
`finished` averages down, which smooths edges, and makes the look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.floating[Any]]

AS_IS = np.eye(3, 4, dtype=np.float32)
"""The colours unchanged."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Look:
    """What all images of a task have in common.

    colour: (3, 4), the affine map from painted to seen RGB. light: the deviation of brightness and contrast between images.
    blur: deviation of a Gaussian in pixels. coarse: whether pixels are merged in blocks of 2 x 2. noise: its deviation. clutter:
    the height of smooth random spots. covered: the share of images of which a rectangle is covered. angle: by which all images
    are turned, radians. shift, turn, scale, stretch: how much each image is moved (of half a side), turned (radians), and scaled
    as a whole and along one axis (logarithms), at most.
    """

    colour: Floats
    light: float
    blur: float
    coarse: bool
    noise: float
    clutter: float
    covered: float
    angle: float
    shift: float
    turn: float
    scale: float
    stretch: float


def drawn_look(rng: np.random.Generator) -> Look:
    """A random look. Most are mild, since several together make a task hard; the weaker the contrast, the weaker what disturbs."""
    contrast = float(rng.choice([1.0, 1.0, 0.7, 0.45]))
    return Look(
        colour=_drawn_colour(contrast, rng),
        light=float(rng.choice([0.0, 0.05, 0.15])),
        blur=float(rng.choice([0.0, 0.0, 0.0, 0.5, 0.9])),
        coarse=bool(rng.random() < 0.1),
        noise=contrast * float(rng.choice([0.0, 0.02, 0.04, 0.08, 0.14])),
        clutter=contrast * float(rng.choice([0.0, 0.0, 0.06, 0.15])),
        covered=float(rng.choice([0.0, 0.0, 0.0, 0.3])),
        angle=float(rng.choice([0.0, 0.0, rng.uniform(-np.pi, np.pi)])),
        shift=float(rng.choice([0.0, 0.08, 0.16, 0.3])),
        turn=float(rng.choice([0.0, 0.1, 0.25, 0.5])),
        scale=float(rng.choice([0.0, 0.1, 0.2, 0.3])),
        stretch=float(rng.choice([0.0, 0.1, 0.2])),
    )


def moves(count: int, look: Look, rng: np.random.Generator) -> Floats:
    """(N, 2, 3): affine maps from places of the image to places of what it shows, one an image."""
    angle = look.angle + rng.uniform(-look.turn, look.turn, count)
    scale = np.exp(rng.uniform(-look.scale, look.scale, (count, 1)) + rng.uniform(-look.stretch, look.stretch, (count, 2)) / 2)
    turned = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], 1).reshape(count, 2, 2)
    linear = turned / scale[:, :, None]
    shift = rng.uniform(-look.shift, look.shift, (count, 2, 1))
    return np.concatenate([linear, -linear @ shift], 2).astype(np.float32)


def places(maps: Floats, side: int) -> tuple[Floats, Floats]:
    """u and v (N, side, side) of the middles of the pixels, after affine maps (N, 2, 3)."""
    line = ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1).astype(np.float32)
    across, down = line[None, None, :], line[None, :, None]
    by_row, offset = maps[:, :, 1, None, None] * down[:, None], maps[:, :, 2, None, None]
    found = maps[:, :, 0, None, None] * across[:, None] + (by_row + offset)
    return found[:, 0], found[:, 1]


def sampled(images: NDArray[np.uint8], maps: Floats, side: int) -> Floats:
    """Images (N, H, W, C), C 1 or 3, seen through affine maps: (N, side, side, 3), 0 to 1; bilinear, borders are repeated."""
    while min(images.shape[1:3]) >= 2 * side:  # else every second pixel would be passed over
        images = _halved(images.astype(np.float32)).round().astype(np.uint8)
    count, height, width, channels = images.shape
    u, v = places(maps, side)
    x = np.clip((u + 1) * (width / 2) - 0.5, 0, width - 1)
    y = np.clip((v + 1) * (height / 2) - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(np.int32), width - 2), np.minimum(y.astype(np.int32), height - 2)
    x, y = (x - left)[..., None], (y - top)[..., None]
    first = (np.arange(count, dtype=np.int32) * (height * width))[:, None, None] + top * width + left
    flat = images.reshape(-1, channels)
    upper = flat[first] * (1 - x) + flat[first + 1] * x
    lower = flat[first + width] * (1 - x) + flat[first + width + 1] * x
    seen = (upper * (1 - y) + lower * y) / np.float32(255)
    return np.broadcast_to(seen, (count, side, side, 3))


def finished(painted: Floats, look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paintings (N, 2 S, 2 S, 3), 0 to 1, as images (N, S, S, 3) of the look."""
    images = _halved(painted)
    count, side = images.shape[:2]
    images = images @ look.colour[:, :3].T + look.colour[:, 3]
    if look.light:
        contrast = np.exp(rng.normal(0, look.light, (count, 1, 1, 1))).astype(np.float32)
        brightness = rng.normal(0, look.light / 2, (count, 1, 1, 1)).astype(np.float32)
        images = (images - 0.5) * contrast + (0.5 + brightness)
    if look.clutter:
        images = images + look.clutter * spots(count, side, rng)
    if look.covered:
        images = _covered(images, look.covered, rng)
    if look.blur:
        images = gaussian_filter(images, (0, look.blur, look.blur, 0), mode="nearest")
    if look.coarse:
        even = np.pad(images, ((0, 0), (0, side % 2), (0, side % 2), (0, 0)), mode="edge")
        images = _halved(even).repeat(2, 1).repeat(2, 2)[:, :side, :side]
    if look.noise:
        images = images + look.noise * rng.standard_normal(images.shape, np.float32)
    result: NDArray[np.uint8] = (np.clip(images, 0, 1) * 255 + 0.5).astype(np.uint8)
    return result


def spots(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Smooth random fields (N, side, side, 3) of deviation about 1/2, from 4 x 4 random numbers a channel."""
    coarse = rng.standard_normal((count, 4, 4, 3), np.float32)
    place = np.linspace(0, 3, side, dtype=np.float32)
    weights = np.maximum(1 - np.abs(place[:, None] - np.arange(4, dtype=np.float32)), 0)
    across = np.matmul(weights, coarse.reshape(count, 4, 12)).reshape(count, side, 4, 3)
    field: Floats = np.matmul(weights, across)
    return field


def colours(count: int, rng: np.random.Generator) -> Floats:
    """(N, 3): random colours from 0 to 1."""
    return rng.random((count, 3), np.float32)


def contrasting(first: Floats, rng: np.random.Generator, least: float = 0.35) -> Floats:
    """For each colour (N, 3) another one that differs from it in luminance by `least` or more."""
    other = colours(len(first), rng)
    gap = ((other - first) @ _LUMINANCE)[:, None]
    wanted = np.where(first @ _LUMINANCE < 0.5, 1.0, -1.0)[:, None].astype(np.float32)
    # A colour too close is moved towards white or black, by so much that the luminance is right.
    target = np.where(wanted > 0, 1.0, 0.0).astype(np.float32)
    short = np.maximum(least - wanted * gap, 0)
    room = np.maximum(np.abs(target - (other @ _LUMINANCE)[:, None]), 1e-3)
    moved = other + (target - other) * np.minimum(short / room, 1)
    return np.where(np.abs(gap) >= least, other, moved).astype(np.float32)


def hues(angle: NDArray[np.float64], saturation: float | NDArray[np.float64], value: float | NDArray[np.float64]) -> Floats:
    """(N, 3): colours of these hues (turns, 0 to 1), saturations and values."""
    wheel = np.clip(np.abs((angle[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    saturation, value = np.reshape(saturation, (-1, 1)), np.reshape(value, (-1, 1))
    return np.asarray(value * (1 - saturation * (1 - wheel)), np.float32)


def _drawn_colour(contrast: float, rng: np.random.Generator) -> Floats:
    """As it is, grey, permuted channels, turned hues, inverted, or grey between two colours."""
    which = rng.choice(["as is", "grey", "permuted", "turned", "inverted", "tinted"], p=[0.25, 0.15, 0.15, 0.15, 0.15, 0.15])
    matrix, offset = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    if which == "grey":
        matrix = np.tile(_LUMINANCE, (3, 1))
    elif which == "permuted":
        matrix = matrix[rng.permutation(3)]
    elif which == "turned":
        matrix = _hue_rotation(rng.uniform(0.3, 2 * np.pi - 0.3))
    elif which == "inverted":
        matrix, offset = -matrix, offset + 1
    elif which == "tinted":
        dark = colours(1, rng)
        bright = contrasting(dark, rng, 0.5)
        matrix, offset = np.outer(bright - dark, _LUMINANCE).astype(np.float32), dark[0]
    offset = contrast * offset + (1 - contrast) * rng.uniform(0.3, 0.7)
    return np.concatenate([contrast * matrix, offset[:, None]], 1).astype(np.float32)


def _hue_rotation(angle: float) -> Floats:
    """(3, 3): the turn about the grey axis (Rodrigues)."""
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return np.asarray(cosine * np.eye(3) + sine * cross + (1 - cosine) / 3, np.float32)


def _halved(images: Floats) -> Floats:
    """Averages of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (length // 2 * 2 for length in images.shape[1:3])
    images = images[:, :height, :width]
    rows = images[:, ::2] + images[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)


def _covered(images: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Some images with a rectangle of one colour, up to half a side long, over a random place."""
    count, side = images.shape[:2]
    first = rng.uniform(-0.2, 1, (count, 2)) * side
    last = first + rng.uniform(0.15, 0.5, (count, 2)) * side
    line = np.arange(side) + 0.5
    inside = (line >= first[:, :, None]) & (line < last[:, :, None])
    inside &= np.less(rng.random((count, 1, 1)), share)
    area: NDArray[np.bool_] = np.logical_and(inside[:, 0, :, None], inside[:, 1, None, :])[..., None]
    return np.where(area, colours(count, rng)[:, None, None, :], images)
