"""Finds plug-ins: the folder is the registry, the file name is the plug-in's name.

Listing reads each file's first docstring line and imports nothing. Making imports that one file, takes its public dataclass and
checks the settings' names. Outsiders register under the entry-point group `archscout.<room>`, or hand in a path to a `.py` file.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, fields, is_dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import EntryPoint, entry_points
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from archscout.core.errors import UnknownName, UserError, suggestion

ROOMS = {
    "spaces": "spaces",
    "strategies": "strategies",
    "estimators": "estimators",
    "learners": "learners",
    "data": "data",
    "tables": "benchmarks/tables",
    "meta": "meta",
    "families": "families",
    "extractors": "extractors",
}
"""The rooms of plug-ins, and the folder of each."""
_SINGULAR = {
    "spaces": "search space",
    "strategies": "strategy",
    "estimators": "estimator",
    "learners": "learner",
    "data": "data set",
    "tables": "table",
    "meta": "method that learns across tasks",
    "families": "family of tasks",
    "extractors": "extractor of image features",
}
_HERE = Path(__file__).parent
_OF_FILE = "archscout_file_"
"""How the names of modules begin that were made of a user's plug-in files."""


def names(room: str) -> list[str]:
    """The names of all plug-ins of a room."""
    return sorted({**_files(room), **_entries(room)})


def summary(room: str, name: str) -> str:
    """The first line of a plug-in's docstring, read without importing it."""
    path = _files(room).get(name)
    if path is None:
        return f"from the package {_entries(room)[name].value.split(':')[0]}"
    text = ast.get_docstring(ast.parse(path.read_text("utf8"))) or ""
    return text.split("\n", 1)[0]


def plugin(room: str, name: str) -> type[Any]:
    """The class of a plug-in: a name of `names(room)`, or a path to a Python file that holds one public dataclass.

    Raises UnknownName with a suggestion.
    """
    if name.endswith(".py"):
        return _only_class(load_file(Path(name)), name)
    if name in _files(room):
        return _only_class(importlib.import_module(f"archscout.{ROOMS[room].replace('/', '.')}.{_module(name)}"), name)
    entry = _entries(room).get(name)
    if entry is None:
        _registered.cache_clear()  # its package may have been installed since
        entry = _entries(room).get(name)
    if entry is not None:
        loaded: type[Any] = entry.load()
        return loaded
    raise UnknownName(f"there is no {_singular(room)} '{name}'; {suggestion(name, names(room))}")


def check(room: str, name: str) -> None:
    """Raises UnknownName, with a suggestion, where there is no such plug-in; imports nothing of the plug-in."""
    if name.endswith(".py"):
        if not Path(name).expanduser().is_file():
            raise UserError(f"there is no plug-in file '{name}'; give the path to a Python file with one dataclass")
    elif name not in names(room):
        raise UnknownName(f"there is no {_singular(room)} '{name}'; {suggestion(name, names(room))}")


def make(room: str, name: str, **settings: Any) -> Any:
    """The plug-in with these settings. Raises UnknownName for an unknown plug-in or setting."""
    made = plugin(room, name)
    known = [field.name for field in fields(made)] if is_dataclass(made) else []
    for setting in settings:
        if setting not in known:
            raise UnknownName(f"'{name}' has no setting '{setting}'; {suggestion(setting, known)}")
    for setting, options in literals(made).items():
        if setting in settings and settings[setting] not in options:
            listed = ", ".join(map(str, options))
            raise UserError(f"the setting '{setting}' of '{name}' is one of {listed}, but '{settings[setting]}' came")
    for setting, value in settings.items():
        if isinstance(value, float) and not isfinite(value):
            raise UserError(f"the setting '{setting}' of '{name}' is a finite number, but {value} came")
    try:
        return made(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"the settings of '{name}' do not fit: {error}") from error


def typed(made: type[Any], settings: Mapping[str, str], owner: str) -> dict[str, Any]:
    """Settings as they are written, converted to the types of a plug-in's fields. owner: what `--set` calls it.

    Raises UserError, UnknownName.
    """
    known, listed = {field.name: field for field in fields(made)}, literals(made)
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            raise UnknownName(f"'{made.__name__}' has no setting '{name}'; {suggestion(name, known)}")
        if name in listed:  # an unknown one is told of where the plug-in is made
            found[name] = next((option for option in listed[name] if str(option) == value), value)
        else:
            found[name] = _converted(value, type_name(known[name]), f"{owner}.{name}")
    return found


def type_name(setting: Field[Any]) -> str:
    """The type of a setting as its file writes it, whether or not annotations are strings there."""
    return setting.type.__name__ if isinstance(setting.type, type) else str(setting.type)


def _converted(value: str, kind: str, name: str) -> Any:
    try:
        if value.lower() == "none" and "None" in kind:
            return None
        if "bool" in kind:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        if kind.startswith("int"):
            return int(value)
        if kind.startswith("float"):
            return float(value)
        if kind.startswith("tuple[float"):
            return tuple(float(part) for part in value.split(","))
        if kind.startswith("tuple[int"):
            return tuple(int(part) for part in value.split(","))
        if kind.startswith("tuple"):
            return tuple(value.split(","))
        return value
    except (ValueError, KeyError):
        raise UserError(f"--set {name} takes a value of type {kind}, but '{value}' came") from None


def room_of_judge(name: str) -> str:
    """Where a judge of this name is found: a learner is named like the estimator that it becomes."""
    return "learners" if name in names("learners") else "estimators"


def literals(made: type[Any]) -> Mapping[str, tuple[Any, ...]]:
    """The settings of a plug-in that take one of some listed values, with these."""
    try:
        hints = get_type_hints(made)
    except Exception:  # an outsider's annotations may name what is imported for type checkers only
        return {}
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def record(made: Any) -> dict[str, Any]:
    """A plug-in as name and settings, for the store and for cache keys."""
    module = type(made).__module__
    settings = asdict(made) if is_dataclass(made) and not isinstance(made, type) else {}
    return {"plugin": f"{module.removeprefix('archscout.')}.{type(made).__name__}", "settings": settings}


def plain_record(made: Any) -> dict[str, Any]:
    """The same as JSON gives it back."""
    found: dict[str, Any] = _plain(record(made))
    return found


def from_record(room: str, record: Mapping[str, Any]) -> Any:
    """The plug-in of this room that `plain_record` wrote. Raises UnknownName where there is none such any more."""
    name = record["plugin"].split(".")[-2].replace("_", "-")
    return make(room, name, **{setting: frozen(value) for setting, value in record["settings"].items()})


def frozen(value: Any) -> Any:
    """Lists as tuples: settings are values, and JSON knows lists alone."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def load_file(path: Path, name: str = "") -> ModuleType:
    """Import a user's plug-in file under a name that follows from its path, or under that which it has elsewhere."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise UserError(f"there is no plug-in file '{path}'; give the path to a Python file with one dataclass")
    name = name or f"{_OF_FILE}{path.stem}_{blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"the plug-in file '{path}' cannot be imported: {type(error).__name__}: {error}") from error
    return module


def loaded_files() -> dict[str, str]:
    """The user's plug-in files imported so far: the name of each module, and its path; workers import them first."""
    return {name: str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(_OF_FILE)}


def foreign_modules(room: str) -> list[str]:
    """The modules of the plug-ins that other packages registered."""
    return [entry.module for entry in _entries(room).values()]


def _files(room: str) -> dict[str, Path]:
    if room not in ROOMS:
        raise UnknownName(f"there are no plug-ins called '{room}'; {suggestion(room, ROOMS)}")
    return {path.stem.replace("_", "-"): path for path in (_HERE / ROOMS[room]).glob("[a-z]*.py")}


def _entries(room: str) -> dict[str, EntryPoint]:
    return _registered(room, tuple(sys.path))


@cache
def _registered(room: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """What the packages on this path registered; reading the files of all of them takes ten milliseconds."""
    return {entry.name: entry for entry in entry_points(group=f"archscout.{room}")}


def _module(name: str) -> str:
    return name.replace("-", "_")


def _singular(room: str) -> str:
    return _SINGULAR[room]


def _only_class(module: ModuleType, name: str) -> type[Any]:
    found = list(_public_dataclasses(module))
    if len(found) != 1:
        listed = ", ".join(cls.__name__ for cls in found) or "none"
        raise UserError(f"the plug-in '{name}' should hold one public dataclass, but {listed} came")
    return found[0]


def _public_dataclasses(module: ModuleType) -> Iterator[type[Any]]:
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and is_dataclass(value)
            and value.__module__ == module.__name__
            and not value.__name__.startswith("_")
        ):
            yield value
