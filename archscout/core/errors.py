"""The family of errors.

    ArchscoutError            anything that archscout says on purpose
    ├── UserError             the input cannot be used: exit code 2, one sentence, no traceback
    │   ├── UnknownName       a plug-in, data set or setting that does not exist ("did you mean ...")
    │   ├── LimitError        nothing in the space meets the limits
    │   ├── DataError         the data cannot be read or makes no task
    │   └── RunError          a run folder that is in use, foreign or not writable
    │       └── DamagedError  what a run or a file of lines holds was cut or changed from outside: exit code 1
    ├── ReplayMismatch        the log of a run and the strategy disagree: code or settings changed
    ├── StrategyError         a strategy broke its contract (for instance waiting for nothing)
    ├── StorageError          the disk is full or the store cannot be written: exit code 1
    └── CandidateError        one architecture could not be judged; becomes a typed failure, never stops a run
        ├── NotFinite         its value is NaN or infinite
        └── OverLimit         it does not meet the limits of the problem

Every message says what was wanted, what came, and what to do.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class ArchscoutError(Exception):
    """Anything that archscout says on purpose."""

    exit_code = 1


class UserError(ArchscoutError):
    """The input cannot be used."""

    exit_code = 2


class UnknownName(UserError):
    """A name that does not exist."""


class LimitError(UserError):
    """Nothing in the space meets the limits."""


class DataError(UserError):
    """The data cannot be read or makes no task."""


class RunError(UserError):
    """A run folder that is in use, foreign or not writable."""


class DamagedError(RunError):
    """What a run or a file of lines holds was cut or changed from outside."""

    exit_code = 1


class ReplayMismatch(ArchscoutError):
    """The log of a run and the strategy disagree."""


class StrategyError(ArchscoutError):
    """A strategy broke its contract."""


class StorageError(ArchscoutError):
    """The store cannot be written."""


class CandidateError(ArchscoutError):
    """One architecture could not be judged."""


class NotFinite(CandidateError):
    """The value of an architecture is NaN or infinite."""


class OverLimit(CandidateError):
    """An architecture does not meet the limits of its problem."""


def storage_error(path: Path | str, number: int, reason: str = "unknown reason") -> StorageError:
    """The error for a write that failed with the system's error `number`; 0 for one without, which has a reason of its own."""
    name = f"{os.strerror(number)} [errno {number}]" if number else reason
    closed = number in (errno.EACCES, errno.EPERM, errno.EROFS)
    remedy = "allow writing there" if closed else "make room"
    return StorageError(
        f"'{path}' cannot be written: {name}; everything confirmed before is kept: {remedy}, then 'archscout resume', or the same "
        "command, goes on"
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """A tail for a message about an unknown name: the closest known names, or all of them."""
    names = sorted(known)
    close = get_close_matches(word, names, n=2, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    return "known: " + (", ".join(names) or "none")


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that no candidate's error handling swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number
        self.hint = ""

    def __str__(self) -> str:
        return self.hint
