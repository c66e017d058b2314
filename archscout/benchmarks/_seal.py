"""Keeps test values out of reach of what searches: nothing of a strategy or judge may stand on the call stack that reads them."""

from __future__ import annotations

import sys
from functools import lru_cache

from archscout import catalogue

_SEARCHERS = ("archscout.strategies.", "archscout.estimators.", "archscout.learners.", "archscout.meta.", "archscout_file_")
"""Modules of ours, and the name that `catalogue.load_file` gives to a user's plug-in file."""


def forbid_searchers() -> None:
    """Raises ImportError where a strategy, a judge or a user's plug-in file is among the callers."""
    frame = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_SEARCHERS) or module in _registered():
            raise ImportError(
                f"test values are for the report at the end, not for a search, but '{module}' asks for them; "
                "use the objective of the table"
            )
        frame = frame.f_back  # type: ignore[assignment]


@lru_cache(maxsize=1)
def _registered() -> frozenset[str]:
    """The modules of the strategies and judges that other packages registered with the catalogue."""
    return frozenset(module for room in ("strategies", "estimators") for module in catalogue.foreign_modules(room))
