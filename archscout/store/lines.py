"""A file that grows line by line and survives a kill: every line carries its checksum, the first says what the others belong to.

A last line without its end is what a kill leaves; it is dropped. Any other line that is wrong means damage, and is told.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import IO, Any
from zlib import crc32

from archscout.core.errors import DamagedError, RunError, storage_error
from archscout.store.files import free_name, write_atomic

_SYNC_SECONDS = 1.0


class LineFile:
    """The lines of `path`, made where it is missing, held against other processes until `close`.

    question: what the lines belong to. entries: the lines that were there. Raises RunError where the file is in use, not writable,
    or of another question, DamagedError where a line is damaged, StorageError; the file stays as it is then.
    """

    def __init__(self, path: Path, question: Mapping[str, Any]) -> None:
        self.path = path
        head = json.loads(json.dumps(question))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)  # with a buffer, a line that did not fit would be written again at the end
        except OSError as error:
            raise RunError(f"'{path}' cannot be written ({os.strerror(error.errno or 0)}); choose another place") from error
        try:
            _hold(path, self._file)
            self.entries = self._read(head)
        except OSError as error:
            self._file.close()
            raise storage_error(path, error.errno or 0) from error
        except BaseException:
            self._file.close()
            raise
        self._synced = monotonic()

    def add(self, entry: Any) -> None:
        """Append a line. A kill of this process loses none, a power cut those of the last second. Raises StorageError."""
        try:
            self._write(_line(entry))
            if monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = monotonic()
        except OSError as error:
            raise storage_error(self.path, error.errno or 0) from error

    def close(self, *, remove: bool = False) -> None:
        """Let others in; the file goes where it has served its purpose."""
        if remove:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _read(self, head: Any) -> list[Any]:
        self._file.seek(0)
        content = self._file.read()
        lines, sound = _sound(content)
        torn = content.rfind(b"\n") + 1
        if sound < torn:
            raise DamagedError(
                f"line {len(lines) + 1} of '{self.path}' is damaged; 'archscout repair {self.path}' saves what is before it"
            )
        if lines and lines[0] != head:
            other = [name for name in head if not isinstance(lines[0], dict) or lines[0].get(name) != head[name]]
            raise RunError(
                f"'{self.path}' belongs to another question ({', '.join(other) or 'a later version'} differs); "
                "remove it, or choose another place"
            )
        if not lines and not _line(head).startswith(content):
            raise RunError(f"'{self.path}' is no file of archscout; remove it, or choose another place")
        self._file.truncate(torn)
        if not lines:
            self._write(_line(head))
        return lines[1:]

    def _write(self, line: bytes) -> None:
        """All of a line or, where that fails, nothing of it."""
        before = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError:
            self._file.truncate(before)
            raise


def repair_lines(path: Path) -> str:
    """Keep the lines before the first damaged one, the old file beside them, and say in a sentence what was saved.

    Raises RunError where the file is in use, or where not even its first line is sound.
    """
    try:
        with path.open("r+b") as file:
            _hold(path, file)
            content = file.read()
            lines, sound = _sound(content)
            if not lines:
                raise RunError(f"'{path}' cannot be repaired: its first line is lost, or it is no file of archscout; begin anew")
            backup = free_name(path)
            write_atomic(backup, content)
            write_atomic(path, content[:sound])
    except OSError as error:
        raise RunError(f"'{path}' cannot be repaired ({os.strerror(error.errno or 0)})") from error
    return f"saved {len(lines) - 1:,} lines; the damaged file is kept as '{backup.name}'"


def _hold(path: Path, file: IO[bytes]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RunError(f"'{path}' is in use by another process; wait for it to end, or stop it") from error


def _sound(content: bytes) -> tuple[list[Any], int]:
    """The lines before the first that is damaged or has no end, and how many bytes they are."""
    lines, place = [], 0
    while (end := content.find(b"\n", place)) >= 0:
        sum_, _, text = content[place:end].partition(b" ")
        try:
            if sum_ != b"%08x" % crc32(text):
                break
            lines.append(json.loads(text))
        except (ValueError, RecursionError):  # someone else's line, with a checksum that fits
            break
        place = end + 1
    return lines, place


def _line(entry: Any) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)
