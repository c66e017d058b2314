"""Scores of many architectures of one space, as one compact file: read without pickle, refused where a byte is wrong.

The file is an `.npz` of four arrays: `facts` (JSON as bytes), `choices` (N, D), `values` (N, J) and `kinds` (N, J), and the
`digest` of them. Failures are NaN among the values; their kinds are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError
from archscout.core.evidence import FAILURE_KINDS, FailureKind
from archscout.core.packed import Arrays, PackedKind, facts_array, pack_arrays, read_packed

_KIND = PackedKind(
    "score file", 1, ("facts", "choices", "values", "kinds"),
    "archscout score --all", "score again", "score again, or fetch it again",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What judges said of N architectures.

    space: its name. judges: J names. choices: (N, D) option numbers. values: (N, J), higher is better, NaN for failures.
    kinds: (N, J), 0 or 1 + the place of the failure in `FAILURE_KINDS`. facts: what the scores belong to (space and judges as
    records, data, seed, versions, `seconds` per architecture of each judge), as JSON takes it.
    """

    space: str
    judges: tuple[str, ...]
    choices: NDArray[np.unsignedinteger[Any]]
    values: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.choices)

    def row(self, architecture: Architecture) -> int | None:
        """The row of an architecture, or None where it was not scored."""
        if architecture.space != self.space or len(architecture.choices) != self.choices.shape[1]:
            return None
        return self._rows.get(np.array(architecture.choices, self.choices.dtype).tobytes())

    def architecture(self, row: int) -> Architecture:
        """The architecture of a row, before any space has checked it."""
        return Architecture(self.space, tuple(int(choice) for choice in self.choices[row]))

    def column(self, judge: str = "") -> int:
        """The place of a judge; the only one where `judge` is empty. Raises UnknownName."""
        if judge in self.judges:
            return self.judges.index(judge)
        if not judge and len(self.judges) == 1:
            return 0
        raise UnknownName(f"the scores are by {', '.join(self.judges)}; name one of them, but '{judge}' came")

    def failure(self, row: int, column: int) -> FailureKind | None:
        """How a judge failed on an architecture, or None where it did not."""
        kind = int(self.kinds[row, column])
        return FAILURE_KINDS[kind - 1] if kind else None

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        width, raw = self.choices.shape[1] * self.choices.itemsize, np.ascontiguousarray(self.choices).tobytes()
        return {raw[row * width : (row + 1) * width]: row for row in range(len(self))}


def make_scores(
    architectures: Sequence[Architecture],
    judges: Sequence[str],
    outcomes: Sequence[Sequence[float | FailureKind]],
    facts: Mapping[str, Any],
) -> ScoreTable:
    """The table of what each judge said of each architecture: a value, or the kind of its failure."""
    choices = np.array([architecture.choices for architecture in architectures], np.uint32)
    small = np.min_scalar_type(choices.max(initial=0))
    failed = [[FAILURE_KINDS.index(o) + 1 if isinstance(o, str) else 0 for o in row] for row in outcomes]
    values = [[float("nan") if isinstance(o, str) else o for o in row] for row in outcomes]
    shape = len(architectures), len(judges)
    return ScoreTable(
        architectures[0].space, tuple(judges), choices.astype(small), np.array(values, float).reshape(shape),
        np.array(failed, np.uint8).reshape(shape), facts,
    )  # fmt: skip


def pack(table: ScoreTable) -> bytes:
    """The file of a table."""
    facts = facts_array({"space": table.space, "judges": table.judges, "facts": table.facts}, _KIND)
    return pack_arrays({"facts": facts, "choices": table.choices, "values": table.values, "kinds": table.kinds}, _KIND)


def read_scores(path: str | Path) -> ScoreTable:
    """The table in a file. Raises UserError where it is missing, damaged, or something else."""
    return read_packed(Path(path).expanduser(), _KIND, _parsed)


def _parsed(facts: Mapping[str, Any], arrays: Arrays) -> ScoreTable:
    choices, values, kinds = (arrays[name] for name in ("choices", "values", "kinds"))
    return ScoreTable(facts["space"], tuple(facts["judges"]), choices, values, kinds, facts["facts"])


def check_space(table: ScoreTable, space: str, path: str | Path) -> None:
    """Raises UserError where the scores are of another space."""
    if table.space != space:
        raise UserError(f"the scores in '{path}' are of the space '{table.space}', but '{space}' is asked about; score that one")
