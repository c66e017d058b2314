"""`archscout meta`, and `--signals`, as a user types them; bad input is one sentence."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Command

from archscout.core.signals import SignalTask, signal_task

TRAIN = ("meta", "train", "signal-tasks", "--table", "nas201", "--dataset", "cifar10")
QUICK = (
    "--set", "estimator.steps=3", "--set", "estimator.statistics=batch", "--set", "space.channels=4", "--set", "space.cells=1",
    "--set", "estimator.resolution=8",
)  # fmt: skip
SMALL = ("--set", "meta.population=3", "--set", "meta.steps=2", "--labelled", 5, "--workers", 1)
CELL = "nas201:3.3.3.1.3.2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHSCOUT_SIGNALS", str(tmp_path / "signals"))
    return tmp_path / "signals"


def test_signals_are_found_kept_and_used_by_name(archscout: Command, call: Callable[..., str], folder: Path) -> None:
    done = archscout(*TRAIN, *SMALL, *QUICK, "--name", "mine", "--json", env={"ARCHSCOUT_SIGNALS": str(folder)})
    said = done.json
    assert said["trials"] == 5 and said["complete"] and said["labelled"] == 5 and said["column"] == "cifar10_valid_200"
    assert said["file"] == str(folder / "mine.json") and -1 <= said["fitness"] <= 1 and said["seconds"] > 0
    assert SignalTask.parse((folder / "mine.json").read_text()) == SignalTask.parse(said["settings"]["signals"])
    assert "mine" in call("meta", "list")
    listed = json.loads(call("meta", "list", "--json"))
    assert [one["shipped"] for one in listed if one["name"] in ("mine", "combo")] == [True, False]
    words = ("score", CELL, "--estimator", "signal-regression", *QUICK, "--json")
    own, combo = (json.loads(call(*words, "--signals", name))[0]["value"] for name in ("mine", "combo"))
    assert own < 0 and combo < 0 and own != combo
    assert json.loads(call(*words, "--signals", folder / "mine.json"))[0]["value"] == own


def test_the_same_command_again_repeats_the_answer(call: Callable[..., str], folder: Path) -> None:
    first = call(*TRAIN, *SMALL, *QUICK)
    assert "5 trials on 5 architectures of nas201 (cifar10_valid_200)" in first
    assert "kept as 'signal-tasks-nas201-cifar10-" in first and len(list(folder.iterdir())) == 1
    assert call(*TRAIN, *SMALL, *QUICK) == first
    assert call(*TRAIN, *SMALL, *QUICK, "--seed", 1) != first and len(list(folder.iterdir())) == 2


def test_what_another_command_kept_is_not_replaced(archscout: Command, call: Callable[..., str], folder: Path) -> None:
    place = {"env": {"ARCHSCOUT_SIGNALS": str(folder)}}
    first = call(*TRAIN, *SMALL, *QUICK, "--name", "mine")
    kept = (folder / "mine.json").read_text()
    assert call(*TRAIN, *SMALL, *QUICK, "--name", "mine") == first
    archscout(*TRAIN, *SMALL, *QUICK, "--name", "mine", "--seed", 1, code=2, **place).refused("give --overwrite")
    assert (folder / "mine.json").read_text() == kept and len(list(Path("runs").iterdir())) == 1  # nothing was judged
    call(*TRAIN, *SMALL, *QUICK, "--name", "mine", "--seed", 1, "--overwrite")
    assert (folder / "mine.json").read_text() != kept


def test_killed_it_goes_on_to_the_same_answer(archscout: Command, call: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    words = (*TRAIN, *SMALL, *QUICK, "--set", "meta.steps=8")
    process = archscout.start(*words, env={"ARCHSCOUT_SIGNALS": str(folder)})
    deadline = time.monotonic() + 120
    while sum(len(log.read_bytes().splitlines()) for log in Path("runs").glob("*.part")) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    [log] = Path("runs").glob("*.part")
    done = len(log.read_bytes().splitlines()) - 1
    assert 3 <= done < 11
    cut = call(*words)
    log.unlink()
    assert call(*words) == cut and "11 trials" in cut


def test_a_bad_file_hides_no_others(call: Callable[..., str], folder: Path) -> None:
    folder.mkdir()
    (folder / "broken.json").write_text("bad")
    (folder / "good.json").write_text(str(signal_task("combo")))
    listed = {one["name"]: one for one in json.loads(call("meta", "list", "--json"))}
    assert "holds no signal task" in listed["broken"]["error"] and listed["good"]["digest"] == listed["combo"]["digest"]
    assert "broken.json (damaged)" in call("meta", "list")


def test_a_search_goes_on_with_the_signals_that_it_began_with(archscout: Command) -> None:
    Path("mine.json").write_text(str(signal_task("sin1d-high")))
    words = ("search", "--data", "bundled", "--estimator", "signal-regression", "--signals", "mine.json", "--screen-only")
    archscout(*words, *QUICK[:4], "--set", "estimator.resolution=8", "--budget", 2, "--workers", 1, "--out", "run")
    page = Path("run/report.html").read_text()
    Path("mine.json").write_text(str(signal_task("combo")))
    archscout("report", "run", fresh=True)
    assert pictures(Path("run/report.html").read_text()) == pictures(page)
    Path("mine.json").unlink()
    archscout("report", "run")
    archscout("resume", "run")
    assert pictures(Path("run/report.html").read_text()) == pictures(page)


def pictures(page: str) -> list[str]:
    found = re.findall(r'class="signals">.*', page)
    assert len(found) == 3
    return found


def test_signals_in_a_correlation_and_in_a_search_by_table(call: Callable[..., str]) -> None:
    words = (
        "--table",
        "nas201",
        "--dataset",
        "cifar10",
        "--estimator",
        "signal-regression",
        "--signals",
        "nb101",
        *QUICK,
        "--json",
    )
    found = json.loads(call("bench", "correlate", *words, "--sample", 5, "--workers", 1))
    assert found["sample"] == 5 and set(found["baselines"]) == {"params", "macs"}
    found = json.loads(call("bench", "search", *words, "--strategy", "random", "--queries", 3, "--seeds", 2))
    assert found["test_mean"] > 10


def test_a_search_by_signals_shows_them_in_its_report(call: Callable[..., str]) -> None:
    words = ("search", "--data", "bundled", "--estimator", "signal-regression", "--signals", "sin1d-high", "--screen-only")
    found = json.loads(
        call(*words, *QUICK[:4], "--set", "estimator.resolution=8", "--budget", 3, "--workers", 1, "--out", "run", "--json")
    )
    assert found["best"]["architecture"].startswith("mobile:")
    page = Path("run/report.html").read_text()
    assert page.count('class="signals"') == 3 and "&#39;sin1d-high&#39;" in page


def test_recurrent_cells_regress_sequences(call: Callable[..., str]) -> None:
    sizes = ("--set", "space.embedding=12", "--set", "space.hidden=16", "--set", "space.layers=2", "--set", "estimator.steps=3")
    words = ("bench", "correlate", "--table", "nlp-rnn", "--dataset", "ptb", "--estimator", "signal-regression", *sizes)
    found = json.loads(call(*words, "--sample", 4, "--workers", 1, "--json"))
    assert found["sample"] == 4 and found["failed"] == 0


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("meta", "train", "signal-task", *TRAIN[3:]), "did you mean 'signal-tasks'"),
        ((*TRAIN[:3], "--table", "nas201", "--dataset", "cifar11"), "cifar11"),
        ((*TRAIN, "--set", "meta.population=0"), "population"),
        ((*TRAIN, "--set", "meta.pop=3"), "no setting 'pop'"),
        ((*TRAIN, "--set", "metta.population=3"), "did you mean 'meta'"),
        ((*TRAIN, *SMALL, *QUICK, "--name", "a/b"), "letters, digits"),
        ((*TRAIN, *SMALL, *QUICK, "--set", "estimator.rate=1e30"), "could be judged"),
        (("bench", "correlate", *TRAIN[3:], "--estimator", "macs", "--set", "spice.cells=1"), "did you mean 'space'"),
        ((*TRAIN, *SMALL, *QUICK, "--minutes", 0), "give more --minutes"),
        ((*TRAIN, *SMALL, *QUICK, "--name", "combo"), "choose another"),
        (("score", CELL, "--estimator", "signal-regression", "--signals", "kombo"), "did you mean 'combo'"),
        (("score", CELL, "--estimator", "signal-regression", "--signals", "nowhere.json"), "cannot be read"),
        (("score", CELL, "--estimator", "naswot", "--signals", "combo"), "no setting 'signals'"),
        (("search", "--data", "bundled", "--signals", "combo"), "name it with --estimator"),
        (
            ("search", "--data", "bundled", "--estimator", "signal-regression", "--signals", "nlp", "--screen-only", "--budget", 2),
            "for sequences, but the task needs some for images",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(archscout: Command, words: tuple[object, ...], word: str) -> None:
    archscout(*words, code=2).refused(word)
