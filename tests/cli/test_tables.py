"""`archscout plugins tables` and `archscout bench import`, as a user types them; bad input is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import Command

from archscout import catalogue
from archscout.benchmarks.tables import _recorded
from archscout.core.errors import UserError

NAMES = ["macro", "nas101", "nas201", "nlp-rnn", "transnas-cell", "transnas-macro"]
CELLS = "architecture,value\nnas201:0.0.0.0.0.1,70.5\nnas201:3.3.3.1.3.2,91.25\n"
SEARCH = ("bench", "search", "--strategy", "random", "--queries", 2, "--seeds", 2, "--json")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHSCOUT_TABLES", str(tmp_path / "tables"))
    (tmp_path / "mine.csv").write_text(CELLS)
    return tmp_path / "tables"


def test_all_tables(call: Callable[..., str]) -> None:
    listed = json.loads(call("plugins", "tables", "--json"))["tables"]
    assert list(listed) == NAMES == catalogue.names("tables")
    for facts in listed.values():
        assert facts["rows"] > 0 and facts["licence"] and facts["source"] and facts["columns"] and facts["caveats"]
    text = call("plugins", "tables")
    for word in (*NAMES, "cifar10_valid_200", "licence", "source", "caveat", "423,624 rows", "xiusu/NAS-Bench-Macro", "12 epochs"):
        assert word in text


def test_one_table(call: Callable[..., str]) -> None:
    text = call("plugins", "tables", "nas201")
    assert text.startswith("nas201: 15,625 rows of the space nas201\n") and "macro" not in text
    assert "ImageNet16-120 is not part of this copy" in text and "latency_fpga" in text
    assert "epochs not stated" in call("plugins", "tables", "macro")


def test_importing(archscout: Command, folder: Path) -> None:
    place = {"env": {"ARCHSCOUT_TABLES": str(folder)}}
    words = ("bench", "import", "mine.csv", "--table", "nas201", "--dataset", "svhn", "--metric", "accuracy")
    said = archscout(*words, "--json", **place).json
    assert said == {
        "table": "nas201", "column": "svhn_valid_0", "split": "valid", "values": 2, "rows": 15_625, "folder": str(folder),
    }  # fmt: skip
    archscout(*words, code=2, **place).refused("has an imported column 'svhn_valid_0' already; give --overwrite")


def test_a_search_in_what_was_imported(call: Callable[..., str], folder: Path) -> None:
    said = call("bench", "import", "mine.csv", "--table", "mine", "--space", "nas201", "--dataset", "svhn", "--epochs", 7)
    assert said == f"2 of 2 rows of 'mine' have a value in 'svhn_valid_7' (valid)\nkept in {folder}\n"
    Path("names.csv").write_text("architecture,value\nResNet-50,24.0\nVGG-16,30.5\n")
    call("bench", "import", "names.csv", "--table", "names", "--dataset", "imagenet", "--metric", "error", "--lower-is-better")
    found = json.loads(call(*SEARCH, "--table", "names", "--dataset", "imagenet"))
    assert found["valid_mean"] == found["test_mean"] == 24.0 and found["regret"][-1] == 0
    assert "no test values of 'imagenet' were imported" in call("plugins", "tables", "names")
    assert list(json.loads(call("plugins", "tables", "--json"))["tables"]) == sorted([*NAMES, "mine", "names"])
    row = json.loads(call("bench", "correlate", "--table", "mine", "--dataset", "svhn", "--estimator", "tabular", "--json"))
    assert (row["sample"], row["kendall"]) == (2, 1.0)


def test_imported_seconds_are_charged(call: Callable[..., str]) -> None:
    """10,000 cells, each of which took 40 seconds."""
    space = catalogue.make("spaces", "nas201")
    cells = [space.at(row) for row in range(10_000)]
    for name, value in (("accuracy", "50"), ("seconds", "40")):
        Path(f"{name}.csv").write_text("architecture,value\n" + "".join(f"{cell},{value}\n" for cell in cells))
        call("bench", "import", f"{name}.csv", "--table", "nas201", "--dataset", "svhn", "--metric", name)
    words = ("bench", "search", "--strategy", "random", "--budget", "2m", "--seeds", 2, "--json", "--table", "nas201")
    found = json.loads(call(*words, "--dataset", "svhn"))
    assert len(found["regret"]) == 3 and found["valid_mean"] == 50
    with pytest.raises(UserError, match="no recorded seconds of training to charge"):
        call(*words, "--dataset", "cifar10")


def test_language_models(call: Callable[..., str]) -> None:
    found = json.loads(call(*SEARCH, "--table", "nlp-rnn", "--dataset", "ptb", "--epochs", 10))
    assert found["columns"]["test"] == "ptb_test_50" and 4.4 < found["test_mean"] < 8


BAD = {
    "table": (("plugins", "tables", "nas202"), "there is no table 'nas202'; did you mean 'nas201'"),
    "file": (("bench", "import", "x.csv", "--table", "nas201", "--dataset", "svhn"), "there is no file 'x.csv' to import"),
    "new name": (("bench", "import", "mine.csv", "--table", "a b", "--dataset", "svhn"), "--table takes a name of small letters"),
    "other rows": (
        ("bench", "import", "mine.csv", "--table", "macro", "--dataset", "svhn"),
        "no row for 2 of the 2 architectures, the first 'nas201:0.0.0.0.0.1'",
    ),
    "judge's data set": (
        ("bench", "correlate", "--table", "nas201", "--dataset", "imagenet", "--estimator", "tabular"),
        "no recorded values for the data set 'imagenet'; known: cifar10, cifar100",
    ),
    "score": (
        ("score", "nas201:0.0.0.0.0.1", "--estimator", "tabular", "--set", "estimator.dataset=imagenet"),
        "no recorded values for the data set 'imagenet'; known: cifar10, cifar100",
    ),
    "test epochs": (
        ("bench", "correlate", "--table", "nlp-rnn", "--dataset", "ptb", "--estimator", "work", "--against", "test", "--epochs", 1),
        "has test values for 'ptb' after 50 epochs, but 1 came",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, call: Callable[..., str]) -> None:
    words, sentence = BAD[name]
    with pytest.raises(UserError) as caught:
        call(*words)
    assert sentence in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_duplicates_as_a_user_sees_them(archscout: Command, folder: Path) -> None:
    Path("twice.csv").write_text(CELLS + "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
                                 "nor_conv_1x1~2|,91.5\n")  # fmt: skip
    done = archscout(
        *("bench", "import", "twice.csv", "--table", "nas201", "--dataset", "svhn"), code=2, env={"ARCHSCOUT_TABLES": str(folder)}
    )
    done.refused("2 rows name one that comes again, the first 'nas201:3.3.3.1.3.2'")


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shipped files, copied; one byte of nas201.npz is another."""
    place = shutil.copytree(_recorded.FOLDER, tmp_path / "shipped")
    content = bytearray((place / "nas201.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (place / "nas201.npz").write_bytes(content)
    monkeypatch.setattr(_recorded, "FOLDER", place)
    caches = (_recorded.array, _recorded.rows_of, _recorded._values, _recorded._checked)
    for cache in caches:
        cache.cache_clear()
    yield place
    for cache in caches:
        cache.cache_clear()


def test_a_corrupted_table(damaged: Path, call: Callable[..., str]) -> None:
    for words in (
        (*SEARCH, "--table", "nas201", "--dataset", "cifar10"),
        ("bench", "correlate", "--table", "nas201", "--dataset", "cifar10", "--estimator", "params"),
    ):
        with pytest.raises(UserError) as caught:
            call(*words)
        assert "nas201.npz' are damaged (their checksum differs); install archscout again" in str(caught.value)
    assert "15,625" in call("plugins", "tables", "nas201"), "what it says of itself needs no numbers"


CHEAT = '''
"""Cheats."""
from dataclasses import dataclass
from archscout.benchmarks.verdict import reveal

@dataclass(frozen=True)
class Cheat:
    """Looks at the test values."""

    def search(self, problem, *, seed, state=None):
        yield reveal
'''


def test_a_strategy_that_cheats(archscout: Command) -> None:
    Path("cheat.py").write_text(CHEAT)
    words = (*SEARCH[:2], "--strategy", "cheat.py", "--table", "nas201", "--dataset", "cifar10", "--queries", 3)
    done = archscout(*words, code=2, fresh=True)  # what is refused is the loading
    done.refused("the plug-in file", "ImportError: test values are for the report at the end, not for a search")
