"""`archscout search`, whole, on a folder of images; `resume` of what is done."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archscout.store.runs import RunStore


def test_json_has_exactly_the_promised_keys(finished: Any) -> None:
    summary = finished.summary
    assert list(summary) == [
        "run", "task", "metric", "best", "test_value", "test_interval", "baselines", "search_won", "pareto", "artifacts",
        "evaluations", "seconds", "stopped",
    ]  # fmt: skip
    assert list(summary["best"]) == ["architecture", "genotype", "params", "macs", "latency_ms"]
    assert list(summary["artifacts"]) == ["report", "safetensors", "pt2", "onnx"]
    assert summary["baselines"]
    for baseline in summary["baselines"]:
        assert list(baseline) == ["name", "params", "valid_value", "test_value"]
        assert baseline["test_value"] is None
    low, high = summary["test_interval"]
    assert 0 <= low <= summary["test_value"] <= high <= 1
    assert summary["test_value"] > 0.5, "the bands are easy to tell apart"
    assert summary["metric"] == "accuracy" and summary["run"] == str(finished.folder)
    assert 6 <= summary["evaluations"] <= 12 and summary["search_won"] in (True, False, None)
    assert summary["best"]["macs"] <= 150_000 and summary["best"]["latency_ms"] > 0
    assert json.loads((finished.folder / "summary.json").read_text()) == summary


def test_files_of_a_run(finished: Any) -> None:
    artifacts = finished.summary["artifacts"]
    assert artifacts["onnx"] is None, "it was not asked for"
    for name in ("report", "safetensors", "pt2"):
        assert Path(artifacts[name]).stat().st_size > 0
    assert json.loads((finished.folder / "labels.json").read_text()) == ["high", "low", "middle"]
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert manifest["seed"] == 0
    with open(finished.folder / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["stage"] for row in rows} == {"screen", "compare"}
    page = (finished.folder / "report.html").read_text()
    assert "<script src" not in page and "http://" not in page.replace("http://www.w3.org", "")


def test_a_broken_image_and_mixed_sizes_are_no_obstacle(finished: Any) -> None:
    report = (finished.folder / "report.html").read_text()
    assert "broken.png" in report
    assert "data: left out" in finished.err and "broken.png" in finished.err


def test_resume_of_a_finished_run_reports_again(finished: Any, call: Callable[..., str]) -> None:
    again = json.loads(call("resume", finished.folder, "--json"))
    assert {**again, "seconds": 0} == {**finished.summary, "seconds": 0}
    lines = call("resume", finished.folder).splitlines()
    assert len(lines) == 3 and "%" in lines[0] and "report.html" in lines[1]


def test_screen_only_trains_nothing(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("search", "--data", small_data, "--budget", 6, "--space", "nas201", "--estimator", "params", "--workers", 1)
    summary = json.loads(call(*words, "--screen-only", "--strategy", "local", "--out", tmp_path / "run", "--json"))
    assert summary["test_value"] is None and summary["artifacts"]["safetensors"] is None and summary["evaluations"] == 6
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_budget_counts_what_the_main_judge_is_asked(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("search", "--data", small_data, "--budget", 4, "--space", "nas201", "--estimator", "params", "--workers", 1)
    more = ("--strategy", "assisted-evolution", "--set", "strategy.candidates=5", "--set", "strategy.population=3")
    assert json.loads(call(*words, *more, "--screen-only", "--out", tmp_path / "run", "--json"))["evaluations"] == 4
    with RunStore.read(tmp_path / "run") as store:
        judges = [landed.observation.judge for landed in store.observations("screen")]
    assert judges.count("proxy") == 5 and judges.count("main") == 4


@pytest.mark.parametrize("given", [["--overwrite"], []])
def test_a_folder_that_holds_a_run(given: list[str], small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ["search", "--data", small_data, "--budget", 3, "--space", "nas201", "--estimator", "params", "--screen-only"]
    words += ["--workers", 1, "--out", tmp_path / "run", "--json"]
    call(*words)
    if given:
        assert json.loads(call(*words, *given))["evaluations"] == 3
    else:
        with pytest.raises(Exception, match=r"holds a run already; .*archscout resume .*--overwrite"):
            call(*words)
