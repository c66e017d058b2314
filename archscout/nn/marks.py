"""How each item of a split fares with a network, whatever kind of task it is (`nn.course.Marks`)."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from torch import nn

from archscout.nn.adapting import accuracies, learnable
from archscout.nn.batches import ImageSplit
from archscout.nn.course import AnyRecipe, Marks
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.evaluate import evaluate
from archscout.nn.language import likelihoods
from archscout.nn.tokens import TokenSplit


def marks_of(network: nn.Module, split: ImageSplit | TokenSplit | EpisodeSplit, recipe: AnyRecipe) -> Marks:
    """(N,) in the split's order: whether each image is classified right, the mean log-likelihood of each window's tokens, or the
    share of each episode's queries that is classified right.

    recipe: with which the network was trained; it says in which precision it computes, and how it adapts to an episode.
    """
    if isinstance(split, TokenSplit):
        return likelihoods(network, split)
    if isinstance(split, EpisodeSplit):
        assert isinstance(recipe, EpisodeRecipe)
        return accuracies(learnable(network), dict(network.named_parameters()), split, recipe.test_inner)
    return evaluate(network, split, precision=recipe.precision)[0]


def digest_of(split: ImageSplit | TokenSplit | EpisodeSplit) -> str:
    """32 hex digits that follow from the items of a split and their order alone, wherever they lie.

    Marks of two networks go together item by item where these are equal.
    """
    hashed = blake2b(digest_size=16)
    if isinstance(split, TokenSplit):
        _add(hashed, "text", split.length, split.ids)
    elif isinstance(split, EpisodeSplit):
        drawn = (split.ways, split.shots, split.queries, split.count, split.quarters)
        _add(hashed, "episodes", drawn, split.pool.images[split.pool.rows], split.pool.labels[split.pool.rows])
    else:
        _add(hashed, "images", (), split.images[split.rows], split.labels[split.rows])
    return hashed.hexdigest()


def _add(hashed: blake2b, kind: str, form: object, *arrays: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    hashed.update(f"{kind} {form}".encode())
    for array in arrays:
        hashed.update(f"{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
