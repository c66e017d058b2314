"""Images as few-shot tasks: which classes go where, what an episode holds, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.errors import DataError
from archscout.core.problem import FEW_SHOT
from archscout.data._episodes import EpisodeForm, divided
from archscout.data._opened import DataRequest, OpenedData, open_arrays, open_data
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import EpisodeSplit

SIDE = 8


def marked(classes: int, images: int, height: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Images whose first pixel tells their class and whose last tells which of its images they are."""
    x = np.zeros((classes * images, height, SIDE), np.uint8)
    y = np.repeat(np.arange(classes), images)
    x[:, 0, 0], x[:, -1, -1] = 10 * y + 5, 10 * np.tile(np.arange(images), classes) + 5
    return x, y


def opened(classes: int = 12, images: int = 4, **changes: object) -> OpenedData:
    request = DataRequest("marked", task=FEW_SHOT.name, **{"episodes": EpisodeForm(3, 1, 2), **changes})  # type: ignore[arg-type]
    return open_arrays(*marked(classes, images), request)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "cache"))


@settings(max_examples=60, deadline=None)
@given(ways=st.integers(2, 6), classes=st.integers(2, 60), seed=st.integers(0, 9), own=st.integers(0, 12))
def test_parts_share_no_class_and_each_has_enough(ways: int, classes: int, seed: int, own: int) -> None:
    labels = np.repeat(np.arange(classes + own), 3)
    given = {"test": np.flatnonzero(labels >= classes)}
    published = own >= ways
    names = list(map(str, range(classes + own)))
    if (classes if published else classes + own) < (2 if published else 3) * ways:
        with pytest.raises(DataError, match=f"{ways}-way episodes"):
            divided(labels, names, given, EpisodeForm(ways), seed)
        return
    rows = divided(labels, names, given, EpisodeForm(ways), seed)
    parts = [set(labels[rows[name]]) for name in ("train", "valid", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == classes + own and min(map(len, parts)) >= ways
    assert sum(map(len, rows.values())) == len(labels), "every image is in one part"
    assert not published or parts[2] == set(range(classes, classes + own))


def test_classes_that_are_in_the_training_part_too_are_not_taken_for_the_test() -> None:
    labels = np.repeat(np.arange(12), 4)
    rows = divided(labels, list(map(str, range(12))), {"test": np.arange(0, 48, 4)}, EpisodeForm(3), 0)
    assert all(len(found) % 4 == 0 for found in rows.values()), "classes are whole"


def test_what_is_told_of_the_data() -> None:
    data = opened()
    assert data.classes == ("class 1", "class 2", "class 3") and data.task.classes == 3
    assert [len(counts) for counts in data.counts.values()] == [6, 3, 3]
    assert all(set(counts.values()) == {4} for counts in data.counts.values())
    assert not set(data.counts["train"]) & set(data.counts["test"])
    assert opened().fingerprint == data.fingerprint != opened(seed=1).fingerprint
    assert opened(episodes=EpisodeForm(3, 2, 2)).fingerprint != data.fingerprint


def test_a_pass_of_few_images_is_no_shorter_than_training_needs() -> None:
    train = opened().task.splits["train"]
    assert len(train) == 160 and EpisodeRecipe().batch_for(len(train)) == EpisodeRecipe().batch


def test_an_episode_is_of_its_classes_in_a_fresh_order_and_shows_no_query() -> None:
    split: EpisodeSplit = opened().task.splits["train"]
    orders = set()
    for seed in range(40):
        episode = split.episode(seed)
        raw = [(x * split.pool.std[0] + split.pool.mean[0]) * 255 for x in (episode.support, episode.queries)]
        support, queries = (
            [tuple(pair) for pair in torch.stack([x[:, 0, 0, 0], x[:, 0, -1, -1]], 1).round().tolist()] for x in raw
        )
        assert not set(support) & set(queries), "an image is in the support or among the queries"
        classes = [first for first, _ in support]
        assert len(set(classes)) == 3 and [first for first, _ in queries] == [c for c in classes for _ in range(2)]
        assert episode.support_labels.tolist() == [0, 1, 2] and episode.query_labels.tolist() == [0, 0, 1, 1, 2, 2]
        orders.add(tuple(classes))
    assert len(orders) > 20
    again = pickle.loads(pickle.dumps(split))
    assert torch.equal(again.episode(3).queries, split.episode(3).queries)
    assert torch.equal(split.number(1).support, split.number(1).support)


def test_turned_images_make_further_classes() -> None:
    split: EpisodeSplit = opened().task.splits["train"]
    turned = EpisodeSplit(split.pool, 24, 1, 1, 4, quarters=True)
    assert turned.classes == 24
    corners = turned.episode(0).support[:, 0, [0, 0, -1, -1], [0, -1, -1, 0]].argsort(1)[:, -2:].sort(1).values
    assert {tuple(pair) for pair in corners.tolist()} == {(0, 2), (1, 3)}, "every class in all turns"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": EpisodeForm(5)}, "need 15 classes, but there are 12"),
        ({"episodes": EpisodeForm(3, 4)}, "4 shots and 1 queries need 5 images of every class"),
        ({"augment": "flip"}, "unchanged"),
        ({"limit_per_class": 2}, "take all images"),
    ],
)
def test_bad_input(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(**changes)


def test_a_text_is_no_few_shot_task(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("the cat sat on the mat " * 50)
    with pytest.raises(DataError, match="is a text, but a task of few-shot is one of images"):
        open_data(DataRequest(str(tmp_path / "story.txt"), task=FEW_SHOT.name))
