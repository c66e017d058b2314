"""MAML's four convolutions: published sizes, any image, and what stands beside a search."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from archscout.core.draw import enumerate_space
from archscout.core.problem import FEW_SHOT, Problem, Task
from archscout.nn.measure import counts
from archscout.nn.network import Network
from archscout.spaces.handmade_few_shot import HandmadeFewShot

SPACE = HandmadeFewShot()
STRIDE, POOL = 0, 1
OMNIGLOT = Task("omniglot", FEW_SHOT, (1, 28, 28), 5, "omniglot-like")
MINI = Task("mini", FEW_SHOT, (3, 84, 84), 5, "mini-like")


@pytest.mark.parametrize(
    ("task", "choices", "params", "macs"),
    [
        (MINI, (1, POOL), 32_901, 27.3),
        (OMNIGLOT, (2, POOL), 112_261, 9.8),
        (OMNIGLOT, (2, STRIDE), 112_261, 2.7),
        (OMNIGLOT, (1, POOL), 28_485, 2.6),
    ],
)
def test_the_published_sizes(task, choices, params, macs):
    found = counts(SPACE, SPACE.architecture(choices), task)
    assert found["params"] == params
    assert round(found["macs"] / 1e6, 1) == macs


@pytest.mark.parametrize(
    ("side", "family", "extents"),
    [(28, STRIDE, (14, 7, 4, 2)), (28, POOL, (14, 7, 3, 1)), (84, POOL, (42, 21, 10, 5)), (5, POOL, (2, 1, 1, 1))],
)
def test_every_block_halves_while_it_can(side, family, extents):
    graph = SPACE.operations(SPACE.architecture((0, family)), Task("t", FEW_SHOT, (2, side, side), 3, "t"))
    assert tuple(graph.operations[graph.marks[f"stage{stage}"]].shape[1] for stage in (1, 2, 3, 4)) == extents
    assert graph.operations[graph.output].shape == (3,)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (3, 30, 47), (3, 84, 84)])
@pytest.mark.parametrize("architecture", list(enumerate_space(SPACE))[:4], ids=str)
def test_any_image_size(shape, architecture):
    network = SPACE.build(architecture, Task("t", FEW_SHOT, shape, 4, "t")).eval()
    assert network(torch.randn(2, *shape)).shape == (2, 4)


def test_the_classifier_of_a_larger_map_is_a_linear_layer_on_all_its_pixels():
    network = Network(SPACE.operations(SPACE.architecture((0, POOL)), MINI)).double().eval()
    x, seen = torch.randn(2, *MINI.shape, dtype=torch.float64), {}
    modules = dict(network.named_modules())
    modules["classifier"].register_forward_hook(lambda _, inputs, __: seen.update(map=inputs[0]))
    logits = network(x)
    head = modules["classifier"]
    assert seen["map"].shape == (2, 16, 5, 5)
    assert torch.allclose(logits, F.linear(seen["map"].flatten(1), head.weight.flatten(1), head.bias))


@pytest.mark.parametrize(
    ("limits", "widths"),
    [
        ({}, (64, 32)),
        ({"params": 50_000}, (32, 32)),
        ({"params": 10_000, "work": 1e12}, (16, 16)),
        ({"macs": 1_000_000}, (32, 16)),
        ({"work": 5e6}, (32, 16)),
        ({"work": 1.0}, (16, 16)),
    ],
)
def test_baselines_are_the_published_ones_or_the_largest_below_within_the_limits(limits, widths):
    found = SPACE.baselines(Problem(SPACE, OMNIGLOT, limits))
    assert [name for name, _ in found] == ["MAML's network, strided", "MAML's network, pooled"]
    assert [architecture.choices for _, architecture in found] == [
        ((16, 32, 64).index(width), family) for family, width in enumerate(widths)
    ]


def test_a_family_without_a_member_within_the_users_limits_is_left_out():
    [(name, _)] = SPACE.baselines(Problem(SPACE, OMNIGLOT, {"macs": 300_000}))
    assert name == "MAML's network, strided"
    assert SPACE.baselines(Problem(SPACE, OMNIGLOT, {"params": 100})) == ()
