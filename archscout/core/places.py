"""Where archscout keeps what it can make again, and what the user gave it or had it find."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Of opened data and estimates: $ARCHSCOUT_CACHE, or the user's cache folder for archscout."""
    from platformdirs import user_cache_dir

    chosen = os.environ.get("ARCHSCOUT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(user_cache_dir("archscout"))


def data_folder() -> Path:
    """Of imported tables and found signals: the user's data folder for archscout."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("archscout"))
