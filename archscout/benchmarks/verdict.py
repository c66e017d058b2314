"""Test values of recorded benchmarks, opened once, at the end: by the report and `archscout bench`, never by a search.

The layer test forbids strategies and judges to import this module. Where one of them, or a user's plug-in file, imports or calls it
all the same, it gets an ImportError.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from archscout.benchmarks import _npz
from archscout.benchmarks._columns import pick
from archscout.benchmarks._seal import forbid_searchers
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.protocols import Table
from archscout.core.tables import Column, Recorded

forbid_searchers()


@runtime_checkable
class _Sealed(Protocol):
    def sealed(self, column: Column) -> _npz.SealedFile: ...


def reports(table: Table) -> tuple[Column, ...]:
    """What can be revealed; the first of a data set is its default."""
    forbid_searchers()
    return table.facts.reports


def reveal(table: Table, dataset: str, epochs: int | None = None, name: str = "") -> Recorded:
    """The test values of a data set; where one run is all there is, the objective again, as the column's caveat says.

    epochs: of the training; else those of the first report. name: of one of several reports, such as the second run.
    Raises UnknownName.
    """
    forbid_searchers()
    columns = table.facts.reports
    if name:
        columns = tuple(column for column in columns if column.name == name)
        if not columns:
            raise UnknownName(f"the table '{table.name}' has no test values '{name}'; {suggestion(name, _names(table))}")
    column = pick(columns, dataset, epochs, table.name, "test values")
    if not isinstance(table, _Sealed):
        raise UserError(f"the table '{table.name}' keeps its test values to itself; add them with 'archscout bench import'")
    file = table.sealed(column)
    values = _npz.read(file.path, file.array).astype(np.float64)
    values.flags.writeable = False
    return Recorded(column, values)


def _names(table: Table) -> list[str]:
    return [column.name for column in table.facts.reports]
