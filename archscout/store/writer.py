"""The one place that writes to a run's database; every failure leaves as a StorageError that names path and reason."""

from __future__ import annotations

import errno
import resource
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archscout.core.errors import RunError, StorageError, storage_error
from archscout.store.contents import Event, checksum, insertion


class Writer:
    """Appends events to the chain and puts rows into the other tables, in transactions that last until `commit`."""

    def __init__(self, path: Path, connection: sqlite3.Connection | None, events: Sequence[Event], session: int = 1) -> None:
        self._path = path
        self._connection = connection
        self._sequence = len(events)
        self._chain = events[-1].checksum if events else ""
        self._session = session

    @property
    def writable(self) -> bool:
        """False for a reader and after `close`."""
        return self._connection is not None

    def append(self, table: str, values: tuple[Any, ...]) -> None:
        """Add an event."""
        chain = checksum(self._chain, table, values)
        self._execute(insertion(table), (self._sequence + 1, *values, chain))
        self._sequence, self._chain = self._sequence + 1, chain

    def put(self, table: str, values: tuple[Any, ...]) -> None:
        """Write a row, in place of one with the same key."""
        self._execute(insertion(table), (*values, checksum("", table, values)))

    def time(self, stage: str, seconds: float) -> None:
        """Set the clock of this session and stage."""
        self._execute("INSERT OR REPLACE INTO clock VALUES (?, ?, ?)", (self._session, stage, seconds))

    def commit(self) -> None:
        """Make everything since the last commit last."""
        connection = self._open()
        if connection.in_transaction:
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise failed(self._path, error) from error

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        connection = self._open()
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        connection = self._open()
        try:
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
            connection.execute(statement, values)
        except sqlite3.Error as error:
            raise failed(self._path, error) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RunError(f"the run '{self._path.parent}' is open for reading only; open it with RunStore.open to write")
        return self._connection


def failed(path: Path, error: sqlite3.Error) -> StorageError:
    """What is said of a write to the database at `path` that failed."""
    name = getattr(error, "sqlite_errorname", "")
    if not name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return StorageError(f"'{path}' cannot be written: {error}; 'archscout resume' goes on from what was confirmed")
    # SQLite keeps the system's error number to itself; it follows from its own code and from the limit on file sizes.
    number = errno.ENOSPC if name == "SQLITE_FULL" else errno.EROFS if name.startswith("SQLITE_READONLY") else errno.EIO
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if name.startswith("SQLITE_IOERR") and limit != resource.RLIM_INFINITY:
        sizes = [path.stat().st_size for path in path.parent.glob(f"{path.name}*")]
        if max(sizes, default=0) + 8192 > limit:
            number = errno.EFBIG
    return storage_error(path, number)
