"""Files that are either the old or the new, never half: temp, fsync, rename, fsync of the folder."""

from __future__ import annotations

import json
import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from archscout.core.errors import RunError, storage_error


def write_atomic(path: Path | str, data: bytes | str) -> None:
    """Replace the file at `path` as a whole; on failure the old file stays and no temporary one is left.

    Raises StorageError that names the path and the system's reason.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        fsync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error.errno or 0) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file that a person can read; refuses NaN and infinity (ValueError)."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def fsync_folder(folder: Path) -> None:
    """Make a rename in this folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path | str) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    digest = sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def free_name(path: Path) -> Path:
    """A name beside a damaged file under which it can be kept."""
    return next(place for n in range(1, 10_000) if not (place := path.with_name(f"{path.name}.damaged-{n}")).exists())


def made_folder(folder: Path) -> Path:
    """The folder, made where it is missing. Raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error.errno or 0) from error
    return folder


def checked_folder(folder: Path | str) -> Path:
    """The folder, made where it is missing. Raises RunError where nothing can be written there."""
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise RunError(f"the run folder '{folder}' cannot be written ({reason}); choose another with --out") from error
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
