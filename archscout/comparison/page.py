"""Pages of comparisons: one self-contained HTML text, light or dark, without network and script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """A cell of a table. kind: style classes ("n" for numbers, "claim", "good", "bad"). small: a second line."""

    text: str
    kind: str = ""
    small: str = ""
    code: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: a sentence, a plot with its legend ((role, name), ...), a table, plain text."""

    title: str
    sub: str = ""
    plot: Markup | None = None
    legend: Sequence[tuple[str, str]] = ()
    head: Sequence[Cell] = ()
    rows: Sequence[Sequence[Cell]] = ()
    pre: str = ""


def page(kind: str, title: str, lead: str, sections: Sequence[Section], foot: str) -> str:
    """The page; all text is escaped."""
    return _template().render(kind=kind, title=title, lead=lead, sections=sections, foot=foot)


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string((Path(__file__).parent / "page.html").read_text("utf8"))
