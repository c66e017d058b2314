"""Pages of comparisons: one self-contained HTML text that extends the base template of all pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from archscout.report import web
from archscout.report.web import Point


@dataclass(frozen=True)
class Cell:
    """A cell of a table. kind: style classes ("n" for numbers, "claim", "good", "bad"). small: a second line. key: the colour of a
    sign before the text. link: where the text leads."""

    text: str
    kind: str = ""
    small: str = ""
    code: bool = False
    key: str = ""
    link: str = ""
    span: int = 1


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: a sentence, a plot with its legend ((role, name), ...), a table, plain text.

    figures: (title, what it shows, plot), side by side. drawings: the same, to be zoomed. notes: (heading, sentence).
    """

    title: str
    sub: str = ""
    plot: Markup | None = None
    legend: Sequence[tuple[str, str]] = ()
    head: Sequence[Cell] = ()
    rows: Sequence[Sequence[Cell]] = ()
    pre: str = ""
    figures: Sequence[tuple[str, str, Markup]] = ()
    drawings: Sequence[tuple[str, str, Markup]] = ()
    notes: Sequence[tuple[str, str]] = ()

    @property
    def anchor(self) -> str:
        """What links to this section name it by."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "section"


def page(
    kind: str, title: str, lead: str, sections: Sequence[Section], foot: str, short: Sequence[Point] = ()
) -> str:  # fmt: skip
    """The page; all text is escaped. short: what it comes to, in plain words."""
    return web.render(
        Path(__file__).parent / "page.html", kind=kind, title=title, lead=lead, sections=sections, foot=foot, short=short
    )
