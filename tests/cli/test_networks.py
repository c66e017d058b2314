"""`archscout score` and `archscout train`: networks by their text forms and published names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from archscout.core.errors import UserError

STRING = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def test_score_by_text_form_and_published_form(small_data: Path, call: Callable[..., str]) -> None:
    words = ("score", "nas201:3.3.3.1.3.3", STRING, "--data", small_data)
    one, other = json.loads(call(*words, "--json"))
    assert one["architecture"] == other["architecture"] == "nas201:3.3.3.1.3.3"
    assert one["genotype"] == other["genotype"] == STRING
    assert one["value"] == other["value"] and one["failure"] is None
    assert one["params"] == other["params"] > 800_000
    assert call(*words).count("nas201:3.3.3.1.3.3") == 2


def test_score_by_published_name(small_data: Path, call: Callable[..., str]) -> None:
    [row] = json.loads(call("score", "DARTS_V2", "--estimator", "params", "--data", small_data, "--json"))
    assert row["architecture"].startswith("darts:") and row["value"] == row["params"]
    assert 3_100_000 < row["params"] < 3_500_000  # 3.3 million, as published, at 36 channels and 20 cells


def test_score_of_nothing_known(call: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="is no architecture that a space knows"):
        call("score", "DARTS_V9")


def test_train(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("train", "handmade:0.0.0", "--data", small_data, "--epochs", 3, "--out", tmp_path / "net", "--json")
    facts = json.loads(call(*words))
    assert facts["epochs"] == 3 and facts["architecture"] == "handmade:0.0.0"
    low, high = facts["test_interval"]
    assert low <= facts["test_value"] <= high
    assert Path(facts["artifacts"]["safetensors"]).is_file() and Path(facts["artifacts"]["onnx"]).is_file()
    again = json.loads(call(*words))
    assert again["test_value"] == facts["test_value"], "a training that is done is not done again"
    image = tmp_path / "image.png"
    from PIL import Image

    Image.new("L", (8, 8)).save(image)
    [row] = json.loads(call("predict", tmp_path / "net", "--data", image, "--json"))
    assert row["labels"][0]["label"] in ("0", "1", "2")
