"""Texts as language-modelling tasks."""

from __future__ import annotations

import gzip
import lzma
import pickle
from pathlib import Path

import numpy as np
import pytest

from archscout.core.errors import DataError, UnknownName, UserError
from archscout.core.problem import LANGUAGE_MODELLING
from archscout.core.vocabulary import UNKNOWN
from archscout.data._opened import DataRequest, OpenedData, open_data
from archscout.nn.tokens import one_token_batch

LINE = "the cat sat on the mat and the dog\n"


def opened(path: Path, vocabulary: str = "word", task: str = "auto", **settings: object) -> OpenedData:
    written = tuple((name, str(value)) for name, value in {"window": 4, **settings}.items())
    return open_data(DataRequest(str(path), task=task, vocabulary=vocabulary, settings=written))


@pytest.fixture
def story(tmp_path: Path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(LINE * 40 + "rare \u2028 words\n", "utf8")
    return path


def test_words_by_frequency_of_the_training_part(story: Path) -> None:
    data = opened(story, words=4)
    task = data.task
    assert task.kind == LANGUAGE_MODELLING and task.shape == (4,) and task.classes == 4 and task.name == "story"
    # 403 tokens, of which the last 40 are the test and the 40 before them the validation split: 323 of training, in which 'cat'
    # and 'sat' lead by one.
    assert data.classes == (UNKNOWN, "the", "cat", "sat")
    assert task.splits["train"].ids[:10].tolist() == [1, 2, 3, 0, 1, 0, 0, 1, 0, 0]
    assert data.test is not None
    assert [len(split.ids) for split in (task.splits["train"], task.splits["valid"], data.test)] == [323, 40, 40]
    assert data.counts["train"] == {"known words": 3 * 32 + 2 * 32 + 3, "unknown": 160}
    assert opened(story, words=1000).task.classes == 9  # <unk>, seven words and <eos>: 'rare' is not in the training part


def test_the_parts_follow_one_another(story: Path) -> None:
    data = opened(story, vocabulary="byte")
    assert data.vocabulary is not None and data.test is not None
    whole = np.concatenate([data.task.splits["train"].ids, data.task.splits["valid"].ids, data.test.ids])
    text = story.read_bytes().decode("utf8")
    assert data.vocabulary.text(whole.tolist())[: len(LINE) * 40] == text[: len(LINE) * 40]


def test_compressed_texts_are_the_same_task(story: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    packed, zipped = tmp_path / "other" / "story.txt.xz", tmp_path / "other" / "story.txt.gz"
    packed.write_bytes(lzma.compress(story.read_bytes()))
    zipped.write_bytes(gzip.compress(story.read_bytes(), mtime=0))
    one, other, third = opened(story).task, opened(packed).task, opened(zipped).task
    assert one == other == third
    assert one != opened(story, words=5).task and one != opened(story, window=3).task


def test_short_texts_are_read_by_bytes_and_long_ones_by_words(story: Path, tmp_path: Path) -> None:
    short = opened(story, vocabulary="auto")
    assert short.vocabulary is not None and short.vocabulary.level == "byte" and "per byte" in " ".join(short.notes)
    long = tmp_path / "long.txt"
    long.write_text(LINE * 3000)
    data = opened(long, vocabulary="auto")
    assert data.vocabulary is not None and data.vocabulary.level == "word"
    assert "0.00% of train" in " ".join(data.notes)


def test_splits_travel_by_reference(story: Path) -> None:
    task = opened(story).task
    copy = pickle.loads(pickle.dumps(task))
    assert len(pickle.dumps(task)) < 2500
    x, y = one_token_batch(copy, "valid", 3, seed=0)
    assert (x == one_token_batch(task, "valid", 3, seed=0)[0]).all()
    assert (x[:, 1:] == y[:, :-1]).all()
    part = pickle.loads(pickle.dumps(task.splits["valid"].first(3)))
    assert len(part) == 3 and (part.ids == task.splits["valid"].ids[:13]).all()


def test_a_folder_of_texts_is_one_text_in_the_order_of_names(story: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "2.txt").write_text("zeta " * 100)
    (folder / "1.txt").write_text(LINE * 40)
    data = opened(folder)
    assert data.test is not None and data.vocabulary is not None
    assert set(data.vocabulary.text(data.test.ids[:-1].tolist()).split()) <= {UNKNOWN, "zeta"}


def test_copies_in_hidden_folders_are_not_read(tmp_path: Path) -> None:
    copies = tmp_path / ".ipynb_checkpoints"
    copies.mkdir()
    (tmp_path / "story.txt").write_text(LINE * 40)
    alone = opened(tmp_path).fingerprint
    (copies / "story-checkpoint.txt").write_text(LINE * 40)
    assert opened(tmp_path).fingerprint == alone


def test_files_named_as_splits_are_splits(tmp_path: Path) -> None:
    (tmp_path / "my.train.txt").write_text(LINE * 30)
    (tmp_path / "my.val.txt").write_text("dog mat " * 20)
    data = opened(tmp_path)
    assert data.vocabulary is not None
    assert data.vocabulary.text(data.task.splits["valid"].ids[:2].tolist()) == "dog mat"
    assert "test cut off the end" in " ".join(data.notes)
    (tmp_path / "notes.txt").write_text("more")
    with pytest.raises(DataError, match=r"'notes.txt' is not; rename it"):
        opened(tmp_path)


def test_folders_named_as_splits_are_splits_but_for_what_lies_deeper(tmp_path: Path) -> None:
    for name, text in (("train/a.txt", LINE * 30), ("train/dev/a.txt", "dog mat " * 20), ("train/b.test.txt", "mat dog " * 20)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    data = opened(tmp_path, task="language-modelling")
    assert data.vocabulary is not None and data.test is not None
    starts = [data.vocabulary.text(split.ids[:2].tolist()) for split in (*data.task.splits.values(), data.test)]
    assert starts == ["the cat", "dog mat", "mat dog"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("more")
    with pytest.raises(DataError, match=r"'other/notes.txt' is not; rename it"):
        opened(tmp_path, task="language-modelling")


def test_named_texts_and_a_missing_training_part(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "wikitext2.valid.txt.xz").write_bytes(lzma.compress(LINE.encode() * 50))
    (folder / "wikitext2.test.txt").write_text("the dog sat\n" * 20)
    request = DataRequest("wikitext2", data_dir=tmp_path, vocabulary="word", settings=(("window", "4"),))
    data = open_data(request)
    assert "the validation part is the training text, but for its last tenth" in " ".join(data.notes)
    assert len(data.task.splits["train"].ids) == 450 and len(data.task.splits["valid"].ids) == 50
    with pytest.raises(DataError, match=r"is not fetched from the network, and .* does not hold it; put warandpeace\.train\.txt"):
        open_data(DataRequest("warandpeace", data_dir=tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("story.txt", b"\xffabc" * 500, r"is not UTF-8 \(byte 0xff at position 0\); convert it, or give --vocabulary byte"),
        ("story.txt.xz", b"no archive", "cannot be read"),
        ("story.txt.gz", b"no archive", "cannot be read"),
        ("story.txt.gz", gzip.compress(b"story", mtime=0)[:10] + b"\xff" * 20, "cannot be read"),
        ("story.txt", b"", "is empty"),
        ("story.txt", b" \n\n ", "is empty"),
        ("story.txt", b"three short words", r"too few for 2 windows of 4; give a longer text or a smaller --set data\.window"),
    ],
)
def test_texts_that_make_no_task(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        opened(tmp_path / name, vocabulary="auto")
    assert "\n" not in str(refused.value)


def test_a_text_without_a_word_that_comes_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(" ".join(f"word{number}" for number in range(3000)))
    with pytest.raises(DataError, match=r"words that come twice .* 'list' has none; give a longer text or --vocabulary byte"):
        opened(tmp_path / "list.txt")


def test_bytes_that_are_no_text_can_be_learned_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_bytes(bytes(range(256)) * 10)
    assert opened(tmp_path / "story.txt", vocabulary="byte").task.classes == 257


def test_settings_and_kinds_that_do_not_fit(story: Path, tmp_path: Path) -> None:
    for settings in ({"window": 0}, {"words": 1}):
        with pytest.raises(DataError, match="at least 1 token and a vocabulary 2"):
            opened(story, **settings)
    with pytest.raises(UserError, match=r"--set data.words takes a value of type int, but 'many' came"):
        opened(story, words="many")
    for vocabulary in ("byte", "auto"):
        with pytest.raises(
            DataError, match=r"data\.words says .* 'story' is read byte by byte; leave it out, or give --vocabulary"
        ):
            opened(story, vocabulary, words=3)
    with pytest.raises(DataError, match=r"data\.path says again what --data"):
        open_data(DataRequest(str(story), settings=(("path", "elsewhere"),)))
    with pytest.raises(DataError, match="make a task of image-classification, but language-modelling was asked for"):
        open_data(DataRequest("bundled", task="language-modelling"))
    with pytest.raises(DataError, match="a vocabulary goes with a text"):
        open_data(DataRequest("bundled", vocabulary="word"))
    for what, request in (
        ("an image size", DataRequest(str(story), image_size="32")),
        ("a number of channels", DataRequest(str(story), channels=3)),
        ("a label file", DataRequest(str(story), labels=tmp_path / "labels.csv")),
        ("a limit of images per class", DataRequest(str(story), limit_per_class=3)),
        ("an augmentation", DataRequest(str(story), augment="banana")),
    ):
        with pytest.raises(DataError, match=f"{what} goes with images, but .* is a text; leave it out"):
            open_data(request)
    with pytest.raises(UnknownName, match="did you mean 'warandpeace'"):
        open_data(DataRequest("warandpiece"))
    book = tmp_path / "book.pdf"
    book.write_text(LINE * 40)
    with pytest.raises(DataError, match=r"give one of these, or a \.txt file"):
        open_data(DataRequest(str(book)))
    assert open_data(DataRequest(str(book), task="language-modelling")).task.kind == LANGUAGE_MODELLING


def test_splits_without_a_training_text_are_refused(tmp_path: Path) -> None:
    for name in ("my.test.txt", "my.valid.txt"):
        (tmp_path / name).write_text(LINE * 30)
    with pytest.raises(DataError, match="are named test and valid, but none train; rename one"):
        opened(tmp_path)
    (tmp_path / "story.txt").write_text(LINE * 30)
    with pytest.raises(DataError, match=r"'story.txt' is not; rename it"):
        opened(tmp_path)


def test_byte_order_marks_are_no_letters(tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("\ufeff" + LINE * 30)
    vocabulary = opened(tmp_path).vocabulary
    assert vocabulary is not None and not any("\ufeff" in entry for entry in vocabulary.entries)
