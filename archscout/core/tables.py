"""Recorded benchmarks: what a table of trained architectures says of itself.

A table has rows (architectures) and columns (what was measured). The *objective* of a data set is what a search may see; the
*report* is the test value that is opened once, at the end (`benchmarks.verdict`). Where only one run was recorded, both are the
same column, and its caveat says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Column:
    """One recorded quantity.

    name: as in the file, such as `cifar10_valid_200`.
    dataset: what was trained on; with `epochs` (of the training schedule; 0 where the source does not say) it names the column
    to a user.
    metric: `accuracy` (percent), `ssim` or `log-loss` (nats).
    split: of the images or tokens that were measured on.
    caveat: what a reader must know, such as "one run, both objective and report"; else empty.
    """

    name: str
    dataset: str
    metric: str
    split: Literal["valid", "test"]
    epochs: int
    higher_is_better: bool = True
    caveat: str = ""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table says of itself without its numbers being read.

    space: the name of the search space whose architectures are the rows. rows: how many.
    columns: the objectives, in order; the first of a data set is its default. reports: what `benchmarks.verdict` reveals.
    licence, source: of the numbers. caveats: what a reader of results must know.
    metrics: the recorded facts of every row, such as params. extras: further arrays, such as published subsets and latencies.
    """

    space: str
    rows: int
    columns: tuple[Column, ...]
    reports: tuple[Column, ...]
    licence: str
    source: str
    caveats: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets with an objective, in order."""
        return tuple(dict.fromkeys(column.dataset for column in self.columns))


@dataclass(frozen=True, slots=True)
class Recorded:
    """The values of a column, one per row of its table; NaN where nothing was recorded.

    seconds: what the training to them took, per row; None where the table does not say.
    """

    column: Column
    values: NDArray[np.float64]
    seconds: NDArray[np.float64] | None = None

    @property
    def scores(self) -> NDArray[np.float64]:
        """The values with their direction: higher is better."""
        return self.values if self.column.higher_is_better else -self.values


@dataclass(frozen=True, slots=True)
class SealedFile:
    """Where test values lie that only `benchmarks.verdict` opens: an array of an .npz file whose name ends in `.test.npz`."""

    path: Path
    array: str
