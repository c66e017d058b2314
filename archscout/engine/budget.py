"""How much a search may cost: seconds on a wall or charged clock, evaluations, or both; always in total over restarts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from archscout.core.errors import UserError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper bounds for one stage; None leaves a bound out.

    clock: "wall" counts the time that passes; "charged" counts what the landed evaluations cost or, on a recorded benchmark, would
    have cost. judges: whose evaluations count; None for all.
    """

    seconds: float | None = None
    evaluations: int | None = None
    clock: Literal["wall", "charged"] = "wall"
    judges: tuple[str, ...] | None = None

    def counts(self, judge: str) -> bool:
        """Whether an evaluation by this judge is one of `evaluations`."""
        return self.judges is None or judge in self.judges

    def remaining(self, wall: float) -> float | None:
        """Wall-clock seconds left after `wall` were spent; None where the wall clock is no bound."""
        return None if self.seconds is None or self.clock != "wall" else max(0.0, self.seconds - wall)

    def stop(self, *, wall: float, charged: float, evaluations: int) -> str | None:
        """Why no further evaluation may start: "evaluations", "time", or None where one may."""
        if self.evaluations is not None and evaluations >= self.evaluations:
            return "evaluations"
        return "time" if self.time_is_up(wall=wall, charged=charged) else None

    def time_is_up(self, *, wall: float, charged: float) -> bool:
        """Whether the seconds are spent."""
        return self.seconds is not None and (wall if self.clock == "wall" else charged) >= self.seconds


def parse_budget(text: str) -> tuple[float | None, int | None]:
    """Seconds and evaluations, one of them None: "90s", "10m", "1h30m", "2.5h" are times; a whole number counts evaluations.

    Raises UserError for anything else.
    """
    word = text.strip().lower()
    if word.isascii() and word.isdigit() and int(word) > 0:
        return None, int(word)
    match = _DURATION.fullmatch(word)
    if match and word:
        seconds = sum(float(amount) * unit for amount, unit in zip(match.groups(), _UNITS.values(), strict=True) if amount)
        if seconds > 0:
            return seconds, None
    raise UserError(f"a budget is a time such as 10m, 90s or 1h30m, or a number of evaluations such as 200, but '{text}' came")
