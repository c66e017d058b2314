"""The one place of the cache."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from archscout.core.places import cache_folder


def test_the_cache_is_where_the_environment_says_or_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("ARCHSCOUT_CACHE", "~/kept")
    assert cache_folder() == Path("/home/somebody/kept")
    monkeypatch.setenv("ARCHSCOUT_CACHE", "")
    assert cache_folder() == Path(platformdirs.user_cache_dir("archscout"))
