"""Tokens as batches: (task, split, size, seed) -> x (B, L) int64, y (B, L) int64, where y is x one token later.

A text is one long row of token numbers, cut into windows of L tokens; a window is what an image is elsewhere. Where a network
carries its hidden state from window to window, the text is laid in columns that are read side by side (`TokenStream`, `in_order`).
Torch is loaded when the first batch is taken, so that workers whose judge takes none start seconds earlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archscout.core.problem import Task
from archscout.core.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor


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

    def alone(self) -> TokenSplit:
        """The same without a source: for machines that cannot open it."""
        return TokenSplit(np.ascontiguousarray(self.ids), self.length)

    def take(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The windows at these positions and the same one token later: x, y (B, L) int64."""
        import torch

        places = positions[:, None] * self.length + np.arange(self.length)
        return torch.from_numpy(self.ids[places]), torch.from_numpy(self.ids[places + 1])

    def first(self, windows: int) -> TokenSplit:
        """So many windows from the beginning; all where there are not more."""
        if windows >= len(self):
            return self
        source = None if self.source is None else (_first, (*self.source, windows))
        return TokenSplit(self.ids[: windows * self.length + 1], self.length, source)


def _first(opened: Callable[..., TokenSplit], arguments: tuple[Any, ...], windows: int) -> TokenSplit:
    return opened(*arguments).first(windows)


def one_token_batch(task: Task, split: str, size: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """The same random windows for every caller with this seed; fewer where the split is smaller."""
    data: TokenSplit = task.splits[split]
    return data.take(np.random.default_rng(derive(seed, "batch", split)).permutation(len(data))[:size])


LEAST_LENGTH = 5
_HALVED, _DEVIATION, _MOST_LONGER = 0.05, 5.0, 20
"""Of drawn lengths (Merity et al. 2017, arXiv 1708.02182): how often the mean is halved, the deviation, how much longer at most."""


def drawn_length(length: int, rng: np.random.Generator) -> int:
    """The tokens of one window of training: about L, seldom about half of it; at least 5 and at most L + 20 (L below 5: L)."""
    mean = length / 2 if rng.random() < _HALVED else length
    return int(min(max(min(LEAST_LENGTH, length), rng.normal(mean, _DEVIATION)), length + _MOST_LONGER))


def mean_length(length: int) -> float:
    """The tokens of a window of training in the mean: 0.975 L, or more where the least length lifts it above that (L < 11).

    From L = 11 on the rounding down is left out, half a token at the most.
    """
    least = min(LEAST_LENGTH, length)
    drawn = ((1 - _HALVED, length), (_HALVED, length / 2))
    reached = (
        share * math.erfc((tokens - mean) / (_DEVIATION * math.sqrt(2))) / 2
        for tokens in range(least + 1, length + _MOST_LONGER + 1)
        for share, mean in drawn
    )
    return max(sum(share * mean for share, mean in drawn), least + sum(reached))


class TokenStream:
    """A text for training, by the number of the step: x, y (B, l) int64 of the tokens that follow those of the step before.

    The text lies in `columns` pieces of equal length, which are read side by side; a pass ends where they do, and the next begins
    anew. What is left over, fewer tokens than columns, is not read. varied: the lengths l are drawn for each pass anew
    (`drawn_length`); else they are L, but for the last of a pass. A step follows from seed and number alone.
    """

    def __init__(self, data: TokenSplit, columns: int, *, seed: int, varied: bool = False) -> None:
        import torch

        self.columns = max(1, min(columns, (len(data.ids) - 1) // data.length))
        self._rows = (len(data.ids) - 1) // self.columns
        used = self.columns * self._rows
        self._x = torch.from_numpy(np.ascontiguousarray(data.ids[:used])).view(self.columns, self._rows)
        self._y = torch.from_numpy(np.ascontiguousarray(data.ids[1 : used + 1])).view(self.columns, self._rows)
        self._length, self._seed, self._varied = data.length, seed, varied
        self.per_pass = max(1, round(self._rows / mean_length(data.length)) if varied else -(-self._rows // data.length))
        self._first, self._pass, self._edges = 0, 0, self._cut(0)

    def at(self, step: int) -> tuple[Tensor, Tensor, bool]:
        """x and y of a step, and whether a pass begins with it."""
        if step < self._first:
            self._first, self._pass, self._edges = 0, 0, self._cut(0)
        while step >= self._first + len(self._edges) - 1:
            self._first += len(self._edges) - 1
            self._pass += 1
            self._edges = self._cut(self._pass)
        number = step - self._first
        start, stop = self._edges[number : number + 2]
        return self._x[:, start:stop], self._y[:, start:stop], number == 0

    def _cut(self, number: int) -> list[int]:
        """Where the windows of a pass begin, and the end."""
        if not self._varied:
            return [*range(0, self._rows, self._length), self._rows]
        rng, edges = np.random.default_rng(derive(self._seed, "lengths", number)), [0]
        while edges[-1] < self._rows:
            edges.append(min(self._rows, edges[-1] + drawn_length(self._length, rng)))
        return edges


_LONG, _MOST_COLUMNS = 40, 32
"""For evaluation a column has about so many windows, in which the hidden state is carried on; and there are at most so many."""


def in_order(data: TokenSplit) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """All windows of a split in columns side by side, each in the order of the text: positions (C,), x and y (C, L).

    Where the columns do not come out even, those that have ended, the last ones, are left out: every window is given once.
    """
    count = len(data)
    columns = max(1, min(_MOST_COLUMNS, count // _LONG))
    rows = -(-count // columns)
    for row in range(rows):
        positions = np.arange(columns) * rows + row
        positions = positions[positions < count]
        yield positions, *data.take(positions)
