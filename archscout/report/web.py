"""How facts become a page: the one base template with its style sheet and its script, which the templates of all pages extend.

A page is one text without network: the style sheet and the script stand in it, and its content security policy lets nothing else
run than that script, known by its hash.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from archscout.report import words

HOME = Path(__file__).parent / "templates"
_FILTERS = ("percent", "points", "short", "duration", "took", "milliseconds", "bytes_of", "count")
_SECTION = re.compile(r'<section id="([^"]+)">\s*<h2>(.*?)</h2>', re.S)


class Point(NamedTuple):
    """A heading, what is to be said, and a class for its colour."""

    heading: str
    sentence: str
    tone: str = ""


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of these values; all text is escaped."""
    return _environment(template.parent).get_template(template.name).render(**values)


@lru_cache(maxsize=4)
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, HOME]), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    script = (HOME / "page.js").read_text("utf8")
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    environment.globals |= {"script": Markup(script), "script_hash": f"sha256-{digest}"}
    environment.filters |= {name: getattr(words, name) for name in _FILTERS} | {"sections": sections, "moment": moment}
    return environment


def sections(body: str) -> list[tuple[str, Markup]]:
    """(identifier, heading) of every section of a page's body, for the table of contents."""
    return [(found, Markup(heading)) for found, heading in _SECTION.findall(body)]


def moment(text: str) -> str:
    """A date of a store, '2026-11-26T08:03:21+00:00', as a person writes it: '26 November 2026, 08:03 UTC'; other text stays."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%-d %B %Y, %H:%M} UTC"
    except ValueError:
        return text
