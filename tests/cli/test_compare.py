"""`archscout compare` on runs that really happened."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Command

from archscout.engine.finish import unpacked
from archscout.store.runs import RunStore


@pytest.fixture(scope="module")
def other(archscout: Command, image_folder: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A second run on the images of `finished`, of another strategy."""

    def make(place: Path) -> None:
        words = ("--budget", 6, "--epochs", 2, "--image-size", 12, "--max-macs", "150k", "--workers", 1, "--formats", "")
        archscout("search", "--data", image_folder, *words, "--strategy", "local", "--out", place)

    return once("other", make)


def test_two_runs_are_compared(archscout: Command, finished: Any, other: Path, tmp_path: Path) -> None:
    told = archscout("compare", finished.folder, other, "--out", tmp_path / "out", "--json").json
    stores = [RunStore.read(folder) for folder in (finished.folder, other)]
    assert stores[0].meta["test"] == stores[1].meta["test"], "the same images in the same order"
    right = [
        unpacked(store.meta[f"trained {run['architecture']}"]["test_correct"])
        for store, run in zip(stores, told["runs"], strict=True)
    ]
    [one] = told["differences"]
    assert one["paired"] == "items" and one["difference"] == pytest.approx(right[1].mean() - right[0].mean())
    assert one["only_first"] == np.sum(right[0] & ~right[1]) and one["only_second"] == np.sum(right[1] & ~right[0])
    assert told["varied"] == ["strategy", "budget", "epochs"] and told["metric"] == "accuracy"
    assert told["runs"][0]["test_value"] == finished.summary["test_value"]
    assert told["runs"][0]["judged"] == finished.summary["evaluations"]
    page = Path(told["page"])
    assert page == tmp_path / "out" / "compare.html" and json.loads(page.with_suffix(".json").read_text())["differences"] == [one]
    text = page.read_text("utf8")
    assert text.count('class="drawing"') >= 1 and told["runs"][1]["architecture"] in text


def test_the_table_names_each_run(archscout: Command, finished: Any, other: Path) -> None:
    done = archscout("compare", finished.folder, other)
    rows = [line.split()[0] for line in done.out.splitlines()]
    assert {finished.folder.name, "other"} <= set(rows) and "Paired, on the same" in done.out


def test_what_cannot_be_compared_is_refused(archscout: Command, finished: Any, other: Path, tmp_path: Path) -> None:
    archscout("compare", finished.folder, code=2).refused("two runs or more")
    archscout("compare", finished.folder, tmp_path, code=2).refused("there is no run in")
    young = tmp_path / "young"
    shutil.copytree(other, young)
    (young / "report.json").unlink()
    archscout("compare", finished.folder, young, code=2).refused("is not done", "archscout resume")


def test_runs_of_other_data_are_refused(archscout: Command, finished: Any, small_data: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    archscout("search", "--data", small_data, "--budget", 4, "--screen-only", "--workers", 1, "--out", foreign)
    archscout("compare", finished.folder, foreign, code=2).refused("only runs of the same data can be compared", "'small'")


def test_a_finished_run_of_an_earlier_version_learns_its_test_images(
    archscout: Command, finished: Any, tmp_path: Path
) -> None:  # fmt: skip
    """Resuming writes down which they are, and changes nothing else of the answer."""
    old = tmp_path / "old"
    shutil.copytree(finished.folder, old)
    with RunStore.read(old) as store:
        known = store.meta["test"]
    with closing(sqlite3.connect(old / "run.sqlite")) as database:
        database.execute("DELETE FROM run WHERE key = 'test'")
        database.commit()
    with RunStore.read(old) as store:
        assert "test" not in store.meta
    archscout("resume", old)
    with RunStore.read(old) as store:
        assert store.meta["test"] == known
    assert json.loads((old / "summary.json").read_text())["test_value"] == finished.summary["test_value"]
