"""Adds a user's recorded values: a column that completes a table, or a table of its own. What is kept are arrays and JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock

from archscout import catalogue
from archscout.benchmarks import _npz
from archscout.benchmarks._columns import pick
from archscout.benchmarks._imported import SECONDS, ImportedColumn, Record, packed_texts, read_record, tables_folder
from archscout.benchmarks._listed import LISTED
from archscout.benchmarks._open import open_table, space_of
from archscout.benchmarks._read import read_values, shown
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.protocols import KeyedTable, PublishedSpace, Space, Table
from archscout.core.tables import Column

_TABLE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
_MOST_LISTED = 100_000
_MOST_EPOCHS = 1_000_000


@dataclass(frozen=True)
class Asked:
    """What a user wants to add to the table `table`.

    metric: `accuracy` and the like, or `seconds` (of training, to be charged). epochs: of the training, 0 where unknown.
    space: of a new table; empty for an existing table, and for a new one whose architectures are names only.
    overwrite: whether it may take the place of a column that was imported before.
    """

    table: str
    dataset: str
    metric: str = "accuracy"
    split: Literal["valid", "test"] = "valid"
    epochs: int = 0
    space: str = ""
    higher_is_better: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        if _TABLE.fullmatch(self.table) is None:
            raise UserError(f"--table takes a name of small letters, digits and hyphens, but '{self.table}' came")
        for option, word in (("--dataset", self.dataset), ("--metric", self.metric)):
            if _WORD.fullmatch(word) is None:
                raise UserError(f"{option} takes a word of letters, digits and hyphens, but '{word}' came")
        if not 0 <= self.epochs <= _MOST_EPOCHS:
            raise UserError(f"--epochs takes 0 (unknown) to {_MOST_EPOCHS:,}, but {self.epochs} came")

    @property
    def column(self) -> Column:
        """The column that comes of it."""
        kind = SECONDS if self.metric == SECONDS else self.split
        split: Literal["valid", "test"] = "valid" if self.metric == SECONDS else self.split
        name = f"{self.dataset}_{kind}_{self.epochs}"
        return Column(name, self.dataset, self.metric, split, self.epochs, self.higher_is_better and self.metric != SECONDS)


def import_values(path: Path, asked: Asked) -> tuple[Table, Column, int]:
    """Keep the values in the folder of tables; gives the table as it is now, the column, and how many rows it fills.

    Raises UserError, naming the first row that cannot be used and how many there are; nothing is changed then.
    """
    texts, values = read_values(path.expanduser())
    if asked.space.endswith(".py"):
        raise UserError(
            f"a table outlives the file '{asked.space}'; name an installed space, or leave --space out to keep names only"
        )
    if asked.metric == SECONDS and min(values) < 0:
        raise UserError(f"seconds of training are not negative, but {min(values)} came; correct them in '{path}'")
    folder = tables_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            _keep(folder, asked, texts, values)
    except OSError as error:
        raise UserError(
            f"the table cannot be kept in '{folder}' ({error.strerror or error}); set ARCHSCOUT_TABLES to a folder"
        ) from error
    return open_table(asked.table), asked.column, len(texts)


def _keep(folder: Path, asked: Asked, texts: Sequence[str], values: Sequence[float]) -> None:
    record = read_record(folder / f"{asked.table}.json")
    if record is None and asked.table not in catalogue.names("tables"):
        if asked.metric == SECONDS:
            raise UserError(f"there is no table '{asked.table}' whose training took these seconds; import its values first")
        record = _new_table(folder, asked, texts)
        rows = list(range(len(texts)))
    else:
        table = open_table(asked.table)
        if asked.space not in ("", table.facts.space):
            raise UserError(
                f"the table '{asked.table}' is there already, with another space; leave --space out, or choose another name"
            )
        if asked.metric == SECONDS:
            pick(table.facts.columns, asked.dataset, asked.epochs, table.name)
        record = record or Record("", table.facts.rows, ())
        rows = _rows(table, texts)
    column = asked.column
    if any(imported.column.name == column.name for imported in record.columns) and not asked.overwrite:
        raise UserError(f"the table '{asked.table}' has an imported column '{column.name}' already; give --overwrite to replace it")
    spread = np.full(record.rows, np.nan)
    spread[rows] = values
    ending = _npz.TEST_SUFFIX if column.split == "test" else ".npz"
    file = f"{asked.table}.{column.name}{ending}"
    kept = tuple(imported for imported in record.columns if imported.column.name != column.name)
    added = ImportedColumn(column, file, _npz.write(folder / file, {"value": spread}))
    replace(record, columns=(*kept, added)).save(folder / f"{asked.table}.json")


def _rows(table: Table, texts: Sequence[str]) -> list[int]:
    """The row of every text. Raises UserError where one has none or two have the same."""
    space = space_of(table)
    rows = [_row(table, space, text) for text in texts]
    unknown = [text for text, row in zip(texts, rows, strict=True) if row is None]
    if unknown:
        raise UserError(
            f"the table '{table.name}' has no row for {len(unknown):,} of the {len(texts):,} architectures, "
            f"the first '{shown(unknown[0])}'; give them as archscout writes them, in their published form or by hash"
        )
    found = [row for row in rows if row is not None]
    _refuse_duplicates(found, texts)
    return found


def _row(table: Table, space: Space, text: str) -> int | None:
    if isinstance(table, KeyedTable) and (row := table.row_of_key(text)) is not None:
        return row
    architecture = _parsed(space, text)
    return None if architecture is None else table.row(space, architecture)


def _parsed(space: Space, text: str) -> Architecture | None:
    """The architecture of our or the published text; None where it is none of the space."""
    with suppress(UserError):
        if isinstance(space, PublishedSpace) and (found := space.from_genotype(text)) is not None:
            return found
        named = Architecture.parse(text)
        return space.architecture(named.choices) if named.space == space.name else None
    return None


def _new_table(folder: Path, asked: Asked, texts: Sequence[str]) -> Record:
    """A table of these architectures, of a space of ours or names only; its rows are written."""
    file = f"{asked.table}.rows.npz"
    if not asked.space:
        if len(texts) > _MOST_LISTED:
            raise UserError(
                f"a table without a space lists at most {_MOST_LISTED:,} architectures, but {len(texts):,} came; name --space"
            )
        _refuse_duplicates(list(texts), texts)
        return Record(f"{LISTED}{asked.table}", len(texts), (), file, _npz.write(folder / file, packed_texts(texts)))
    space: Space = catalogue.make("spaces", asked.space)
    found = [_parsed(space, text) for text in texts]
    unknown = [text for text, architecture in zip(texts, found, strict=True) if architecture is None]
    if unknown:
        raise UserError(
            f"the space '{asked.space}' does not hold {len(unknown):,} of the {len(texts):,} architectures, the first "
            f"'{shown(unknown[0])}'; give them as archscout writes them or in their published form"
        )
    choices = [architecture.choices for architecture in found if architecture is not None]
    _refuse_duplicates(choices, texts)
    rows = np.array(choices, np.uint32)
    small = np.min_scalar_type(rows.max(initial=0))
    return Record(space.name, len(texts), (), file, _npz.write(folder / file, {"choices": rows.astype(small)}))


def _refuse_duplicates(keys: Sequence[object], texts: Sequence[str]) -> None:
    counts = Counter(keys)
    twice = [text for key, text in zip(keys, texts, strict=True) if counts[key] > 1]
    if twice:
        raise UserError(
            f"every architecture may come once, but {len(twice):,} rows name one that comes again, "
            f"the first '{shown(twice[0])}'; keep one row of each"
        )
