"""The published recipes against the published numbers."""

from __future__ import annotations

import pytest

from archscout.core.errors import UnknownName
from archscout.data._augment import augmentation_of, flip_by_names
from archscout.nn.batches import Augmentation
from archscout.nn.recipe import Recipe
from archscout.nn.recipes import RECIPES, published


@pytest.mark.parametrize(
    ("name", "rates", "batch", "decay", "clip", "drop_path", "auxiliary", "epochs"),
    [
        ("darts-cifar10", (0.025, 0.0), 96, 3e-4, 5.0, 0.2, 0.4, 600),
        ("darts-cifar100", (0.025, 0.0), 96, 3e-4, 5.0, 0.2, 0.4, 600),
        ("nasi-cifar10", (0.025, 0.0), 96, 3e-4, 5.0, 0.2, 0.4, 600),
        ("nasi-cifar100", (0.035, 0.001), 96, 3e-4, 5.0, 0.3, 0.6, 600),
        ("nao-cifar10", (0.025, 0.0), 128, 3e-4, 5.0, 0.2, 0.4, 600),
        ("nao-cifar100", (0.025, 0.0), 128, 3e-4, 5.0, 0.4, 0.4, 600),
        ("nas201", (0.1, 0.0), 256, 5e-4, 0.0, 0.0, 0.0, 200),
    ],
)
def test_numbers(
    name: str, rates: tuple[float, float], batch: int, decay: float, clip: float, drop_path: float, auxiliary: float, epochs: int
) -> None:
    known, recipe = published(name), published(name).recipe
    assert (recipe.learning_rate, recipe.last_rate, recipe.batch, recipe.weight_decay) == (*rates, batch, decay)
    assert (recipe.clip, recipe.drop_path, recipe.auxiliary, known.epochs) == (clip, drop_path, auxiliary, epochs)
    assert (recipe.optimizer, recipe.momentum, recipe.nesterov, recipe.decay_all) == ("sgd", 0.9, name == "nas201", True)
    assert recipe.rate(0.0) == 1 and recipe.rate(0.5) == pytest.approx((1 + rates[1] / rates[0]) / 2), "a cosine, without warm-up"
    assert recipe.label_smoothing == recipe.average == recipe.small_share == 0
    assert recipe.batch_for(45_000) == batch
    made, _ = augmentation_of(known.augment, 32, 32, flip_by_names(["cat", "dog"]))
    assert made == Augmentation(shift=4, flip=True, cutout=0 if name == "nas201" else 16)


def test_nao_drops_features_and_drops_paths_by_depth() -> None:
    recipes = {name: known.recipe for name, known in RECIPES.items()}
    found = {name: (r.dropout, r.drop_path_by_depth) for name, r in recipes.items() if isinstance(r, Recipe)}
    assert found.pop("nao-cifar10") == (0.4, True) and found.pop("nao-cifar100") == (0.2, True)
    assert set(found.values()) == {(0.0, False)}
    assert published("nao-cifar10").size == {"channels": 36, "layers": 6}


def test_the_default_is_the_recipe_that_searches_use() -> None:
    assert published("default").recipe == Recipe()
    assert all(known.source and known.epochs > 0 for known in RECIPES.values())


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownName, match="no recipe 'nasi-cifar'; did you mean"):
        published("nasi-cifar")
