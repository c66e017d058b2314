"""What is to be explained: from a run folder, an architecture or a published text to cells, a space and a network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archscout import catalogue
from archscout.analysis.cells import Explained, explained, explained_cells
from archscout.analysis.published_cells import NAMES, published_cells
from archscout.core.architecture import Architecture
from archscout.core.errors import RunError, UserError
from archscout.core.genotypes import cells_of
from archscout.core.protocols import CellSpace, Space
from archscout.engine.resolve import genotype_of, resolve


@dataclass(frozen=True)
class Subject:
    """name: as asked for. space, architecture: None for cells of a space that is not ours. run: a folder with a trained network."""

    name: str
    space: Space | None = None
    architecture: Architecture | None = None
    cells: Mapping[str, Any] | None = None
    run: Path | None = None

    def explained(self) -> Explained:
        """Its cells. Raises UserError where it has none."""
        if self.cells is not None:
            return explained_cells(self.cells)
        assert self.space is not None and self.architecture is not None
        return explained(self.space, self.architecture)

    @property
    def has_cells(self) -> bool:
        """Whether there are cells to look at."""
        return self.cells is not None or isinstance(self.space, CellSpace)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        known = self.space is not None and self.architecture is not None
        return {
            "subject": self.name,
            "architecture": str(self.architecture) if known else None,
            "space": self.space.name if self.space is not None else None,
            "genotype": genotype_of(self.space, self.architecture) if self.space and self.architecture else None,
            "run": None if self.run is None else str(self.run),
        }


def subject_of(text: str, space: str | None = None, settings: Mapping[str, str] | None = None) -> Subject:
    """A run folder, an architecture, a published text, or a published name. Raises UserError, RunError."""
    folder = os.path.expanduser(text)
    if os.path.isdir(folder):  # unlike Path.is_dir, not an error for a genotype, which is longer than names of files may be
        return _of_run(Path(folder), space)
    if space is None and (cells := published_cells(text)) is not None:
        return Subject(NAMES[text.strip().lower()], cells=cells)
    try:
        return Subject(text, *resolve(text, space, settings))
    except UserError as refused:
        if space is not None or "recurrent" in text or (cells := cells_of(text)) is None:
            raise
        if settings:
            raise UserError(
                f"these cells are of no space of ours, so that --set {next(iter(settings))} has no meaning"
            ) from refused
        return Subject("genotype", cells=cells)


def _of_run(folder: Path, space: str | None) -> Subject:
    """The architecture that a finished run, or training, exported."""
    path = folder / "architecture.json"
    try:
        info = json.loads(path.read_text("utf8"))
        record, found = info["space"], Architecture.parse(info["architecture"])
        name = record["name"] if space is None else space
        if name is None or (name.endswith(".py") and space is None):
            raise UserError(f"the space of '{folder}' is a file of somebody's own; hand it in with --space FILE")
        settings = {key: catalogue.frozen(value) for key, value in record["settings"].items()}
    except OSError as error:
        raise RunError(
            f"'{folder}' holds no trained network ({path.name}: {error.strerror}); finish the run: archscout resume {folder}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged ({type(error).__name__}: {error}); export the run again") from error
    made: Space = catalogue.make("spaces", name, **settings)
    return Subject(str(folder), made, made.architecture(found.choices), run=folder)
