"""Several spaces as one, so that searched and hand-made networks can be compared in one stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archscout.core.architecture import Architecture, Decision
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.problem import Task
from archscout.core.protocols import Space

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class JointSpace:
    """Every architecture belongs to the member that its text form names. There is nothing to draw from here."""

    members: tuple[Space, ...]

    @property
    def name(self) -> str:
        """The members' names."""
        return "+".join(member.name for member in self.members)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """None: draw from a member."""
        return ()

    def member(self, architecture: Architecture) -> Space:
        """The space that an architecture belongs to. Raises UnknownName."""
        for member in self.members:
            if member.name == architecture.space:
                return member
        known = [member.name for member in self.members]
        raise UnknownName(f"no space here is called '{architecture.space}'; {suggestion(architecture.space, known)}")

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """Not to be had: choices alone do not name a member."""
        raise UserError("a joint space makes no architectures; ask one of its members")

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """As the member builds it."""
        return self.member(architecture).build(architecture, task)


def member_space(space: Space, architecture: Architecture) -> Space:
    """The space itself, or of a joint space the member that `architecture` belongs to."""
    return space.member(architecture) if isinstance(space, JointSpace) else space


def names_of(space: Space) -> tuple[str, ...]:
    """The names that an architecture of this space may carry."""
    return tuple(member.name for member in space.members) if isinstance(space, JointSpace) else (space.name,)
