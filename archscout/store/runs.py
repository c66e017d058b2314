"""A run on disk: one `run.sqlite` in its folder, one writer, any number of readers.

Moves are written together with the next result, results at once; after `add_result` returns, the result survives a kill and a
power cut. Everything is held in memory as well, so reading back costs nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Literal

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, DamagedError, RunError, UserError
from archscout.core.evidence import Observation
from archscout.core.moves import Progress
from archscout.store import contents as database
from archscout.store.contents import DATABASE, Damaged
from archscout.store.files import checked_folder, fsync_folder, sha256_of
from archscout.store.lock import FolderLock
from archscout.store.stages import StageLog
from archscout.store.wal import examine
from archscout.store.writer import Writer, failed

_SHARE = "share of "
"""How the names of facts begin that say what a machine computed."""


@dataclass(frozen=True, slots=True)
class Landed:
    """One landed proposal: its stage, the number of its move there, what came, and the seconds it took on this machine."""

    stage: str
    move: int
    observation: Observation
    seconds: float


@dataclass(frozen=True, slots=True)
class Share:
    """What a machine had of a run: candidates that it judged, how many of them failed, and the seconds they took."""

    judged: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of the run, by its path relative to the run folder."""

    path: str
    sha256: str


class Meta(MutableMapping[str, Any]):
    """The run's facts by name, as JSON values. Setting one writes it at once."""

    def __init__(self, store: RunStore, values: dict[str, Any]) -> None:
        self._store, self._values = store, values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        text = json.dumps(value, allow_nan=False)
        self._store.writer.put("run", (key, text))
        self._store.writer.commit()
        self._values[key] = json.loads(text)

    def __delitem__(self, key: str) -> None:
        raise ArchscoutError(f"'{key}' cannot be taken out of a run; what was recorded stays")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class RunStore:
    """The record of one run. Made by `create`, `open` (to go on) or `read` (to look); a context manager that closes itself."""

    def __init__(self, folder: Path, writer: Writer, found: database.Contents, lock: FolderLock | None) -> None:
        """Not for callers: use `create`, `open` or `read`."""
        self.folder = folder
        self.writer = writer
        self.warnings: list[str] = []
        self._tell: Callable[[str], None] | None = None
        self._lock = lock
        facts = {key: json.loads(text) for key, text in found.tables["run"]}
        self.meta = Meta(self, {key: value for key, value in facts.items() if not key.startswith(_SHARE)})
        self.shares = {key.removeprefix(_SHARE): Share(*value) for key, value in facts.items() if key.startswith(_SHARE)}
        """By machine; empty for a run that only this one has computed."""
        self._finished: dict[str, tuple[Any, str]] = {}
        self._logs: dict[str, StageLog] = {}
        self._positions: dict[str, int] = {}
        for name, position, finished, answer, reason in sorted(found.tables["stages"], key=lambda row: row[1]):
            self._positions[name] = position
            if finished:
                self._finished[name] = (json.loads(answer), reason)
        self._artifacts = {name: Artifact(path, digest) for name, path, digest in found.tables["artifacts"]}
        self._earlier = sum(seconds for _, stage, seconds in found.clock if stage == "")
        self._opened = monotonic()
        for name in self._positions:
            events = [event for event in found.events if event.values[0] == name]
            spent = sum(seconds for _, stage, seconds in found.clock if stage == name)
            self._logs[name] = StageLog(self, name, events, spent)

    @classmethod
    def create(cls, folder: Path | str, *, request: Mapping[str, Any], seed: int, begun: float | None = None) -> RunStore:
        """A new run in `folder`, which is made where it is missing.

        begun: the value of `time.monotonic` from which the run's clock counts; None for now.
        Raises RunError where the folder cannot be written, holds a run already, or is in use; StorageError on a full disk.
        """
        folder = checked_folder(folder)
        lock = FolderLock(folder)
        try:
            path = folder / DATABASE
            if path.exists():
                raise RunError(f"'{folder}' holds a run already; go on with 'archscout resume {folder}', or choose another --out")
            facts = {
                "request": dict(request),
                "seed": seed,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "schema": database.SCHEMA_VERSION,
            }
            _make(path, {key: json.dumps(value, allow_nan=False) for key, value in facts.items()})
            found, connection = _load(folder, "rw")
            _prepare(connection)
            store = cls(folder, Writer(path, connection, []), found, lock)
            store._opened = store._opened if begun is None else begun
        except sqlite3.Error as error:
            lock.close()
            raise failed(path, error) from error
        except BaseException:
            lock.close()
            raise
        return store

    @classmethod
    def open(cls, folder: Path | str) -> RunStore:
        """The run in `folder`, to go on with. `warnings` says what was dropped of a torn tail.

        Raises RunError where there is none, where another process writes it or where it is of another version, DamagedError where
        it is damaged; nothing of it is changed then.
        """
        folder = _existing(folder)
        lock = FolderLock(checked_folder(folder))
        try:
            path = folder / DATABASE
            tail = _examined(folder)
            found, looking = _load(folder, "ro")  # one that may write empties the log into the database when it is closed
            looking.close()
            connection = database.connect(path, "rw")
            _prepare(connection)
            session = 1 + max((row[0] for row in found.clock), default=0)
            store = cls._of(folder, Writer(path, connection, found.events, session), found, lock)
        except BaseException:
            lock.close()
            raise
        if tail == "torn":
            store.warn(f"the last event of '{folder}' was not written to its end; it is done again")
        return store

    @classmethod
    def read(cls, folder: Path | str) -> RunStore:
        """The run in `folder` as it is now, to look at; another process may be writing it. Raises as `open` does."""
        folder = _existing(folder)
        _examined(folder)
        found, connection = _load(folder, "ro")
        connection.close()
        return cls._of(folder, Writer(folder / DATABASE, None, found.events), found, None)

    @classmethod
    def _of(cls, folder: Path, writer: Writer, found: database.Contents, lock: FolderLock | None) -> RunStore:
        try:
            return cls(folder, writer, found, lock)
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError, UserError) as error:
            writer.close()  # checksums are no signatures: whoever writes a store can make them fit
            raise _damaged(folder, f"what it says makes no sense ({type(error).__name__}: {error})") from error

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for."""
        return dict(self.meta["request"])

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.meta["seed"])

    @property
    def created(self) -> str:
        """When the run was made, in UTC."""
        return str(self.meta["created"])

    @property
    def stages(self) -> list[str]:
        """The names of the stages so far, in order."""
        return list(self._positions)

    def stage(self, name: str) -> StageLog:
        """The log of this stage; a new one where there was none."""
        if name not in self._logs:
            self._place(name)
            self._logs[name] = StageLog(self, name, [], 0.0)
        return self._logs[name]

    def finish_stage(self, name: str, answer: Any = None, reason: str = "done") -> None:
        """Close a stage with its answer (a JSON value)."""
        self._place(name)
        text = json.dumps(answer, allow_nan=False)
        self.writer.put("stages", (name, self._positions[name], 1, text, reason))
        self.tick()
        self._finished[name] = (json.loads(text), reason)

    def stage_finished(self, name: str) -> bool:
        """Whether the stage is closed."""
        return name in self._finished

    def stage_answer(self, name: str) -> Any:
        """The answer of a closed stage, else None."""
        return self._finished.get(name, (None, None))[0]

    def stage_reason(self, name: str) -> str | None:
        """Why a closed stage stopped, else None."""
        return self._finished.get(name, (None, None))[1]

    def artifact(self, name: str, path: Path | str, sha256: str | None = None) -> None:
        """Record a file of the run; its digest is computed where none is given."""
        path = Path(path)
        digest = sha256 or sha256_of(path)
        resolved = path.resolve()
        inside = resolved.is_relative_to(self.folder.resolve())
        place = str(resolved.relative_to(self.folder.resolve()) if inside else resolved)
        self.writer.put("artifacts", (name, place, digest))
        self.tick()
        self._artifacts[name] = Artifact(place, digest)

    def add_share(self, place: str, *, failed: bool, seconds: float) -> None:
        """Note that a machine judged a candidate; written with the next commit."""
        had = self.shares.get(place, Share())
        self.shares[place] = Share(had.judged + 1, had.failed + failed, had.seconds + seconds)
        self.writer.put("run", (f"{_SHARE}{place}", json.dumps(astuple(self.shares[place]))))

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """The recorded files by name."""
        return dict(self._artifacts)

    def observations(self, stage: str | None = None) -> list[Landed]:
        """What has landed: stage by stage, in proposal order."""
        return [
            Landed(name, number, log.results[number], log.charges[number])
            for name, log in self._ordered(stage)
            for number in sorted(log.results)
        ]

    def progress(self, stage: str | None = None) -> list[tuple[str, int, Progress]]:
        """The progress moves (stage, number, move without its state), in order."""
        return [
            (name, number, entry.move)
            for name, log in self._ordered(stage)
            for number, entry in enumerate(log.moves)
            if isinstance(entry.move, Progress)
        ]

    @property
    def spent_seconds(self) -> float:
        """Time since the run began with it open for writing, over all sessions; a reader sees it as of the last write."""
        return self._earlier + (monotonic() - self._opened if self.writer.writable else 0.0)

    def warn(self, sentence: str) -> None:
        """Add to the warnings."""
        self.warnings.append(sentence)
        if self._tell is not None:
            self._tell(sentence)

    def heed(self, tell: Callable[[str], None]) -> None:
        """Have the warnings told, those that there are and those that come."""
        self._tell = tell
        for sentence in self.warnings:
            tell(sentence)

    def tick(self) -> None:
        """Write the clock, and everything that waits, now."""
        self.writer.time("", monotonic() - self._opened)
        self.writer.commit()

    def close(self) -> None:
        """Write the clock and let others in."""
        try:
            if self.writer.writable:
                self.writer.rollback()
                self.tick()
        finally:
            self.writer.close()
            if self._lock is not None:
                self._lock.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except ArchscoutError:
            if error is None:  # else the first error is the one to hear of
                raise

    def architecture_answer(self, name: str) -> Architecture | None:
        """The answer of a closed stage as an architecture."""
        answer = self.stage_answer(name)
        return None if answer is None else Architecture.parse(answer)

    def _place(self, name: str) -> None:
        if name not in self._positions:
            position = len(self._positions)
            self.writer.put("stages", (name, position, 0, None, None))
            self.writer.commit()
            self._positions[name] = position

    def _ordered(self, stage: str | None) -> list[tuple[str, StageLog]]:
        return [(name, self._logs[name]) for name in self._positions if name in self._logs and stage in (None, name)]


def _existing(folder: Path | str) -> Path:
    folder = Path(folder).expanduser()
    if not (folder / DATABASE).is_file():
        raise RunError(f"there is no run in '{folder}'; 'archscout runs' lists the runs")
    return folder


def _make(path: Path, facts: Mapping[str, str]) -> None:
    """The database with its first facts, under its name only when it is whole: a kill on the way leaves no half run."""
    young = path.with_name(f"new-{DATABASE}")
    for suffix in ("", "-wal", "-shm"):
        young.with_name(young.name + suffix).unlink(missing_ok=True)
    try:
        writer = Writer(young, database.create_database(young), [])
    except sqlite3.Error as error:
        raise failed(young, error) from error
    for key, text in facts.items():
        writer.put("run", (key, text))
    writer.commit()
    writer.close()
    young.rename(path)
    fsync_folder(path.parent)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _examined(folder: Path) -> Literal["sound", "torn"]:
    """The state of the log. Raises DamagedError."""
    path = folder / f"{DATABASE}-wal"
    state, place = examine(path)
    if state == "damaged":  # the second look is for readers: while the first one lasted, a writer may have begun the log anew
        state, place = examine(path)
    if state == "damaged":
        raise _damaged(folder, f"its log '{path.name}' is broken in the middle, at byte {place:,}")
    return state


def _damaged(folder: Path, reason: str) -> DamagedError:
    return DamagedError(f"the store of '{folder}' is damaged: {reason}; 'archscout repair {folder}' saves what is sound")


def _load(folder: Path, mode: str) -> tuple[database.Contents, sqlite3.Connection]:
    try:
        connection = database.connect(folder / DATABASE, mode)
    except sqlite3.Error as error:
        raise RunError(f"the run '{folder}' cannot be opened: {error}") from error
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        identity = connection.execute("PRAGMA application_id").fetchone()[0]
        if identity != database.APPLICATION_ID:
            raise RunError(f"'{folder / DATABASE}' is not a run of archscout; give a run folder")
        if version != database.SCHEMA_VERSION:
            age = "newer" if version > database.SCHEMA_VERSION else "older"
            raise RunError(
                f"the run '{folder}' has store version {version}, but this archscout reads version {database.SCHEMA_VERSION}; "
                f"use the {age} archscout that made it"
            )
        connection.execute("BEGIN")
        complaint = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if complaint != "ok":
            raise _damaged(folder, f"{' '.join(complaint.split())} {_past(connection)}")
        found = database.load(connection)
        connection.execute("COMMIT")
        if not {"request", "seed", "created"} <= {row[0] for row in found.tables["run"]}:
            raise _damaged(folder, "its request is missing")
    except Damaged as error:
        connection.close()
        raise _damaged(folder, str(error)) from error
    except sqlite3.DatabaseError as error:
        place = _past(connection)
        connection.close()
        raise _damaged(folder, f"{error} {place}") from error
    except BaseException:
        connection.close()
        raise
    return found, connection


def _past(connection: sqlite3.Connection) -> str:
    """Where a database becomes unreadable, which SQLite does not always say."""
    try:
        sound = len(database.load(connection, tolerant=True).events)
    except sqlite3.DatabaseError:
        return "(from its first page on)"
    return f"(past event {sound:,})"
