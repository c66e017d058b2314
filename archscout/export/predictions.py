"""The exported network on prepared images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archscout.export.folder import load_model
from archscout.nn.batches import ImageSplit, batches_of


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
            chances, classes = network(x).softmax(1).topk(min(top, len(labels)))
            for chance, which in zip(chances.tolist(), classes.tolist(), strict=True):
                guesses = [{"label": labels[k], "probability": round(p, 6)} for p, k in zip(chance, which, strict=True)]
                rows.append({"file": names[len(rows)], "labels": guesses})
    return rows
