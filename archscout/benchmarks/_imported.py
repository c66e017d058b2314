"""Tables and columns that a user imported: `NAME.json` and one .npz file per column, in the folder of tables.

Every file is checked against the checksum in `NAME.json` before it is read; test values lie in files of their own, which only
`benchmarks.verdict` reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from archscout.benchmarks import _npz
from archscout.benchmarks._columns import pick
from archscout.benchmarks._listed import LISTED, Listed
from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError
from archscout.core.protocols import KeyedTable, Space, Table
from archscout.core.tables import Column, Recorded, TableFacts

FORMAT = 1
SECONDS = "seconds"
"""The metric that says what a training took; it is charged, not searched."""
_MOST_JSON = 1 << 20


@dataclass(frozen=True)
class ImportedColumn:
    """A column, its file in the folder of tables, and the file's checksum."""

    column: Column
    file: str
    sha256: str


@dataclass(frozen=True)
class Record:
    """What `NAME.json` says. space: empty for columns that complete a table of ours, whose rows are then meant.

    rows_file, rows_sha256: of the file with the rows of a new table.
    """

    space: str
    rows: int
    columns: tuple[ImportedColumn, ...]
    rows_file: str = ""
    rows_sha256: str = ""

    def save(self, path: Path) -> None:
        """Write it, as a whole or not at all."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf8")
        os.replace(temporary, path)


@dataclass(frozen=True)
class ImportedTable:
    """A table with imported columns. base: the table that they complete, None for a new one. folder: where the files lie."""

    name: str
    record: Record
    folder: Path
    base: Table | None = None

    @cached_property
    def facts(self) -> TableFacts:
        """The imported columns before those of the base, most epochs first."""
        own = [imported.column for imported in self.record.columns if imported.column.metric != SECONDS]
        return _new(self.record, own) if self.base is None else _complete(self.base.facts, own)

    def listed(self) -> Space:
        """The space of a table of names."""
        return _listed(self.name, self._rows_path(), self.record.rows_sha256)

    def objective(self, dataset: str, epochs: int | None = None) -> Recorded:
        """The column that a search may see. Raises UnknownName."""
        column = pick(self.facts.columns, dataset, epochs, self.name)
        own = self._own(column)
        if own is not None:
            recorded = Recorded(column, self._values(own))
        else:
            assert self.base is not None, "a column is either imported or the base's"
            recorded = self.base.objective(dataset, column.epochs)
        seconds = self._own_seconds(column)
        return recorded if seconds is None else replace(recorded, seconds=seconds)

    def row(self, space: Space, architecture: Architecture) -> int | None:
        """The row of an architecture, or None where the table does not hold it."""
        if self.base is not None:
            return self.base.row(space, architecture)
        if self.record.space.startswith(LISTED):
            return architecture.choices[0] if architecture.choices[0] < self.record.rows else None
        return _places(self._rows_path(), self.record.rows_sha256).get(architecture.choices)

    def architecture(self, space: Space, row: int) -> Architecture:
        """The architecture of a row."""
        if self.base is not None:
            return self.base.architecture(space, row)
        if self.record.space.startswith(LISTED):
            return space.architecture((row,))
        return space.architecture([int(choice) for choice in _array(self._rows_path(), "choices", self.record.rows_sha256)[row]])

    def row_of_key(self, key: str) -> int | None:
        """The row of a key of the base's benchmark, such as a hash; None where `key` is none."""
        return self.base.row_of_key(key) if isinstance(self.base, KeyedTable) else None

    def metrics(self, row: int) -> Mapping[str, float]:
        """The base's."""
        return self.base.metrics(row) if self.base is not None else {}

    def extra(self, name: str) -> NDArray[Any]:
        """The base's. Raises UnknownName."""
        if self.base is None:
            raise UnknownName(f"the table '{self.name}' has no array '{name}'; it holds imported columns only")
        return self.base.extra(name)

    def sealed(self, column: Column) -> _npz.SealedFile:
        """Where a column of `facts.reports` lies; `benchmarks.verdict` reads it."""
        own = self._own(column)
        if own is not None:
            return _npz.SealedFile(checked(self.folder / own.file, own.sha256), "value")
        base: Any = self.base
        file: _npz.SealedFile = base.sealed(column)
        return file

    def _own(self, column: Column) -> ImportedColumn | None:
        return next((imported for imported in self.record.columns if imported.column == column), None)

    def _own_seconds(self, column: Column) -> NDArray[np.float64] | None:
        asked = column.dataset, column.epochs
        found = (i for i in self.record.columns if i.column.metric == SECONDS and (i.column.dataset, i.column.epochs) == asked)
        own = next(found, None)
        return None if own is None else self._values(own)

    def _values(self, own: ImportedColumn) -> NDArray[np.float64]:
        return _array(self.folder / own.file, "value", own.sha256)

    def _rows_path(self) -> Path:
        return self.folder / self.record.rows_file


def tables_folder() -> Path:
    """ARCHSCOUT_TABLES, else the folder of tables beside the user's other data."""
    named = os.environ.get("ARCHSCOUT_TABLES")
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("archscout")) / "tables"


def read_record(path: Path) -> Record | None:
    """What a `NAME.json` says; None where there is none. Raises UserError where it is damaged."""
    try:
        text = path.read_text("utf8") if path.stat().st_size <= _MOST_JSON else ""
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            raise UserError(f"the imported table '{path}' is of another version of archscout; update archscout, or import it again")
        columns = tuple(ImportedColumn(Column(**i["column"]), i["file"], i["sha256"]) for i in found.pop("columns"))
        record = Record(columns=columns, **found)
        files = [record.rows_file, *(column.file for column in columns)]
        if any(Path(file).name != file for file in files):
            raise ValueError("a file outside the folder")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"the imported table '{path}' cannot be read ({type(error).__name__}); remove it and import it again"
        ) from error


@lru_cache(maxsize=64)
def checked(path: Path, sha256: str) -> Path:
    """The path of an undamaged file. Raises UserError."""
    _npz.check(path, sha256, "import the column again")
    return path


@lru_cache(maxsize=32)
def _array(path: Path, name: str, sha256: str) -> NDArray[Any]:
    try:
        return _npz.read(checked(path, sha256), name)
    except _npz.UnreadableArrays as error:
        raise UserError(f"the recorded values in '{path}' cannot be read ({error}); import the column again") from error


@lru_cache(maxsize=8)
def _places(path: Path, sha256: str) -> dict[tuple[int, ...], int]:
    return {tuple(choices): row for row, choices in enumerate(_array(path, "choices", sha256).tolist())}


@lru_cache(maxsize=8)
def _listed(name: str, path: Path, sha256: str) -> Listed:
    blob, ends = _array(path, "texts", sha256).tobytes(), _array(path, "ends", sha256).tolist()
    return Listed(name, tuple(blob[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)))


def packed_texts(texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a table of names: their bytes, and where each ends."""
    encoded = [text.encode() for text in texts]
    return {"texts": np.frombuffer(b"".join(encoded), np.uint8), "ends": np.cumsum([len(text) for text in encoded])}


def _complete(base: TableFacts, own: list[Column]) -> TableFacts:
    """The facts of a table of ours with imported columns; an imported validation column replaces an objective of its training."""
    objectives, tests = _split(own)
    replaced = {(column.dataset, column.epochs) for column in objectives}
    kept = [column for column in base.columns if (column.dataset, column.epochs) not in replaced]
    return replace(
        base,
        columns=_ordered([*objectives, *kept]),
        reports=_ordered([*tests, *base.reports]),
        caveats=(*base.caveats, *(f"the column '{column.name}' was imported" for column in own)),
    )


def _new(record: Record, own: list[Column]) -> TableFacts:
    """The facts of a table of its own; a data set without test values reports its objective."""
    objectives, tests = _split(own)
    tested = {column.dataset for column in tests}
    untested = [column for column in objectives if column.dataset not in tested]
    caveats = tuple(f"no test values of '{name}' were imported: the objective is the report" for name in _datasets(untested))
    reports = _ordered([*tests, *untested])
    return TableFacts(record.space, record.rows, _ordered(objectives), reports, "not stated", "imported by the user", caveats)


def _split(own: list[Column]) -> tuple[list[Column], list[Column]]:
    return [column for column in own if column.split == "valid"], [column for column in own if column.split == "test"]


def _datasets(columns: list[Column]) -> list[str]:
    return list(dict.fromkeys(column.dataset for column in columns))


def _ordered(columns: list[Column]) -> tuple[Column, ...]:
    """By data set in their order, most epochs first; so the default stays the longest training."""
    datasets = _datasets(columns)
    return tuple(sorted(columns, key=lambda column: (datasets.index(column.dataset), -column.epochs)))
