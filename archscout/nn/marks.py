"""How each item of a split fares with a network, whatever kind of task it is (`nn.course.Marks`)."""

from __future__ import annotations

from torch import nn

from archscout.nn.batches import ImageSplit
from archscout.nn.course import Marks
from archscout.nn.evaluate import evaluate
from archscout.nn.language import likelihoods
from archscout.nn.tokens import TokenSplit


def marks_of(network: nn.Module, split: ImageSplit | TokenSplit, precision: str = "fp32") -> Marks:
    """Whether each image is classified right, or the mean log-likelihood of each window's tokens; (N,) in the split's order."""
    if isinstance(split, TokenSplit):
        return likelihoods(network, split)
    return evaluate(network, split, precision=precision)[0]
