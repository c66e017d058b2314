"""Opens recorded benchmarks by name: shipped and registered ones, those that a user imported, and ones with imported columns."""

from __future__ import annotations

import os

from archscout import catalogue
from archscout.benchmarks._imported import ImportedTable, read_record, tables_folder
from archscout.benchmarks._listed import LISTED
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.protocols import Space, Table


def table_names() -> list[str]:
    """All names that `open_table` knows."""
    return sorted({*catalogue.names("tables"), *(path.stem for path in tables_folder().glob("*.json"))})


def open_table(name: str) -> Table:
    """The table, with its imported columns; reads no numbers. Raises UnknownName with a suggestion, UserError for a damaged one."""
    folder = tables_folder()
    record = read_record(folder / f"{name}.json") if "/" not in name and "\\" not in name else None
    ours = name.endswith(".py") or name in catalogue.names("tables")
    if record is None:
        if not ours:
            raise UnknownName(f"there is no table '{name}'; {suggestion(name, table_names())}")
        table: Table = catalogue.make("tables", name)
        return table
    if record.space:
        return ImportedTable(name, record, folder)
    if not ours:
        raise UserError(f"the imported columns in '{folder / name}.json' complete a table '{name}', which is not installed")
    base: Table = catalogue.make("tables", name)
    if base.facts.rows != record.rows:
        raise UserError(
            f"the imported columns in '{folder / name}.json' complete a table of {record.rows:,} rows, but '{name}' has "
            f"{base.facts.rows:,} now; remove that file and import them again"
        )
    return ImportedTable(name, record, folder, base)


def space_of(table: Table) -> Space:
    """The space whose architectures are the rows, with its default settings."""
    listed = listed_space(table.facts.space)
    if listed is not None:
        return listed
    space: Space = catalogue.make("spaces", table.facts.space)
    return space


def listed_space(name: str) -> Space | None:
    """The space of a table that lists its architectures by name; None where `name` is that of another space."""
    table = open_table(name.removeprefix(LISTED)) if name.startswith(LISTED) else None
    return table.listed() if isinstance(table, ImportedTable) else None


def stamp(name: str) -> tuple[str, int]:
    """Changes where the imported part of a table changes; for caches."""
    path = os.path.join(tables_folder(), f"{name}.json")  # quicker than a Path
    try:
        return path, os.stat(path).st_mtime_ns
    except OSError:
        return path, 0
