"""How each item of a split fares with a network, whatever kind of task it is (`nn.course.Marks`)."""

from __future__ import annotations

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
