"""Strategies that own a supernet, and shared weights as a judge, through the command line."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commandline import Command, end_of, landed, until

from archscout import catalogue
from archscout.core.errors import ArchscoutError, LimitError, UserError
from archscout.core.moves import Progress
from archscout.nn.supernet import activations
from archscout.report.learning import learning_notes
from archscout.store.runs import RunStore
from archscout.testing.tasks import image_task

SMALL = ("--set", "strategy.channels=2", "--set", "strategy.depth=1", "--set", "strategy.batch=8", "--workers", 1)
SHORT = {
    "nasi": ("steps=3", "limit_rule=quantile"), "darts": ("epochs=0.5", "order=2", "drop_path=0.3"),
    "lpt": ("epochs=0.2", "order=1", "drop_path=0.3"),
    "mdenas": ("epochs=2", "rule=paper", "drop_path=0.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_a_strategy_that_owns_its_loop_screens_alone(name: str, small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("search", "--data", small_data, "--budget", 6, "--strategy", name, *SMALL)
    words += tuple(word for setting in SHORT[name] for word in ("--set", f"strategy.{setting}"))
    summary = json.loads(call(*words, "--screen-only", "--out", tmp_path / "run", "--json"))
    assert summary["best"]["architecture"].startswith("nas201:"), "without --space it is the smallest space with a supernet"
    assert summary["evaluations"] == 0 and summary["stopped"] == "done"
    with RunStore.read(tmp_path / "run") as store:
        reports = store.progress("screen")
        answer = store.stage("screen").answer
    [stage] = json.loads(call("show", tmp_path / "run", "--json"))["stages"]
    assert stage["reports"] == len(reports) > 0 and stage["landed"] == 0 and stage["best"] == []
    assert stage["progress"] == {"architecture": str(answer), "metrics": dict(reports[-1][2].metrics)}
    text = call("show", tmp_path / "run")
    assert f"screen: learns by itself, {len(reports)} report" in text and f"answer  {answer}\n" in text and "judged" not in text
    assert ("100% of its steps" in text) is (name != "nasi")


def test_a_search_with_a_supernet_trains_its_answer(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("search", "--data", small_data, "--budget", 8, "--strategy", "darts", *SMALL, "--set", "strategy.epochs=0.5")
    summary = json.loads(
        call(*words, "--set", "space.channels=2", "--epochs", 1, "--formats", "", "--out", tmp_path / "run", "--json")
    )
    assert summary["test_value"] is not None and len(summary["baselines"]) == 3
    page = (tmp_path / "run" / "report.html").read_text()
    assert "worked by itself and reported" in page and "the strategy worked by itself, and was asked for its answer" in page


def test_the_memory_that_a_supernet_takes_is_said(small_data: Path, tmp_path: Path, archscout: Command) -> None:
    words = ("search", "--data", small_data, "--budget", 6, "--strategy", "nasi", *SMALL, "--set", "strategy.steps=1")
    done = archscout(*words, "--screen-only", "--out", tmp_path / "run")
    assert "A step of the supernet takes about 0.0 GiB of memory." in done.err


def test_a_supernet_that_takes_more_memory_than_is_free_is_refused(
    small_data: Path, tmp_path: Path, call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archscout.engine.plan.free_memory", lambda device: 2**30)
    words = ("search", "--data", small_data, "--budget", 6, "--strategy", "darts", "--workers", 1, "--screen-only", "--out")
    large = [f"strategy.{setting}" for setting in ("channels=64", "depth=1", "batch=4096", "epochs=0.01")]
    need = activations(catalogue.make("spaces", "nas201"), image_task((1, 8, 8)), 4096, 64, 1)
    told = rf"a step of 'darts' takes about {need / 2**30:.1f} GiB of memory, but 1.0 GiB are free; make it smaller with --set"
    with pytest.raises(LimitError, match=told) as refused:
        call(*words, tmp_path / "run", *(word for setting in large for word in ("--set", setting)))
    assert refused.value.exit_code == 2


def test_the_alarm_of_a_collapse_reaches_the_report() -> None:
    space = catalogue.make("spaces", "nas201")
    moves = [
        ("screen", 0, Progress(space.architecture([1] * 6), {"loss": 1.0, "skips": skips, "collapsed": float(skips > 1)}))
        for skips in (1, 6)
    ]
    for shown, alarmed in ((moves[:1], False), (moves, True)):
        store = SimpleNamespace(progress=lambda stage, shown=shown: shown)
        darts = catalogue.make("strategies", "darts")
        job: Any = SimpleNamespace(owns_loop=True, strategy_name="darts", strategy=lambda darts=darts: darts, store=store)
        notes = learning_notes(job)
        assert ("6 skip connections" in notes[-1]) is alarmed and "loss 1" in notes[0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("darts", ("epochs=2", "report=1")),
        ("lpt", ("epochs=1", "report=1", "order=2", "tester_channels=2")),
        ("mdenas", ("epochs=16",)),
        ("nasi", ("steps=40",)),
    ],
)
def test_a_search_that_was_killed_ends_like_one_that_was_not(
    name: str, settings: tuple[str, ...], small_data: Path, tmp_path: Path, archscout: Command
) -> None:
    words = ["search", "--data", small_data, "--budget", 8, "--strategy", name, *SMALL, "--screen-only", "--json"]
    words += [word for setting in settings for word in ("--set", f"strategy.{setting}")]
    straight = archscout(*words, "--out", tmp_path / "straight").json
    process = archscout.start(*words, "--out", tmp_path / "killed")

    def reports(run: str) -> list[Any]:
        with RunStore.read(tmp_path / run) as store:
            return [(entry.best, dict(entry.metrics)) for _, _, entry in store.progress("screen")]

    def reported() -> bool:
        with suppress(ArchscoutError, OSError):
            return len(reports("killed")) >= 3
        return False

    until(reported, process)
    process.send_signal(signal.SIGKILL)
    assert end_of(process).code == -signal.SIGKILL
    resumed = archscout("resume", tmp_path / "killed", "--json").json
    assert resumed["best"] | {"latency_ms": 0} == straight["best"] | {"latency_ms": 0}
    assert reports("killed") == reports("straight"), "numbers included"


def test_a_search_that_was_killed_goes_on_with_the_weights_that_it_had_learned(
    small_data: Path, tmp_path: Path, archscout: Command
) -> None:
    def words(name: str) -> list[object]:
        settings = {"channels": 2, "epochs": 1, "batch": 8, "images": 64, "keep": tmp_path / f"{name}-supernet"}
        given = [word for key, value in settings.items() for word in ("--set", f"estimator.{key}={value}")]
        asked = ["search", "--data", small_data, "--budget", 30, "--space", "nas201", "--estimator", "weight-sharing"]
        return [*asked, "--strategy", "local", "--workers", 1, *given, "--screen-only", "--json", "--out", tmp_path / name]

    straight = archscout(*words("straight")).json
    process = archscout.start(*words("killed"))
    assert until(lambda: landed(tmp_path / "killed") > 3, process)
    process.send_signal(signal.SIGKILL)
    assert end_of(process).code == -signal.SIGKILL
    [supernet] = (tmp_path / "killed-supernet").glob("*.safetensors")
    written = supernet.stat().st_mtime_ns
    resumed = archscout("resume", tmp_path / "killed", "--json").json
    assert resumed["best"] | {"latency_ms": 0} == straight["best"] | {"latency_ms": 0}
    assert (tmp_path / "killed" / "results.csv").read_bytes() == (tmp_path / "straight" / "results.csv").read_bytes()
    assert supernet.stat().st_mtime_ns == written, "a training that is done is not done again"


def test_shared_weights_are_correlated_with_a_table(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("bench", "correlate", "--table", "nas201", "--dataset", "cifar10", "--estimator", "weight-sharing", "--workers", 1)
    settings = {"channels": 2, "epochs": 1, "batch": 8, "images": 16, "sampler": "fair", "keep": tmp_path / "supernets"}
    given = [word for name, value in settings.items() for word in ("--set", f"estimator.{name}={value}")]
    rows = json.loads(call(*words, "--data", small_data, "--sample", 8, *given, "--json"))
    assert [row["estimator"] for row in rows] == ["weight-sharing", "weight-sharing (uniform sampling)"]
    assert all("macs" in row["baselines"] and row["sample"] == 8 for row in rows)
    assert len(list((tmp_path / "supernets").glob("*.safetensors"))) == 2


def test_learners_are_listed(call: Callable[..., str]) -> None:
    listed: Any = json.loads(call("plugins", "learners", "--json"))
    assert "weight-sharing" in listed["learners"]
    assert "--set estimator.epochs=VALUE" in call("plugins", "learners", "weight-sharing")


def test_what_does_not_fit_is_told_of(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("search", "--data", small_data, "--budget", 6, "--screen-only", "--workers", 1, "--out", tmp_path / "run")
    with pytest.raises(UserError, match="'mobile' has no supernet"):
        call(*words, "--strategy", "darts", "--space", "mobile")
    with pytest.raises(UserError, match="the setting 'order' of 'darts' is one of 1, 2, but '3' came"):
        call(*words, "--strategy", "darts", "--set", "strategy.order=3")
    with pytest.raises(UserError, match="'limit_rule' of 'nasi' is one of running-mean, fixed, ema, quantile, but 'fixd' came"):
        call(*words, "--strategy", "nasi", "--set", "strategy.limit_rule=fixd")


def test_shared_weights_judge_a_search(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("search", "--data", small_data, "--budget", 6, "--estimator", "weight-sharing", "--strategy", "local", "--workers", 1)
    settings = {"channels": 2, "epochs": 1, "batch": 8, "images": 16, "keep": tmp_path / "supernets"}
    given = [word for name, value in settings.items() for word in ("--set", f"estimator.{name}={value}")]
    summary = json.loads(call(*words, "--space", "nas201", *given, "--screen-only", "--out", tmp_path / "run", "--json"))
    assert summary["evaluations"] == 6 and len(list((tmp_path / "supernets").glob("*.safetensors"))) == 1
