"""What lies in a run's database, and whether it is sound.

Events (moves, progress, observations) form one chain: the checksum of each is taken over its content and the checksum before it.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
APPLICATION_ID = 0x41534354
DATABASE = "run.sqlite"

EVENTS = {
    "moves": ("stage", "number", "kind", "architecture", "judge", "fidelity", "delivered"),
    "progress": ("stage", "number", "metrics", "snapshot", "sha256"),
    "observations": ("stage", "number", "value", "cost", "metrics", "failure", "message", "seconds"),
}
TABLES = {
    "run": ("key", "value"),
    "stages": ("name", "position", "finished", "answer", "reason"),
    "artifacts": ("name", "path", "sha256"),
}


class Damaged(Exception):
    """The place where a database stops making sense."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of an event table: the values of its columns without sequence and checksum."""

    sequence: int
    table: str
    values: tuple[Any, ...]
    checksum: str


@dataclass
class Contents:
    """The sound part of a database."""

    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    clock: list[tuple[int, str, float]] = field(default_factory=list)


def checksum(previous: str, table: str, values: tuple[Any, ...]) -> str:
    """16 hexadecimal digits over a row and the checksum before it ("" for rows outside the chain)."""
    text = json.dumps([previous, table, *values], default=repr)
    return blake2b(text.encode("utf8", "surrogatepass"), digest_size=8).hexdigest()


def insertion(table: str) -> str:
    """The SQL that writes a whole row of this table."""
    columns = ("sequence", *EVENTS[table]) if table in EVENTS else TABLES[table]
    names = ", ".join((*columns, "checksum"))
    marks = ", ".join("?" * (len(columns) + 1))
    return f"INSERT OR {'ABORT' if table in EVENTS else 'REPLACE'} INTO {table} ({names}) VALUES ({marks})"


def connect(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """A connection in autocommit mode; `mode` is one of SQLite's: ro, rw, rwc."""
    address = path.absolute().as_uri()
    try:
        connection = _connected(f"{address}?mode={mode}")
    except sqlite3.OperationalError:
        # A reader in a folder that cannot be written finds no room for the shared-memory file; without a log none is needed.
        if mode != "ro" or not path.exists() or path.with_name(path.name + "-wal").exists():
            raise
        connection = _connected(f"{address}?immutable=1")
    connection.text_factory = lambda raw: raw.decode("utf8", "replace")
    return connection


def create_database(path: Path) -> sqlite3.Connection:
    """An empty database with our schema."""
    connection = connect(path, "rwc")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    schema = files("archscout.store").joinpath("schema.sql").read_text("utf8")
    connection.executescript(
        f"BEGIN; {schema} PRAGMA user_version = {SCHEMA_VERSION}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
    )
    return connection


def _connected(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA user_version").fetchone()
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError:
        pass  # damaged: told apart by the caller
    return connection


def load(connection: sqlite3.Connection, *, tolerant: bool = False) -> Contents:
    """Everything in the database, checked.

    Raises Damaged at the first thing that is wrong; with `tolerant`, returns the longest sound prefix instead.
    """
    contents = Contents()
    for table, columns in TABLES.items():
        contents.tables[table] = [
            row[:-1]
            for row in _rows(connection, f"SELECT {', '.join(columns)}, checksum FROM {table} ORDER BY rowid", tolerant)
            if _sound(table, row, tolerant)
        ]
    found = [
        Event(row[0], table, row[1:-1], row[-1])
        for table, columns in EVENTS.items()
        for row in _rows(connection, f"SELECT sequence, {', '.join(columns)}, checksum FROM {table} ORDER BY sequence", tolerant)
    ]
    previous = ""
    for expected, event in enumerate(sorted(found, key=lambda event: event.sequence), start=1):
        wrong = None
        if event.sequence != expected:
            wrong = f"event {expected} is missing"
        elif checksum(previous, event.table, event.values) != event.checksum:
            wrong = f"event {expected} (in '{event.table}') does not fit its checksum"
        if wrong and tolerant:
            break
        if wrong:
            raise Damaged(wrong)
        contents.events.append(event)
        previous = event.checksum
    contents.clock = list(_rows(connection, "SELECT session, stage, seconds FROM clock ORDER BY session", tolerant))
    return contents


def _rows(connection: sqlite3.Connection, query: str, tolerant: bool) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    try:
        for row in connection.execute(query):
            found.append(row)
    except sqlite3.DatabaseError:
        if not tolerant:
            raise
    return found


def _sound(table: str, row: tuple[Any, ...], tolerant: bool) -> bool:
    if checksum("", table, row[:-1]) == row[-1]:
        return True
    if tolerant:
        return False
    raise Damaged(f"'{row[0]}' in '{table}' does not fit its checksum")
