"""The signals themselves: the invariants of their definition."""

from math import pi

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from archscout.core.seeds import generator
from archscout.core.signals import Dots, Resized, SignalTask, Sines, Stage, signal_task
from archscout.nn import signals
from archscout.nn.signals import blurred_dots, dots, noise, resized, sequences, sin1d, sin2d, targets

SIZE = (8, 8)
BETAS = tuple(np.linspace(0.05, 0.45, 10))
IMAGES = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def rng(number=0):
    return generator(number, "test")


def test_waves_along_one_axis_are_constant_along_the_other():
    maps = sin1d(Sines(1.0, BETAS), 5, 64, SIZE, rng())
    assert maps.shape == (5, 64, 8, 8) and np.abs(maps).max() <= 1
    rows = np.abs(np.diff(maps, axis=3)).max((2, 3)) < 1e-12
    columns = np.abs(np.diff(maps, axis=2)).max((2, 3)) < 1e-12
    assert (rows ^ columns).all()
    assert 0.4 < rows.mean() < 0.6


@pytest.mark.parametrize("draw", [sin1d, sin2d])
def test_waves_have_a_variance_of_one_half_and_no_mean(draw):
    maps = draw(Sines(1.0, BETAS), 60, 64, SIZE, rng())
    assert maps.var() == pytest.approx(0.5, abs=0.02) and maps.mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("draw", [sin1d, sin2d])
def test_waves_have_the_frequency_that_was_asked_for(draw):
    """A wave of frequency b obeys f(r + 1) + f(r - 1) = 2 cos(2 pi b) f(r) along an axis that it changes on."""
    beta = 0.2
    maps = draw(Sines(1.0, (beta,) * 10), 3, 40, SIZE, rng())
    for axis in (2, 3):
        values = np.moveaxis(maps, axis, -1)
        error = np.abs(values[..., 2:] + values[..., :-2] - 2 * np.cos(2 * pi * beta) * values[..., 1:-1]).max((2, 3))
        constant = np.abs(np.diff(values, axis=-1)).max((2, 3)) < 1e-9
        assert ((error < 1e-9) | constant).all()


def test_the_waves_of_a_draw_are_different_ones():
    maps = sin1d(Sines(1.0, BETAS), 1, 640, SIZE, rng())[0].reshape(640, -1)
    assert len(np.unique(maps.round(9), axis=0)) == 640


def test_half_of_the_waves_across_both_axes_stand_on_their_heads():
    """Upside down, the wave falls along the diagonal on which it rose: its frequencies in r and c have different signs."""
    maps = sin2d(Sines(1.0, (0.2,) * 10), 1, 4000, SIZE, rng())[0]
    along = np.abs(np.diff(maps[:, range(8), range(7, -1, -1)])).max(1) < 1e-9  # constant where b r = -b c
    across = np.abs(np.diff(maps[:, range(8), range(8)])).max(1) < 1e-9
    assert (along ^ across).all() and 0.45 < along.mean() < 0.55


def test_upside_down_is_meant_on_a_square():
    beta = 0.11
    for size in ((8, 20), (20, 8)):
        maps = sin2d(Sines(1.0, (beta,) * 10), 1, 2000, size, rng())[0]
        square = sin2d(Sines(1.0, (beta,) * 10), 1, 2000, (20, 20), rng())[0]
        assert np.allclose(maps, square[:, : size[0], : size[1]])


@pytest.mark.parametrize(("share", "count"), [(0.25, 16), (1.0, 64), (0.0, 0), (0.99, 63), (37 / 64, 37)])
def test_dots_are_exactly_so_many_of_plus_and_minus_one(share, count):
    maps = dots(Dots(1.0, share), 9, 30, SIZE, rng())
    assert ((maps != 0).sum((2, 3)) == count).all() and set(np.unique(maps)) <= {-1.0, 0.0, 1.0}


def test_dots_fall_anywhere_alike():
    maps = dots(Dots(1.0, 0.25), 100, 100, SIZE, rng())
    assert np.abs((maps != 0).mean((0, 1)) - 0.25).max() < 0.02
    assert abs(maps.sum()) / np.abs(maps).sum() < 0.02


def test_blurred_dots_are_a_gaussian_of_one_pixel_mirrored_at_the_edge():
    maps = blurred_dots(Dots(1.0, 0.3), 4, 20, SIZE, rng())
    assert np.allclose(np.abs(maps).max((2, 3)), 1)
    weights = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    weights /= weights.sum()
    plain = dots(Dots(1.0, 0.3), 4, 20, SIZE, rng())
    for axis in (2, 3):
        plain = np.pad(plain, [(4, 4) if n == axis else (0, 0) for n in range(4)], mode="symmetric")
        plain = np.apply_along_axis(lambda line: np.convolve(line, weights, "valid"), axis, plain)
    assert np.allclose(maps, plain / np.abs(plain).max((2, 3), keepdims=True))


def test_blurred_dots_without_a_dot_are_zero():
    assert not blurred_dots(Dots(1.0, 0.01), 2, 3, SIZE, rng()).any()


def test_resized_is_the_nearest_pixels_between_minus_one_and_one():
    small = resized(IMAGES)
    assert small.min() == -1 and small.max() == 1
    picked = IMAGES[:, :, ::4, ::4].double().numpy()
    assert np.allclose(small, 2 * (picked - picked.min()) / (picked.max() - picked.min()) - 1)
    assert not resized(torch.ones(2, 3, 8, 8)).any()


def test_a_resized_target_repeats_at_most_the_channels_of_the_image():
    task = SignalTask((Stage(resized=Resized(2.0)),) * 3)
    for target in targets(task, IMAGES, 0):
        assert target.shape == (16, 64, 8, 8) and float(target.abs().max()) == 2
        assert all(len(torch.unique(sample.flatten(1), dim=0)) <= 3 for sample in target)


def test_combo_has_the_variances_that_were_measured():
    spreads = [float(target.std()) for target in targets(signal_task("combo"), IMAGES, 0)]
    assert spreads == pytest.approx([1.413, 1.048, 1.264], abs=0.02)


def test_signals_are_shared_or_each_samples_own():
    for per_sample in (True, False):
        stage = Stage(sin1d=Sines(1.0, BETAS, per_sample), sin2d=Sines(1.0, BETAS, per_sample), dots=Dots(1.0, 0.5, per_sample))
        target = targets(SignalTask((stage,) * 3), IMAGES, 0)[0]
        assert bool((target == target[:1]).all()) is not per_sample


def test_everything_follows_from_the_seed_and_each_signal_from_its_own():
    task = signal_task("nb101")
    for one, other in zip(targets(task, IMAGES, 0), targets(task, IMAGES, 0), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(targets(task, IMAGES, 0)[0], targets(task, IMAGES, 1)[0])
    both = Stage(sin1d=Sines(1.0, BETAS), dots=Dots(1.0, 0.5))
    alone = [Stage(sin1d=both.sin1d), Stage(dots=both.dots)]
    sums = [targets(SignalTask((stage,) * 3), IMAGES.double(), 0)[1] for stage in (both, *alone)]
    assert torch.allclose(sums[0], sums[1] + sums[2])


def test_levels_scale_and_an_empty_stage_is_zero():
    one, two = (targets(SignalTask((Stage(dots=Dots(level, 0.5)), Stage(), Stage())), IMAGES, 0) for level in (1.0, 2.0))
    assert torch.allclose(two[0], 2 * one[0]) and not one[1].any()


def test_sequences_are_steps_by_features():
    read, written = sequences(signal_task("nlp"), 0)
    assert read.shape == written.shape == (16, 8, 48) and read.dtype == torch.float32
    assert not torch.equal(read, written)
    single, _ = sequences(signal_task("nlp-single"), 0)
    assert set(single.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(("kind", "law", "arguments"), [("uniform", "uniform", (-0.5, 1.0)), ("gaussian", "norm", (0.0, 0.5))])
def test_noise_has_the_law_and_level_of_the_task(kind, law, arguments):
    task = SignalTask((Stage(),) * 3, noise=kind, noise_level=0.5)
    drawn = noise(task, torch.empty(4, 3, 32, 32, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert kstest(drawn.flatten().numpy(), law, arguments).pvalue > 0.01


def test_the_widest_stage_has_enough_waves():
    assert signals.sin1d(Sines(1.0, BETAS), 1, 640, SIZE, rng()).shape[1] == 640
