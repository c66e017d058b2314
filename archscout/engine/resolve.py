"""From what a person writes to a space and an architecture: text form, published form or published name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UserError
from archscout.core.protocols import PublishedSpace, Space
from archscout.engine.request import settings_of


def resolve(text: str, space: str | None = None, settings: Mapping[str, str] | None = None) -> tuple[Space, Architecture]:
    """The space and the architecture that `text` names. Raises UserError.

    text: `nas201:3.3.3.1.3.2`, a NAS-Bench-201 string, a DARTS genotype, or a name such as `DARTS_V2`.
    space: a space's name or a `.py` file; needed for spaces of one's own, and for published forms that several spaces know.
    settings: what `--set space.NAME=VALUE` says; some settings change the decisions.
    """
    settings = settings or {}
    if space is not None:
        chosen = _set(catalogue.make("spaces", space), settings)
        return chosen, _in_space(text, chosen)
    try:
        parsed = Architecture.parse(text)
    except UserError:
        return _published(text, settings)
    owner = _set(catalogue.make("spaces", parsed.space), settings)
    return owner, owner.architecture(parsed.choices)


def with_settings(space: Space, architecture: Architecture, settings: Mapping[str, str]) -> tuple[Space, Architecture]:
    """The same with what `--set space.NAME=VALUE` says. Raises UserError, UnknownName."""
    made = _set(space, settings)
    return made, made.architecture(architecture.choices)


def _set(space: Space, settings: Mapping[str, str]) -> Space:
    kind: Any = type(space)
    wanted = settings_of("space", settings, kind) if any(name.startswith("space.") for name in settings) else {}
    try:
        made: Space = replace(space, **wanted) if wanted else space  # type: ignore[type-var]
    except ValueError as error:
        raise UserError(f"the settings of '{space.name}' do not fit: {error}") from error
    return made


def genotype_of(space: Space, architecture: Architecture) -> str | None:
    """The published form, where the space has one."""
    return space.genotype(architecture) if isinstance(space, PublishedSpace) else None


def _in_space(text: str, space: Space) -> Architecture:
    found = space.from_genotype(text) if isinstance(space, PublishedSpace) else None
    if found is not None:
        return found
    parsed = Architecture.parse(text)
    if parsed.space != space.name:
        raise UserError(f"'{text}' belongs to the space '{parsed.space}', but '{space.name}' was asked for")
    return space.architecture(parsed.choices)


def _published(text: str, settings: Mapping[str, str]) -> tuple[Space, Architecture]:
    for name in catalogue.names("spaces"):
        try:
            space: Space = catalogue.make("spaces", name)
        except ArchscoutError:
            continue
        with suppress(ArchscoutError):  # most spaces do not have the settings of the one that is looked for
            space = _set(space, settings)
        found = space.from_genotype(text) if isinstance(space, PublishedSpace) else None
        if found is not None:
            return space, found
    raise UserError(
        f"'{text}' is no architecture that a space knows; give a text form such as nas201:3.3.3.1.3.2, "
        "a NAS-Bench-201 string, or a DARTS genotype or its name"
    )
