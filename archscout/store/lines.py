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
from typing import Any
from zlib import crc32

from archscout.core.errors import RunError
from archscout.store.files import storage_error

_SYNC_SECONDS = 1.0


class LineFile:
    """The lines of `path`, made where it is missing, held against other processes until `close`.

    question: what the lines belong to. entries: the lines that were there. Raises RunError where the file is in use, damaged,
    not writable, or of another question.
    """

    def __init__(self, path: Path, question: Mapping[str, Any]) -> None:
        self.path = path
        head = json.loads(json.dumps(question))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise RunError(f"'{path}' cannot be written ({os.strerror(error.errno or 0)}); choose another place") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.entries = self._read(head)
        except OSError as error:
            self._file.close()
            raise RunError(f"'{path}' is in use by another process; wait for it to end, or stop it") from error
        except BaseException:
            self._file.close()
            raise
        self._synced = monotonic()

    def add(self, entry: Any) -> None:
        """Append a line. A kill of this process loses none, a power cut those of the last second. Raises StorageError."""
        try:
            self._file.write(_line(entry))
            self._file.flush()
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
        whole, end, _ = self._file.read().rpartition(b"\n")
        self._file.truncate(len(whole) + len(end))
        lines = [self._checked(number, line) for number, line in enumerate(whole.split(b"\n"), 1)] if end else []
        if not lines:
            self._file.write(_line(head))
            self._file.flush()
        elif lines[0] != head:
            other = [name for name in head if not isinstance(lines[0], dict) or lines[0].get(name) != head[name]]
            raise RunError(
                f"'{self.path}' belongs to another question ({', '.join(other) or 'a later version'} differs); "
                "remove it, or choose another place"
            )
        return lines[1:]

    def _checked(self, number: int, line: bytes) -> Any:
        sum_, _, text = line.partition(b" ")
        if sum_ != b"%08x" % crc32(text):
            raise RunError(f"line {number} of '{self.path}' is damaged; remove the file, and begin again")
        return json.loads(text)


def _line(entry: Any) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)
