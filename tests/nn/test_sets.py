"""Codes of datasets: sizes, the order that means nothing, padding that changes nothing, draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.seeds import generator, seeded
from archscout.nn.sets import Attention, DatasetEncoder, SetPool, drawn


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def encoder(features=6, width=8):
    with seeded(1):
        return DatasetEncoder(features, width, heads=2).double()


def dataset(rng, sizes, features=6):
    return [rng.standard_normal((size, features)).astype(np.float32) for size in sizes]


@torch.no_grad()
def code(module, datasets, per_class=100):
    sets = drawn(datasets, per_class, generator(0))
    return module(sets._replace(rows=sets.rows.double()))


def test_published_sizes_have_the_published_parameters():
    assert parameters(SetPool(512, 56, 4)) == 118_160
    assert parameters(SetPool(56, 56, 4)) == 41_552
    assert parameters(DatasetEncoder(512)) == 118_160 + 41_552


def test_attention_is_the_published_formula():
    with seeded(0):
        block, queries, keys = Attention(3, 5, 8, heads=2), torch.randn(1, 4, 3), torch.randn(1, 6, 5)
    q, k, v = block.query(queries)[0], block.key(keys)[0], block.value(keys)[0]
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = torch.softmax(q[:, part] @ k[:, part].T / 8**0.5, -1)  # the root of the whole width, not of a head's
        heads.append(q[:, part] + weights @ v[:, part])
    found = torch.cat(heads, -1)
    assert torch.allclose(block(queries, keys)[0], found + torch.relu(block.out(found)), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 7), min_size=2, max_size=6), st.integers(0, 10**6))
def test_the_order_of_images_and_of_classes_means_nothing(sizes, seed):
    rng, module = generator(seed), encoder()
    one = dataset(rng, sizes)
    other = [rng.permutation(rows) for rows in one]
    rng.shuffle(other)
    assert torch.allclose(code(module, [one]), code(module, [other]), atol=1e-9)


def test_a_class_twice_is_another_dataset():
    module, one = encoder(), dataset(generator(0), (4, 5))
    assert (code(module, [one]) - code(module, [[*one, one[0]]])).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=5), min_size=2, max_size=4), st.integers(0, 10**6))
def test_a_batch_gives_what_each_dataset_gives_alone(sizes, seed):
    module, rng = encoder(), generator(seed)
    datasets = [dataset(rng, each) for each in sizes]
    alone = torch.cat([code(module, [one]) for one in datasets])
    assert torch.allclose(code(module, datasets), alone, atol=1e-9)


def test_draws_take_as_many_images_as_are_wanted_or_are_there():
    rng = generator(0)
    one, other = dataset(rng, (30, 3)), dataset(rng, (5, 5, 5))
    sets = drawn([one, other], 4, generator(1))
    assert sets.rows.shape == (5, 4, 6)
    assert sets.present.sum(1).tolist() == [4, 3, 4, 4, 4]
    assert sets.there.tolist() == [[True, True, False], [True, True, True]]
    assert sets.classes[1].tolist() == [2, 3, 4] and sets.classes[0, :2].tolist() == [0, 1]
    taken = {tuple(row) for row in sets.rows[0].tolist()}
    assert len(taken) == 4 and taken <= {tuple(row) for row in one[0].tolist()}
    assert not torch.equal(drawn([one], 4, generator(2)).rows, sets.rows[:2])


def test_features_are_moved_and_scaled_by_what_was_fitted():
    rng, module = generator(3), encoder()
    datasets = [[3 + 5 * rows for rows in dataset(rng, (40, 50))] for _ in range(3)]
    module.fit_features(datasets)
    rows = (torch.from_numpy(np.concatenate([rows for one in datasets for rows in one])) - module.shift) / module.scale
    assert rows.mean(0).abs().max() < 1e-5
    assert float(rows.var(0, correction=0).mean()) == pytest.approx(1, abs=1e-4)
    module.fit_features([[np.ones((3, 6), np.float32)] * 2])
    assert torch.isfinite(code(module, datasets)).all()
