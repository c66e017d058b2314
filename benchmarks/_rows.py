"""Rows of the results files: one per measured claim, with what is needed to measure it again; and the commands that they are of."""

from __future__ import annotations

import csv
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock

COLUMNS = ("claim", "published", "ours", "low", "high", "command", "seed", "commit", "seconds", "machine")
HERE = Path(__file__).resolve().parent.parent


def append(path: Path, rows: list[dict[str, object]]) -> None:
    """Add rows to a results file; a row with the same claim, seed and command is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        _append(path, rows)


def claimed(
    claim: str, ours: float, low: float | str = "", high: float | str = "", published: float | None = None
) -> dict[str, object]:
    """The numbers of a claim, to four digits; an interval or a published number that is not there stays empty."""
    shown = [value if isinstance(value, str) else round(value, 4) for value in (ours, low, high)]
    numbers: dict[str, object] = dict(zip(("claim", "ours", "low", "high"), (claim, *shown), strict=True))
    return numbers if published is None else {**numbers, "published": published}


def answer(words: list[str]) -> Any:
    """What `archscout WORDS --json` prints; None where it failed, which it has told of."""
    done = subprocess.run([sys.executable, "-m", "archscout.cli.main", *words, "--json"], stdout=subprocess.PIPE)
    return None if done.returncode else json.loads(done.stdout)


def command(words: list[str]) -> str:
    """The same as a reader would type it in this checkout."""
    return shlex.join(["archscout", *(_short(word) for word in words)])


def _short(word: str) -> str:
    path = Path(word)
    return str(path.relative_to(HERE)) if path.is_absolute() and path.is_relative_to(HERE) else word


def commit() -> str:
    """The commit that was measured."""
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()


def machine(cores: int | None = None) -> str:
    """The processor and how many cores were used, None for all; or $MEASURED_ON, where runs were brought from another machine."""
    if elsewhere := os.environ.get("MEASURED_ON"):
        return elsewhere
    count = cores or os.cpu_count() or 1
    return f"{platform.processor() or platform.machine()}, {count} core{'s' if count > 1 else ''}"


def _append(path: Path, rows: list[dict[str, object]]) -> None:
    old = list(csv.DictReader(path.open())) if path.exists() else []
    new = {(str(row["claim"]), str(row["seed"]), str(row["command"])) for row in rows}
    kept = [row for row in old if (row["claim"], row["seed"], row["command"]) not in new]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept + rows)
