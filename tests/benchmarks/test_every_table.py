"""The conformance suite of tables, over the catalogue and over imported tables; and that the suite finds what is broken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from archscout import catalogue
from archscout.benchmarks._import import Asked, import_values
from archscout.benchmarks._open import open_table, space_of
from archscout.benchmarks.tables.macro import Macro
from archscout.core.errors import UnknownName
from archscout.core.tables import SealedFile
from archscout.testing import tables

NAMES = catalogue.names("tables")
FOLDER = Path(catalogue.__file__).parent / catalogue.ROOMS["tables"]


@pytest.mark.parametrize("check", tables.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_conforms(name, check):
    table = open_table(name)
    assert table.name == name
    check(table, space_of(table))


@pytest.mark.parametrize("kind", ["completed", "of a space", "of names"])
def test_imported_tables_conform(kind, tmp_path):
    cells = [f"nas201:{number % 5}.{number // 5 % 5}.{number // 25}.0.0.1" for number in range(40)]
    path = tmp_path / "mine.csv"
    path.write_text("architecture,value\n" + "".join(f"{cell},{50 + i}\n" for i, cell in enumerate(cells)))
    name = "nas201" if kind == "completed" else "mine"
    space = {"completed": "", "of a space": "nas201", "of names": ""}[kind]
    for split in ("valid", "test"):
        table, _, _ = import_values(path, Asked(name, "svhn", split=split, space=space if split == "valid" else ""))
    assert table.facts.rows == (15_625 if kind == "completed" else 40)
    tables.check_table(table, space_of(table))


class Nameless(Macro):
    @property
    def facts(self):
        return replace(super().facts, licence="")


class NextRow(Macro):
    def architecture(self, space, row):
        return super().architecture(space, (row + 1) % 6561)


class AnyRow(Macro):
    def row(self, space, architecture):
        return 0


class Infinite(Macro):
    def objective(self, dataset, epochs=None):
        found = super().objective(dataset, epochs)
        return replace(found, values=np.where(np.arange(6561) == 5, np.inf, found.values))


class Guessing(Macro):
    def objective(self, dataset, epochs=None):
        return super().objective("cifar10")


class Silent(Macro):
    def objective(self, dataset, epochs=None):
        if dataset != "cifar10":
            raise UnknownName("no")
        return super().objective(dataset, epochs)


class Promising(Macro):
    def metrics(self, row):
        return {"params": 1.0}


class Open(Macro):
    def sealed(self, column):
        return (SealedFile(FOLDER / "macro.npz", column.name),)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Nameless, tables.is_described),
        (NextRow, tables.finds_its_rows),
        (AnyRow, tables.finds_its_rows),
        (AnyRow, tables.finds_what_is_asked),
        (Infinite, tables.records_numbers),
        (Guessing, tables.names_what_is_there),
        (Silent, tables.names_what_is_there),
        (Promising, tables.states_its_facts),
        (Open, tables.seals_test_values),
    ],
)
def test_a_broken_table_is_found(broken, check):
    space = space_of(Macro())
    check(Macro(), space)
    with pytest.raises(AssertionError):
        check(broken(), space)


def test_the_files_are_compact_and_hold_no_pickle():
    files = sorted(FOLDER.glob("*.npz"))
    assert {file.name.split(".")[0].replace("_", "-") for file in files} == set(NAMES)
    assert sum(file.stat().st_size for file in files) < 25_000_000
    for file in files:
        with ZipFile(file) as archive:
            assert archive.testzip() is None and all(name.endswith(".npy") for name in archive.namelist())
        with np.load(file, allow_pickle=False) as arrays:
            assert all(not arrays[name].dtype.hasobject for name in arrays.files)


def test_search_files_hold_no_test_column_but_those_that_are_objectives():
    for name in NAMES:
        facts = open_table(name).facts
        stem = name.replace("-", "_")
        with ZipFile(FOLDER / f"{stem}.npz") as archive:
            shown = {member.removesuffix(".npy") for member in archive.namelist()}
        assert shown & {column.name for column in facts.reports} == {c.name for c in facts.reports if c in facts.columns}
        hidden = FOLDER / f"{stem}.test.npz"
        if hidden.exists():
            with ZipFile(hidden) as archive:
                sealed = {member.removesuffix(".npy") for member in archive.namelist()}
            assert sealed == {column.name for column in facts.reports} - shown


def test_notice_names_every_source():
    notice = " ".join((Path(__file__).parents[2] / "NOTICE").read_text("utf8").split())
    for name in NAMES:
        facts = open_table(name).facts
        assert f"{name}:" in notice
        for repository in (word.strip(",;()") for word in facts.source.split() if "/" in word):
            assert repository in notice, f"NOTICE does not name {repository}, a source of '{name}'"
        own = notice.split(f"{name}:")[1].split(" * ")[0]
        assert all(part in own for part in ("MIT", "Apache-2.0", "licence file") if part in facts.licence)
