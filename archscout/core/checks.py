"""Checks that settings of many plug-ins share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from archscout.core.errors import UserError


def check_least(settings: object, **least: float) -> None:
    """Raises ValueError for the first of these settings that is smaller than it may be."""
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise ValueError(f"{name} is at least {bound}, but {getattr(settings, name)} came")


def check_plain(recipe: object, kind: type[Any], words: Mapping[str, Sequence[str]]) -> None:
    """Raises UserError for the first field of a recipe that is none of its words, or of another field that is no number from 0 on.

    kind: the dataclass whose fields are looked at. words: those that the fields of these names may be.
    """
    for name, known in words.items():
        if getattr(recipe, name) not in known:
            allowed = " or ".join(filter(None, [", ".join(known[:-1]), known[-1]]))
            raise UserError(f"the recipe's {name} is {allowed}, but '{getattr(recipe, name)}' came")
    for field in fields(kind):
        value = getattr(recipe, field.name)
        if field.name not in words and not (math.isfinite(value) and value >= 0):
            raise UserError(f"the recipe's {field.name} is a number from 0 on, but {value} came")
