"""From tasks to a database, from a database to a model, and with it to a search, as a user types it; bad input is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Command

from archscout.core.database import pack_database, read_database

FORM = (
    "--set",
    "form.side=8",
    "--set",
    "form.train=32",
    "--set",
    "form.valid=16",
    "--set",
    "form.fewest=2",
    "--set",
    "form.most=4",
)
BUILD = ("meta", "build", "--families", "shapes,glyphs", *FORM, "--epochs", 0.5, "--set", "recipe.batch=8", "--workers", 1)
TRAIN = (
    "meta",
    "train",
    "metad2a",
    "--set",
    "meta.epochs=2",
    "--set",
    "meta.hidden=8",
    "--set",
    "meta.code=8",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHSCOUT_MODELS", str(tmp_path / "models"))
    return tmp_path


def test_from_tasks_to_a_ranked_list(call: Callable[..., str], folder: Path, small_data: Path) -> None:
    built = json.loads(call(*BUILD, "--tasks", 4, "--records", 8, "--out", "a.npz", "--json"))
    assert built["tasks"] == 4 and built["records"] == 8 and built["complete"] and built["families"] == ["glyphs", "shapes"]
    first = read_database("a.npz")
    assert first.facts["form"]["side"] == 8 and {task.family for task in first.tasks} == {"glyphs", "shapes"}
    said = call(*TRAIN, "--database", "a.npz", "--name", "mine")
    assert "metad2a: 8 trainings on 4 tasks\n" in said and "kept as 'mine'" in said
    [mine] = [one for one in json.loads(call("meta", "list", "--json")) if one["name"] == "mine"]
    assert (
        mine["kind"] == "model" and mine["database"] == {"digest": first.digest, "tasks": 4, "records": 8} and not mine["shipped"]
    )
    words = ("search", "--data", small_data, "--space", "nas201", "--set", "space.channels=2", "--set", "space.cells=1")
    words += ("--strategy", "metad2a", "--set", "strategy.model=mine", "--set", "strategy.generate=5", "--workers", 1)
    summary = json.loads(call(*words, "--budget", 8, "--epochs", 1, "--formats", "", "--out", folder / "run", "--json"))
    assert summary["test_value"] is not None and len(summary["baselines"]) == 3
    page = (folder / "run" / "report.html").read_text()
    assert "serves to rank" in page and "worked by itself and reported 5 times" in page
    score = ("score", "nas201:3.3.3.1.3.2", "--space", "nas201", "--estimator", "metad2a", "--set", "estimator.model=mine")
    assert 0 < json.loads(call(*score, "--data", small_data, "--json"))[0]["value"] < 1


def test_a_larger_database_holds_the_smaller_and_goes_on(call: Callable[..., str]) -> None:
    call(*BUILD, "--tasks", 2, "--records", 2, "--out", "a.npz")
    small = read_database("a.npz")
    call(*BUILD, "--tasks", 4, "--records", 6, "--out", "a.npz")
    call(*BUILD, "--tasks", 4, "--records", 6, "--out", "b.npz")
    large, straight = read_database("a.npz"), read_database("b.npz")
    assert large.digest == straight.digest and len(large) == 6
    assert set(_records(small)) <= set(_records(large))
    call(*BUILD, "--tasks", 2, "--records", 4, "--seed", 1, "--out", "c.npz")
    merged = json.loads(call("meta", "merge", "a.npz", "c.npz", "b.npz", "--out", "all.npz", "--json"))
    assert merged["records"] == 10 and merged["tasks"] == 6


def _records(database: object) -> list[tuple[object, ...]]:
    return [
        (database.tasks[task], architecture, int(seed), float(accuracy))  # type: ignore[attr-defined]
        for task, architecture, seed, accuracy in zip(
            database.task, database.architectures, database.seed, database.accuracy, strict=True  # type: ignore[attr-defined]
        )
    ]  # fmt: skip


def test_the_mobile_space_on_the_same_commands(call: Callable[..., str], small_data: Path) -> None:
    call(*BUILD, "--space", "mobile", "--max-macs", "300k", "--tasks", 2, "--records", 4, "--out", "m.npz")
    call(*TRAIN, "--database", "m.npz", "--name", "small-mobile")
    words = (
        "search",
        "--data",
        small_data,
        "--space",
        "mobile",
        "--strategy",
        "metad2a",
        "--set",
        "strategy.model=small-mobile",
        "--workers",
        1,
    )
    summary = json.loads(call(*words, "--set", "strategy.generate=4", "--budget", 6, "--screen-only", "--out", "run", "--json"))
    assert summary["best"]["architecture"].startswith("mobile:")


def test_bad_input_is_one_sentence(archscout: Command, call: Callable[..., str], folder: Path, small_data: Path) -> None:
    run = {"cwd": folder, "code": 2}
    archscout(*TRAIN, **run).refused("'metad2a' learns from a database; give --database FILE")
    archscout("meta", "train", "signal-tasks", fresh=True, **run).refused("give --table NAME and --dataset NAME")
    archscout(*TRAIN, "--database", "none.npz", **run).refused(
        "there is no database 'none.npz'; make one with: archscout meta build"
    )
    (folder / "text.npz").write_text("no database")
    archscout(*TRAIN, "--database", "text.npz", **run).refused("'text.npz' is no database of archscout, or it is damaged")
    archscout(*BUILD, "--families", "shaps", fresh=True, **run).refused("there is no family of tasks 'shaps'", "shapes")
    archscout(*BUILD, "--set", "form.train=2", **run).refused("ask for more images or fewer classes")
    archscout(*BUILD, "--data", "nowhere", **run).refused("there is no folder and no data set 'nowhere'")
    call(*BUILD, "--tasks", 2, "--records", 4, "--out", "a.npz")
    content = (folder / "a.npz").read_bytes()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    archscout("meta", "merge", "a.npz", "cut.npz", "--out", "b.npz", fresh=True, **run).refused("'cut.npz' is no database")
    database = read_database("a.npz")
    other = database.facts | {"form": {"side": 9}}
    (folder / "other.npz").write_bytes(pack_database(type(database)(*_parts(database), other)))
    archscout("meta", "merge", "a.npz", "other.npz", "--out", "b.npz", **run).refused("made in different ways (form differs)")
    words = ("search", "--data", small_data, "--space", "nas201", "--strategy", "metad2a", "--budget", 6, "--out", "run")
    archscout(*words, "--set", "strategy.model=nobody", **run).refused("there is no model 'nobody'")


def _parts(database: object) -> tuple[object, ...]:
    return tuple(getattr(database, name) for name in ("space", "tasks", "task", "choices", "seed", "accuracy"))
