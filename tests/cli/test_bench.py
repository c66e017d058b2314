"""`archscout bench` and `archscout score --all` as a researcher uses them, tiny; bad input is one sentence."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import Command, end_of, until

from archscout.core.errors import UserError
from archscout.core.scores import read_scores

KEYS = ["estimator", "table", "dataset", "sample", "kendall", "spearman", "interval", "seconds_per_architecture"]
CORRELATE = ("bench", "correlate", "--table", "nas201", "--dataset", "cifar10", "--workers", 1)
SMALL = ("--set", "space.channels=2", "--set", "space.cells=1")
SEARCH = ("bench", "search", "--table", "nas201", "--dataset", "cifar10")
SLOW = '''
"""Takes its time."""
import time
from dataclasses import dataclass
from archscout.core.evidence import Estimate

@dataclass(frozen=True)
class Slow:
    """The sum of the choices; a line in `trace` for each call."""
    trace: str = ""

    def estimate(self, problem, architecture, *, seed):
        time.sleep(0.02)
        with open(self.trace, "a") as file:
            file.write(f"{architecture}\\n")
        if architecture.choices[0] == architecture.choices[1] == 0:
            raise ValueError("nothing there")
        return Estimate(sum(architecture.choices) + seed % 1000 / 1000)
'''
SPACE = '''
"""Small."""
from dataclasses import dataclass
from archscout.testing.problems import CountingSpace

@dataclass(frozen=True)
class Small(CountingSpace):
    """81 architectures."""
    length: int = 4
    options: int = 3
'''


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "small_space.py").write_text(SPACE)
    (tmp_path / "broken.py").write_text(SLOW.replace("time.sleep(0.02)", 'raise OSError("it is broken")'))
    return tmp_path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def scores(archscout: Command, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A random part of nas201, scored by parameters."""

    def make(path: Path) -> None:
        archscout(
            *("score", "--all", "--table", "nas201", "--estimator", "params", "--out", path, "--minutes", 0.05, "--workers", 1),
            *SMALL,
        )

    return once("scores.npz", make)


def test_correlate(archscout: Command, small_data: Path) -> None:
    words = (*CORRELATE, "--data", small_data, "--sample", 12, *SMALL, "--set", "estimator.batch=12", "--json")
    found = archscout(*words, "--estimator", "naswot").json
    assert list(found)[:8] == KEYS and (found["estimator"], found["sample"]) == ("naswot", 12)
    assert found["interval"][0] <= found["kendall"] <= found["interval"][1] and set(found["baselines"]) == {"params", "macs"}
    assert not Path("runs").exists() or not list(Path("runs").iterdir())
    both = archscout(*words, "--estimator", "params,naswot", "--against", "test").json
    assert [row["estimator"] for row in both] == ["params", "naswot"] and both[0]["column"] == "cifar10_test_200"
    assert both[0]["kendall"] == both[0]["baselines"]["params"]["kendall"]


def test_correlate_for_a_person(call: Callable[..., str]) -> None:
    text = call(*CORRELATE, "--estimator", "params", "--sample", 30, "--epochs", 12)
    assert "cifar10_valid_12" in text and "(macs)" in text and "Kendall" in text


def test_a_killed_scoring_goes_on_and_ends_alike(archscout: Command, plugins: Path) -> None:
    def words(name: str) -> tuple[object, ...]:
        return (
            *("score", "--all", "--space", plugins / "small_space.py", "--estimator", plugins / "slow.py", "--workers", 2),
            *("--out", plugins / name, "--set", f"estimator.trace={plugins / 'trace'}", "--json"),
        )

    trace, part = plugins / "trace", plugins / "killed.npz.part"
    process = archscout.start(*words("killed.npz"))
    assert until(lambda: part.exists() and part.read_bytes().count(b"\n") > 20, process)
    os.killpg(process.pid, signal.SIGKILL)
    end_of(process)
    kept = part.read_bytes().count(b"\n") - 1
    assert 20 <= kept < 81
    trace.unlink()
    done = archscout(*words("killed.npz"))
    assert done.json["complete"] and done.json["failed"] == 9 and "going on after" in done.err
    assert len(trace.read_text().splitlines()) == 81 - kept
    archscout(*words("straight.npz"))
    one, other = (read_scores(plugins / name) for name in ("killed.npz", "straight.npz"))
    assert np.array_equal(one.values, other.values, equal_nan=True) and np.array_equal(one.choices, other.choices)
    assert np.array_equal(one.kinds, other.kinds)


def test_a_score_file_serves_correlation_and_search(call: Callable[..., str], scores: Path, tmp_path: Path) -> None:
    found = json.loads(call(*CORRELATE, "--scores", scores, "--sample", 20, "--json"))
    assert found["estimator"] == "params" and found["kendall"] == found["baselines"]["params"]["kendall"]
    words = (*SEARCH, "--strategy", "random", "--queries", 3, "--seeds", 2, "--json")
    by_score = json.loads(call(*words, "--estimator", scores))
    assert by_score["queries"] == 3 and by_score["test_mean"] > 10
    assisted = json.loads(
        call(*SEARCH, "--strategy", "assisted-evolution", "--proxy", "params", "--queries", 12, "--seeds", 2, "--json")
    )
    assert len(assisted["regret"]) == 12


def test_search(call: Callable[..., str], tmp_path: Path) -> None:
    words = (*SEARCH, "--strategy", "regularized-evolution", "--queries", 25, "--seeds", 4)
    found = json.loads(call(*words, "--epochs", 12, "--out", tmp_path / "out", "--json"))
    assert list(found)[:10] == [
        *("strategy", "table", "dataset", "queries", "seeds", "valid_mean", "valid_std", "test_mean", "test_std", "regret"),
    ]  # fmt: skip
    assert len(found["regret"]) == 25 and list(found["baselines"]) == ["random", "regularized-evolution"]
    assert found["optimum"]["test"]["value"] == pytest.approx(94.37, abs=0.01) and found["columns"]["test"] == "cifar10_test_200"
    assert found["baselines"]["regularized-evolution"]["test_mean"] == found["test_mean"]
    assert Path(found["page"]).read_text("utf8").startswith("<!doctype html>")
    assert "baseline random" in call(*words)


def test_report(call: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.csv").write_text("claim,published,ours,low,high\ntau,0.5,0.49,0.4,0.6\n")
    found = json.loads(call("bench", "report", "--json"))
    assert found == {"report": "results/report.html", "files": 1, "claims": 1}
    assert "tau" in Path("results/report.html").read_text("utf8")


def test_a_sample_larger_than_what_is_there_takes_all(archscout: Command, scores: Path) -> None:
    done = archscout(*CORRELATE, "--scores", scores, "--sample", 20_000, "--json")
    assert "so all of them are taken instead of 20,000" in done.err and 2 < done.json["sample"] < 15_625


def test_unknown_table_as_a_user_sees_it(archscout: Command) -> None:
    archscout(
        "bench", "search", "--strategy", "random", "--table", "nas202", "--dataset", "cifar10", "--queries", 3, code=2
    ).refused("there is no table 'nas202'", "did you mean 'nas201'")


def test_a_judge_that_fails_everywhere(archscout: Command, plugins: Path) -> None:
    broken = plugins / "broken.py"
    archscout(*CORRELATE, "--estimator", broken, "--sample", 5, code=2, fresh=True).refused(
        "broken could judge none of 5", "it is broken"
    )
    archscout(*SEARCH, "--strategy", "random", "--estimator", broken, "--queries", 5, code=2, fresh=True).refused(
        "it is broken", "seed 0"
    )


BAD = {
    "data set": ((*CORRELATE, "--estimator", "params", "--dataset", "cifar11"), "no recorded values for the data set 'cifar11'"),
    "epochs": ((*CORRELATE, "--estimator", "params", "--epochs", 90), "after 200, 12 epochs, but 90 came"),
    "estimator": ((*CORRELATE, "--estimator", "naswott"), "did you mean 'naswot'"),
    "setting": ((*CORRELATE, "--estimator", "naswot,synflow", "--set", "estimator.bach=4"), "has no setting 'bach'"),
    "no judge": (CORRELATE, "--estimator, or their saved scores with --scores"),
    "no scores": ((*CORRELATE, "--scores", "nothing.npz"), "there is no score file 'nothing.npz'"),
    "strategy": ((*SEARCH, "--strategy", "randm", "--queries", 3), "did you mean 'random'"),
    "no proxy": ((*SEARCH, "--strategy", "assisted-evolution", "--queries", 3), "name it with --proxy"),
    "no budget": ((*SEARCH, "--strategy", "random"), "--queries, or with --budget"),
    "no seconds": ((*SEARCH, "--strategy", "random", "--budget", "2h"), "no recorded seconds"),
    "budget": ((*SEARCH, "--strategy", "random", "--budget", "20"), "takes a time such as 2h"),
    "final epochs": ((*SEARCH, "--strategy", "random", "--queries", 3, "--final-epochs", 90), "but 90 came"),
    "no results": (("bench", "report", "--results", "."), "no CSV files"),
    "nothing to score": (("score",), "name the architectures to judge, or give --all"),
    "all of what": (("score", "--all", "--estimator", "params"), "give one of them"),
    "out without all": (("score", "nas201:0.0.0.0.0.1", "--out", "x.npz"), "--out goes with --all"),
    "architecture": (("score", "nas201:0.0.0.0.0.9", "--estimator", "params"), "takes 0 to 4"),
    "too large a space": (("score", "--all", "--space", "mobile", "--estimator", "params"), "at most 2,000,000 are enumerated"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, call: Callable[..., str]) -> None:
    words, sentence = BAD[name]
    with pytest.raises(UserError) as caught:
        call(*words)
    assert sentence in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_a_score_file_of_another_space(call: Callable[..., str], scores: Path) -> None:
    with pytest.raises(UserError, match="are of the space 'nas201', but 'macro'"):
        call("bench", "correlate", "--table", "macro", "--dataset", "cifar10", "--scores", scores)
    with pytest.raises(UserError, match="are of the space 'nas201', but 'macro'"):
        call(
            "bench",
            "search",
            "--table",
            "macro",
            "--dataset",
            "cifar10",
            "--estimator",
            scores,
            "--strategy",
            "random",
            "--queries",
            2,
        )
