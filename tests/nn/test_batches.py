import numpy as np
import pytest
import torch

from archscout.nn.batches import Augmentation, ImageSplit, augmented, batches_of, halved
from archscout.nn.tokens import TokenSplit


def split_of(images: np.ndarray, **fields: object) -> ImageSplit:
    count = len(images)
    return ImageSplit(images, np.arange(count) % 3, np.arange(count), (0.5,), (0.25,), **fields)  # type: ignore[arg-type]


NUMBERED = (np.arange(40)[:, None, None, None] * np.ones((1, 6, 6, 1))).astype(np.uint8)


def picture() -> torch.Tensor:
    """(1, 1, 4, 5), every pixel another value."""
    return torch.arange(1.0, 21.0).view(1, 1, 4, 5)


def test_without_a_seed_the_order_is_the_splits_and_nothing_is_left_out() -> None:
    seen = torch.cat([labels for _, labels in batches_of(split_of(NUMBERED), 16)])
    assert seen.tolist() == [i % 3 for i in range(40)]


def test_with_a_seed_batches_are_full_shuffled_and_repeatable() -> None:
    one, again, other = ([x[:, 0, 0, 0] for x, _ in batches_of(split_of(NUMBERED), 16, seed=s)] for s in (1, 1, 2))
    assert [len(x) for x in one] == [16, 16]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert len(torch.cat(one).unique()) == 32


def test_the_later_batches_do_not_depend_on_whether_the_earlier_ones_were_drawn() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    split = split_of(noise, augmentation=Augmentation(2, True, 3))
    whole = list(batches_of(split, 8, seed=5, augment=True))
    rest = list(batches_of(split, 8, seed=5, augment=True, start=3))
    assert len(rest) == 2
    for (x, y), (u, v) in zip(whole[3:], rest, strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)


def test_values_are_normalised_and_memory_is_channels_last() -> None:
    images = np.full((4, 6, 6, 3), 255, dtype=np.uint8)
    split = ImageSplit(images, np.zeros(4, np.int64), np.arange(4), (0.5, 0.5, 0.0), (0.25, 0.5, 1.0), Augmentation(1, True, 2))
    for augment in (False, True):
        x, _ = next(batches_of(split, 4, seed=0, augment=augment))
        assert x.shape == (4, 3, 6, 6) and x.is_contiguous(memory_format=torch.channels_last)
    x, _ = next(batches_of(split, 4))
    assert torch.allclose(x[0, :, 0, 0], torch.tensor([2.0, 1.0, 1.0]))


def test_no_augmentation_changes_nothing() -> None:
    assert torch.equal(augmented(picture(), Augmentation(), torch.Generator()), picture())


def test_a_flip_mirrors_left_and_right_about_half_of_the_images() -> None:
    x = picture().expand(400, -1, -1, -1)
    result = augmented(x, Augmentation(flip=True), torch.Generator().manual_seed(0))
    mirrored = [torch.equal(image, picture()[0].flip(2)) for image in result]
    same = [torch.equal(image, picture()[0]) for image in result]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


def test_a_shift_moves_the_image_and_repeats_its_border() -> None:
    x = picture().expand(300, -1, -1, -1)
    result = augmented(x, Augmentation(shift=1), torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(picture(), (1, 1, 1, 1), mode="replicate")[0]
    places = {(d, r): padded[:, d : d + 4, r : r + 5] for d in range(3) for r in range(3)}
    found = [next((at for at, window in places.items() if torch.equal(image, window)), None) for image in result]
    assert None not in found
    assert set(found) == set(places)


def test_a_cutout_is_a_square_of_zeros_and_leaves_the_given_batch_alone() -> None:
    x = torch.ones(200, 2, 12, 12)
    result = augmented(x, Augmentation(cutout=4), torch.Generator().manual_seed(0))
    assert x.min() == 1
    sizes = set()
    for image in result:
        assert torch.equal(image[0], image[1])
        rows, columns = torch.where(image[0] == 0)
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert len(rows) == height * width and height <= 4 and width <= 4
        sizes.add((height, width))
    assert (4, 4) in sizes


@pytest.mark.parametrize(("share", "first"), [(0.0, 1), (0.3, 6), (0.7, 14), (1.0, 19)])
def test_halves_of_a_text_have_only_the_token_at_their_edge_in_common(share: float, first: int) -> None:
    one, two = halved(TokenSplit(np.arange(101), 5), share, 0)
    assert (len(one), len(two)) == (first, 20 - first)
    assert [*one.ids, *two.ids[1:]] == list(range(101)), "what the first part has only to foretell is the first to be read next"
    assert one.ids[-1] == two.ids[0]


@pytest.mark.parametrize(("share", "first"), [(0.0, 1), (0.3, 12), (1.0, 39)])
def test_halves_of_images_are_random_and_each_image_is_in_one(share: float, first: int) -> None:
    (one, two), (other, _) = (halved(split_of(NUMBERED), share, seed) for seed in (0, 1))
    assert (len(one), len(two)) == (first, 40 - first)
    assert sorted([*one.rows, *two.rows]) == list(range(40))
    assert one.rows.tolist() != other.rows.tolist()
