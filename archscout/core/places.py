"""Where archscout keeps what it can make again, and what the user gave it or had it find."""

from __future__ import annotations

import os
import re
from pathlib import Path

from archscout.core.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def cache_folder() -> Path:
    """Of opened data and estimates: $ARCHSCOUT_CACHE, or the user's cache folder for archscout."""
    from platformdirs import user_cache_dir

    chosen = os.environ.get("ARCHSCOUT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(user_cache_dir("archscout"))


def data_folder() -> Path:
    """Of imported tables and found signals: the user's data folder for archscout."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("archscout"))


def own_place(folder: Path, name: str, suffix: str, what: str, variable: str) -> Path:
    """Where what the user keeps under a name lies, or would lie; its folder is made.

    what: the plural of what is kept. variable: the environment variable that names the folder. Raises UserError for a name that is
    no file name, and for a folder that cannot be written.
    """
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= 60 else f"{name[:60]}..."
        raise UserError(f"a name of {what} has up to 100 letters, digits, '-' and '_', but {shown!r} came")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK) else "it is read-only"
    except OSError as error:
        why = os.strerror(error.errno or 0)
    if why:
        raise UserError(f"{what} cannot be kept in '{folder}' ({why}); set {variable} to another folder")
    return folder / f"{name}{suffix}"
