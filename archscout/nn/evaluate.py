"""How many images a network gets right."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from archscout.nn.batches import ImageSplit, batches_of


def evaluate(
    network: nn.Module, split: ImageSplit, batch: int = 512, precision: str = "fp32", *, mirror: bool = False
) -> tuple[NDArray[np.bool_], float]:
    """Whether each image is classified right, (N,) in the order of the split, and the mean cross-entropy.

    mirror: average the logits with those of the mirrored image. The network is left in evaluation mode.
    """
    device = next(network.parameters()).device
    network.eval()
    right, loss = [], 0.0
    with torch.inference_mode(), precision_context(precision, device):
        for x, y in batches_of(split, batch):
            x, y = x.to(device), y.to(device)
            logits = (network(x) + network(x.flip(3)) if mirror else network(x)).float() * (0.5 if mirror else 1.0)
            right.append((logits.argmax(1) == y).cpu().numpy())
            loss += F.cross_entropy(logits, y, reduction="sum").item()
    return np.concatenate(right), loss / len(split)


def predictions(network: nn.Module, split: ImageSplit, batch: int = 512, precision: str = "fp32") -> NDArray[np.int64]:
    """The class that the network gives each image, (N,) in the order of the split. It is left in evaluation mode."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode(), precision_context(precision, device):
        return np.concatenate([network(x.to(device)).argmax(1).cpu().numpy() for x, _ in batches_of(split, batch)])


def accuracy(network: nn.Module, split: ImageSplit, precision: str = "fp32") -> tuple[int, int]:
    """How many images of the split are classified right, and how many there are."""
    correct, _ = evaluate(network, split, precision=precision)
    return int(correct.sum()), len(correct)


def precision_context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Under it `bf16` computes in bfloat16 what can be; `fp32` changes nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
