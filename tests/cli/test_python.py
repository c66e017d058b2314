"""The Python side: search, model, export, score, create_model, AskTell; and the space of docs/extending.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import Command, banded_images

import archscout as scout


@pytest.fixture
def own_cache(archscout: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(archscout.cache))


@pytest.mark.usefixtures("own_cache")
def test_search_of_arrays(tmp_path: Path) -> None:
    images, labels = banded_images(240)
    result = scout.search(
        (images, labels), budget="8", limits={"macs": 60_000}, out=tmp_path / "run", progress=False, epochs=6, workers=1, formats=""
    )
    assert isinstance(result, scout.Result) and isinstance(result.best, scout.Architecture)
    assert result.summary["best"]["macs"] <= 60_000 and result.pareto
    network = result.model()
    assert not network.training and network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    for name in ("network.onnx", "network.pt2", "network.safetensors"):
        assert result.export(tmp_path / name).stat().st_size > 1000
    program = torch.export.load(tmp_path / "network.pt2").module()
    torch.testing.assert_close(program(torch.ones(2, 1, 8, 8)), network(torch.ones(2, 1, 8, 8)), rtol=1e-4, atol=1e-4)
    again = scout.load(tmp_path / "run")
    assert torch.equal(again(torch.ones(1, 1, 8, 8)), network(torch.ones(1, 1, 8, 8)))
    assert len(result.lines()) == 3


@pytest.mark.usefixtures("own_cache")
def test_score(small_data: Path) -> None:
    value = scout.score("nas201:3.3.3.1.3.3", data=str(small_data))
    assert isinstance(value, float) and np.isfinite(value)
    with pytest.raises(scout.UserError, match="did you mean 'naswot'"):
        scout.score("nas201:3.3.3.1.3.3", estimator="naswor", data=str(small_data))


def test_create_model() -> None:
    network = scout.create_model("nas201:3.3.3.1.3.3", num_classes=7, in_chans=1, image_size=16)
    assert network(torch.zeros(2, 1, 16, 16)).shape == (2, 7)


def test_ask_and_tell() -> None:
    search = scout.AskTell("regularized-evolution", "nas201", seed=1)
    for _ in range(30):
        architecture = search.ask()
        assert search.ask() == architecture
        search.tell(architecture, -float(sum(architecture.choices)))
    assert search.best is not None and search.best.value == max(seen.value for seen in search.observations)
    with pytest.raises(scout.UserError, match="nothing was asked"):
        search.tell(architecture, 1.0)


def example(title: str) -> str:
    """The Python code below a heading of docs/extending.md, as written there."""
    text = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    found = re.search(rf"^## {title}.*?```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_own_space_of_the_docs(archscout: Command, image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "my_space.py").write_text(example("A search space"))
    done = archscout(
        *("search", "--space", "my_space.py", "--data", "bundled", "--image-size", 8, "--budget", 9, "--epochs", 0.2),
        *("--workers", 1, "--formats", "pt2", "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert {point["architecture"].split(":")[0] for point in done.json["pareto"]} <= {"plain", "handmade"}
    architectures = (tmp_path / "run" / "results.csv").read_text()
    assert "plain:" in architectures and "handmade:" in architectures
    assert done.json["artifacts"]["pt2"] is not None
    words = ("predict", "run", "--data", image_folder / "low", "--json", "--space", "my_space.py")
    assert len(archscout(*words, cwd=tmp_path).json) == 30
    [scored] = archscout("score", "plain:1.1.0", "--space", "my_space.py", "--json", cwd=tmp_path, fresh=True).json
    assert scored["params"] > 0


def test_the_own_strategy_and_estimator_of_the_docs(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "my_strategy.py").write_text(example("A strategy"))
    (tmp_path / "my_judge.py").write_text(example("An estimator"))
    done = archscout(
        *("search", "--strategy", "my_strategy.py", "--estimator", "my_judge.py", "--space", "nas201", "--data", small_data),
        *("--budget", 10, "--screen-only", "--workers", 1, "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert done.json["evaluations"] == 10
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    assert best["params"] == min(point["params"] for point in done.json["pareto"])
