"""What an architecture is: the answers to a space's numbered decisions.

The text form is `space:choice.choice. ...`, for instance `nas201:3.3.3.1.3.2`; the command line, the store and tables use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

from archscout.core.errors import UserError

_TEXT = re.compile(r"([a-z0-9_-]+):(\d{1,9}(?:\.\d{1,9})*)")


@dataclass(frozen=True, slots=True)
class Decision:
    """One question of a space; `options` are names that a person can read."""

    name: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"the decision '{self.name}' needs at least one option")


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """The answers, one option number per decision. Made by `Space.architecture`, never by hand."""

    space: str
    choices: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.space}:{'.'.join(map(str, self.choices))}"

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """The architecture that `text` names, before any space has checked it.

        Raises UserError where `text` has another form.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise UserError(
                f"an architecture reads like 'nas201:3.3.3.1.3.2', but '{text}' came; see 'archscout plugins spaces' for the spaces"
            )
        return cls(match[1], tuple(int(choice) for choice in match[2].split(".")))

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name this architecture."""
        return blake2b(str(self).encode(), digest_size=8).hexdigest()


def checked(space: str, decisions: tuple[Decision, ...], choices: tuple[int, ...]) -> Architecture:
    """The architecture with these choices, or a UserError that names the wrong one."""
    if len(choices) != len(decisions):
        raise UserError(
            f"the space '{space}' takes {len(decisions)} choices, but {len(choices)} came "
            f"({', '.join(map(str, choices))}); see 'archscout plugins spaces {space}'"
        )
    for decision, choice in zip(decisions, choices, strict=True):
        if not 0 <= choice < len(decision.options):
            raise UserError(
                f"the decision '{decision.name}' of '{space}' takes 0 to {len(decision.options) - 1} "
                f"({', '.join(decision.options)}), but {choice} came"
            )
    return Architecture(space, tuple(int(choice) for choice in choices))
