"""Directions, surfaces and the noise of gradients, against what is known of them in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cell_analysis import linear_noise
from torch import nn
from torch.nn import functional as F

from archscout.analysis.surfaces import curve_area, mean_shape, shape_of
from archscout.core.seeds import seeded
from archscout.nn.landscape import Plane, directions, gradient_noise, mean_loss, settle

AXIS = [-1.0, -0.5, 0.0, 0.5, 1.0]


def small_network(seed: int = 0) -> nn.Module:
    with seeded(seed):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(6 * 16, 3),
        ).eval()  # fmt: skip


def images(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 6, 6, generator=source), torch.randint(3, (count,), generator=source)


def test_filters_of_a_direction_have_the_norms_of_the_weights() -> None:
    weights = [parameter.detach() for parameter in small_network().parameters()]
    drawn = directions(weights, torch.Generator().manual_seed(1))
    for weight, direction in zip(weights, drawn, strict=True):
        if weight.ndim <= 1:
            assert not direction.any()
        else:
            assert torch.allclose(direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), rtol=1e-5)


def test_the_middle_of_a_surface_is_the_plain_loss() -> None:
    network, (x, y) = small_network(), images(300)
    plane = Plane(network, 3)
    plain = float(F.cross_entropy(network(x), y).detach())
    assert plane.losses(0.0, [0.0], x, y)[0] == pytest.approx(plain, rel=1e-5)
    plane.put(0.7, -0.2)
    assert mean_loss(plane.network, x, y) != pytest.approx(plain, rel=1e-3)
    assert mean_loss(network, x, y) == pytest.approx(plain, rel=1e-5), "the network itself is not moved"
    plane.put(0.0, 0.0)
    assert mean_loss(plane.network, x, y) == pytest.approx(plain, rel=1e-5)


def test_swapping_the_directions_turns_the_surface_over() -> None:
    plane, (x, y) = Plane(small_network(), 3), images(64)
    turned = plane.twin()
    turned.first, turned.second = plane.second, plane.first
    surface, other = (np.array([each.losses(a, AXIS, x, y) for a in AXIS]) for each in (plane, turned))
    np.testing.assert_allclose(other, surface.T, rtol=1e-4)
    again = np.array([plane.twin().losses(a, AXIS, x, y) for a in AXIS])
    np.testing.assert_array_equal(again, surface)


def test_normalisations_keep_their_statistics() -> None:
    network, (x, y) = small_network(), images(64)
    settle(network, [x[:32], x[32:]])
    kept = network[1].running_mean.clone()
    assert torch.allclose(kept, network[0](x).mean((0, 2, 3)), atol=1e-5) and network[1].momentum == 0.1
    plane = Plane(network, 0)
    plane.losses(1.0, AXIS, x, y)
    assert torch.equal(plane.network[1].running_mean, kept) and not plane.network.training


def test_a_quadratic_surface() -> None:
    """Loss = 1/2 u' H u in the plane: contours are ellipses, of which the basin's area and the curvatures are known."""
    axis = np.linspace(-1, 1, 201)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    for first, second in ((4.0, 16.0), (10.0, 10.0)):
        shape = shape_of((first * a**2 + second * b**2) / 2 + 0.5, axis.tolist())
        area = np.pi * 2 / np.sqrt(first * second) / 4
        assert shape.basin_area == pytest.approx(area, rel=0.02)
        assert shape.roundness == pytest.approx(min(first, second) / max(first, second), rel=1e-6)
        assert shape.minima == 1
    saddle = shape_of(a**2 - b**2 / 2 + 3, axis.tolist())
    assert saddle.roundness == pytest.approx(-0.5) and saddle.minima == 2
    turned = shape_of(5 * (a + b) ** 2 + (a - b) ** 2 + 1, axis.tolist())
    assert turned.roundness == pytest.approx(0.2)


def test_a_quadratic_model_on_the_grid() -> None:
    """A network whose loss in its weights is known: cross-entropy of two logits (w x, 0)."""
    model = nn.Linear(3, 2, bias=False)
    x = torch.tensor([[1.0, 2.0, -1.0]])
    plane = Plane(model, 5)
    w, one, other = (part[0].detach().numpy().astype(float) for part in (plane._centre, plane.first, plane.second))
    expected = []
    for a in AXIS:
        logits = [(w + a * one + b * other) @ x[0].numpy() for b in AXIS]
        expected.append([np.log1p(np.exp(z[1] - z[0])) for z in logits])
    surface = [plane.losses(a, AXIS, x, torch.tensor([0])) for a in AXIS]
    np.testing.assert_allclose(surface, expected, rtol=1e-5)


def test_variation_and_minima_of_known_surfaces() -> None:
    axis = np.linspace(-1, 1, 41)
    a, b = np.meshgrid(axis, axis, indexing="ij")
    tilted = shape_of(np.exp(2 * a + b), axis.tolist())
    # |d log L / da| + |d log L / db| = 3 over a square of area 4, of which the sum has 40 x 41 cells each way
    assert tilted.variation == pytest.approx(3 * 4 * 41 / 40, rel=1e-6)
    rippled = shape_of(2 + np.cos(2 * np.pi * a) * np.cos(2 * np.pi * b), axis.tolist())
    assert rippled.minima == 4 + 8, "four within, eight on the border"
    broken = shape_of(np.where(a > 0.9, np.nan, 1 + a**2 + b**2), axis.tolist())
    assert np.isfinite([broken.basin_area, broken.variation]).all()
    both = mean_shape([tilted, rippled])
    assert both.minima == (tilted.minima + rippled.minima) / 2


def test_scalars_of_curves() -> None:
    assert curve_area([3.0]) == 3.0 and curve_area([2.0] * 7) == pytest.approx(2.0)
    epochs = np.arange(1, 200)
    assert curve_area((5 - np.log(epochs)).tolist()) == pytest.approx(5 - np.log(199) / 2)
    assert curve_area([3, 1, 1, 1]) < curve_area([3, 3, 3, 1])


def test_equal_batches_have_no_noise() -> None:
    network, (x, y) = small_network(), images(40)
    variance, square = gradient_noise(network, x.expand(6, *x.shape), y.expand(6, -1))
    assert variance == 0.0
    gradients = torch.autograd.grad(F.cross_entropy(network(x), y), list(network.parameters()))
    assert square == pytest.approx(sum(float(g.square().sum()) for g in gradients), rel=1e-4)


def test_noise_is_that_of_single_images_over_the_batch() -> None:
    network, (x, y) = small_network(), images(2000)
    rng = np.random.default_rng(0)

    def variance(batch: int, count: int = 600) -> float:
        rows = torch.from_numpy(rng.integers(len(x), size=(count, batch)))
        return gradient_noise(network, x[rows], y[rows])[0]

    whole, half = variance(32), variance(16)
    assert half / whole == pytest.approx(2, rel=0.1)
    weights = [weight for weight in network.parameters()]
    single = [
        torch.cat([g.flatten() for g in torch.autograd.grad(F.cross_entropy(network(x[i : i + 1]), y[i : i + 1]), weights)])
        for i in range(0, 2000, 4)
    ]
    stacked = torch.stack(single)
    one = float(stacked.square().sum(1).mean() - stacked.mean(0).square().sum())
    assert whole == pytest.approx(one / 32, rel=0.12)


def test_noise_in_closed_form() -> None:
    """One weight of two logits (w x, 0), at w = 0: the gradient is x (1/2 - y) of which mean and variance are known."""
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    x = torch.tensor([1.0, 2.0, -3.0, 5.0]).view(4, 1, 1)
    y = torch.tensor([[0], [1], [1], [0]])
    variance, square = gradient_noise(model, x, y)
    single = np.array([-0.5, 1.0, -1.5, -2.5])  # of the first logit; the second has the opposite
    assert variance == pytest.approx(2 * single.var(ddof=1), rel=1e-6)
    assert square == pytest.approx(2 * single.mean() ** 2, rel=1e-6)


def test_chains_are_noisier_than_wide_cells_as_their_matrices_grow() -> None:
    """Four linear nodes: the noise of a chain rises with about the sixth power, 2 (n - 1), of the size of its matrices."""
    sizes = (2.0, 4.0, 8.0)
    chain, wide = ([linear_noise(kind, 4, size) for size in sizes] for kind in ("chain", "wide"))
    assert wide == pytest.approx([wide[0]] * 3, rel=1e-4) and chain[0] > 5 * wide[0]
    slopes = np.diff(np.log(chain)) / np.diff(np.log(sizes))
    assert 5 < slopes[0] < slopes[1] < 6


def test_the_noise_of_linear_nodes_is_that_of_autograd() -> None:
    source = torch.Generator().manual_seed(0)
    matrices = [(torch.linalg.qr(torch.randn(6, 6, generator=source))[0] * 2).requires_grad_() for _ in range(4)]
    x, *r = torch.randn(5, 50, 6, generator=source)
    found = []
    for place in range(50):
        state, total = x[place], torch.zeros(())
        for matrix, each in zip(matrices, r, strict=True):
            state = matrix @ state
            total = total + state @ each[place]
        found.append(torch.cat([gradient.flatten() for gradient in torch.autograd.grad(total, matrices)]))
    assert linear_noise("chain", 4, 2.0, draws=50) == pytest.approx(float(torch.stack(found).var(0).sum()), rel=1e-4)
