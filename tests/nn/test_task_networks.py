"""Networks that stand for tasks: one start for all tasks of a seed, images of one form, and which of them learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archscout.core.errors import UserError
from archscout.nn.baseline_tasks import baseline_of, read_baseline
from archscout.nn.batches import ImageSplit
from archscout.nn.task_distance import TaskDistance
from archscout.nn.task_networks import NetworkPlan, accuracy_of, brought, common_shape, images_of, small_network, trained
from archscout.testing.tasks import image_task

PLAN = NetworkPlan((1, 8, 8), epochs=1, samples=30)


def split(images, labels=None):
    count = len(images)
    channels = images.shape[3]
    return ImageSplit(
        images, np.zeros(count, np.int64) if labels is None else labels, np.arange(count), (0.5,) * channels, (0.25,) * channels
    )


def test_the_number_of_classes_changes_the_start_of_no_other_weight():
    plan = NetworkPlan((1, 8, 8), epochs=1e-6, rate=1e-30)
    few, many = (trained(images_of(image_task((1, 8, 8), classes, 40), plan), plan, seed=3) for classes in (2, 14))
    for name, weight in few.named_parameters():
        if not name.startswith("head"):
            torch.testing.assert_close(weight, many.get_parameter(name))
    assert few.head.out_features == 10 and many.head.out_features == 14
    other = trained(images_of(image_task((1, 8, 8), 2, 40), plan), plan, seed=4)
    assert not torch.equal(other.conv1.weight, few.conv1.weight)


def test_a_training_follows_from_the_seed_and_learns():
    images = images_of(image_task((1, 8, 8), 3, 256), PLAN)
    plan = NetworkPlan((1, 8, 8), epochs=6, batch=16)
    passes = []
    one, other = (trained(images, plan, 0, tell=lambda: passes.append(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert len(passes) == 12
    accuracy = accuracy_of(one, images)
    assert images.learned(accuracy), f"it should learn these, but reached {accuracy} at a chance of {images.chance}"


def test_what_chance_reaches_does_not_count_as_learned():
    images = images_of(image_task((1, 8, 8), 3, 256), PLAN)
    assert not images.learned(images.chance) and images.learned(1.0)


def test_parameters_of_the_small_network():
    network = small_network((1, 8, 8), 10)
    assert sum(part.numel() for part in network.parameters()) == 160 + 2320 + 256 * 32 + 32 + 330


def test_images_of_several_sets_get_one_form():
    assert common_shape([(1, 28, 28), (1, 28, 28)]) == (1, 28, 28)
    assert common_shape([(1, 28, 28), (3, 32, 32)]) == (3, 32, 32)
    assert common_shape([(1, 28, 28), (3, 64, 48)]) == (3, 32, 32)
    assert common_shape([(1, 28, 28)], 16) == (1, 16, 16)


def test_an_even_image_stays_even_in_every_form():
    images = np.full((3, 10, 14, 3), 90, np.uint8)
    for shape in ((3, 8, 8), (1, 20, 20), (1, 10, 14)):
        found = brought(split(images), shape)
        assert found.images.shape == (3, *shape[1:], shape[0]) and set(found.images.flat) <= {89, 90}
    grey = brought(split(np.full((2, 8, 8, 1), 7, np.uint8)), (3, 8, 8))
    assert grey.images.shape == (2, 8, 8, 3) and set(grey.images.flat) == {7} and grey.mean == (0.5, 0.5, 0.5)


def test_the_middle_is_cut_out():
    images = np.zeros((1, 8, 24, 1), np.uint8)
    images[:, :, 8:16] = 200
    assert set(brought(split(images), (1, 8, 8)).images.flat) == {200}


def test_at_most_so_many_images_keep_their_labels():
    labels = np.arange(50) % 5
    images = np.repeat(labels.astype(np.uint8), 64).reshape(50, 8, 8, 1)
    found = brought(split(images, labels), (1, 8, 8), most=20)
    assert len(found) == 20 and np.array_equal(found.images[:, 0, 0, 0], found.labels)


def test_plans_are_checked():
    for epochs in (0.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="epochs and rate are above 0"):
            NetworkPlan((1, 8, 8), epochs=epochs)


def test_a_kept_task_is_read_back_whole(tmp_path):
    images = images_of(image_task((1, 8, 8), 3, 64), PLAN)
    network = trained(images, PLAN, 0)
    task = baseline_of("mine", "bands", images, PLAN, [(network, 0.75)], ["nas201:1.2.3.0.1.2"])
    task.save(tmp_path / "mine.safetensors")
    found = read_baseline(tmp_path / "mine.safetensors")
    assert found.facts() == task.facts() and found.plan == PLAN and found.architectures == ("nas201:1.2.3.0.1.2",)
    torch.testing.assert_close(found.centroids[0], task.centroids[0])
    distance = TaskDistance()
    one, other = (distance.fisher(model, images.x, images.y) for model in (network, found.network(0)))
    assert distance.between(one, other) == 0.0
    (tmp_path / "bad.safetensors").write_bytes(b"no task")
    with pytest.raises(UserError, match=r"bad.safetensors' holds no baseline task"):
        read_baseline(tmp_path / "bad.safetensors")
