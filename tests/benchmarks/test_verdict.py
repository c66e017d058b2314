"""Test values are opened by the verdict alone: what a cheating strategy or judge gets is an ImportError."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from archscout import catalogue
from archscout.benchmarks import _seal, verdict
from archscout.benchmarks._open import open_table
from archscout.benchmarks.tables.macro import FACTS, Macro
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.tables import SealedFile
from archscout.estimators.tabular import Tabular
from archscout.testing.drive import run

CHEAT = '''
"""Looks at the test values."""
from dataclasses import dataclass
{at_import}

@dataclass(frozen=True)
class Cheat:
    """Cheats."""

    def search(self, problem, *, seed, state=None):
        self.look()
        yield

    def estimate(self, problem, architecture, *, seed):
        self.look()

    def look(self):
        from archscout.benchmarks._open import open_table
        table = open_table("nas201")
        {in_call}
'''
WAYS = {
    "reveal": "from archscout.benchmarks import verdict; return verdict.reveal(table, 'cifar10')",
    "reports": "from archscout.benchmarks import verdict; return verdict.reports(table)",
    "the file": "from archscout.benchmarks import _npz; [f] = table.sealed(table.facts.reports[0]); _npz.read(f.path, f.array)",
    "the array": "from archscout.benchmarks.tables._recorded import array; return array('nas201.test.npz', 'cifar10_test_200')",
    "through another": "from functools import partial; from archscout.benchmarks.verdict import reveal; "
    "return list(map(partial(reveal, table), ['cifar10']))",
}


def cheat(tmp_path, at_import="", in_call="pass"):
    path = tmp_path / "cheat.py"
    path.write_text(CHEAT.format(at_import=at_import, in_call=in_call))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_a_strategy_that_asks_for_test_values(way, tmp_path):
    made = catalogue.make("strategies", str(cheat(tmp_path, in_call=WAYS[way])))
    problem = Problem(catalogue.make("spaces", "nas201"), Task("none", IMAGE_CLASSIFICATION, (3, 32, 32), 10, ""))
    with pytest.raises(ImportError, match="test values are for the report at the end, not for a search, but 'archscout_file_cheat"):
        run(made, problem, Tabular(), evaluations=3)


def test_a_judge_that_asks_for_test_values(tmp_path):
    made = catalogue.make("estimators", str(cheat(tmp_path, in_call=WAYS["reveal"])))
    with pytest.raises(ImportError, match="use the objective of the table"):
        made.estimate(None, None, seed=0)


@pytest.mark.parametrize("module", ["verdict", "verdict as v"])
def test_the_import_itself_fails(module, tmp_path):
    path = cheat(tmp_path, f"from archscout.benchmarks import {module}")
    code = f"from archscout import catalogue; catalogue.make('strategies', {str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot be imported: ImportError: test values are for the report" in done.stderr


@pytest.mark.parametrize("module", ["archscout.strategies.cheat", "archscout.estimators.cheat", "someone.elses.strategy"])
def test_modules_of_ours_and_of_other_packages(module, monkeypatch):
    monkeypatch.setattr(_seal, "_registered", lambda: frozenset({"someone.elses.strategy"}))
    names = {"__name__": module, "verdict": verdict, "table": open_table("macro")}
    exec("def look(): return verdict.reveal(table, 'cifar10')", names)
    with pytest.raises(ImportError, match=f"but '{module}' asks for them"):
        names["look"]()
    names["__name__"] = "someone.elses.report"
    assert names["look"]().values.max() > 93


def test_the_registered_modules_are_those_of_the_entry_points(monkeypatch):
    monkeypatch.setattr(catalogue, "foreign_modules", lambda room: [f"package.{room}"])
    _seal._registered.cache_clear()
    try:
        assert _seal._registered() == {"package.strategies", "package.estimators"}
    finally:
        _seal._registered.cache_clear()


def test_the_judge_itself_reads_no_test_file(monkeypatch):
    """All that `tabular` needs lies in the file that a search may see."""
    opened = []
    monkeypatch.setattr(_seal, "forbid_searchers", lambda: opened.append(1))
    problem = Problem(catalogue.make("spaces", "nas201"), Task("none", IMAGE_CLASSIFICATION, (3, 32, 32), 10, ""))
    Tabular().estimate(problem, problem.space.at(5), seed=0)
    assert not opened


def test_reports_and_values():
    table = open_table("nas201")
    assert verdict.reports(table) == table.facts.reports
    twelve = verdict.reveal(table, "cifar10", 12)
    assert twelve.column.name == "cifar10_test_12" and not twelve.values.flags.writeable
    assert verdict.reveal(table, "cifar10").column.epochs == 200


@dataclass(frozen=True)
class Secretive:
    """A table of another package that does not say where test values lie."""

    name: str = "secretive"
    facts = FACTS

    def objective(self, dataset, epochs=None):
        return Macro().objective(dataset, epochs)


def test_a_table_that_does_not_say_where_its_test_values_lie():
    assert np.array_equal(verdict.reveal(Secretive(), "cifar10").values, Macro().objective("cifar10").values)
    with pytest.raises(UserError, match="keeps its test values to itself; add them with 'archscout bench import'"):
        verdict.reveal(Secretive(), "cifar10", name="cifar10_test_mean")


@pytest.mark.parametrize(("array", "words"), [(np.zeros(5), "are (5,), but the table"), (None, "cannot be read")])
def test_unfit_files_of_another_package(array, words, tmp_path):
    class Unfit(Macro):
        def sealed(self, column):
            return (SealedFile(tmp_path / "x.test.npz", "x"),)

    if array is not None:
        np.savez(tmp_path / "x.test.npz", x=array)
    with pytest.raises(UserError) as caught:
        verdict.reveal(Unfit(), "cifar10")
    assert words in str(caught.value)
