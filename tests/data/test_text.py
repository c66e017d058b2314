"""Texts as language-modelling tasks."""

from __future__ import annotations

import lzma
import pickle
from pathlib import Path

import pytest

from archscout.core.errors import DataError
from archscout.core.problem import LANGUAGE_MODELLING
from archscout.data._text import text_task
from archscout.nn.tokens import one_token_batch

LINE = "the cat sat on the mat and the dog\n"


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(LINE * 40 + "rare \u2028 words\n", "utf8")
    return path


def test_words_by_frequency(story: Path) -> None:
    task = text_task(story, length=4, vocabulary=4)
    assert task.kind == LANGUAGE_MODELLING and task.shape == (4,) and task.classes == 4 and task.name == "story"
    # The training part ends after 36 lines of ten tokens and three words of the next one: 'cat' and 'sat' lead by one.
    first = task.splits["train"].ids[:10].tolist()
    assert first == [1, 2, 3, 0, 1, 0, 0, 1, 0, 0]
    train, valid = (len(task.splits[name].ids) for name in ("train", "valid"))
    assert train + valid == 403 and valid == 40
    assert text_task(story, length=4, vocabulary=1000).classes == 9  # <unk>, seven words and <eos>: 'rare' is not in the first part


def test_compressed_texts_are_the_same_task(story: Path, tmp_path: Path) -> None:
    packed = tmp_path / "other" / "story.txt.xz"
    packed.parent.mkdir()
    packed.write_bytes(lzma.compress(story.read_bytes()))
    one, other = text_task(story, length=5, vocabulary=6), text_task(packed, length=5, vocabulary=6)
    assert one == other
    assert one != text_task(story, length=5, vocabulary=5) and one != text_task(story, length=4, vocabulary=6)


def test_splits_travel_by_reference(story: Path) -> None:
    task = text_task(story, length=5, vocabulary=6)
    copy = pickle.loads(pickle.dumps(task))
    assert len(pickle.dumps(task)) < 1500
    x, y = one_token_batch(copy, "valid", 3, seed=0)
    assert (x == one_token_batch(task, "valid", 3, seed=0)[0]).all()
    assert (x[:, 1:] == y[:, :-1]).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.txt", None, "there is no text"),
        ("story.pdf", b"x", r"is a \.txt or \.txt\.xz file"),
        ("story.txt", b"\xff\xfe\x00", "cannot be read as UTF-8"),
        ("story.txt.xz", b"no archive", "cannot be read"),
        ("story.txt", b"", "too few for windows of 4"),
        ("story.txt", b"three short words", "too few for windows of 4"),
    ],
)
def test_texts_that_make_no_task(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        text_task(tmp_path / name, length=4, vocabulary=10)
    assert "\n" not in str(refused.value)


def test_lengths_and_vocabularies_that_make_no_task(story: Path) -> None:
    for length, vocabulary in ((0, 10), (4, 1)):
        with pytest.raises(DataError, match="at least 1 token and a vocabulary 2"):
            text_task(story, length=length, vocabulary=vocabulary)
