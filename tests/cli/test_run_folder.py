"""The commands that look at a run folder or use what lies in it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Command

from archscout.core.errors import RunError, UserError


def test_runs(finished: Any, call: Callable[..., str]) -> None:
    [row] = json.loads(call("runs", finished.folder.parent, "--json"))
    assert row["run"] == str(finished.folder) and row["state"] == "done"
    assert row["test_value"] == finished.summary["test_value"]
    assert str(finished.folder) in call("runs", finished.folder.parent)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "{run}/.."), "done"),
        (("show", "{run}"), "screen: "),
        (("export", "{run}", "--format", "safetensors", "--out", "out.safetensors"), "out.safetensors"),
        (("predict", "{run}", "--data", "{data}/low"), "low/002.png,low,"),
        (("repair", "{run}"), "saved"),
        (("doctor",), "ok   torch"),
        (("plugins", "spaces"), "nas201"),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_a_command_loads_what_it_needs(
    words: tuple[str, ...], said: str, archscout: Command, finished: Any, tmp_path: Path
) -> None:
    """In an interpreter of its own, which has loaded nothing before."""
    run = shutil.copytree(finished.folder, tmp_path / "run")
    done = archscout(*(word.format(run=run, data=finished.data) for word in words), cwd=tmp_path, fresh=True)
    assert said in done.out


def test_no_runs(tmp_path: Path, call: Callable[..., str]) -> None:
    assert json.loads(call("runs", tmp_path, "--json")) == []
    assert "no runs" in call("runs", tmp_path)


def test_show(finished: Any, call: Callable[..., str]) -> None:
    facts = json.loads(call("show", finished.folder, "--top", 2, "--json"))
    assert facts["state"] == "done" and [stage["name"] for stage in facts["stages"]] == ["screen", "compare", "finish"]
    assert all(stage["done"] for stage in facts["stages"])
    assert len(facts["stages"][0]["best"]) == 2
    assert facts["stages"][0]["reports"] == 0 and facts["stages"][0]["progress"] is None
    text = call("show", finished.folder)
    for stage in facts["stages"][:2]:
        assert f"{stage['name']}: {stage['landed']} judged, 0 failed, done" in text, "whatever its strategy reported"


def test_report_is_written_again(finished: Any, tmp_path: Path, call: Callable[..., str]) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    page = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert call("report", run).strip() == str(run / "report.html")
    assert (run / "report.html").read_text() == page


@pytest.mark.parametrize("format", ["onnx", "pt2", "safetensors"])
def test_export(format: str, finished: Any, tmp_path: Path, call: Callable[..., str]) -> None:
    out = tmp_path / f"network.{format}"
    assert call("export", finished.folder, "--format", format, "--out", out) == f"{out}\n"
    assert out.stat().st_size > 1000
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(out))
        [logits] = session.run(None, {session.get_inputs()[0].name: np.zeros((2, 3, 12, 12), np.float32)})
        assert logits.shape == (2, 3)


def test_export_in_an_unknown_format(finished: Any, call: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="safetensors, pt2, onnx"):
        call("export", finished.folder, "--format", "keras")


def test_predict(finished: Any, call: Callable[..., str]) -> None:
    rows = list(csv.DictReader(call("predict", finished.folder, "--data", finished.data / "low").splitlines()))
    assert len(rows) == 30
    right = sum(row["label"] == "low" for row in rows)
    assert right >= 20 and all(0 <= float(row["probability"]) <= 1 for row in rows)
    [one] = json.loads(call("predict", finished.folder, "--data", rows[0]["file"], "--top", 3, "--json"))
    assert one["labels"][0]["label"] == rows[0]["label"]
    assert sum(guess["probability"] for guess in one["labels"]) == pytest.approx(1, abs=1e-4)


def test_predict_passes_over_what_is_no_image(finished: Any, call: Callable[..., str]) -> None:
    assert len(json.loads(call("predict", finished.folder, "--data", finished.data / "high", "--json"))) == 30
    with pytest.raises(UserError, match=r"no image could be read from .*broken\.png"):
        call("predict", finished.folder, "--data", finished.data / "high" / "broken.png")


def test_predict_before_the_end(tmp_path: Path, finished: Any, call: Callable[..., str]) -> None:
    with pytest.raises(RunError, match="holds no trained network yet"):
        call("predict", tmp_path, "--data", finished.data)


def test_repair(finished: Any, tmp_path: Path, call: Callable[..., str]) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    store = run / "run.sqlite"
    content = bytearray(store.read_bytes())
    place = content.rfind(b"nas201:") if b"nas201:" in content else content.rfind(b"mobile:")
    content[place : place + 10] = b"\0" * 10
    store.write_bytes(content)
    with pytest.raises(RunError, match="archscout repair"):
        call("show", run)
    assert "saved" in call("repair", run)
    assert (run / "run.sqlite.damaged-1").read_bytes() == bytes(content)
    facts = json.loads(call("show", run, "--json"))
    assert facts["stages"]
