"""The plug-ins of docs/extending.md do what the page says of them; that they run is told by test_examples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commandline import Command
from examples import ROOT, blocks

from archscout import catalogue
from archscout.data._opened import DataRequest, open_data


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / "docs" / "extending.md"):
        if block.file:
            Path(block.file).write_text(block.text)
    assert {path.name for path in tmp_path.iterdir()} == {"my_space.py", "my_strategy.py", "my_judge.py", "my_data.py"}
    return tmp_path


def test_own_space_strategy_judge_and_data_in_one_search(archscout: Command, files: Path) -> None:
    own = ("--space", "my_space.py", "--strategy", "my_strategy.py", "--estimator", "my_judge.py", "--data", "my_data.py")
    done = archscout("search", *own, "--budget", 10, "--screen-only", "--workers", 1, "--out", "run", "--json", cwd=files)
    assert done.json["evaluations"] == 10
    best = json.loads((files / "run" / "summary.json").read_text())["best"]
    assert best["architecture"].startswith("plain:") and best["params"] == min(point["params"] for point in done.json["pareto"])


def test_settings_of_own_data_have_their_types(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(files / "cache"))
    opened = open_data(DataRequest("my_data.py", settings=(("count", "100"), ("side", "12"))))
    assert opened.task.shape == (1, 12, 12) and opened.classes == ("square", "disc")
    assert sum(sum(split.values()) for split in opened.counts.values()) == 100
    figures = catalogue.make("data", "my_data.py").read()
    assert figures.array.shape == (600, 16, 16, 1) and np.bincount(figures.labels).tolist() == [300, 300]
