"""Which column a data set and a number of epochs mean, and what two columns are together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import UnknownName, suggestion
from archscout.core.tables import Column


def pick(columns: Sequence[Column], dataset: str, epochs: int | None, table: str, what: str = "recorded values") -> Column:
    """The first column of a data set, or the first with so many epochs. Raises UnknownName, naming what there is."""
    found = [column for column in columns if column.dataset == dataset]
    if not found:
        known = dict.fromkeys(column.dataset for column in columns)
        raise UnknownName(f"the table '{table}' has no {what} for the data set '{dataset}'; {suggestion(dataset, known)}")
    chosen = next((column for column in found if epochs is None or column.epochs == epochs), None)
    if chosen is None:
        listed = ", ".join(str(column.epochs or "an unknown number of") for column in found)
        raise UnknownName(f"the table '{table}' has {what} for '{dataset}' after {listed} epochs, but {epochs:g} came")
    return chosen


def first_of(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Per row the first value that is there, read-only."""
    found, *others = columns
    for other in others:
        found = np.where(np.isnan(found), other, found)
    found = found.view()
    found.flags.writeable = False
    return found
