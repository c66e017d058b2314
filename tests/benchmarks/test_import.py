"""What a user imports: a column that completes a table, or a table of its own."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from archscout import catalogue
from archscout.benchmarks import _imported, _npz
from archscout.benchmarks._import import Asked, import_values
from archscout.benchmarks._open import listed_space, open_table, space_of, table_names
from archscout.benchmarks.verdict import reveal
from archscout.core.errors import UnknownName, UserError

CELLS = {"nas201:0.0.0.0.0.1": 70.5, "nas201:3.3.3.1.3.2": 91.25, "nas201:1.1.1.1.1.1": 40.0}
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


def written(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("architecture", "value"), *rows])
    return path


@pytest.fixture
def put(tmp_path):
    """`put(rows, table, dataset, ...)` imports rows of text and value."""

    def made(rows, table="nas201", dataset="svhn", **settings):
        rows = rows.items() if isinstance(rows, dict) else rows
        return import_values(written(tmp_path / "mine.csv", rows), Asked(table, dataset, **settings))

    return made


def test_a_new_data_set_of_a_table(put):
    table, column, count = put(CELLS)
    space = space_of(table)
    assert (column.name, count) == ("svhn_valid_0", 3) and table.facts.datasets == ("svhn", "cifar10", "cifar100")
    values = open_table("nas201").objective("svhn").values
    rows = [table.row(space, space.architecture([int(c) for c in cell.split(":")[1].split(".")])) for cell in CELLS]
    assert values[rows].tolist() == list(CELLS.values()) and np.isfinite(values).sum() == 3
    assert table.objective("cifar10").values.max() == pytest.approx(91.607, abs=1e-3), "the others are as they were"
    assert table.metrics(rows[1])["params"] == 1_073_466 and len(table.extra("iso_rep")) == 15_625
    assert next(c for c in table.facts.columns if c.dataset == "svhn").caveat == "imported by the user"
    assert not values.flags.writeable
    assert np.array_equal(reveal(table, "svhn").values, values, equal_nan=True), "no test values: the objective"
    assert "no test values of 'svhn' were imported: the objective is the report" in table.facts.caveats
    assert reveal(table, "cifar10").column.name == "cifar10_test_200"


@pytest.mark.parametrize("text", [BEST, f"  {BEST} ", "nas201:3.3.3.1.3.2"])
def test_ways_to_name_an_architecture(text, put):
    table, _, _ = put({text: 12.5})
    assert table.objective("svhn").values[6111] == 12.5


def test_by_hash_and_completing_a_column(put):
    """Rows of nas101 without a value get one; the others keep theirs."""
    before = open_table("nas101").objective("cifar10").values
    keys, space = catalogue.make("tables", "nas101"), catalogue.make("spaces", "nas101")
    inception = "28cfc7874f6d200472e1a9dcd8650aa0"
    rows = {inception: 93.5, space.signature(keys.architecture(space, 1)): 80.25}
    table, column, _ = put(rows, "nas101", "cifar10", epochs=108)
    after = table.objective("cifar10")
    places = [keys.row_of_key(key) for key in rows]
    assert after.column.name == column.name == "cifar10_valid_108" and after.values[places].tolist() == [93.5, 80.25]
    changed = np.flatnonzero(~((before == after.values) | (np.isnan(before) & np.isnan(after.values))))
    assert set(changed) == set(places) and np.isnan(before[places]).tolist() == [False, True] and places[1] == 1
    assert "rows without an imported value keep that of 'cifar10_test_108' (test)" in after.column.caveat
    put({inception: 92.0}, "nas101", "cifar10", epochs=108, split="test")
    table = open_table("nas101")
    tests = reveal(table, "cifar10", 108)
    assert tests.column.name == "cifar10_test_108" and tests.values[places[0]] == 92.0
    others = np.delete(np.arange(len(before)), places[0])
    assert np.array_equal(tests.values[others], before[others], equal_nan=True)
    assert [c.name for c in table.facts.reports].count("cifar10_test_108") == 1
    assert table.objective("cifar10").values[places[0]] == 93.5, "test values are not for the search"


def test_another_metric_does_not_complete(put):
    table, _, _ = put(CELLS, "nas201", "cifar10", metric="loss", epochs=200, higher_is_better=False)
    recorded = table.objective("cifar10")
    assert np.isfinite(recorded.values).sum() == 3 and np.nanmax(recorded.scores) == -40.0
    assert table.objective("cifar10", 12).column.name == "cifar10_valid_12"


def test_npz(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "mine.npz", architecture=np.array(list(CELLS)), value=np.array(list(CELLS.values()), np.float32))
        table, _, count = import_values(tmp_path / "mine.npz", Asked("nas201", "svhn", overwrite=True))
        assert count == 3 and table.objective("svhn").values[6111] == 91.25


def test_test_values_are_for_the_verdict_only(put, folder):
    put(CELLS)
    table, column, _ = put({BEST: 99.0}, split="test")
    assert column not in table.facts.columns and (folder / "nas201.svhn_test_0.test.npz").is_file()
    assert table.objective("svhn").values[6111] == 91.25 and reveal(table, "svhn").values[6111] == 99.0
    names = {"__name__": "archscout.strategies.cheat", "npz": _npz, "path": folder / "nas201.svhn_test_0.test.npz"}
    exec("def look(): return npz.read(path, 'value')", names)
    with pytest.raises(ImportError, match="test values are for the report"):
        names["look"]()


def test_a_new_table_of_a_space(put):
    space = catalogue.make("spaces", "darts")
    cells = {space.genotype(_any(space, number)): number / 10 for number in range(5)}
    table, _, _ = put(cells, "my-cells", "cifar10", space="darts", epochs=3)
    assert table.name == "my-cells" in table_names() and table.facts.rows == 5 and table.facts.source == "imported by the user"
    for row in range(5):
        architecture = table.architecture(space, row)
        assert table.row(space, architecture) == row and space.genotype(architecture) == list(cells)[row]
    assert table.row(space, _any(space, 77)) is None
    assert reveal(table, "cifar10").values.tolist() == table.objective("cifar10", 3).values.tolist()
    assert "no test values of 'cifar10' were imported" in table.facts.caveats[0]
    put({list(cells)[2]: 5.0}, "my-cells", "cifar10", epochs=3, split="test")
    assert open_table("my-cells").facts.reports[0].split == "test" and reveal(open_table("my-cells"), "cifar10").values[2] == 5.0


def _any(space, seed):
    from archscout.core.draw import sample

    return sample(space, np.random.default_rng(seed))


def test_a_table_of_names(put):
    names = {"ResNet-50": 76.1, "a net, 'quoted'": 70.0, "größer 2×": 71.0}
    table, _, _ = put(names, "published", "imagenet")
    space = space_of(table)
    assert space == listed_space("listed-published") and space.genotype(table.architecture(space, 2)) == "größer 2×"
    assert table.row(space, space.from_genotype("ResNet-50")) == 0 and space.from_genotype("ResNet-51") is None
    with pytest.raises(UserError, match="names only, so they cannot be built"):
        space.build(space.architecture((0,)), None)
    put({"größer 2×": 100.0, "ResNet-50": 200.0}, "published", "imagenet", metric="seconds")
    recorded = open_table("published").objective("imagenet")
    assert np.array_equal(recorded.seconds, [200, np.nan, 100], equal_nan=True)
    with pytest.raises(UserError, match="has no row for 1 of the 1 architectures, the first 'ResNet-51'"):
        put({"ResNet-51": 1.0}, "published", "other")


def test_seconds_complete_recorded_ones(put):
    before, space = open_table("nlp-rnn"), catalogue.make("spaces", "nlp-rnn")
    recipe = before.recipe(5)
    recorded = before.objective("ptb", 10)
    table, _, _ = put({recipe: 7.5}, "nlp-rnn", "ptb", metric="seconds", epochs=10)
    row = table.row(space, table.architecture(space, 5))
    after = table.objective("ptb", 10)
    assert after.seconds[row] == 7.5 and np.array_equal(after.values, recorded.values, equal_nan=True)
    others = np.delete(np.arange(7_161), row)
    assert np.array_equal(after.seconds[others], recorded.seconds[others], equal_nan=True)


def test_overwriting(put, folder):
    put(CELLS)
    with pytest.raises(UserError, match="'svhn_valid_0' already; give --overwrite to replace it"):
        put({BEST: 1.0})
    assert open_table("nas201").objective("svhn").values[6111] == 91.25
    put({BEST: 1.0}, overwrite=True)
    values = open_table("nas201").objective("svhn").values
    assert values[6111] == 1.0 and np.isfinite(values).sum() == 1
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "nas201.json", "nas201.svhn_valid_0.npz"]


REFUSED = {
    "unknown rows": ({BEST: 1, "macro:0.0": 2, "what": 3}, {}, "no row for 2 of the 3 architectures, the first 'macro:0.0'"),
    "a choice too large": ({"nas201:0.0.0.0.0.9": 1}, {}, "the first 'nas201:0.0.0.0.0.9'"),
    "a hash of nothing": ({"f" * 32: 1}, {"table": "nas101"}, "or by hash"),
    "many digits": ({"nas201:" + "9" * 5_000: 1}, {}, "no row for 1 of the 1"),
    "lines": ({"a\nb\tc": 1}, {}, "the first 'a b c'"),
    "duplicates": ([(BEST, 1), ("nas201:3.3.3.1.3.2", 2), ("nas201:0.0.0.0.0.1", 3)], {}, "2 rows name one that comes again"),
    "duplicate names": ([("a", 1), ("b", 2), ("a", 2)], {"table": "new"}, "2 rows name one that comes again, the first 'a'"),
    "duplicate cells": ([(BEST, 1), ("nas201:3.3.3.1.3.2", 2)], {"table": "new", "space": "nas201"}, "the first '|nor_conv"),
    "not of the space": ({"macro:0": 1}, {"table": "new", "space": "nas201"}, "does not hold 1 of the 1 architectures"),
    "no such space": ({"a": 1}, {"table": "new", "space": "nas202"}, "did you mean 'nas201'"),
    "a space in a file": ({"a": 1}, {"table": "new", "space": "my.py"}, "a table outlives the file 'my.py'"),
    "another space": ({BEST: 1}, {"space": "macro"}, "with another space; leave --space out"),
    "not finite": ({BEST: "nan"}, {}, "must be finite numbers, but"),
    "no number": ({BEST: "high"}, {}, "line 2 has the value 'high', which is no number"),
    "no architecture": ({" ": 1}, {}, "row 1 of"),
    "no rows": ({}, {}, "holds no rows"),
    "negative seconds": ({BEST: -1}, {"metric": "seconds"}, "seconds of training are not negative, but -1.0 came"),
    "seconds of nothing": ({BEST: 1}, {"dataset": "cifar10", "metric": "seconds", "epochs": 9}, "after 200, 12 epochs, but 9 came"),
    "seconds without a table": ({BEST: 1}, {"table": "new", "metric": "seconds"}, "import its values first"),
    "table name": ({BEST: 1}, {"table": "../x"}, "--table takes a name of small letters"),
    "data set name": ({BEST: 1}, {"dataset": "a/b"}, "--dataset takes a word"),
    "metric name": ({BEST: 1}, {"metric": ""}, "--metric takes a word"),
    "epochs": ({BEST: 1}, {"epochs": -1}, "--epochs takes 0 (unknown) to"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, put, folder):
    rows, settings, words = REFUSED[name]
    with pytest.raises(UserError) as caught:
        put(rows, **settings)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not folder.exists() or [path.name for path in folder.iterdir()] in ([], [".lock"]), "nothing may be left behind"


FILES = {
    "missing.csv": (None, "there is no file"),
    "empty.csv": (b"", "its first line must be the header architecture,value"),
    "header.csv": (b"arch,value\na,1\n", "its first line must be the header"),
    "wide.csv": (b"architecture,value\na,1,2\n", "line 2 must hold an architecture and a value"),
    "latin.csv": ("architecture,value\nä,1\n".encode("latin-1"), "it is no CSV text"),
    "nul.csv": (b"architecture,value\n\0,1\n", "no row for 1 of the 1"),
    "huge.csv": (b"architecture,value\n" + b"a" * 200_000 + b",1\n", "it is no CSV text (field larger"),
    "long.csv": (b"architecture,value\n" + b"a" * 30_000 + b",1\n", "in 1 to 20,000 characters"),
    "text.npz": (b"architecture,value\na,1\n", "it is no .npz file, or it was cut short"),
}


@pytest.mark.parametrize("name", FILES)
def test_unfit_files(name, tmp_path):
    content, words = FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        import_values(tmp_path / name, Asked("nas201", "svhn"))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_csv_of_a_spreadsheet(tmp_path):
    """A byte order mark, quotes, blank lines and the line ends of Windows."""
    (tmp_path / "mine.csv").write_bytes(f'\ufeffArchitecture, Value\r\n"{BEST}",1.5\r\n\r\n'.encode())
    table, _, count = import_values(tmp_path / "mine.csv", Asked("nas201", "svhn"))
    assert count == 1 and table.objective("svhn").values[6111] == 1.5


def test_a_file_where_the_folder_should_be(put, folder):
    folder.write_text("")
    with pytest.raises(UserError, match=r"cannot be kept in .*; set ARCHSCOUT_TABLES to a folder"):
        put(CELLS)


def damaged(record, **changes):
    return json.dumps({**record, **changes})


DAMAGE = {
    "no JSON": lambda record: "{",
    "a list": lambda record: "[]",
    "deep": lambda record: "[" * 100_000,
    "large": lambda record: damaged(record, x="y" * 2_000_000),
    "another version": lambda record: damaged(record, format=2),
    "another key": lambda record: damaged(record, more=1),
    "rows": lambda record: damaged(record, rows="3"),
    "a path": lambda record: damaged(record, columns=[{**record["columns"][0], "file": "../../secret.npz"}]),
    "a column": lambda record: damaged(record, columns=[{**record["columns"][0], "column": {"name": 1}}]),
    "epochs": lambda record: damaged(record, columns=[_with(record["columns"][0], epochs="1")]),
    "a split": lambda record: damaged(record, columns=[_with(record["columns"][0], split="both")]),
    "the number of rows": lambda record: damaged(record, rows=15_000),
}


def _with(column, **changes):
    return {**column, "column": {**column["column"], **changes}}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record(kind, put, folder):
    put(CELLS)
    path = folder / "nas201.json"
    path.write_text(DAMAGE[kind](json.loads(path.read_text())))
    with pytest.raises(UserError) as caught:
        open_table("nas201")
    assert str(path) in str(caught.value) and "import" in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_columns(put, folder):
    put(CELLS)
    path = folder / "nas201.svhn_valid_0.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"svhn_valid_0\.npz' are damaged \(their checksum differs\); import the column again"):
        open_table("nas201").objective("svhn")
    for arrays in ({"value": np.zeros(4)}, {"value": np.zeros(15_625, np.int8)}, {"other": np.zeros(4)}):
        record = json.loads((folder / "nas201.json").read_text())
        record["columns"][0]["sha256"] = _npz.write(path, arrays)
        (folder / "nas201.json").write_text(json.dumps(record))
        with pytest.raises(UserError, match="cannot be read"):
            open_table("nas201").objective("svhn")
    path.unlink()
    _imported.checked.cache_clear()
    with pytest.raises(UserError, match="No such file or directory"):
        open_table("nas201").objective("svhn")


@pytest.mark.parametrize(
    "arrays",
    [
        {"texts": np.frombuffer(b"ab\xff", np.uint8), "ends": np.array([1, 2, 3])},
        {"texts": np.frombuffer(b"abc", np.uint8), "ends": np.array([1, 2])},
        {"texts": np.frombuffer(b"aac", np.uint8), "ends": np.array([1, 2, 3])},
        {"texts": np.frombuffer(b"abc", np.uint8), "ends": np.array(["a", "b", "c"])},
        {"texts": np.frombuffer(b"abc", np.uint8), "ends": np.array(3)},
    ],
)
def test_damaged_names(arrays, put, folder):
    put({"a": 1, "b": 2, "c": 3}, "mine")
    record = json.loads((folder / "mine.json").read_text())
    record["rows_sha256"] = _npz.write(folder / "mine.rows.npz", arrays)
    (folder / "mine.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="cannot be read"):
        space_of(open_table("mine"))


def test_a_table_that_is_no_longer_installed(put, folder):
    put(CELLS)
    (folder / "nas201.json").rename(folder / "gone.json")
    with pytest.raises(UserError, match="complete a table 'gone', which is not installed"):
        open_table("gone")


def test_a_new_table_keeps_its_rows_when_archscout_gets_one_of_that_name(put, folder, monkeypatch):
    put({BEST: 5.0, "nas201:0.0.0.0.0.1": 6.0}, "mine", space="nas201")
    names = catalogue.names
    monkeypatch.setattr(catalogue, "names", lambda room: [*names(room), "mine"])
    assert open_table("mine").objective("svhn").values.tolist() == [5.0, 6.0]


def test_unknown_tables(put):
    put({"a": 1.0}, "mine")
    with pytest.raises(UnknownName, match="no table 'mines'; did you mean 'mine'"):
        open_table("mines")
    with pytest.raises(UnknownName):
        open_table("../mine")
