"""How a training's schedule runs against the clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Any

from archscout.nn.course import AnyRecipe

TIMED = 3
"""How often `seconds_of` does something."""
_REPORT_SECONDS = 10.0


@dataclass
class Pace:
    """How the schedule runs: from `progress` at step `start` straight to 1 at step `total`."""

    total: int
    start: int = 0
    progress: float = 0.0

    def at(self, step: float) -> float:
        """How much of the training is done at `step`, 0..1."""
        return self.progress + (1 - self.progress) * (step - self.start) / max(1, self.total - self.start)

    def turn(self, step: int, total: int) -> None:
        """From `step` on, head for the end at `total`."""
        self.progress, self.start, self.total = self.at(step), step, max(total, step)


class Clock:
    """What a step costs, from those made so far: apart for shrunk and for whole images."""

    def __init__(self, recipe: AnyRecipe) -> None:
        self._recipe = recipe
        self._times: dict[bool, deque[float]] = {True: deque(maxlen=40), False: deque(maxlen=40)}

    def note(self, progress: float, seconds: float) -> None:
        """A step at this progress took so long."""
        self._times[progress >= self._recipe.small_share].append(seconds)

    def seconds(self, *, full: bool) -> float:
        """The median over recent steps; before the first one with whole images, by the number of pixels."""
        times = self._times[full]
        if times:
            return median(times)
        return median(self._times[not full]) * self._recipe.small_scale ** (-2 if full else 2)

    def mean(self, progress: float) -> float:
        """Seconds per step over the rest of the schedule."""
        small = max(0.0, self._recipe.small_share - progress) / max(1e-9, 1 - progress)
        full = (1 - small) * self.seconds(full=True)
        return full + small * self.seconds(full=False) if small else full


def steps_per_report(settings: Any, step: float) -> int:
    """How many steps of so many seconds go by between two reports: ten seconds, where `settings.report` has its default."""
    return max(1, round(_REPORT_SECONDS / step)) if settings.report == type(settings).report else int(settings.report)


def seconds_of(work: Callable[[int], object]) -> float:
    """Of one piece of work, after a first that does not count. work: is told which of `TIMED` it is."""
    work(0)
    begun = monotonic()
    for number in range(1, TIMED):
        work(number)
    return max((monotonic() - begun) / (TIMED - 1), 1e-6)
