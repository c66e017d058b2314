"""Saves what is sound of a damaged run, or of a damaged file of lines."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from archscout.core.errors import RunError, storage_error
from archscout.store.contents import DATABASE, Contents, checksum, connect, create_database, insertion, load
from archscout.store.files import free_name, fsync_folder
from archscout.store.lines import repair_lines
from archscout.store.lock import FolderLock
from archscout.store.writer import failed


def repair(folder: Path | str) -> str:
    """Write the longest sound prefix of a run into a new store, keep the old one beside it, and say in a sentence what was saved.

    The same for a file of lines (`store.lines`) in place of a folder. Raises RunError where there is no run, where it is in use, or
    where not even its request can be read; StorageError where the disk is full, and the old store stays where it is.
    """
    folder = Path(folder)
    if folder.is_file():
        return repair_lines(folder)
    path = folder / DATABASE
    if not path.is_file():
        raise RunError(f"there is no run in '{folder}'; 'archscout runs' lists the runs")
    lock, fresh = FolderLock(folder), folder / "repaired.sqlite"
    try:
        contents = _salvage(path)
        keys = {row[0] for row in contents.tables.get("run", [])}
        if not {"request", "seed", "created"} <= keys:
            raise RunError(f"the run '{folder}' cannot be repaired: its request is lost; start it anew with 'archscout search'")
        fresh.unlink(missing_ok=True)
        write_contents(fresh, contents)
        backup = free_name(path)
        for suffix in ("", "-wal", "-shm"):
            old = folder / f"{DATABASE}{suffix}"
            if old.exists():
                old.rename(backup.with_name(backup.name + suffix))
        fresh.rename(path)
        fsync_folder(folder)
    except sqlite3.Error as error:
        raise failed(fresh, error) from error
    except OSError as error:
        raise storage_error(fresh, error.errno or 0) from error
    finally:
        lock.close()
    results = sum(event.table == "observations" for event in contents.events)
    return f"saved {len(contents.events)} events with {results} results; the damaged store is kept as '{backup.name}'"


def write_contents(path: Path, contents: Contents) -> None:
    """A new database at `path` with these contents, row by row as they were."""
    connection = create_database(path)
    try:
        connection.execute("BEGIN")
        for table, rows in contents.tables.items():
            for row in rows:
                connection.execute(insertion(table), (*row, checksum("", table, row)))
        for event in contents.events:
            connection.execute(insertion(event.table), (event.sequence, *event.values, event.checksum))
        connection.executemany("INSERT OR REPLACE INTO clock VALUES (?, ?, ?)", contents.clock)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _salvage(path: Path) -> Contents:
    # On a copy: opening a database already changes it, and the original is the backup.
    with TemporaryDirectory(dir=path.parent, prefix=".repair") as place:
        for suffix in ("", "-wal"):
            if (original := path.with_name(path.name + suffix)).exists():
                shutil.copy(original, Path(place) / original.name)
        connection = connect(Path(place) / path.name)
        try:
            # Lets SQLite open a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema = ON")
            return load(connection, tolerant=True)
        except sqlite3.DatabaseError:
            return Contents()
        finally:
            connection.close()
