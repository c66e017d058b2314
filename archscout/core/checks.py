"""Checks that settings of many plug-ins share."""

from __future__ import annotations


def check_least(settings: object, **least: float) -> None:
    """Raises ValueError for the first of these settings that is smaller than it may be."""
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise ValueError(f"{name} is at least {bound}, but {getattr(settings, name)} came")
