"""The network of image features: what it is given, what it learns, and that it goes on where it was cut."""

import numpy as np
import torch

from archscout.nn.image_features import SIDE, ImageFeatures, thumbnails, training


def tasks(count=3):
    """Of 4 classes each, told apart by the place of a bright bar."""
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        labels = np.arange(80) % 4
        images = rng.integers(0, 90, (80, 12, 12, 3))
        for image, label in zip(images, labels, strict=True):
            image[:, 3 * label : 3 * label + 3, number % 3] += 120
        found.append((images.astype(np.uint8), labels))
    return found


def test_thumbnails_are_normalised_and_of_three_channels():
    images = np.random.default_rng(0).integers(0, 200, (9, 28, 20, 1)).astype(np.uint8)
    x = thumbnails(images, SIDE)
    assert x.shape == (9, 3, SIDE, SIDE)
    assert torch.equal(x[:, 0], x[:, 2]) and abs(float(x.mean())) < 1e-5 and abs(float(x.std()) - 1) < 0.01
    flat = thumbnails(np.full((2, 8, 8, 3), 7, np.uint8), SIDE)
    assert torch.equal(flat, torch.zeros_like(flat))


def test_it_learns_to_tell_classes_apart():
    lectures = list(training(tasks(), 40, seed=0))
    assert [lecture.done for lecture in lectures] == [20, 40]
    assert lectures[-1].metrics["accuracy"] > 0.9 > 0.25
    net = ImageFeatures()
    net.load_state_dict({name.removeprefix("learned."): t for name, t in lectures[-1].state.items() if name.startswith("learned.")})
    assert net.eval()(thumbnails(tasks(1)[0][0], SIDE)).shape == (80, ImageFeatures.width)


def test_it_goes_on_where_it_was_cut():
    first, last = training(tasks(), 40, seed=1)
    *_, again = training(tasks(), 40, seed=1, state=first.state)
    assert again.metrics == last.metrics
    assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(again.state[name])) for name, value in last.state.items())
