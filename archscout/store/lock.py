"""One writer per folder, by a lock of the operating system that dies with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from archscout.core.errors import RunError, storage_error


class FolderLock:
    """Held from construction to `close`. Raises RunError at once where another process holds it; the message names its PID.

    Raises StorageError where the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(f"the run folder '{folder}' cannot be written ({os.strerror(error.errno or 0)})") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise RunError(f"the run '{folder}' is in use by PID {owner}; wait for it to end, or stop it") from error
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.close()
            raise storage_error(path, error.errno or 0) from error

    def close(self) -> None:
        """Let others in. The file stays: removing it would let two processes lock two files of one name."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
