"""Lanes: the gradients of a batch, computed in parts side by side."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archscout.nn.lanes import Lanes, lanes_for


def loss(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(network(x), y)


def batch(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    return torch.randn(count, 2, 8, 8, generator=noise, dtype=torch.float64), torch.randint(0, 3, (count,), generator=noise)


def network(normalised: bool = False) -> nn.Sequential:
    noise = torch.Generator().manual_seed(1)
    norm = [nn.BatchNorm2d(4)] if normalised else []
    made = nn.Sequential(nn.Conv2d(2, 4, 3), *norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise, dtype=torch.float64))
    return made


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("images", [12, 7])
def test_without_normalisation_lanes_give_the_gradients_of_the_whole_batch(count: int, images: int) -> None:
    x, y = batch(images)
    whole, split = network(), network()
    expected = loss(whole, x, y)
    expected.backward()
    with Lanes(split, count) as lanes:
        mean = lanes.gradients(loss, x, y)
    assert torch.allclose(mean, expected.detach(), rtol=1e-12)
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_normalisation_is_within_a_lane_and_running_statistics_are_averaged() -> None:
    x, y = batch(12)
    net = network(normalised=True)
    halves = [copy.deepcopy(net), copy.deepcopy(net)]
    for half, part in zip(halves, (slice(0, 6), slice(6, 12)), strict=True):
        (loss(half, x[part], y[part]) / 2).backward()
    with Lanes(net, 2) as lanes:
        lanes.gradients(loss, x, y)
    for parameter, one, other in zip(net.parameters(), halves[0].parameters(), halves[1].parameters(), strict=True):
        assert torch.allclose(parameter.grad, one.grad + other.grad, rtol=1e-10, atol=1e-12)
    mean = (halves[0][1].running_mean + halves[1][1].running_mean) / 2
    assert torch.allclose(net[1].running_mean, mean, rtol=1e-12)


def test_every_lane_gets_its_own_rows_of_whatever_comes_with_the_images() -> None:
    x, y = batch(7)
    factors = torch.arange(7.0, dtype=torch.float64)

    def weighted(one: nn.Module, images: torch.Tensor, labels: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return (F.cross_entropy(one(images), labels, reduction="none") * factor).mean()

    net = network()
    expected = weighted(net, x, y, factors).detach()
    with Lanes(net, 3) as lanes:
        torch.testing.assert_close(lanes.gradients(weighted, x, y, factors), expected)


def test_a_step_of_the_optimizer_moves_every_lane() -> None:
    x, y = batch()
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    with Lanes(net, 2) as lanes:
        first = lanes.gradients(loss, x, y)
        for _ in range(20):
            optimizer.step()
            last = lanes.gradients(loss, x, y)
    assert last < first


def test_a_weight_without_influence_has_no_gradient() -> None:
    x, y = batch()
    net = network()
    net.add_module("unused", nn.Linear(2, 2).double())

    def partial(one: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(one[:5](images), labels)

    with Lanes(net, 2) as lanes:
        lanes.gradients(partial, x, y)
    assert net.unused.weight.grad is None


@pytest.mark.parametrize(("batch_size", "cores", "expected"), [(64, 2, 2), (64, 16, 2), (16, 4, 1), (256, 4, 4), (64, 1, 1)])
def test_lanes_hold_enough_images(batch_size: int, cores: int, expected: int) -> None:
    assert lanes_for(batch_size, cores) == expected
