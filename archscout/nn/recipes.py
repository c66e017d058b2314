"""Published recipes of final trainings, by name.

What every one of them has otherwise than published: the rate and the chance of a dropped path move with every step, not once an
epoch; a pass leaves out its last, smaller batch; an image that is shifted repeats its border instead of showing black; the middle
of a cutout is a real number; an image is mirrored only where its class allows it; a validation split is held out. The precision on
a GPU is bfloat16 (autocast), which has the range of float32 and so needs no scaling of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from archscout.core.errors import UnknownName, suggestion
from archscout.nn.course import AnyRecipe
from archscout.nn.recipe import Recipe
from archscout.nn.text_recipe import TextRecipe


@dataclass(frozen=True)
class PublishedRecipe:
    """A final training as somebody published it.

    epochs: passes over the training split. augment: as `archscout train --augment`; 1/8 and 1/2 of the side are the published 4
    and 16 pixels of CIFAR. space, size: of which space it trains networks, and their settings there.
    """

    recipe: AnyRecipe
    epochs: float
    augment: str
    source: str
    space: str = ""
    size: Mapping[str, float] = field(default_factory=dict)


_DARTS_RECIPE = Recipe(
    learning_rate=0.025, nesterov=False, weight_decay=3e-4, decay_all=True, warm_up=0.0, schedule="cosine", batch=96,
    label_smoothing=0.0, small_share=0.0, clip=5.0, drop_path=0.2, auxiliary=0.4,
)  # fmt: skip
_DARTS = PublishedRecipe(
    _DARTS_RECIPE,
    600,
    "auto,shift=1/8,cutout=1/2",
    "Liu et al. 2019, arXiv 1806.09055, and its code",
    "darts",
    {"channels": 36, "layers": 20},
)  # fmt: skip
_NAO_RECIPE = replace(_DARTS_RECIPE, batch=128, drop_path_by_depth=True, dropout=0.4)
_NAO = PublishedRecipe(
    _NAO_RECIPE,
    600,
    "auto,shift=1/8,cutout=1/2",
    "Luo et al. 2018, arXiv 1808.07233, and its code: 36 channels; with 128, weight_decay 5e-4 and drop_path 0.3",
    "nao-cell",
    {"channels": 36, "layers": 6},
)
_NASI = "Shu et al. 2022, arXiv 2109.00817: as DARTS; rates, auxiliary weight and drop-path as in later code of the same group"

_NAO_CELL = {"nodes": 11, "dropout_embedding": 0.2, "dropout_input": 0.75, "dropout_output": 0.75}
_NAO_PTB_RECIPE = TextRecipe(
    optimizer="sgd", learning_rate=20.0, weight_decay=8e-7, warm_up=0.0, schedule="constant", batch=64, varied=True, clip=0.25,
    alpha=0.0, beta=1e-3, nonmono=5, frequencies=False,
)  # fmt: skip
_NAO_PTB = PublishedRecipe(
    _NAO_PTB_RECIPE,
    4000,
    "",
    "Luo et al. 2018, arXiv 1808.07233, and its code, for Penn Treebank",
    "rnn",
    {**_NAO_CELL, "size": 850, "dropout_hidden": 0.25},
)

RECIPES = {
    "default": PublishedRecipe(Recipe(), 10, "auto", "archscout's own, for short trainings"),
    "darts-cifar10": _DARTS,
    "darts-cifar100": replace(
        _DARTS, source="that of CIFAR-10 unchanged; the paper has no CIFAR-100, later work on its space trains so"
    ),
    "nasi-cifar10": replace(_DARTS, source=_NASI),
    "nasi-cifar100": replace(
        _DARTS, recipe=replace(_DARTS_RECIPE, learning_rate=0.035, last_rate=0.001, drop_path=0.3, auxiliary=0.6), source=_NASI
    ),
    "nao-cifar10": _NAO,
    "nao-cifar100": replace(
        _NAO,
        recipe=replace(_NAO_RECIPE, drop_path=0.4, dropout=0.2),
        source="Luo et al. 2018, arXiv 1808.07233, and its code; what is not known of CIFAR-100 is as for CIFAR-10",
    ),
    "nas201": PublishedRecipe(
        Recipe(
            learning_rate=0.1, weight_decay=5e-4, decay_all=True, warm_up=0.0, schedule="cosine", batch=256, label_smoothing=0.0,
            small_share=0.0,
        ),
        200,
        "auto,shift=1/8",
        "Dong and Yang 2020, arXiv 2001.00326",
        "nas201",
        {"channels": 16, "cells": 5},
    ),
    "nao-ptb": _NAO_PTB,
    "nao-wikitext2": PublishedRecipe(
        replace(_NAO_PTB_RECIPE, weight_decay=5e-7), 2000, "", "Luo et al. 2018: its cell of Penn Treebank", "rnn",
        {**_NAO_CELL, "size": 700, "dropout_hidden": 0.15},
    ),
}  # fmt: skip


def published(name: str) -> PublishedRecipe:
    """The recipe of a name. Raises UnknownName."""
    if name not in RECIPES:
        raise UnknownName(f"there is no recipe '{name}'; {suggestion(name, RECIPES)}")
    return RECIPES[name]
