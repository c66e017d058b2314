"""Fisher information and distances between tasks: what they must keep, closed forms, and values by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.nn.task_distance import TaskDistance, centroids, drawn_labels, head_of, matching, support, without_head
from archscout.nn.task_networks import small_network

PLAIN = TaskDistance()
KINDS = [TaskDistance(mode=mode) for mode in ("per-sample", "true", "reference")]


def network(seed=0, outputs=4):
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(seed)
        return small_network((1, 8, 8), outputs).eval()


def batch(count=20, classes=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=draw), torch.randint(classes, (count,), generator=draw)


def vectors(*parts):
    return {f"w{n}": torch.tensor(part, dtype=torch.float64) for n, part in enumerate(parts)}


def looped(model, x, y):
    """Per-sample Fisher by one backward pass an image."""
    found = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in model.named_parameters()}
    for image, label in zip(x, y, strict=True):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        for name, weight in model.named_parameters():
            found[name] += weight.grad.double().square()
    return {name: part / len(x) for name, part in found.items()}


def test_per_sample_is_an_explicit_loop():
    model, (x, y) = network(), batch()
    found, wanted = PLAIN.fisher(model, x, y), looped(model, x, y)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("mode", ["per-sample", "true"])
def test_the_size_of_chunks_changes_nothing(mode):
    model, (x, y) = network(), batch()
    one, other = (TaskDistance(mode=mode, chunk=chunk).fisher(model, x, y) for chunk in (3, 64))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-14)


def test_reference_is_what_the_released_code_computes():
    model, (x, y) = network(), batch()
    found = TaskDistance(mode="reference", batch=8).fisher(model, x, y)
    wanted = {name: 0.0 for name, _ in model.named_parameters()}
    for start in (0, 8, 16):
        model.zero_grad()
        F.cross_entropy(model(x[start : start + 8]), y[start : start + 8]).backward()
        for name, weight in model.named_parameters():
            wanted[name] += (weight.grad.double() ** 2).mean(0)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(found[name], wanted[name].expand_as(weight), rtol=1e-4, atol=1e-12)


def test_true_fisher_of_logistic_regression_in_closed_form():
    """p (1 - p) x^2, averaged: with two outputs it is the same for both rows."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2)).double()
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = rows.repeat(10_000, 1)
    found = TaskDistance(mode="true", chunk=4096).fisher(model, x, torch.zeros(len(x), dtype=torch.int64), seed=3)
    p = model(rows).softmax(1)[:, 1].detach()
    wanted = ((p * (1 - p))[:, None] * rows**2).mean(0)
    for row in range(2):
        torch.testing.assert_close(found["1.weight"][row], wanted, rtol=0.05, atol=0)
        torch.testing.assert_close(found["1.bias"][row], (p * (1 - p)).mean(), rtol=0.05, atol=0)


def test_drawn_labels_follow_the_softmax_and_are_shared():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 4))
    x = torch.ones(20_000, 3)
    labels = drawn_labels(model, x, seed=0)
    shares = torch.bincount(labels, minlength=4) / len(x)
    torch.testing.assert_close(shares, model(x[:1])[0].softmax(0).detach(), atol=0.02, rtol=0)
    assert torch.equal(labels, drawn_labels(model, x, seed=0, chunk=7)) and not torch.equal(labels, drawn_labels(model, x, seed=1))


@pytest.mark.parametrize("distance", KINDS, ids=lambda one: one.mode)
def test_from_a_network_to_itself_is_exactly_nought(distance):
    model, (x, y) = network(), batch()
    one, other = (distance.fisher(model, x, y, seed=5) for _ in range(2))
    assert distance.between(one, other) == 0.0
    assert replace(distance, kind="log-determinant").between(one, other) == 0.0


entries = st.lists(st.floats(0, 1e3), min_size=6, max_size=6).filter(lambda values: sum(values) > 1e-3)


@settings(max_examples=60, deadline=None)
@given(entries, entries, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_frechet_is_a_distance_of_distributions(one, other, scale, another):
    a, b = vectors(one[:2], one[2:]), vectors(other[:2], other[2:])
    found = PLAIN.between(a, b)
    assert 0 <= found <= 1 and PLAIN.between(a, a) == 0.0
    p, q = np.array(one) / np.sum(one), np.array(other) / np.sum(other)
    assert found == pytest.approx(1 - np.sqrt(p * q).sum(), abs=1e-9), "one less the Bhattacharyya coefficient"
    scaled = PLAIN.between({k: v * scale for k, v in a.items()}, {k: v * another for k, v in b.items()})
    assert scaled == pytest.approx(found, abs=1e-9)
    assert replace(PLAIN, squared=False).between(a, b) == pytest.approx(np.sqrt(found))


def test_disjoint_supports_are_as_far_apart_as_can_be():
    assert PLAIN.between(vectors([1.0, 2.0, 0.0, 0.0]), vectors([0.0, 0.0, 5.0, 1.0])) == pytest.approx(1.0)


def test_permuted_units_of_both_change_nothing_and_of_one_something():
    model, (x, y) = network(), batch()
    other, order = network(1), torch.randperm(32, generator=torch.Generator().manual_seed(0))

    def permuted(fisher):
        rows = {"hidden.weight", "hidden.bias"}
        found = {name: part[order] if name in rows else part for name, part in fisher.items()}
        return found | {"head.weight": fisher["head.weight"][:, order]}

    a, b = PLAIN.fisher(model, x, y), PLAIN.fisher(other, x, y)
    plain = PLAIN.between(a, b)
    assert PLAIN.between(permuted(a), permuted(b)) == pytest.approx(plain, abs=1e-12)
    assert abs(PLAIN.between(permuted(a), b) - plain) > 1e-3


def test_log_determinant_by_hand():
    a, b = vectors([0.5, 0.1], [0.4]), vectors([0.2, 0.2], [0.6])
    wanted = (abs(np.log(0.5 / 0.2) + np.log(0.1 / 0.2)) + abs(np.log(0.4 / 0.6))) / 3
    plain = TaskDistance(kind="log-determinant", clip=0.0)
    assert plain.between(a, b) == pytest.approx(wanted, rel=1e-6)
    assert plain.between(a, b) != pytest.approx(abs(np.log(0.5 * 0.1 * 0.4 / (0.2 * 0.2 * 0.6))) / 3), "one absolute value a tensor"
    dead = vectors([0.5, 0.0], [0.5])
    assert plain.between(dead, b) > 5 > TaskDistance(kind="log-determinant", clip=0.3).between(dead, b)


def test_per_tensor_averages_tensors():
    a, b = vectors([1.0, 3.0], [5.0, 5.0]), vectors([1.0, 1.0], [70.0, 30.0])
    parts = [PLAIN.between({name: a[name]}, {name: b[name]}) for name in a]
    assert replace(PLAIN, per_tensor=True).between(a, b) == pytest.approx(np.mean(parts))


def test_effective_support():
    assert support(vectors([2.0, 2.0], [2.0, 2.0])) == pytest.approx(4.0)
    assert support(vectors([7.0, 0.0])) == pytest.approx(1.0)


def test_a_network_that_is_sure_of_everything_cannot_be_compared():
    with pytest.raises(UserError, match=r"sums to 0\.0, so that it cannot be compared"):
        PLAIN.between(vectors([0.0, 0.0]), vectors([1.0, 0.0]))


def test_the_head_can_be_left_out():
    model, (x, y) = network(), batch()
    assert head_of(model)[0] == "head"
    found = PLAIN.fisher(model, x, y)
    assert set(found) - set(without_head(found, model)) == {"head.weight", "head.bias"}
    assert PLAIN.leaves_head_out({2, 5}) and not PLAIN.leaves_head_out({4})
    assert TaskDistance(match="centroid").leaves_head_out({4})
    assert not TaskDistance(head="keep").leaves_head_out({2, 5}) and TaskDistance(head="leave-out").leaves_head_out({4})
    with pytest.raises(UserError, match="end in a linear layer"):
        head_of(nn.Conv2d(1, 1, 1))


def test_labels_beyond_the_outputs_meet_logits_of_nought():
    model, (x, y) = network(outputs=2), batch(classes=4)
    found = PLAIN.fisher(model, x, y)

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, images):
            return F.pad(self.inner(images), (0, 2))

    wanted = looped(Padded().eval(), x, y)
    torch.testing.assert_close(found["head.weight"], wanted["inner.head.weight"], rtol=1e-5, atol=1e-12)


def test_normalisations_are_in_evaluation_mode_and_the_mode_comes_back():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)).train()
    x, y = batch()
    before = {name: part.clone() for name, part in model.named_buffers()}
    found = PLAIN.fisher(model, x, y)
    assert model.training and all(torch.equal(part, before[name]) for name, part in model.named_buffers())
    torch.testing.assert_close(found["1.weight"], looped(model.eval(), x, y)["1.weight"], rtol=1e-4, atol=1e-12)


def test_classes_are_matched_by_what_they_look_like():
    model, (x, y) = network(), batch(200)
    order = torch.tensor([2, 0, 3, 1])
    own, renamed = centroids(model, x, y, 4), centroids(model, x, order[y], 4)
    assert torch.equal(matching(own, renamed)[order], torch.arange(4))
    wanted = torch.stack([_features(model, x)[y == label].mean(0) for label in range(4)])
    torch.testing.assert_close(own, wanted.double(), rtol=1e-4, atol=1e-6)


def _features(model, x):
    return model[:-1](x).detach()


def test_classes_that_have_no_counterpart_get_numbers_of_their_own():
    source, target = torch.tensor([[0.0], [10.0]]), torch.tensor([[9.0], [4.0], [0.5]])
    assert matching(source, target).tolist() == [1, 2, 0]
    assert matching(target, source).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "empirical"}, "mode is one of per-sample"),
        ({"clip": 1.0}, "clip is at least 0"),
        ({"match": "centroid", "head": "keep"}, "left out then"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        TaskDistance(**wrong)


def test_networks_of_two_kinds_do_not_compare():
    x, y = batch()
    with pytest.raises(ValueError, match="of one kind"):
        PLAIN.between(PLAIN.fisher(network(), x, y), PLAIN.fisher(network(outputs=5), x, y))
