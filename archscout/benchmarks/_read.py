"""Reads what a user wants to import: architectures and values from CSV or .npz, within bounds, never a pickle."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from archscout.benchmarks import _npz
from archscout.core.errors import UserError

MOST_ROWS = 1_000_000
_LONGEST_TEXT = 20_000
_HEADER = ["architecture", "value"]


def read_values(path: Path) -> tuple[list[str], list[float]]:
    """The architectures as text, and a finite value for each. Raises UserError."""
    if not path.is_file():
        raise UserError(f"there is no file '{path}' to import; give a CSV with the header architecture,value or such an .npz")
    try:
        texts, values = _from_npz(path) if path.suffix.lower() == ".npz" else _from_csv(path)
    except OSError as error:
        raise UserError(f"the file '{path}' cannot be read ({error.strerror or error}); check its permissions") from error
    except _npz.UnreadableArrays as error:
        raise UserError(f"the file '{path}' cannot be imported: {error}") from error
    if not texts:
        raise UserError(f"the file '{path}' holds no rows; give one architecture and its value per row")
    unfit = next((row for row, text in enumerate(texts, 1) if not text or len(text) > _LONGEST_TEXT), None)
    if unfit is not None:
        raise UserError(f"row {unfit:,} of '{path}' should name an architecture in 1 to {_LONGEST_TEXT:,} characters; correct it")
    strange = next((row for row, value in enumerate(values) if not np.isfinite(value)), None)
    if strange is not None:
        raise UserError(
            f"the values to import must be finite numbers, but '{path}' gives {values[strange]} to '{shown(texts[strange])}'; "
            "leave such rows out"
        )
    return texts, values


def shown(text: str) -> str:
    """The beginning of an architecture's text, on one line, for a message."""
    return " ".join(text.split())[:200]


def _from_npz(path: Path) -> tuple[list[str], list[float]]:
    texts, values = (_npz.read(path, name) for name in _HEADER)
    if texts.ndim != 1 or texts.dtype.kind != "U" or values.shape != texts.shape or values.dtype.kind not in "fiu":
        raise _npz.UnreadableArrays(
            f"it needs the arrays architecture, of text, and value, of as many numbers, but {texts.dtype} {texts.shape} and "
            f"{values.dtype} {values.shape} came"
        )
    if len(texts) > MOST_ROWS:
        raise _npz.UnreadableArrays(f"it has {len(texts):,} rows, and at most {MOST_ROWS:,} are read")
    try:
        read = [str(text).strip() for text in texts]
        "".join(read).encode()
    except (ValueError, SystemError) as error:  # surrogates, and numbers beyond all characters
        raise _npz.UnreadableArrays(f"its architectures are no text ({error})") from error
    return read, [float(value) for value in values]


def _from_csv(path: Path) -> tuple[list[str], list[float]]:
    if path.stat().st_size > _npz.MOST_BYTES:
        raise _npz.UnreadableArrays(f"it has {path.stat().st_size:,} bytes, and at most {_npz.MOST_BYTES:,} are read")
    texts: list[str] = []
    values: list[float] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            if [name.strip().lower() for name in next(rows, [])] != _HEADER:
                raise _npz.UnreadableArrays("its first line must be the header architecture,value")
            for row in rows:
                if not row:
                    continue
                if len(row) != 2:
                    raise _npz.UnreadableArrays(f"line {rows.line_num} must hold an architecture and a value")
                if len(texts) == MOST_ROWS:
                    raise _npz.UnreadableArrays(f"it has more than {MOST_ROWS:,} rows")
                texts.append(row[0].strip())
                values.append(_number(row[1], rows.line_num))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _npz.UnreadableArrays(f"it is no CSV text ({error})") from error
    return texts, values


def _number(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise _npz.UnreadableArrays(f"line {line} has the value '{text[:40]}', which is no number") from None
