"""Tasks made of the classes of a data set."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from archscout.core.errors import DataError
from archscout.data._opened import DataRequest, open_data

NAMES = ("cat", "dog", "ship", "7", "bird")


@pytest.fixture
def five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """300 images of five classes; each pixel says which, and the number of the image."""
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "cache"))
    labels = np.arange(300) % 5
    images = np.zeros((300, 8, 8, 1), np.uint8)
    images[:, 0] = labels[:, None, None] * 50
    images[:, 1] = (np.arange(300) % 250)[:, None, None]
    path = tmp_path / "five.npz"
    np.savez(path, x=images, y=labels, classes=np.array(NAMES))
    return str(path)


def opened(source):
    return open_data(DataRequest(source, augment="none"))


def originals(split):
    images, labels = split.take(np.arange(len(split)))
    return (images[:, 0, 0, 0].numpy() // 50).tolist(), labels.tolist()


def test_one_class_against_as_many_of_the_rest(five):
    found = opened(f"{five}:dog")
    assert found.classes == ("other", "dog") and found.task.classes == 2
    for split in (*found.task.splits.values(), found.test):
        true, labels = originals(split)
        assert {(1, 1)} == {pair for pair in zip(true, labels, strict=True) if pair[1] == 1}
        assert labels.count(0) == labels.count(1) and 1 not in [t for t, label in zip(true, labels, strict=True) if label == 0]
    assert len({t for t, label in zip(*originals(found.task.splits["train"]), strict=True) if not label}) == 4, "of all others"
    assert found.counts["train"] == {"dog": len(found.task.splits["train"]) // 2, "other": len(found.task.splits["train"]) // 2}


def test_joined_classes_and_several_of_them(five):
    found = opened(f"{five}:cat+ship,bird")
    assert found.classes == ("other", "cat+ship", "bird")
    pairs = set(zip(*originals(found.task.splits["train"]), strict=True))
    assert pairs == {(0, 1), (2, 1), (4, 2), (1, 0), (3, 0)}
    assert "of 'other' as many as of the others together" in found.notes[-1]


def test_a_star_takes_all_others(five):
    found, whole = opened(f"{five}:dog,*"), opened(five)
    assert found.classes == ("other", "dog")
    for name, split in found.task.splits.items():
        assert len(split) == len(whole.task.splits[name])
        assert set(zip(*originals(split), strict=True)) == {(0, 0), (1, 1), (2, 0), (3, 0), (4, 0)}
    assert found.fingerprint != opened(f"{five}:dog").fingerprint


def test_where_all_are_named_there_are_no_others(five):
    found = opened(f"{five}:cat+dog+ship,7+bird")
    assert found.classes == ("cat+dog+ship", "7+bird") and sum(found.counts["train"].values()) == len(
        opened(five).task.splits["train"]
    )
    assert "as many" not in found.notes[-1]
    pairs = set(zip(*originals(found.task.splits["train"]), strict=True))
    assert pairs == {(0, 0), (1, 0), (2, 0), (3, 1), (4, 1)}


def test_a_name_goes_before_a_number(five):
    assert opened(f"{five}:7").classes[1] == "7"
    assert opened(f"{five}:1").classes[1] == "dog"


def test_the_same_whenever_asked_and_in_other_processes(five):
    one, other = opened(f"{five}:dog"), opened(f"{five}:dog")
    assert one.fingerprint == other.fingerprint != opened(f"{five}:cat").fingerprint
    train = one.task.splits["train"]
    travelled = pickle.loads(pickle.dumps(train))
    assert np.array_equal(travelled.rows, train.rows) and originals(travelled) == originals(train)
    assert len(pickle.dumps(train)) < 2000


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("dgo", "there is no class 'dgo'; did you mean 'dog'"),
        ("5", "there is no class '5'"),
        ("", "there is no class ''"),
        ("*", "there is no class '[*]'"),
        ("cat+dog+ship+7+bird,*", "leaves no class to tell"),
        ("dog,,cat", "there is no class ''"),
        ("dog,cat+dog", "'dog' is named twice"),
        ("cat+dog+ship+7+bird", "leaves no class to tell"),
    ],
)
def test_what_makes_no_task_is_refused(five, classes, message):
    with pytest.raises(DataError, match=message.replace("+", r"\+")):
        opened(f"{five}:{classes}")


def test_a_path_with_a_colon_is_a_path(five, tmp_path):
    moved = tmp_path / "a:b.npz"
    Path(five).rename(moved)
    assert opened(str(moved)).classes == NAMES


def test_a_text_has_no_such_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "story.txt"
    path.write_text("a tale of two cities " * 400)
    with pytest.raises(DataError, match="names classes of images"):
        opened(f"{path}:a")
