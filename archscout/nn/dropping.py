"""What a step of training leaves out: paths (drop-path, Larsson, Maire and Shakhnarovich 2017, arXiv 1605.07648) and features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def factors(chances: Sequence[float], count: int, seed: int) -> Tensor:
    """(B, N) factors of N things for `count` images: 0 with the chance (0..1) of the thing, else so much that the mean is 1.

    They are drawn on the CPU, so that a seed means the same everywhere.
    """
    keep = 1 - torch.tensor(chances, dtype=torch.float64)
    noise = torch.rand((count, len(keep)), generator=torch.Generator().manual_seed(seed))
    return (noise < keep.float()).float() / keep.float()
