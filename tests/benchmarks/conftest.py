from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of imported tables for each test, empty."""
    place = tmp_path / "tables"
    monkeypatch.setenv("ARCHSCOUT_TABLES", str(place))
    return place
