"""Which items the marks of a run are of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archscout.nn.batches import ImageSplit
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.marks import digest_of
from archscout.nn.tokens import TokenSplit

IMAGES = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 1)).astype(np.uint8)
LABELS = np.arange(40) % 4


def split(rows: list[int]) -> ImageSplit:
    return ImageSplit(IMAGES, LABELS, np.array(rows), (0.5,), (0.2,))


def test_the_digest_follows_from_the_items_and_their_order_alone() -> None:
    one = split([3, 5, 8])
    same = ImageSplit(IMAGES[[8, 3, 5]].copy(), LABELS[[8, 3, 5]], np.array([1, 2, 0]), (0.1,), (0.9,))
    assert digest_of(one) == digest_of(same), "neither the place nor the scaling matters"
    changed = IMAGES.copy()
    changed[5, 0, 0, 0] ^= 1
    others = [split([5, 3, 8]), split([3, 5]), replace(one, images=changed), replace(one, labels=(LABELS + 1) % 4)]
    assert len({digest_of(each) for each in (one, *others)}) == 5
    assert digest_of(replace(one, images=IMAGES.reshape(40, 4, 16, 1))) != digest_of(one)


def test_episodes_and_windows_have_one_too() -> None:
    episodes = EpisodeSplit(split(list(range(40))), ways=2, shots=1, queries=2, count=10)
    assert len({digest_of(each) for each in (episodes, replace(episodes, shots=2), replace(episodes, count=11))}) == 3
    text = TokenSplit(np.arange(100), 10)
    assert len({digest_of(each) for each in (text, TokenSplit(np.arange(100), 20), TokenSplit(np.arange(1, 101), 10))}) == 3
