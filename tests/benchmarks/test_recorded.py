"""The shipped numbers against published ones, and what a damaged file says."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from archscout import catalogue
from archscout.benchmarks import _npz
from archscout.benchmarks._open import open_table
from archscout.benchmarks.tables import _recorded
from archscout.benchmarks.tables._recorded import array
from archscout.benchmarks.verdict import reveal
from archscout.core.errors import UnknownName, UserError

ALL = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3")


def spearman(one, other):
    both = np.isfinite(one) & np.isfinite(other)
    return spearmanr(one[both], other[both]).statistic


@pytest.fixture(scope="module")
def nas201():
    return open_table("nas201"), catalogue.make("spaces", "nas201")


@pytest.fixture(scope="module")
def nas101():
    return open_table("nas101"), catalogue.make("spaces", "nas101")


def test_nas201_optima(nas201):
    table, space = nas201
    valid = {dataset: table.objective(dataset).values for dataset in ("cifar10", "cifar100")}
    test = {dataset: reveal(table, dataset).values for dataset in ("cifar10", "cifar100")}
    assert (np.argmax(test["cifar10"]), np.argmax(test["cifar100"])) == (6111, 9930)
    assert test["cifar10"][6111] == pytest.approx(94.373, abs=1e-3) and test["cifar100"][9930] == pytest.approx(73.513, abs=1e-3)
    assert valid["cifar10"].max() == pytest.approx(91.607, abs=1e-3) and np.argmax(valid["cifar10"]) == 6111
    assert valid["cifar100"].max() == pytest.approx(73.493, abs=1e-3) and np.argmax(valid["cifar100"]) == 9930
    assert spearman(test["cifar10"], test["cifar100"]) == pytest.approx(0.980, abs=1e-3)
    assert spearman(valid["cifar10"], test["cifar10"]) == pytest.approx(0.984, abs=1e-3)
    assert spearman(valid["cifar100"], test["cifar100"]) == pytest.approx(0.993, abs=1e-3)
    assert spearman(table.objective("cifar10", 12).values, test["cifar10"]) == pytest.approx(0.772, abs=1e-3)
    resnet = space.from_genotype("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")
    assert table.row(space, resnet) == 11_472
    published = ((valid["cifar10"], 90.83), (test["cifar10"], 93.97), (valid["cifar100"], 70.42), (test["cifar100"], 70.86))
    assert all(values[11_472] == pytest.approx(accuracy, abs=0.2) for values, accuracy in published)


@pytest.mark.parametrize(
    ("row", "cell", "params", "macs"),
    [
        (1651, ("none",) * 6, 73_306, 7.783),
        (1835, ("skip_connect",) * 6, 73_306, 7.783),
        (4317, ("nor_conv_1x1",) * 6, 241_306, 31.376),
        (1462, ("nor_conv_3x3",) * 6, 1_531_546, 220.120),
        (0, ("avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_1x1", "skip_connect", "skip_connect"), 129_306, 15.647),
        (6111, (*["nor_conv_3x3"] * 3, "skip_connect", "nor_conv_3x3", "nor_conv_1x1"), 1_073_466, 153.273),
        (9930, (*["nor_conv_3x3"] * 3, "skip_connect", "nor_conv_3x3", "nor_conv_3x3"), 1_288_506, 184.730),
    ],
)
def test_nas201_rows(nas201, row, cell, params, macs):
    table, space = nas201
    a, b, c, d, e, f = cell
    architecture = space.from_genotype(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")
    assert table.row(space, architecture) == row and table.architecture(space, row) == architecture
    found = table.metrics(row)
    assert found["params"] == params and found["macs"] / 1e6 == pytest.approx(macs, abs=5e-4)


def test_nas201_extras(nas201):
    table, space = nas201
    classes, macs = table.extra("iso_rep"), array("nas201.npz", "macs").astype(float)
    assert len(set(classes.tolist())) == 6_466 and (classes <= np.arange(15_625)).all() and (classes[classes] == classes).all()
    for row in range(0, 15_625, 83):
        ours, first = (space.signature(table.architecture(space, int(place))) for place in (row, classes[row]))
        assert ours == first
    test = reveal(table, "cifar10").values
    for number in range(3):
        subset = table.extra(f"gennas_subset_{number}")
        assert len(set(subset.tolist())) == 1_000
        assert 0.742 - 5e-4 <= spearman(macs[subset], test[subset]) <= 0.747 + 5e-4
    assert kendalltau(macs, test).statistic == pytest.approx(0.578, abs=1e-3)
    assert spearman(macs, reveal(table, "cifar100").values) == pytest.approx(0.728, abs=1e-3)
    devices = [name for name in table.facts.extras if name.startswith("latency_")]
    assert len(devices) == 20 and all(len(table.extra(name)) == 15_625 for name in devices)
    assert np.corrcoef(table.extra("latency_fpga"), macs)[0, 1] == pytest.approx(0.920, abs=1e-3)
    with pytest.raises(UnknownName, match="'latency_fpgaa'; did you mean 'latency_fpga'"):
        table.extra("latency_fpgaa")


@pytest.mark.parametrize(
    ("key", "params", "macs"),
    [
        ("28cfc7874f6d200472e1a9dcd8650aa0", 2_694_282, 402_002_944),
        ("043721b9c7fe8c5fad811d47d83132ec", 882_570, 137_761_792),
        ("b49ac8c578b4561d79ac7087988f1c61", 10_177_674, 1_496_716_288),
    ],
)
def test_nas101_hashes(nas101, key, params, macs):
    table, space = nas101
    row = table.row_of_key(key)
    assert row is not None and space.signature(table.architecture(space, row)) == key
    assert row == table.row_of_key(f" {key.upper()}\n") == table.row(space, table.architecture(space, row))
    assert table.metrics(row) == {"params": params, "macs": macs}


def test_nas101_values(nas101):
    table, space = nas101
    assert space.signature(table.architecture(space, 0)) == "00005c142e6f48ac74fdcf73e3439874"
    for key in ("f" * 32, "0" * 32, "28cfc7874f6d2004", "", "nas101:0"):
        assert table.row_of_key(key) is None
    values, params = table.objective("cifar10").values, array("nas101.npz", "params")
    assert np.isfinite(values).sum() == 211_812 and np.isnan(values[1::2]).all()
    assert np.nanmax(values) == pytest.approx(94.66, abs=5e-3) and (values < 50).sum() == 1_448
    assert (params.min(), params.max()) == (227_274, 49_979_274)
    assert spearman(params, values) == pytest.approx(0.431, abs=2e-3)
    second = reveal(table, "cifar10", name="cifar10_test_108_second").values
    assert np.isfinite(second).sum() == 1_282 and spearman(second, values) == pytest.approx(0.966, abs=2e-3)
    assert np.nanmedian(np.abs(second - values)) == pytest.approx(0.19, abs=5e-3)
    sample, imagenet = table.extra("gennas500"), table.objective("imagenet").values
    assert set(np.flatnonzero(np.isfinite(imagenet))) == set(sample.tolist()) and len(sample) == 500
    assert spearman(values[sample], imagenet[sample]) == pytest.approx(0.720, abs=0.02), "of the half with both values"
    assert np.array_equal(reveal(table, "imagenet").values, imagenet, equal_nan=True), "one value only: the objective again"


def test_macro_values():
    table, space = open_table("macro"), catalogue.make("spaces", "macro")
    runs = [reveal(table, "cifar10", name=f"cifar10_test_run{run}").values for run in range(3)]
    mean = reveal(table, "cifar10", name="cifar10_test_mean").values
    assert np.allclose(np.mean(runs, 0), mean, atol=1e-4) and mean.max() == pytest.approx(93.127, abs=1e-3)
    assert space.genotype(table.architecture(space, int(mean.argmax()))) == "22212202"
    assert table.objective("cifar10").column == reveal(table, "cifar10").column
    assert np.array_equal(table.objective("cifar10").values, runs[0])
    for row in range(0, 6_561, 511):
        counted = space.operations(table.architecture(space, row), _cifar10())
        assert table.metrics(row)["params"] == counted.params


def _cifar10():
    from archscout.core.problem import IMAGE_CLASSIFICATION, Task

    return Task("cifar10", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "")


@pytest.mark.parametrize(
    ("name", "rows", "best"),
    [
        ("transnas-cell", 4_096, {"class_object": 46.32, "class_scene": 54.94, "autoencoder": 0.5772, "normal": 0.5962}),
        ("transnas-macro", 3_255, {"class_object": 47.96, "class_scene": 57.48, "autoencoder": 0.7688, "normal": 0.6435}),
    ],
)
def test_transnas_maxima(name, rows, best):
    table = open_table(name)
    assert table.facts.rows == rows and table.facts.datasets == tuple(best)
    for task, value in best.items():
        values = table.objective(task).values
        assert np.isfinite(values).all() and values.max() == pytest.approx(value, abs=0.005 if value > 1 else 5e-5)


def test_nlp_values():
    table, space = open_table("nlp-rnn"), catalogue.make("spaces", "nlp-rnn")
    best, status = table.objective("ptb-best"), table.extra("status")
    assert np.isfinite(best.values).sum() == 5_766 == (status == "OK").sum()
    assert np.nanmedian(best.values) == pytest.approx(4.937, abs=1e-3) and np.nanargmax(best.scores) == np.nanargmin(best.values)
    assert np.exp(np.nanmin(reveal(table, "ptb-best").values)) == pytest.approx(86.3, abs=0.05)
    params = array("nlp_rnn.npz", "params").astype(float)
    assert spearman(params, best.values) == pytest.approx(-0.050, abs=1e-3)
    for row in range(0, 7_161, 701):
        counted = space.counts(table.architecture(space, row), _penn_treebank())
        assert table.metrics(row) == {"params": counted["params"]}
        assert json.loads(table.recipe(row)), "the published text is kept"


def _penn_treebank():
    from archscout.core.problem import LANGUAGE_MODELLING, Task

    return Task("ptb", LANGUAGE_MODELLING, (35,), 10_000, "")


def test_nlp_seconds_are_those_of_the_epochs():
    table = open_table("nlp-rnn")
    whole, fifth = (table.objective("ptb", epochs) for epochs in (50, 10))
    both = np.isfinite(whole.values)
    assert np.allclose(fifth.seconds[both], whole.seconds[both] / 5) and np.isfinite(whole.seconds[both]).all()
    stopped = table.extra("status") != "OK"
    ended = stopped & np.isfinite(table.objective("ptb", 1).values)
    assert (whole.seconds[ended] >= table.objective("ptb", 1).seconds[ended]).all() and ended.any()


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("nas201", ("imagenet16-120",), ("no recorded values for the data set 'imagenet16-120'", "cifar10, cifar100")),
        ("nas201", ("cifar10", 90), ("after 200, 12 epochs, but 90 came",)),
        ("macro", ("cifar10", 90), ("after an unknown number of epochs, but 90 came",)),
        ("nlp-rnn", ("ptb", 20), ("after 50, 25, 10, 5, 1 epochs",)),
    ],
)
def test_columns_that_are_not_there(name, asked, words):
    with pytest.raises(UnknownName) as caught:
        open_table(name).objective(*asked)
    assert all(word in str(caught.value) for word in words)


def test_reports_that_are_not_there():
    table = open_table("nas201")
    with pytest.raises(UnknownName, match="has no test values for the data set 'svhn'; known: cifar10, cifar100"):
        reveal(table, "svhn")
    with pytest.raises(UnknownName, match="no test values 'cifar10_test_20'; did you mean 'cifar10_test_200'"):
        reveal(table, "cifar10", name="cifar10_test_20")


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """The shipped files, copied to where a test may damage them."""
    place = tmp_path / "shipped"
    place.mkdir()
    for name in ("macro.npz", "macro.test.npz", "checksums.json"):
        shutil.copy(_recorded.FOLDER / name, place / name)
    monkeypatch.setattr(_recorded, "FOLDER", place)
    caches = (_recorded.array, _recorded.rows_of, _recorded._values, _recorded._checked)
    for cache in caches:
        cache.cache_clear()
    yield place
    for cache in caches:
        cache.cache_clear()


def test_every_flipped_bit_is_noticed(own_files):
    whole = (own_files / "macro.npz").read_bytes()
    for place in np.random.default_rng(0).integers(len(whole), size=20):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        (own_files / "macro.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"macro\.npz' are damaged \(their checksum differs\); install archscout again"):
            open_table("macro").objective("cifar10")
    (own_files / "macro.npz").write_bytes(whole)
    assert open_table("macro").objective("cifar10").values.max() > 93


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("macro.npz", None, "cannot be read (No such file or directory)"),
        ("macro.npz", b"", "damaged"),
        ("checksums.json", b"{", "the checksums in"),
        ("checksums.json", b"{}", "(KeyError: 'macro.npz')"),
        ("checksums.json", None, "the checksums in"),
    ],
)
def test_a_damaged_installation(own_files, file, content, words):
    if content is None:
        (own_files / file).unlink()
    else:
        (own_files / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_table("macro").objective("cifar10")
    assert words in str(caught.value) and "install archscout again" in str(caught.value)


def test_damaged_test_values(own_files):
    (own_files / "macro.test.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    assert open_table("macro").objective("cifar10").values.max() > 93, "a search does not open them"
    with pytest.raises(UserError, match=r"macro\.test\.npz' are damaged"):
        reveal(open_table("macro"), "cifar10", name="cifar10_test_mean")


def test_a_file_without_a_column(own_files):
    _npz.write(own_files / "macro.npz", {"choices": np.zeros((6_561, 8), np.uint8)})
    sums = json.loads((own_files / "checksums.json").read_text())
    (own_files / "checksums.json").write_text(json.dumps({**sums, "macro.npz": _npz.checksum(own_files / "macro.npz")}))
    with pytest.raises(UserError, match="no array 'cifar10_test_run0', but choices"):
        open_table("macro").objective("cifar10")


def test_equal_arrays_give_equal_bytes(tmp_path):
    arrays = {name: array("macro.npz", name) for name in ("choices", "params", "macs", "cifar10_test_run0")}
    assert _npz.write(tmp_path / "again.npz", arrays) == _npz.checksum(_recorded.FOLDER / "macro.npz")
