"""Names of the models that methods learned across tasks: those that come with archscout, and the user's own."""

from __future__ import annotations

import os
from pathlib import Path

from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.places import data_folder, own_place

SUFFIX = ".safetensors"
SHIPPED = Path(__file__).parent.parent / "meta" / "models"


def models() -> dict[str, Path]:
    """The file of each, by name: those that come with archscout first. A name of theirs stands for the same model everywhere."""
    return {path.stem: path for folder in (models_folder(), SHIPPED) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def model_file(name: str) -> Path:
    """The file of a model: a name, or a path that ends in .safetensors. Raises UnknownName, or UserError for a missing file."""
    if name.endswith(SUFFIX):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"there is no model '{name}'; train one with archscout meta train, or name one of archscout meta list")
        return path
    known = models()
    if name not in known:
        raise UnknownName(f"there is no model '{name}'; {suggestion(name, known)}, or train one with archscout meta train")
    return known[name]


def is_shipped(path: Path) -> bool:
    """Whether a model comes with archscout."""
    return path.parent == SHIPPED


def model_place(name: str) -> Path:
    """Where a model of one's own with this name lies, or would lie. Raises UserError for a name that cannot be used."""
    if (SHIPPED / f"{name}{SUFFIX}").exists():
        raise UserError(f"'{name}' is the name of a model that comes with archscout; choose another")
    return own_place(models_folder(), name, SUFFIX, "models", "ARCHSCOUT_MODELS")


def models_folder() -> Path:
    """Of the user's models: $ARCHSCOUT_MODELS, or `models` in the user's data folder."""
    chosen = os.environ.get("ARCHSCOUT_MODELS")
    return Path(chosen).expanduser() if chosen else data_folder() / "models"
