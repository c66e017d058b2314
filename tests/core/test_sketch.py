from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from archscout.core.sketch import KEPT, _canonical, shared, sketch


def noise(count: int, side: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


def test_hashes_that_must_not_change() -> None:
    """Files of sketches are compared with those of other machines and versions."""
    image = np.arange(28 * 28 * 3, dtype=np.uint32).reshape(1, 28, 28, 3) * 7 % 251
    assert [f"{number:016x}" for number in sketch(image.astype(np.uint8))] == [GOLDEN]


GOLDEN = "a50acfba77e30b13"


def test_a_sketch_is_ascending_and_has_each_hash_once() -> None:
    images = noise(50)
    found = sketch(np.concatenate([images, images[:20]]))
    assert found.dtype == np.uint64 and len(found) == 50 and (found[1:] > found[:-1]).all()
    assert np.array_equal(sketch(images[::-1]), found)
    assert np.array_equal(sketch(images, 7), found[:7])
    assert len(sketch(noise(KEPT + 10))) == KEPT


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_shared_counts_the_common_images(both: int, first: int, second: int) -> None:
    images = noise(both + first + second, 5)
    one, other = images[: both + first], np.concatenate([images[:both], images[both + first :]])
    assert shared(sketch(one), sketch(other)) == both


def test_small_sketches_count_some_of_the_common_images() -> None:
    images = noise(3000, 4)
    found = shared(sketch(images[:2000], 500), sketch(images[1000:], 500))
    assert found == pytest.approx(250, rel=0.2)  # of 1,000 common ones those among the 500 smallest of both 2,000


@given(arrays(np.uint8, st.tuples(st.just(3), st.integers(2, 40), st.integers(2, 40), st.just(1))))
def test_grey_rgb_and_inverted_are_the_same(images: np.ndarray) -> None:
    assert np.array_equal(sketch(images), sketch(images.repeat(3, 3)))
    halves = 2 * images.reshape(3, -1).sum(1, dtype=np.int64) == 255 * images[0].size
    assert halves.any() or np.array_equal(sketch(images), sketch(255 - images))


def test_images_of_one_colour_are_left_out() -> None:
    plain = np.full((4, 9, 9, 3), 7, np.uint8)
    assert len(sketch(plain)) == 0 == len(sketch(plain[:0])) and len(sketch(np.concatenate([plain, noise(2, 9)]))) == 2


@pytest.mark.parametrize("shape", [(16, 16), (28, 28), (33, 40), (64, 64), (105, 105), (32, 50)])
def test_canonical_images_are_averages(shape: tuple[int, int]) -> None:
    """Each of 32 x 32 pixels is the average of what it covers, found here by repeating every pixel 32 times."""
    height, width = shape
    image = np.random.default_rng(1).integers(0, 100, (1, *shape, 3), np.uint8)
    large = image[0].astype(np.int64).repeat(32, 0).reshape(32, height, width, 3).sum(1)
    large = large.repeat(32, 1).reshape(32, 32, width, 3).sum(2)
    assert np.array_equal(_canonical(image)[0], np.floor(large / (height * width) + 0.5).astype(np.uint8))
