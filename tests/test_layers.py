"""Imports point down: the table of the design, enforced over every import of the package, also those inside functions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "archscout"
BELOW_2 = {"core", "nn"}
BELOW_3 = BELOW_2 | {"spaces", "data", "benchmarks"}
MACHINERY = BELOW_2 | {"store", "engine", "export", "catalogue"}
TOP = {"cli", "api", "__init__", "__main__"}  # may import everything
MAY_IMPORT = {
    "core": set(),
    "catalogue": {"core"},
    "nn": {"core"},
    "spaces": BELOW_2,
    "data": BELOW_2 | {"catalogue"},  # a data set is opened by name
    "benchmarks": BELOW_2 | {"catalogue"},  # a table is opened by name
    "families": BELOW_2 | {"data"},
    "extractors": BELOW_2,
    "estimators": (BELOW_3 - {"benchmarks"}) | {"catalogue", "benchmarks._open"},  # judges see a table's objectives, no files
    "learners": (BELOW_3 - {"benchmarks"}) | {"catalogue", "benchmarks._open"},
    "meta": BELOW_2 | {"learners"},
    "strategies": BELOW_2 | {"learners"},
    "analysis": BELOW_2 | {"learners"},
    "store": MACHINERY,
    "engine": MACHINERY,
    "export": MACHINERY,
    "comparison": MACHINERY | {"analysis", "benchmarks.verdict", "report"},
    "report": MACHINERY | {"analysis", "benchmarks.verdict"},
    "explaining": MACHINERY | {"analysis", "comparison", "report"},
    "testing": MACHINERY | {"analysis"},
}
PLUG_INS = {"spaces", "data", "benchmarks", "families", "extractors", "estimators", "learners", "meta", "strategies"}
THIRD_PARTY = {
    "core": {"numpy"},
    "catalogue": {"numpy"},
    "nn": {"numpy", "scipy", "torch", "safetensors"},
}  # all others: what they like
EXCEPTIONS = {
    ("core/seeds.py", "torch"),  # inside `seeded`, which only callers with torch use
    ("core/places.py", "platformdirs"),  # knows the customs of each system, and imports nothing itself
}
VERDICT_READERS = ("report/", "comparison/", "cli/bench.py", "benchmarks/verdict.py")


def imports(tree: ast.AST, package: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import outside TYPE_CHECKING blocks; relative imports come as '.'."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from imports(ast.Module([other], []), package)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." if node.level else node.module or ""
            for alias in node.names:
                inner = package.parent.joinpath(*module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield node.lineno, f"{module}.{alias.name}" if is_module and module != "." else module
        else:
            yield from imports(node, package)


def complaint(path: str, module: str) -> str | None:
    """What is wrong with the file `path` (relative to the package) importing `module`; None where nothing is."""
    room = path.split("/")[0].removesuffix(".py")
    top, *rest = module.split(".")
    if top == "":
        return "relative imports hide the layer"
    if top != "archscout":
        allowed = THIRD_PARTY.get(room)
        if allowed is None or top in sys.stdlib_module_names | allowed or (path, top) in EXCEPTIONS:
            return None
        return f"'{room}' may import the standard library and {', '.join(sorted(allowed))} only"
    target, name = (rest[0] if rest else "__init__"), ".".join(rest[:2])
    if name == "benchmarks.verdict" and not path.startswith(VERDICT_READERS):
        return "only the report and 'archscout bench' may read test metrics"
    if room in TOP or name in MAY_IMPORT[room]:
        return None
    if target == room:
        if room in PLUG_INS and len(rest) > 1 and not any(part.startswith("_") for part in rest[1:]):
            return f"plug-ins of '{room}' never import each other"
        return None
    return None if target in MAY_IMPORT[room] else f"'{room}' may not import '{target}'"


def violations(package: Path) -> list[str]:
    found = []
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package).as_posix()
        for line, module in imports(ast.parse(file.read_text("utf8")), package):
            why = complaint(path, module)
            if why:
                found.append(f"{file}:{line}: imports {module}: {why}")
    return found


def test_imports_point_down():
    found = violations(PACKAGE)
    assert not found, "\n".join(["imports against the layers:", *found])


@pytest.mark.parametrize(
    ("path", "code", "word"),
    [
        ("core/x.py", "import torch", "standard library"),
        ("core/x.py", "def f():\n    from archscout.nn.batches import batches", "may not import 'nn'"),
        ("catalogue.py", "import archscout.spaces.nas201", "may not import 'spaces'"),
        ("nn/x.py", "from archscout import catalogue", "may not import 'catalogue'"),
        ("spaces/x.py", "from archscout.spaces.nas201 import NAS201", "never import each other"),
        ("spaces/x.py", "from archscout.spaces import nas201", "never import each other"),
        ("benchmarks/tables/x.py", "from archscout.benchmarks.tables.nas201 import Nas201", "never import each other"),
        ("benchmarks/tables/x.py", "import archscout.spaces.nas201", "may not import 'spaces'"),
        ("benchmarks/tables/x.py", "from archscout.benchmarks.verdict import reveal", "test metrics"),
        ("benchmarks/_open.py", "from archscout.benchmarks import verdict", "test metrics"),
        ("strategies/x.py", "class A:\n    import archscout.estimators.train", "may not import 'estimators'"),
        ("strategies/x.py", "from archscout.store.log import Log", "may not import 'store'"),
        ("strategies/x.py", "from archscout import AskTell", "may not import '__init__'"),
        ("engine/x.py", "from archscout.estimators.train import Train", "may not import 'estimators'"),
        ("report/x.py", "from archscout.cli.main import main", "may not import 'cli'"),
        ("testing/x.py", "from archscout.strategies.random import RandomSearch", "may not import 'strategies'"),
        ("estimators/x.py", "from archscout.benchmarks.verdict import best", "test metrics"),
        ("estimators/x.py", "def f():\n    from archscout.benchmarks import _npz", "may not import 'benchmarks'"),
        ("estimators/x.py", "from archscout.benchmarks import _seal", "may not import 'benchmarks'"),
        ("strategies/x.py", "def f():\n    from archscout.benchmarks.verdict import reveal", "test metrics"),
        ("strategies/x.py", "from archscout.benchmarks._open import open_table", "may not import 'benchmarks'"),
        ("cli/search.py", "from archscout.benchmarks import verdict", "test metrics"),
        ("engine/x.py", "from ..spaces import nas201", "relative"),
        ("store/x.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import archscout.cli", "may not import 'cli'"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, path, code, word):
    package = tmp_path / "archscout"
    parts = (f"benchmarks/{name}.py" for name in ("verdict", "_npz", "_open", "_seal"))
    for real in ("catalogue.py", *parts, "spaces/nas201.py", path):
        (package / real).parent.mkdir(parents=True, exist_ok=True)
        (package / real).touch()
    (package / path).write_text(code)
    [found] = violations(package)
    assert word in found
    assert f"{path}:{code[: code.index('import')].count(chr(10)) + 1}: " in found


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("core/x.py", "import numpy\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("spaces/x.py", "from archscout.spaces._cells import cell"),
        ("benchmarks/tables/x.py", "from archscout.benchmarks.tables._recorded import RecordedTable"),
        ("benchmarks/tables/x.py", "from archscout.benchmarks import _npz"),
        ("estimators/x.py", "from archscout.benchmarks._open import open_table"),
        ("strategies/x.py", "from archscout.strategies._desk import Desk\nimport torch"),
        ("estimators/x.py", "from archscout import catalogue"),
        ("report/x.py", "from archscout.benchmarks.verdict import best"),
        ("cli/bench.py", "from archscout.benchmarks.verdict import best"),
        ("cli/search.py", "import archscout.strategies.random"),
        ("api/x.py", "import archscout.engine.drive, archscout.cli.main"),
    ],
)
def test_what_is_allowed_is_let_through(tmp_path, path, code):
    package = tmp_path / "archscout"
    for real in ("catalogue.py", "spaces/_cells.py", "strategies/_desk.py", "benchmarks/_npz.py", path):
        (package / real).parent.mkdir(parents=True, exist_ok=True)
        (package / real).touch()
    (package / path).write_text(code)
    assert violations(package) == []
