"""Test values of recorded benchmarks, opened once, at the end: by the report and `archscout bench`, never by a search.

The layer test forbids strategies and judges to import this module. Where one of them, or a user's plug-in file, imports or calls it
all the same, it gets an ImportError.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archscout.benchmarks import _npz
from archscout.benchmarks._columns import first_of, pick
from archscout.benchmarks._seal import forbid_searchers
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.protocols import SealedTable, Table
from archscout.core.tables import Column, Recorded, SealedFile

forbid_searchers()


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
    files = table.sealed(column) if isinstance(table, SealedTable) else ()
    if files:
        return Recorded(column, first_of([_opened(file, table) for file in files]))
    if column in table.facts.columns:
        return table.objective(column.dataset, column.epochs)
    raise UserError(f"the table '{table.name}' keeps its test values to itself; add them with 'archscout bench import'")


def _opened(file: SealedFile, table: Table) -> NDArray[np.float64]:
    try:
        values = _npz.read(file.path, file.array).astype(np.float64)
    except (_npz.UnreadableArrays, OSError, ValueError) as error:
        raise UserError(f"the test values in '{file.path}' cannot be read ({error}); import or install them again") from error
    if values.shape != (table.facts.rows,):
        raise UserError(
            f"the test values in '{file.path}' are {values.shape}, but the table '{table.name}' has {table.facts.rows:,} rows; "
            "import or install them again"
        )
    return values


def _names(table: Table) -> list[str]:
    return [column.name for column in table.facts.reports]
