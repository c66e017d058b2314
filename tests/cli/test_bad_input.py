"""Bad input: one sentence on standard error, exit code 2, no traceback, nothing on standard output; and what is only a warning."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Command, banded_images, unprivileged
from PIL import Image

SEARCH = ("search", "--workers", 1, "--budget", 6, "--image-size", 8)


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((8, 8), number * 7, np.uint8)).save(folder / f"{number}.png")


def test_missing_folder(archscout: Command, tmp_path: Path) -> None:
    done = archscout(*SEARCH, "--data", tmp_path / "nothing", "--out", tmp_path / "run", code=2)
    done.refused(str(tmp_path / "nothing"))
    assert not (tmp_path / "run").exists()


def test_unknown_data_set(archscout: Command, tmp_path: Path) -> None:
    archscout(*SEARCH, "--data", "fashion-mnits", "--out", tmp_path / "run", code=2).refused("did you mean 'fashion-mnist'")


def test_empty_folder(archscout: Command, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    archscout(*SEARCH, "--data", tmp_path / "images", "--out", tmp_path / "run", code=2).refused("holds no images", "sub-folder")


def test_one_class(archscout: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "images" / "cats", 5)
    done = archscout(*SEARCH, "--data", tmp_path / "images", "--out", tmp_path / "run", code=2)
    done.refused("at least two classes", "'cats'")


def test_label_file_that_names_a_missing_image(archscout: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "images", 4)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n0.png,a\n1.png,b\nabsent.png,b\n")
    done = archscout(*SEARCH, "--data", tmp_path / "images", "--labels", table, "--out", tmp_path / "run", code=2)
    done.refused("'absent.png'", "line 4")


@pytest.mark.parametrize(("option", "unit"), [("--max-params", "params"), ("--max-macs", "macs")])
def test_limit_that_nothing_can_meet(option: str, unit: str, archscout: Command, small_data: Path, tmp_path: Path) -> None:
    done = archscout(*SEARCH, "--data", small_data, option, "10", "--out", tmp_path / "run", code=2)
    plan = [line for line in done.err.splitlines() if not line.startswith("archscout:")]
    assert not plan, plan
    done.refused("cannot be met", "smallest", unit)
    assert not (tmp_path / "run").exists(), "the corrected command would find its folder taken"


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("--space", "mobil", "did you mean 'mobile'"),
        ("--strategy", "evolution", "did you mean"),
        ("--estimator", "naswott", "did you mean 'naswot'"),
        ("--space", "absent.py", "there is no plug-in file 'absent.py'"),
        ("--budget", "10x", "10m, 90s"),
        ("--budget", "0", "a budget is"),
        ("--max-params", "many", "300000, 500k"),
        ("--max-latency", "5 apples", "5ms"),
        ("--formats", "tflite", "known: "),
        ("--set", "strategy.populaton=5", "did you mean 'population'"),
        ("--set", "estimator.x=5", "no setting 'x'"),
        ("--set", "recipe.lr=5", "no setting 'lr'"),
        ("--set", "recipe.drop_path=0.2", "hand-made networks"),
        ("--set", "population=5", "room.setting=value"),
        ("--set", "strategy.population=many", "of type int"),
        ("--image-size", "7", "8"),
        ("--channels", "2", "1, 3 or auto"),
        ("--augment", "rotate", ""),
    ],
)
def test_options(option: str, value: str, wanted: str, call: Callable[..., str], small_data: Path, tmp_path: Path) -> None:
    from archscout.core.errors import UserError

    with pytest.raises(UserError) as refused:
        call(*SEARCH, "--data", small_data, "--out", tmp_path / "run", "--estimator", "params", option, value)
    assert wanted in str(refused.value) and "\n" not in str(refused.value) and refused.value.exit_code == 2


def test_a_gpu_that_is_not_there(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    words = (*SEARCH, "--data", small_data, "--out", tmp_path / "run", "--device", "cuda")
    archscout(*words, code=2, env={"CUDA_VISIBLE_DEVICES": ""}).refused("GPU", "--device cpu")


def test_a_budget_that_is_too_short(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    done = archscout("search", "--data", small_data, "--budget", "9s", "--out", tmp_path / "run", code=2)
    done.refused("--budget 9s is too short", "give at least")
    assert not (tmp_path / "run").exists()


def test_unknown_plugin_and_budget_as_a_user_sees_them(archscout: Command, tmp_path: Path) -> None:
    for option, value in (("--strategy", "randon"), ("--budget", "10x")):
        archscout("search", "--data", "bundled", "--out", tmp_path / "run", option, value, code=2).refused(value)
    assert not (tmp_path / "run").exists()


def test_space_of_another_kind_of_task(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    done = archscout(*SEARCH, "--data", small_data, "--space", "nlp-rnn", "--out", tmp_path / "run", code=2)
    done.refused("the space 'nlp-rnn' serves language-modelling", "image-classification")
    assert not (tmp_path / "run").exists()


def test_too_small_a_budget(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    archscout("search", "--data", small_data, "--budget", "3", "--out", tmp_path / "run", code=2).refused("--budget 3", "at least")


def test_no_run_there(archscout: Command, tmp_path: Path) -> None:
    for command in ("resume", "show", "repair", "report", "export"):
        archscout(command, tmp_path, code=2).refused(str(tmp_path))


def test_data_that_changed_since(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "small.npz", tmp_path / "run"
    shutil.copy(small_data, data)
    archscout(
        *("search", "--data", data, "--space", "nas201", "--estimator", "params", "--screen-only", "--budget", 3),
        *("--workers", 1, "--out", run),
    )
    images, labels = banded_images(300)
    np.savez(data, images=images, labels=labels)
    archscout("resume", run, code=2).refused("changed since")


def test_run_of_another_version(finished: Any, archscout: Command, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    connection = sqlite3.connect(run / "run.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    archscout("resume", run, code=2).refused("version 99", "newer archscout")


def test_store_cut_in_the_middle(finished: Any, archscout: Command, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    store = run / "run.sqlite"
    content = store.read_bytes()
    store.write_bytes(content[: len(content) // 2])
    archscout("resume", run, code=1).refused(f"archscout repair {run}", code=1)
    assert store.read_bytes() == content[: len(content) // 2], "it was changed"


def test_read_only_output_folder(archscout: Command, small_data: Path, open_folder: Path) -> None:
    place, cache = open_folder / "place", open_folder / "cache"
    place.mkdir(mode=0o555)
    cache.mkdir()
    cache.chmod(0o777)
    done = archscout(
        *SEARCH, "--data", small_data, "--out", place / "run", code=2, before=unprivileged(),
        env={"ARCHSCOUT_CACHE": str(cache), "HOME": str(cache)},
    )  # fmt: skip
    done.refused(str(place / "run"), "--out")


def test_a_candidate_that_fails_becomes_a_row(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text(
        '"""Fails in three ways."""\n'
        "from dataclasses import dataclass\n"
        "from archscout.core.evidence import Estimate\n"
        "@dataclass(frozen=True)\n"
        "class Judge:\n"
        '    """Fails in three ways."""\n'
        "    def estimate(self, problem, architecture, *, seed):\n"
        "        kind = sum(architecture.choices) % 4\n"
        "        if kind == 1:\n"
        "            raise ZeroDivisionError('on purpose')\n"
        "        if kind == 2:\n"
        "            return Estimate(float('nan'))\n"
        "        if kind == 3:\n"
        "            bytearray(64 << 30)\n"
        "        return Estimate(1.0)\n"
    )
    done = archscout(
        *("search", "--data", small_data, "--space", "nas201", "--strategy", "random", "--estimator", judge, "--screen-only"),
        *("--budget", 24, "--workers", 2, "--candidate-memory", 300, "--allowed-failures", 1, "--out", tmp_path / "run", "--json"),
    )
    with open(tmp_path / "run" / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 == done.json["evaluations"]
    assert {row["failure"] for row in rows} == {"", "error", "nan", "oom"}
    reasons = {row["failure"]: row["message"] for row in rows}
    assert reasons["error"] == "ZeroDivisionError: on purpose" and "nan" in reasons["nan"] and "300 MB" in reasons["oom"]
