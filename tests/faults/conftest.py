"""Workers that start as in life, since the faults are those of such processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from commandline import Command


@pytest.fixture(scope="session")
def archscout(archscout: Command) -> Command:
    """As for the other tests, but workers are never forked from a process that has loaded everything."""
    return replace(archscout, warm_workers=False)
