"""What the tables that come with archscout share: an .npz file beside the plug-in, read one array at a time, once.

`NAME.npz` holds the rows and everything that a search may see; `NAME.test.npz` holds what only `benchmarks.verdict` opens. The
checksums of both are in `checksums.json`. `scripts/build_tables.py` makes all of them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.benchmarks import _npz
from archscout.benchmarks._columns import pick
from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.protocols import Space
from archscout.core.tables import Column, Recorded, SealedFile, TableFacts

FOLDER = Path(__file__).parent
_ADVICE = "install archscout again"


class RecordedTable(ABC):
    """A table in a file of ours; its rows are found by their choices."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The table's name."""

    @property
    @abstractmethod
    def facts(self) -> TableFacts:
        """What it says of itself; reads no numbers."""

    def objective(self, dataset: str, epochs: int | None = None) -> Recorded:
        """The column that a search may see. Raises UnknownName."""
        column = pick(self.facts.columns, dataset, epochs, self.name)
        return Recorded(column, _values(self._file, column.name), self._seconds(column))

    def row(self, space: Space, architecture: Architecture) -> int | None:
        """The row of an architecture, or None where the table does not hold it."""
        return rows_of(self._file).get(architecture.choices)

    def architecture(self, space: Space, row: int) -> Architecture:
        """The architecture of a row."""
        return space.architecture([int(choice) for choice in array(self._file, "choices")[row]])

    def metrics(self, row: int) -> Mapping[str, float]:
        """The recorded facts of a row that `facts.metrics` names."""
        return {name: float(array(self._file, name)[row]) for name in self.facts.metrics}

    def extra(self, name: str) -> NDArray[Any]:
        """One of the arrays that `facts.extras` names. Raises UnknownName."""
        if name not in self.facts.extras:
            raise UnknownName(f"the table '{self.name}' has no array '{name}'; {suggestion(name, self.facts.extras)}")
        return array(self._file, name)

    def sealed(self, column: Column) -> tuple[SealedFile, ...]:
        """Where a column of `facts.reports` lies; `benchmarks.verdict` reads it."""
        file = self._file if column in self.facts.columns else f"{self._file.removesuffix('.npz')}{_npz.TEST_SUFFIX}"
        return (SealedFile(_checked(file), column.name),)

    def _seconds(self, column: Column) -> NDArray[np.float64] | None:
        """What the training took, per row; None where it was not recorded."""
        return None

    @property
    def _file(self) -> str:
        return f"{self.name.replace('-', '_')}.npz"


@lru_cache(maxsize=128)
def array(file: str, name: str) -> NDArray[Any]:
    """An array of one of our files, read-only. Raises UserError for a damaged installation."""
    path = _checked(file)
    try:
        return _npz.read(path, name)
    except _npz.UnreadableArrays as error:
        raise UserError(f"the recorded values in '{path}' cannot be read ({error}); {_ADVICE}") from error


@lru_cache(maxsize=8)
def rows_of(file: str) -> dict[tuple[int, ...], int]:
    """Choices -> row; of rows with the same choices, the first."""
    rows: dict[tuple[int, ...], int] = {}
    for row, choices in enumerate(array(file, "choices").tolist()):
        rows.setdefault(tuple(choices), row)
    return rows


@lru_cache(maxsize=64)
def _values(file: str, name: str) -> NDArray[np.float64]:
    values = array(file, name).astype(np.float64)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=32)
def _checked(file: str) -> Path:
    sums = FOLDER / "checksums.json"
    try:
        wanted = json.loads(sums.read_text("utf8"))[file]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the checksums in '{sums}' cannot be read ({type(error).__name__}: {error}); {_ADVICE}") from error
    _npz.check(FOLDER / file, wanted, _ADVICE)
    return FOLDER / file
