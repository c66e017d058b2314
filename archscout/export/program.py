"""A network as a torch.export program (.pt2): loads in PyTorch without archscout.

The program takes normalised float32 images (B, C, H, W), any B >= 1, and gives logits (B, K); decoding, resizing and
normalising are in preprocessing.json.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from archscout.export.ready import example, largest_difference, ready
from archscout.store.files import write_atomic


def save_program(network: nn.Module, shape: Sequence[int], path: Path) -> float:
    """Write the network for images of `shape` (C, H, W), atomically; gives the largest difference of logits found.

    What was written is read back and compared at batch sizes 1 and 5. Raises ParityError, StorageError, or what torch.export
    raises for a network that it cannot follow.
    """
    copy = ready(network)
    buffer = BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(copy, (example(shape, 2),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        torch.export.save(program, buffer)
        buffer.seek(0)
        again = torch.export.load(buffer).module()  # our own bytes of a moment ago; foreign .pt2 files are never loaded
        difference = largest_difference(copy, again, shape)
    write_atomic(path, buffer.getvalue())
    return difference
