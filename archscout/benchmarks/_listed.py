"""The space of a table that only lists architectures by name: one decision, whose options are the names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from archscout.core.architecture import Architecture, Decision
from archscout.core.errors import UserError
from archscout.core.problem import Task

if TYPE_CHECKING:
    from torch import nn

LISTED = "listed-"
"""How the names of such spaces begin."""


@dataclass(frozen=True)
class Listed:
    """Architectures that are names. table: whose. texts: the names, in the order of the rows."""

    table: str
    texts: tuple[str, ...]

    @property
    def name(self) -> str:
        """listed-TABLE."""
        return f"{LISTED}{self.table}"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Which of the names."""
        return (Decision("architecture", self.texts),)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The name with this number."""
        if len(choices) != 1 or not 0 <= choices[0] < len(self.texts):
            raise UserError(f"'{self.name}' numbers its architectures 0 to {len(self.texts) - 1:,}, but {tuple(choices)} came")
        return Architecture(self.name, (int(choices[0]),))

    def genotype(self, architecture: Architecture) -> str:
        """The name."""
        return self.texts[architecture.choices[0]]

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a name; None where `text` is none."""
        place = self._places.get(text.strip())
        return None if place is None else self.architecture((place,))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """Raises UserError: a name says nothing of the network."""
        raise UserError(
            f"the architectures of the table '{self.table}' are names only, so they cannot be built; judge them by 'tabular'"
        )

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: place for place, text in enumerate(self.texts)}
