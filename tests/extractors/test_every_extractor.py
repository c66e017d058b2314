"""Extractors of the catalogue: one row an image, the same each time, grey and colour, in any company of the data set."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from archscout import catalogue
from archscout.core.errors import RunError, UserError
from archscout.extractors.resnet18 import _ResNet18
from archscout.nn import checkpoint
from archscout.nn.image_features import ImageFeatures

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 20, 20, 3)).astype(np.uint8)


@pytest.fixture
def settings(tmp_path):
    """Random weights for each."""
    own = {f"learned.{name}": tensor for name, tensor in ImageFeatures().state_dict().items()}
    checkpoint.save(tmp_path / "small.safetensors", own, {})
    save_file({**_ResNet18().state_dict(), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet18.safetensors")
    return {name: {"weights": str(tmp_path / f"{name}.safetensors")} for name in ("small", "resnet18")}


@pytest.mark.parametrize("name", catalogue.names("extractors"))
def test_it_keeps_the_contract(name, settings):
    made = catalogue.make("extractors", name, **settings[name])
    found = made.features(IMAGES)
    assert found.shape == (7, made.width) and found.dtype == np.float32 and np.isfinite(found).all()
    assert np.array_equal(found, made.features(IMAGES)) and len(made.digest) == 32
    assert made.features(IMAGES[:, :, :, :1]).shape == (7, made.width)
    np.testing.assert_allclose(made.features(IMAGES[::-1])[::-1], found, rtol=1e-3, atol=1e-4)
    assert not np.allclose(found[0], found[1])


def test_the_shipped_weights_can_be_read():
    assert catalogue.make("extractors", "small").features(IMAGES).shape == (7, ImageFeatures.width)


def test_missing_or_foreign_weights_are_told_of(tmp_path):
    with pytest.raises(UserError, match="needs its weights, but '' is no file"):
        catalogue.make("extractors", "resnet18").features(IMAGES)
    (tmp_path / "other.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="does not hold the weights of a ResNet-18"):
        catalogue.make("extractors", "resnet18", weights=str(tmp_path / "other.safetensors")).features(IMAGES)
    with pytest.raises(RunError, match="no features to read"):
        catalogue.make("extractors", "small", weights=str(tmp_path / "other.safetensors")).features(IMAGES)
