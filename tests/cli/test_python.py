"""The Python side: search, model, export, score, create_model, AskTell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import Command, banded_images

import archscout as scout


@pytest.fixture
def own_cache(archscout: Command, warm_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
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
