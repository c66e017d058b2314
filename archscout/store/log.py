"""The record of one stage: its moves in order and, for each, how many results had been delivered before it was made.

Results are delivered in proposal order, so one integer per move tells what every answer contained; with it a fresh generator
can be led through the same conversation (see `engine.drive`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from archscout.core.architecture import Architecture
from archscout.core.evidence import Observation
from archscout.core.moves import Move, Progress, Propose

KEPT_SNAPSHOTS = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A move, and the number of results that had been delivered to the strategy before it made the move."""

    move: Move
    delivered: int


class Log(Protocol):
    """What the driver needs of a record. Everything is in the order of the moves; numbers start at 0."""

    @property
    def moves(self) -> Sequence[Entry]:
        """All moves so far."""
        ...

    @property
    def results(self) -> Mapping[int, Observation]:
        """What has landed, by the number of the proposing move."""
        ...

    @property
    def charges(self) -> Mapping[int, float]:
        """The seconds each landed proposal took on this machine."""
        ...

    @property
    def seconds(self) -> float:
        """Time spent in this stage, over all sessions."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the stage has its answer; then it is not driven again."""
        ...

    @property
    def answer(self) -> Architecture | None:
        """The answer of a finished stage."""
        ...

    @property
    def reason(self) -> str | None:
        """Why a finished stage stopped: evaluations, time or done."""
        ...

    def restart(self) -> tuple[int, Mapping[str, Any] | None]:
        """The number of the first move to replay, and the snapshot to start from (0 and None where there is none)."""
        ...

    def add_move(self, move: Move, delivered: int) -> None:
        """Append a move."""
        ...

    def add_result(self, number: int, observation: Observation, seconds: float, place: str = "") -> None:
        """Append what landed for the proposal with this number. After it returns, the result is safe.

        place: the machine that computed it; empty for this one.
        """
        ...

    def spend(self, seconds: float) -> None:
        """Add to the time spent."""
        ...

    def finish(self, answer: Architecture | None, reason: str) -> None:
        """Close the stage with its answer."""
        ...


class MemoryLog:
    """A log that is forgotten with the process."""

    def __init__(self) -> None:
        self.moves: list[Entry] = []
        self.results: dict[int, Observation] = {}
        self.charges: dict[int, float] = {}
        self.seconds = 0.0
        self.finished = False
        self.answer: Architecture | None = None
        self.reason: str | None = None
        self._snapshots: list[tuple[int, Mapping[str, Any]]] = []

    @property
    def observations(self) -> list[Observation]:
        """What has landed, in proposal order."""
        return [self.results[number] for number in sorted(self.results)]

    @property
    def proposals(self) -> list[tuple[int, Propose]]:
        """All proposals with the numbers of their moves."""
        return [(number, entry.move) for number, entry in enumerate(self.moves) if isinstance(entry.move, Propose)]

    def restart(self) -> tuple[int, Mapping[str, Any] | None]:
        """As `Log.restart`."""
        if not self._snapshots:
            return 0, None
        number, state = self._snapshots[-1]
        return number + 1, deepcopy(dict(state))

    def add_move(self, move: Move, delivered: int) -> None:
        """As `Log.add_move`."""
        if isinstance(move, Progress) and move.state is not None:
            self._snapshots = [*self._snapshots, (len(self.moves), deepcopy(dict(move.state)))][-KEPT_SNAPSHOTS:]
            move = Progress(move.best, move.metrics)
        self.moves.append(Entry(move, delivered))

    def add_result(self, number: int, observation: Observation, seconds: float, place: str = "") -> None:
        """As `Log.add_result`."""
        self.results[number] = observation
        self.charges[number] = seconds

    def spend(self, seconds: float) -> None:
        """As `Log.spend`."""
        self.seconds += seconds

    def finish(self, answer: Architecture | None, reason: str) -> None:
        """As `Log.finish`."""
        self.answer, self.reason, self.finished = answer, reason, True
