"""Tables and columns that a user imported: `NAME.json` and one .npz file per column, in the folder of tables.

A column of a training that a table of ours has already completes it: its values go first, and ours stay where it has none. Every
file is checked against the checksum in `NAME.json` before it is read; test values lie in files of their own, which only
`benchmarks.verdict` reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.benchmarks import _npz
from archscout.benchmarks._columns import first_of, pick
from archscout.benchmarks._listed import LISTED, Listed
from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError
from archscout.core.places import data_folder
from archscout.core.protocols import KeyedTable, SealedTable, Space, Table
from archscout.core.tables import Column, Recorded, SealedFile, TableFacts

FORMAT = 1
SECONDS = "seconds"
"""The metric that says what a training took; it is charged, not searched."""
_MOST_JSON = 1 << 20
_SPLITS = ("valid", "test")


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
        _npz.keep(path, (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode())


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
        new = TableFacts(self.record.space, self.record.rows, (), (), "not stated", "imported by the user")
        own = [imported.column for imported in self.record.columns]
        found = _complete(new if self.base is None else self.base.facts, [c for c in own if c.metric != SECONDS])
        charged = [column for column in own if column.metric == SECONDS]
        told = (f"seconds of training ('{c.name}') were imported, so searches of '{c.dataset}' are charged them" for c in charged)
        return replace(found, caveats=(*found.caveats, *told))

    def listed(self) -> Space:
        """The space of a table of names."""
        return _listed(self.name, self._rows_path(), self.record)

    def objective(self, dataset: str, epochs: int | None = None) -> Recorded:
        """The column that a search may see. Raises UnknownName."""
        column = pick(self.facts.columns, dataset, epochs, self.name)
        own, seconds = self._own(column), self._own_seconds(column)
        values = [] if own is None else [self._values(own)]
        times = [] if seconds is None else [self._values(seconds)]
        before = None if self.base is None else _same_training(self.base.facts.columns, column)
        if self.base is not None and before is not None:
            recorded = self.base.objective(dataset, before.epochs)
            values += [recorded.values]
            times += [] if recorded.seconds is None else [recorded.seconds]
        return Recorded(column, first_of(values), first_of(times) if times else None)

    def row(self, space: Space, architecture: Architecture) -> int | None:
        """The row of an architecture, or None where the table does not hold it."""
        if self.base is not None:
            return self.base.row(space, architecture)
        if self.record.space.startswith(LISTED):
            return architecture.choices[0] if architecture.choices[0] < self.record.rows else None
        return _places(self._rows_path(), self.record).get(architecture.choices)

    def architecture(self, space: Space, row: int) -> Architecture:
        """The architecture of a row."""
        if self.base is not None:
            return self.base.architecture(space, row)
        if self.record.space.startswith(LISTED):
            return space.architecture((row,))
        return space.architecture([int(choice) for choice in _choices(self._rows_path(), self.record)[row]])

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

    def sealed(self, column: Column) -> tuple[SealedFile, ...]:
        """Where a column of `facts.reports` lies; `benchmarks.verdict` reads it."""
        own = self._own(column)
        files = () if own is None else (SealedFile(checked(self.folder / own.file, own.sha256), "value"),)
        before = column if own is None else None if self.base is None else _same_training(self.base.facts.reports, column)
        return (*files, *(self.base.sealed(before) if before is not None and isinstance(self.base, SealedTable) else ()))

    def _own(self, column: Column) -> ImportedColumn | None:
        asked = column.name, column.split
        return next((i for i in self.record.columns if (i.column.name, i.column.split) == asked), None)

    def _own_seconds(self, column: Column) -> ImportedColumn | None:
        asked = column.dataset, column.epochs
        found = (i for i in self.record.columns if i.column.metric == SECONDS and (i.column.dataset, i.column.epochs) == asked)
        return next(found, None)

    def _values(self, own: ImportedColumn) -> NDArray[np.float64]:
        path = self.folder / own.file
        values = _array(path, "value", own.sha256)
        if values.shape != (self.record.rows,) or values.dtype != np.float64:
            raise _unreadable(path, f"{self.record.rows:,} numbers were expected, but {values.dtype} {values.shape} came")
        return values

    def _rows_path(self) -> Path:
        return self.folder / self.record.rows_file


def tables_folder() -> Path:
    """ARCHSCOUT_TABLES, else the folder of tables beside the user's other data."""
    named = os.environ.get("ARCHSCOUT_TABLES")
    return Path(named).expanduser() if named else _usual_folder(os.environ.get("HOME"), os.environ.get("XDG_DATA_HOME"))


@lru_cache(maxsize=4)  # asked for at every look-up
def _usual_folder(*places: str | None) -> Path:
    """Beside the user's other data. places: what it depends on."""
    return data_folder() / "tables"


def read_record(path: Path) -> Record | None:
    """What a `NAME.json` says; None where there is none. Raises UserError where it is damaged."""
    try:
        text = path.read_text("utf8") if path.stat().st_size <= _MOST_JSON else ""
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            raise UserError(f"the imported table '{path}' is of another version of archscout; update archscout, or import it again")
        columns = tuple(ImportedColumn(Column(**i["column"]), i["file"], i["sha256"]) for i in found.pop("columns"))
        record = Record(columns=columns, **found)
        _check(record)
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"the imported table '{path}' cannot be read ({type(error).__name__}); remove it and import it again"
        ) from error


def _check(record: Record) -> None:
    """Raises ValueError, TypeError where a record says what none of ours would."""
    if type(record.space) is not str or type(record.rows) is not int or record.rows < 1:
        raise ValueError("rows without sense")
    for column in (imported.column for imported in record.columns):
        if [type(value) for value in astuple(column)] != [str, str, str, str, int, bool, str] or column.split not in _SPLITS:
            raise ValueError("a column without sense")
    files = [*[record.rows_file] * bool(record.space), *(imported.file for imported in record.columns)]
    if any(Path(file).name != file for file in files):
        raise ValueError("a file outside the folder")


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
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"the recorded values in '{path}' cannot be read ({why}); import the column again")


def _choices(path: Path, record: Record) -> NDArray[Any]:
    found = _array(path, "choices", record.rows_sha256)
    if found.ndim != 2 or len(found) != record.rows or found.dtype.kind != "u":
        raise _unreadable(path, f"{record.rows:,} rows of choices were expected, but {found.dtype} {found.shape} came")
    return found


@lru_cache(maxsize=8)
def _places(path: Path, record: Record) -> dict[tuple[int, ...], int]:
    return {tuple(choices): row for row, choices in enumerate(_choices(path, record).tolist())}


@lru_cache(maxsize=8)
def _listed(name: str, path: Path, record: Record) -> Listed:
    blob, ends = (_array(path, part, record.rows_sha256) for part in ("texts", "ends"))
    try:
        between = zip([0, *ends.tolist()], ends.tolist(), strict=False)
        texts = tuple(blob.tobytes()[start:end].decode() for start, end in between)
    except (ValueError, TypeError) as error:
        raise _unreadable(path, "its names are damaged") from error
    if len(set(texts)) != record.rows:
        raise _unreadable(path, f"{record.rows:,} names were expected, but {len(set(texts)):,} came")
    return Listed(name, texts)


def packed_texts(texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a table of names: their bytes, and where each ends."""
    encoded = [text.encode() for text in texts]
    return {"texts": np.frombuffer(b"".join(encoded), np.uint8), "ends": np.cumsum([len(text) for text in encoded])}


def _same_training(columns: Sequence[Column], own: Column) -> Column | None:
    """The first column that `own` completes: of the same data set, epochs and metric."""
    asked = own.dataset, own.epochs, own.metric, own.higher_is_better
    return next((c for c in columns if (c.dataset, c.epochs, c.metric, c.higher_is_better) == asked), None)


def _complete(base: TableFacts, own: list[Column]) -> TableFacts:
    """The facts with imported columns: an objective takes the place of those of its training; without test values it reports."""
    objectives = [_marked(column, base.columns) for column in own if column.split == "valid"]
    tests = [_marked(column, base.reports) for column in own if column.split == "test"]
    taken, names = {(column.dataset, column.epochs) for column in objectives}, {column.name for column in own}
    reports = [*tests, *(column for column in base.reports if column.name not in names)]
    untested = [column for column in objectives if column.dataset not in _datasets(reports)]
    told = (f"no test values of '{name}' were imported: the objective is the report" for name in _datasets(untested))
    return replace(
        base,
        columns=_ordered([*objectives, *(column for column in base.columns if (column.dataset, column.epochs) not in taken)]),
        reports=_ordered([*reports, *untested]),
        caveats=(*base.caveats, *told),
    )


def _marked(own: Column, base: Sequence[Column]) -> Column:
    before = _same_training(base, own)
    kept = "" if before is None else f"; rows without an imported value keep that of '{before.name}' ({before.split})"
    return replace(own, caveat=f"imported by the user{kept}")


def _datasets(columns: list[Column]) -> list[str]:
    return list(dict.fromkeys(column.dataset for column in columns))


def _ordered(columns: list[Column]) -> tuple[Column, ...]:
    """By data set in their order, most epochs first; so the default stays the longest training."""
    datasets = _datasets(columns)
    return tuple(sorted(columns, key=lambda column: (datasets.index(column.dataset), -column.epochs)))
