"""`archscout bench report`: every reproduced number beside the published one, on one page.

It reads CSV files with the columns claim, published, ours, low, high, command, seed, commit and machine; `claim` and `ours` are
needed, further columns are shown behind them. A published number within our interval is marked as such; that is a help to the
eye, not a test.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archscout.comparison.page import Cell, Section, page
from archscout.core.errors import UserError

_KNOWN = ("claim", "published", "ours", "low", "high", "command", "seed", "commit", "machine")


@dataclass(frozen=True)
class Claim:
    """One row. Numbers are None where the file has none; `others` are the columns that this page does not know."""

    text: str
    published: str
    ours: str
    interval: tuple[float, float] | None
    command: str
    seed: str
    commit: str
    machine: str
    others: tuple[tuple[str, str], ...] = ()

    @property
    def within(self) -> bool | None:
        """Whether the published number lies in our interval; None where one of them is missing."""
        published = _number(self.published)
        return None if published is None or self.interval is None else self.interval[0] <= published <= self.interval[1]


def read_claims(path: Path) -> list[Claim]:
    """The rows of a results file. Raises UserError where it is none."""
    try:
        with path.open(encoding="utf8", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if not {"claim", "ours"} <= set(names):
                raise UserError(f"'{path}' should have the columns claim and ours, but has {', '.join(names) or 'none'}; mend it")
            return [_claim({name: row.get(name) or "" for name in names}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' cannot be read ({error}); mend or remove it") from error


def _claim(row: dict[str, str]) -> Claim:
    low, high = _number(row.get("low", "")), _number(row.get("high", ""))
    return Claim(
        row["claim"], row.get("published", ""), row["ours"], None if low is None or high is None else (low, high),
        row.get("command", ""), row.get("seed", ""), row.get("commit", ""), row.get("machine", ""),
        tuple((name, value) for name, value in row.items() if name not in _KNOWN and value),
    )  # fmt: skip


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def render(files: Sequence[tuple[str, Sequence[Claim]]]) -> str:
    """The page of all results, a section per file."""
    claims = [claim for _, found in files for claim in found]
    compared = [claim for claim in claims if claim.within is not None]
    inside = sum(bool(claim.within) for claim in compared)
    lead = (
        f"{len(claims):,} numbers, {sum(bool(claim.published) for claim in claims):,} of them beside a published one. "
        f"Where we have an interval, the published number lies within it {inside:,} of {len(compared):,} times."
    )
    sections = [_section(name, found) for name, found in files]
    return page("bench report", "Reproduced results", lead, sections, "Made by archscout bench report from the CSV files.")


def _section(name: str, claims: Sequence[Claim]) -> Section:
    """A table of a file; claims of one command stand together below it, in the order in which commands first come."""
    head = [Cell("Claim"), Cell("Published", "n"), Cell("Ours", "n"), Cell("Interval", "n"), Cell("Besides")]
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        origin = " · ".join(filter(None, [claim.seed and f"seed {claim.seed}", claim.commit, claim.machine]))
        groups.setdefault((claim.command, origin), []).append(claim)
    rows: list[list[Cell]] = []
    for (command, origin), members in groups.items():
        if command or origin:
            rows.append([Cell(command or "no command", small=origin, code=True, span=len(head))])
        rows += [_row(claim) for claim in members]
    return Section(name, head=head, rows=rows)


def _row(claim: Claim) -> list[Cell]:
    tone, said = {True: ("n good", "inside"), False: ("n bad", "outside"), None: ("n", "")}[claim.within]
    interval = f"{_short(claim.interval[0])} to {_short(claim.interval[1])}" if claim.interval else ""
    others = " · ".join(f"{key}: {value}" for key, value in claim.others)
    return [
        Cell(claim.text, "claim"), Cell(_text(claim.published), "n", said), Cell(_text(claim.ours), tone), Cell(interval, "n"),
        Cell("", small=others) if others else Cell(""),
    ]  # fmt: skip


def _text(text: str) -> str:
    value = _number(text)
    return (text or "–") if value is None else _short(value)


def _short(value: float) -> str:
    return f"{value:.5g}"
