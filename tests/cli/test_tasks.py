"""`archscout tasks` and `search --strategy fuse`, as a user types them; bad input is one sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import Command, banded_images, until

from archscout.core.errors import UserError

SHORT = ("--epochs", 30, "--samples", 60)
FEW = (*SHORT, "--seeds", 1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHSCOUT_TASKS", str(tmp_path / "tasks"))
    images, labels = banded_images(450)
    np.savez(tmp_path / "bands.npz", x=images, y=labels, classes=np.array(["low", "middle", "high"]))
    noise = np.random.default_rng(0)
    np.savez(tmp_path / "noise.npz", x=noise.integers(0, 255, (240, 8, 8, 1)).astype(np.uint8), y=np.arange(240) % 2)
    return tmp_path


def test_distances_as_table_json_and_page(call: Callable[..., str], folder: Path) -> None:
    words = ("tasks", "distance", "--data", "bands.npz", "bands.npz:low,*", "bands.npz:high,*", *SHORT, "--seeds", 2, "--out", "d")
    said = call(*words)
    assert "nearest source" in said and "noise floor" in said and "accuracy" in said and "page in d/tasks.html" in said
    kept = json.loads((folder / "d" / "tasks.json").read_text())
    found = json.loads(call(*words, "--json"))
    assert {name: found[name] for name in found if name != "page"} == {name: kept[name] for name in kept if name != "command"}
    mean = np.array(found["mean"])
    assert mean.shape == (3, 3) and (np.diag(mean) == 0).all() and (mean[~np.eye(3, dtype=bool)] > 0).all() and mean.max() <= 1
    assert len(found["noise_floor"]) == 3 and min(found["noise_floor"]) > 0
    assert [len(task["accuracies"]) for task in found["tasks"]] == [2, 2, 2] and all(task["ranked"] for task in found["tasks"])
    for target, near in enumerate(found["nearest"]):
        column = mean[:, target] + np.where(np.arange(3) == target, 9, 0)
        assert near[0] == found["tasks"][int(column.argmin())]["name"]
    page = (folder / "d" / "tasks.html").read_text()
    assert (
        page.count('<rect class="cell') == 9
        and 'class="cell framed"' in page
        and "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    )


def test_what_is_kept_is_not_made_again(call: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("tasks", "distance", "--data", "bands.npz", "bands.npz:low,*", *SHORT, "--seeds", 1, "--out", "d", "--json")
    first = call(*words)
    networks = sorted((folder / "d" / "networks").iterdir())
    assert len(networks) == 2
    monkeypatch.setattr("archscout.comparison.tasks.trained", None)
    monkeypatch.setattr("archscout.nn.task_distance.TaskDistance.fisher", None)
    assert call(*words) == first


def test_other_distances(call: Callable[..., str]) -> None:
    words = ("tasks", "distance", "--data", "bands.npz", "bands.npz:low,*", *SHORT, "--seeds", 1, "--out", "d", "--json")
    plain = np.array(json.loads(call(*words))["mean"])
    root = np.array(json.loads(call(*words, "--root"))["mean"])
    np.testing.assert_allclose(root, np.sqrt(plain), rtol=1e-6)
    tables = [plain]
    for more in (
        ("--mode", "true"), ("--mode", "reference"), ("--kind", "log-determinant"), ("--head", "keep"), ("--match", "centroid"),
        ("--per-tensor",),
    ):  # fmt: skip
        found = np.array(json.loads(call(*words, *more))["mean"])
        assert (np.diag(found) == 0).all() and (found[~np.eye(2, dtype=bool)] > 0).all()
        assert not any(np.array_equal(found, table) for table in tables), f"{more} should change something"
        tables.append(found)


def test_networks_of_a_space(call: Callable[..., str]) -> None:
    words = ("tasks", "distance", "--data", "bands.npz:low", "bands.npz:high", "--network", "nas201:3.1.2.3.1.4", "--seeds", 1)
    found = json.loads(call(*words, "--set", "space.channels=2", "--set", "space.cells=1", *SHORT, "--json"))
    assert found["network"].startswith("nas201:3.1.2.3.1.4 (channels=2") and 0 < found["mean"][0][1] < 1


def test_a_killed_comparison_goes_on_to_the_same_answer(archscout: Command, call: Callable[..., str], folder: Path) -> None:
    words = ("tasks", "distance", "--data", "bands.npz", "bands.npz:low,*", *SHORT, "--seeds", 2, "--json", "--out")
    process = archscout.start(*words, "killed", cwd=folder)
    assert until(lambda: len(list((folder / "killed").glob("networks/*.safetensors"))) > 1, process)
    process.kill()
    process.communicate()
    begun = time.monotonic()
    found, straight = (json.loads(call(*words, name)) for name in ("killed", "straight"))
    assert found | {"page": ""} == straight | {"page": ""} and time.monotonic() > begun


def test_a_task_that_is_not_learned_is_not_ranked(call: Callable[..., str]) -> None:
    words = ("tasks", "distance", *SHORT, "--seeds", 1, "--data")
    said = call(*words, "noise.npz", "bands.npz", "bands.npz:low,*")
    assert "The network of 'noise.npz' did not learn: its accuracy is" in said
    found = json.loads(call(*words, "noise.npz", "bands.npz", "bands.npz:low,*", "--json"))
    assert not found["tasks"][0]["ranked"] and found["nearest"][0] == [] and found["nearest"][1] == ["bands.npz:low,*"]
    assert found["mean"][0] == [None] * 3
    with pytest.raises(UserError, match="no two of the tasks have a network that learned"):
        call(*words, "noise.npz", "bands.npz")


def test_a_dictionary_of_tasks_narrows_a_search(call: Callable[..., str], folder: Path) -> None:
    assert "there is no baseline task in" in call("tasks", "list")
    said = call("tasks", "add", "--data", "bands.npz:low,*", "--architecture", "nas201:3.1.1.1.1.1", "--name", "low", *FEW)
    assert "'low': 2 classes" in said and "kept in" in said
    assert "has no architecture yet" in call("tasks", "add", "--data", "bands.npz", *FEW)
    assert "nas201:3.1.1.1.1.1" in call("tasks", "list")
    listed = json.loads(call("tasks", "list", "--json"))
    assert [one["name"] for one in listed] == ["bands-npz", "low"] and len(listed[1]["accuracies"]) == 1
    words = ("search", "--data", "bands.npz:high,*", "--strategy", "fuse", "--space", "nas201", "--set", "space.channels=2")
    words += (
        "--set",
        "space.cells=1",
        "--set",
        "strategy.channels=2",
        "--set",
        "strategy.turns=2",
        "--workers",
        1,
        "--epochs",
        1,
        "--formats",
        "",
    )
    summary = json.loads(call(*words, "--budget", 10, "--out", "run", "--json"))
    assert summary["test_value"] is not None
    page = (folder / "run" / "report.html").read_text()
    assert "Of 1 baseline tasks the nearest are low (" in page and "from 15,625 to 3 tuples of choices" in page
    again = json.loads(call("tasks", "add", "--data", "bands.npz:high,*", "--run", "run", "--name", "high", *FEW, "--json"))
    assert again["architectures"] == [summary["best"]["architecture"]]


def test_bad_input_ends_in_one_sentence_and_code_2(archscout: Command, folder: Path) -> None:
    run = {"cwd": folder, "code": 2}
    archscout("tasks", "distance", "--data", "bands.npz", "bands.npz:hgh", **run).refused("no class 'hgh'; did you mean 'high'")
    quick = ("--epochs", 1, "--seeds", 1)  # a training of ten seconds would say how far it is
    archscout("tasks", "add", "--data", "noise.npz", *quick, **run).refused("the network of 'noise.npz' did not learn")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("bands.npz",), "between two tasks or more, but 1 came"),
        (("bands.npz", "bands.npz"), "'bands.npz' are named twice"),
        (("bands.npz", "copy.npz"), "'bands.npz' and 'copy.npz' have the same images"),
        (("bands.npz", "nowhere"), "no folder and no data set 'nowhere'"),
        (("bands.npz", "story.txt"), "'story.txt' is a text"),
        (("bands.npz", "noise.npz", "--network", "nas"), "'nas' is no architecture"),
        (("bands.npz", "noise.npz", "--image-size", 3), "from 8 to 256"),
        (("bands.npz", "noise.npz", "--match", "centroid", "--head", "keep"), "left out then"),
        (("bands.npz", "noise.npz", "--epochs", 0), "epochs and rate are above 0"),
        (("bands.npz", "noise.npz", "--set", "strategy.turns=2"), "strategy"),
    ],
)
def test_distances_that_cannot_be_had(call: Callable[..., str], folder: Path, words: tuple[object, ...], sentence: str) -> None:
    (folder / "story.txt").write_text("a tale of two cities " * 400)
    (folder / "copy.npz").write_bytes((folder / "bands.npz").read_bytes())
    with pytest.raises(UserError, match=sentence):
        call("tasks", "distance", "--data", *words)


def test_tasks_that_cannot_be_kept(call: Callable[..., str], folder: Path) -> None:
    add = ("tasks", "add", "--data", "bands.npz")
    for words, sentence in (
        (("--architecture", "nas201:9"), "takes 6 choices"),
        (("--run", "nothing"), "'nothing' holds no finished search"),
        (("--name", "a/b"), "a name of baseline tasks"),
    ):
        with pytest.raises(UserError, match=sentence):
            call(*add, *words)
    call(*add, "--name", "mine", "--seeds", 1, *SHORT)
    with pytest.raises(UserError, match="'mine' already; choose another --name, or give --overwrite"):
        call(*add, "--name", "mine")
    call(*add, "--name", "mine", "--seeds", 2, *SHORT, "--overwrite")
    [one] = json.loads(call("tasks", "list", "--json"))
    assert len(one["accuracies"]) == 2
    (folder / "tasks" / "mine.safetensors").write_bytes(b"no task")
    (folder / "tasks" / "mine.previous.safetensors").unlink()
    assert "(damaged)" in call("tasks", "list")
