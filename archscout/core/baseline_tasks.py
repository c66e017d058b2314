"""Names of the tasks that were kept, with networks that stand for them and architectures that are known to be good for them."""

from __future__ import annotations

import os
from pathlib import Path

from archscout.core.errors import UnknownName, suggestion
from archscout.core.places import data_folder, own_place

SUFFIX = ".safetensors"


def baseline_tasks() -> dict[str, Path]:
    """The file of each, by name."""
    return {path.stem: path for path in sorted(tasks_folder().glob(f"*{SUFFIX}")) if not path.stem.endswith(".previous")}


def baseline_file(name: str) -> Path:
    """The file of a task. Raises UnknownName."""
    known = baseline_tasks()
    if name not in known:
        raise UnknownName(f"there is no baseline task '{name}'; {suggestion(name, known)}, or add one with archscout tasks add")
    return known[name]


def baseline_place(name: str) -> Path:
    """Where a task with this name lies, or would lie. Raises UserError for a name that cannot be used."""
    return own_place(tasks_folder(), name, SUFFIX, "baseline tasks", "ARCHSCOUT_TASKS")


def tasks_folder() -> Path:
    """Of the user's baseline tasks: $ARCHSCOUT_TASKS, or `tasks` in the user's data folder."""
    chosen = os.environ.get("ARCHSCOUT_TASKS")
    return Path(chosen).expanduser() if chosen else data_folder() / "tasks"
