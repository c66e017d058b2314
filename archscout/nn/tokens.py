"""Tokens as batches: (task, split, size, seed) -> x (B, L) int64, y (B, L) int64, where y is x one token later.

A text is one long row of token numbers, cut into windows of L tokens; a window is what an image is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.problem import Task
from archscout.core.seeds import derive


@dataclass(frozen=True, eq=False)
class TokenSplit:
    """A part of a text.

    ids: (N,) int64, the tokens' numbers in the vocabulary. length: L, the tokens of a window.
    source: a function and its arguments that open this split again; with it the split travels to workers by reference.
    """

    ids: NDArray[np.int64]
    length: int
    source: tuple[Callable[..., TokenSplit], tuple[Any, ...]] | None = None

    def __post_init__(self) -> None:
        if self.length < 1 or len(self.ids) <= self.length:
            raise ValueError(f"a window of {self.length} tokens and the one after it need more than {len(self.ids)} tokens")

    def __len__(self) -> int:
        """The number of whole windows."""
        return (len(self.ids) - 1) // self.length

    def __reduce__(self) -> tuple[Any, ...]:
        return self.source if self.source is not None else (TokenSplit, (self.ids, self.length))

    def take(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The windows at these positions and the same one token later: x, y (B, L) int64."""
        places = positions[:, None] * self.length + np.arange(self.length)
        return torch.from_numpy(self.ids[places]), torch.from_numpy(self.ids[places + 1])


def one_token_batch(task: Task, split: str, size: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """The same random windows for every caller with this seed; fewer where the split is smaller."""
    data: TokenSplit = task.splits[split]
    return data.take(np.random.default_rng(derive(seed, "batch", split)).permutation(len(data))[:size])
