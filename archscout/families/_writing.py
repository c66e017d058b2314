"""How writing looks on its paper: inks, grounds, and the characters that stand beside, of which a part is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archscout.families._look import Floats, Look, colours, contrasting, moves, sampled, spots


@dataclass(frozen=True, eq=False)
class Paper:
    """What the writing of a task has in common.

    ground: "black" for bright ink on black, "plain" for two colours, "random" for two of each image, "spots" for these on a ground
    that is uneven. low, high: (1, 3) the plain colours. beside: the share of images with other characters beside the own one.
    """

    ground: str
    low: Floats
    high: Floats
    beside: float

    def written(
        self, own: NDArray[np.uint8], other: Callable[[int], NDArray[np.uint8]], look: Look, side: int, rng: np.random.Generator
    ) -> Floats:
        """Characters (N, H, W, 1), bright on black, as paintings (N, side, side, 3); `other` gives so many of any class."""
        count = len(own)
        maps = moves(count, look, rng)
        ink = sampled(own, maps, side)
        some = np.flatnonzero(rng.random(count) < self.beside)
        if len(some):
            angle = rng.uniform(0, 2 * np.pi, len(some))
            away = np.stack([np.cos(angle), np.sin(angle)], 1)[:, :, None] * rng.uniform(1.1, 1.5, (len(some), 1, 1))
            aside = maps[some].copy()
            aside[:, :, 2:] -= aside[:, :, :2] @ away.astype(np.float32)
            ink = ink.copy()
            ink[some] = np.maximum(ink[some], sampled(other(len(some)), aside, side))
        if self.ground == "black":
            return ink
        plain = self.ground == "plain"
        low = np.repeat(self.low, count, 0) if plain else colours(count, rng)
        high = (np.repeat(self.high, count, 0) if plain else contrasting(low, rng, 0.5))[:, None, None, :]
        below = low[:, None, None, :] + (np.float32(0.12) * spots(count, side, rng) if self.ground == "spots" else np.float32(0))
        return below + ink * (high - below)


def drawn_paper(rng: np.random.Generator) -> Paper:
    """A random paper."""
    low = colours(1, rng)
    ground = str(rng.choice(["black", "plain", "random", "spots"]))
    return Paper(ground, low, contrasting(low, rng, 0.5), float(rng.choice([0.0, 0.0, 0.4, 0.8])))
