"""The page as a file: report.json and report.html in a run folder."""

from __future__ import annotations

from pathlib import Path

from archscout.core.errors import RunError
from archscout.report.facts import ReportFacts, from_json, to_json
from archscout.report.html import render
from archscout.store.files import write_atomic


def write(facts: ReportFacts, folder: Path) -> Path:
    """Write report.json and report.html, each whole or not at all; gives the page's path. Raises StorageError."""
    write_atomic(folder / "report.json", to_json(facts))
    write_atomic(folder / "report.html", render(facts))
    return folder / "report.html"


def rewrite(folder: Path) -> Path:
    """Make the page again from report.json. Raises RunError where the folder has none."""
    try:
        text = (folder / "report.json").read_text("utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"'{folder / 'report.json'}' cannot be read ({error}); let the run end first: archscout resume {folder}"
        ) from error
    write_atomic(folder / "report.html", render(from_json(text)))
    return folder / "report.html"
