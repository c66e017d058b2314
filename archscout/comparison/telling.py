"""Says on standard error how far a long comparison is, and when it will be done."""

from __future__ import annotations

import sys
from time import monotonic

from archscout.report.words import duration

_EVERY = 10.0
_REDRAWN_EVERY = 0.5


class Countdown:
    """Call `at` with how many are done: a line now and then, redrawn in place where there is a terminal."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._before = what, total, done
        self._begun = self._told = monotonic()
        self._terminal = sys.stderr.isatty()

    def at(self, done: int, note: str = "") -> None:
        """So many are done."""
        now = monotonic()
        if now - self._told < (_REDRAWN_EVERY if self._terminal else _EVERY):
            return
        self._told = now
        fresh = done - self._before
        left = (now - self._begun) / fresh * (self._total - done) if fresh else float("inf")
        when = f", about {duration(left)} left" if left < 1e7 else ""
        self._write(f"{self._what}: {done:,} of {self._total:,}{note}{when}")

    def of(self, done: int, total: int, note: str = "") -> None:
        """So many of so many are done, where their number is not known from the beginning."""
        self._total = total
        self.at(done, note)

    def _write(self, text: str) -> None:
        print(f"\r{text}\x1b[K" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self._terminal and self._told > self._begun:
            print(file=sys.stderr)


def say(sentence: str) -> None:
    """A sentence on standard error."""
    print(sentence, file=sys.stderr, flush=True)
