"""The exported network on prepared images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.errors import UserError
from archscout.export.folder import load_model
from archscout.nn.adapting import Inner, LearnableGraph, Tensors, WhoseStatistics, adapted, classified, learnable
from archscout.nn.batches import ImageSplit, batches_of
from archscout.nn.episodes import Episode


def predict_arrays(folder: Path, images: NDArray[np.uint8], names: Sequence[str], top: int = 1) -> list[dict[str, Any]]:
    """For each of the (N, H, W, C) images: its name and the `top` likeliest labels with their probabilities."""
    network, info = load_model(folder)
    labels, preprocessing = info["labels"], info["preprocessing"]
    count = len(images)
    split = ImageSplit(
        images, np.zeros(count, np.int64), np.arange(count), tuple(preprocessing["mean"]), tuple(preprocessing["std"])
    )
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for x, _ in batches_of(split, 256):
            rows += labelled(network(x), labels, names[len(rows) : len(rows) + len(x)], top)
    return rows


def predict_episode(
    folder: Path, support: NDArray[np.uint8], labels: Sequence[str], images: NDArray[np.uint8], names: Sequence[str], top: int = 1
) -> list[dict[str, Any]]:
    """As `predict_arrays`, by a few-shot network that adapts to the support first.

    support: (N, H, W, C) images with their `labels`. Raises UserError for another number of classes than the network can have.
    """
    network, info = load_model(folder)
    classes = classes_of(labels, int(info["task"]["classes"]))
    episode = episode_of(support, labels, images, info["preprocessing"])
    net, inner = learnable(network), Inner(**info["adaptation"])
    weights = adapted(net, dict(network.named_parameters()), episode.support, episode.support_labels, inner)
    return labelled(answered(net, weights, episode, inner.statistics), classes, names, top)


def answered(net: LearnableGraph, weights: Tensors, episode: Episode, statistics: WhoseStatistics) -> Tensor:
    """The logits (M, ways) of the images of an episode. Raises UserError where they are too few for statistics of their own."""
    try:
        return classified(net, weights, episode, statistics)
    except ValueError as error:  # of a normalisation that would be over a single value
        raise UserError(
            "this network normalises by the images that it labels, and one alone is too little for that; give several with --data, "
            "or train one with statistics=support"
        ) from error


def classes_of(labels: Sequence[str], most: int) -> list[str]:
    """The classes of a support, in order. Raises UserError where they are fewer than two or too many."""
    classes = sorted(set(labels))
    if not 2 <= len(classes) <= most:
        raise UserError(
            f"this network tells 2 to {most} classes apart, but the support has {len(classes)}; give one sub-folder for each class"
        )
    return classes


def episode_of(
    support: NDArray[np.uint8], labels: Sequence[str], images: NDArray[np.uint8], preprocessing: Mapping[str, Any]
) -> Episode:
    """Images (N, H, W, C) with labels, and others (M, H, W, C) without, as an episode."""
    everything, classes = np.concatenate([support, images]), sorted(set(labels))
    mean, std = tuple(preprocessing["mean"]), tuple(preprocessing["std"])
    split = ImageSplit(everything, np.zeros(len(everything), np.int64), np.arange(len(everything)), mean, std)
    x, y = split.normalise(split.take(split.rows)[0]), torch.tensor([classes.index(label) for label in labels])
    return Episode(x[: len(y)], y, x[len(y) :], y[:0])


def labelled(logits: Tensor, classes: Sequence[str], names: Sequence[str], top: int) -> list[dict[str, Any]]:
    """Of each image its name and the `top` likeliest of the classes; logits (M, K or more)."""
    chances = logits.detach()[:, : len(classes)].softmax(1)
    return [_row(name, chance, classes, top) for name, chance in zip(names, chances, strict=True)]


def _row(name: str, chances: Tensor, labels: Sequence[str], top: int) -> dict[str, Any]:
    found, which = chances.topk(min(top, len(labels)))
    guesses = [{"label": labels[k], "probability": round(p, 6)} for p, k in zip(found.tolist(), which.tolist(), strict=True)]
    return {"file": name, "labels": guesses}
