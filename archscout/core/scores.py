"""Scores of many architectures of one space, as one compact file: read without pickle, refused where a byte is wrong.

The file is an `.npz` of four arrays: `facts` (JSON as bytes), `choices` (N, D), `values` (N, J) and `kinds` (N, J), and the
`digest` of them. Failures are NaN among the values; their kinds are kept.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError
from archscout.core.evidence import FAILURE_KINDS, FailureKind

_FORMAT = 1
_ARRAYS = ("facts", "choices", "values", "kinds")
_MOST_BYTES = 1 << 28
"""Of a file, unpacked: two million architectures and several judges. A file may come from anywhere."""


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
    head = {"format": _FORMAT, "space": table.space, "judges": table.judges, "facts": table.facts}
    arrays: dict[str, NDArray[Any]] = {
        "facts": np.frombuffer(json.dumps(head, allow_nan=False).encode(), np.uint8),
        "choices": table.choices, "values": table.values, "kinds": table.kinds,
    }  # fmt: skip
    file = io.BytesIO()
    np.savez_compressed(file, digest=arrays_digest(arrays, _ARRAYS), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read_scores(path: str | Path) -> ScoreTable:
    """The table in a file. Raises UserError where it is missing, damaged, or something else."""
    path = Path(path).expanduser()
    try:
        with np.load(io.BytesIO(content_of(path)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            whole = np.array_equal(file["digest"], arrays_digest(arrays, _ARRAYS))
        head = json.loads(arrays["facts"].tobytes()) if whole else {}
        made = (head["space"], tuple(head["judges"]), head["facts"]) if whole else None
    except FileNotFoundError:
        raise UserError(f"there is no score file '{path}'; make one with: archscout score --all --out {path}") from None
    except Exception as error:  # a foreign file can break zip, zlib and NumPy's parser in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"'{path}' is no score file of archscout, or it is damaged ({reason[:200]}); score again") from error
    if made is None:
        raise UserError(f"the score file '{path}' is damaged (its checksum differs); score again, or fetch it again")
    if head["format"] != _FORMAT:
        raise UserError(f"the score file '{path}' has format {head['format']}, but this version reads {_FORMAT}; update archscout")
    space, judges, facts = made
    return ScoreTable(space, judges, arrays["choices"], arrays["values"], arrays["kinds"], facts)


def content_of(path: Path) -> bytes:
    """The bytes of an `.npz` that unpacks to no more than a score file may hold. Raises ValueError for another."""
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, and at most {_MOST_BYTES:,} are read")
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError(f"it unpacks to {size:,} bytes, and at most {_MOST_BYTES:,} are read")
    return content


def check_space(table: ScoreTable, space: str, path: str | Path) -> None:
    """Raises UserError where the scores are of another space."""
    if table.space != space:
        raise UserError(f"the scores in '{path}' are of the space '{table.space}', but '{space}' is asked about; score that one")


def arrays_digest(arrays: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.uint8]:
    """16 bytes that follow from the names, types, shapes and values of arrays, in this order of names."""
    hashed = blake2b(digest_size=16)
    for name in names:
        hashed.update(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode())
        hashed.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(hashed.digest(), np.uint8)
