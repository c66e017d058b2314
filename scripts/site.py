"""Hooks of the documentation site (mkdocs.yml): the page of all measured numbers, made anew from results/*.csv at every build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archscout.comparison.results import read_claims, render

_ROOT = Path(__file__).parents[1]
_PAGE = "numbers.html"


def on_post_build(config: Any) -> None:
    """Write the page beside the others; `docs/results.md` links to it."""
    files = [(path.stem, read_claims(path)) for path in sorted((_ROOT / "results").glob("*.csv"))]
    (Path(config["site_dir"]) / _PAGE).write_text(render(files), "utf-8")
