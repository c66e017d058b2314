"""Where archscout keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Of opened data and estimates: $ARCHSCOUT_CACHE, or the user's cache folder for archscout."""
    from platformdirs import user_cache_dir

    chosen = os.environ.get("ARCHSCOUT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(user_cache_dir("archscout"))
