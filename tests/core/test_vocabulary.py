"""Words and bytes as numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archscout.core.errors import DataError, RunError
from archscout.core.vocabulary import END_OF_LINE, UNKNOWN, Vocabulary, learned, words_of


def test_words_end_with_the_line() -> None:
    assert words_of("a  b\n\n c\t\u2028d") == ["a", "b", END_OF_LINE, END_OF_LINE, "c", "d", END_OF_LINE]
    assert words_of("a\r\nb\r\n") == ["a", END_OF_LINE, "b", END_OF_LINE]
    assert words_of("") == []


def test_the_frequent_words_are_told_apart_and_those_seen_once_are_not() -> None:
    words = "b b b a a c c once <unk> <unk> <unk> <unk>".split()
    assert learned(words, 100).entries == (UNKNOWN, "b", "a", "c")
    assert learned(words, 3).entries == (UNKNOWN, "b", "a")
    assert learned(words, 3).encode(["a", "c", "once", "never", "b"]).tolist() == [2, 0, 0, 0, 1]


def test_bytes_seen_once_are_told_apart() -> None:
    found = learned(b"aab\n", 2)
    assert found.level == "byte" and found.entries == (UNKNOWN, "61", "0a", "62")
    assert found.encode(b"b\x00a").tolist() == [3, 0, 1]
    assert found.labels() == (UNKNOWN, "a", "new line", "b")


def test_an_unknown_token_of_a_closed_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match=r"the word 'c' is not in the vocabulary, which has no <unk>"):
        Vocabulary("word", ("a", "b")).encode(["a", "c"])
    with pytest.raises(DataError, match=r"the byte '7a' is not in the vocabulary"):
        Vocabulary("byte", ("61",)).encode(b"az")


@given(st.text(min_size=1))
def test_a_text_of_bytes_comes_back_whole(text: str) -> None:
    vocabulary = learned(text.encode(), 2)
    assert vocabulary.text(vocabulary.encode(text.encode()).tolist()) == text
    assert Vocabulary.from_record(json.loads(json.dumps(vocabulary.record()))) == vocabulary


@given(st.lists(st.sampled_from(["one", "two", "three", "four"]), min_size=1, max_size=30), st.integers(2, 6))
def test_words_come_back_where_they_are_known(words: list[str], most: int) -> None:
    vocabulary = learned(words * 2, most)
    assert len(vocabulary) <= most
    numbers = vocabulary.encode(words)
    assert [vocabulary.entries[n] for n in numbers] == [word if word in vocabulary.numbers else UNKNOWN for word in words]
    assert numbers.dtype == np.int64


def test_lines_of_words_are_lines_again() -> None:
    vocabulary = Vocabulary("word", (UNKNOWN, END_OF_LINE, "a", "b"))
    assert vocabulary.text([2, 3, 1, 2, 1]) == "a b\na\n"
    assert vocabulary.text([1, 2, 1, 1, 3]) == "\na\n\nb"
    assert vocabulary.unwritten == (0,)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"version": 2, "level": "word", "entries": []},
        {"version": 1, "level": "line", "entries": []},
        {"version": 1, "level": "byte", "entries": ["abc"]},
        {"version": 1, "level": "word", "entries": ["a", "a"]},
        {"version": 1, "level": "word", "entries": [1]},
    ],
)
def test_what_is_no_vocabulary_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(RunError, match="the vocabulary is damaged"):
        Vocabulary.from_record(record)
