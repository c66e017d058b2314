"""The exported network on prepared images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.errors import UserError
from archscout.export.folder import load_model
from archscout.nn.adapting import Inner, LearnableNetwork, adapted, classified
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
            rows += [_row(names[len(rows) + n], chances, labels, top) for n, chances in enumerate(network(x).softmax(1))]
    return rows


def predict_episode(
    folder: Path, support: NDArray[np.uint8], labels: Sequence[str], images: NDArray[np.uint8], names: Sequence[str], top: int = 1
) -> list[dict[str, Any]]:
    """As `predict_arrays`, by a few-shot network that adapts to the support first.

    support: (N, H, W, C) images with their `labels`. Raises UserError for another number of classes than the network can have.
    """
    network, info = load_model(folder)
    classes = sorted(set(labels))
    if not 2 <= len(classes) <= info["task"]["classes"]:
        raise UserError(
            f"this network tells 2 to {info['task']['classes']} classes apart, but the support has {len(classes)}; give one "
            "sub-folder for each class"
        )
    everything = np.concatenate([support, images])
    split = ImageSplit(
        everything, np.zeros(len(everything), np.int64), np.arange(len(everything)), tuple(info["preprocessing"]["mean"]),
        tuple(info["preprocessing"]["std"]),
    )  # fmt: skip
    x = split.normalise(split.take(split.rows)[0])
    y = torch.tensor([classes.index(label) for label in labels])
    net, inner = LearnableNetwork(network), Inner(**info["adaptation"])
    queries = Episode(x[: len(y)], y, x[len(y) :], y[:0])
    weights = adapted(net, dict(network.named_parameters()), queries.support, y, inner)
    with torch.no_grad():
        chances = classified(net, weights, queries, inner.statistics)[:, : len(classes)].softmax(1)
    return [_row(name, chance, classes, top) for name, chance in zip(names, chances, strict=True)]


def _row(name: str, chances: Tensor, labels: Sequence[str], top: int) -> dict[str, Any]:
    found, which = chances.topk(min(top, len(labels)))
    guesses = [{"label": labels[k], "probability": round(p, 6)} for p, k in zip(found.tolist(), which.tolist(), strict=True)]
    return {"file": name, "labels": guesses}
