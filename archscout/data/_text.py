"""Texts as language-modelling tasks: words, a vocabulary of the most frequent ones, and the rest as `<unk>`."""

from __future__ import annotations

import lzma
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.data._contents import Rows, array_digest, digest
from archscout.nn.tokens import TokenSplit

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
_VALID_SHARE = 0.1


def text_task(path: Path, *, length: int, vocabulary: int) -> Task:
    """The task to foretell the next word of a text: a `.txt` or `.txt.xz` file in UTF-8, words divided by white space.

    length: L, the tokens of a window. vocabulary: the most words that are told apart, `<unk>` and the end of a line among them. The
    last tenth of the text is the validation split; the words are counted in the rest. Raises DataError.
    """
    if length < 1 or vocabulary < 2:
        raise DataError(f"a window has at least 1 token and a vocabulary 2, but {length} and {vocabulary} came")
    path = path.expanduser().resolve()
    splits = {name: text_split(path, name, length, vocabulary) for name in ("train", "valid")}
    words, ids = _encoded(path, vocabulary)
    fingerprint = digest([*words, array_digest(ids), length])
    return Task(path.name.removesuffix(".xz").removesuffix(".txt"), LANGUAGE_MODELLING, (length,), len(words), fingerprint, splits)


def text_split(path: Path, name: str, length: int, vocabulary: int) -> TokenSplit:
    """The split `name` ("train" or "valid") of `text_task`."""
    _, ids = _encoded(path, vocabulary)
    cut = _cut(len(ids))
    part = ids[:cut] if name == "train" else ids[cut:]
    if len(part) <= length:
        raise DataError(f"'{path}' has {len(ids):,} tokens, too few for windows of {length}; give a longer text or shorter windows")
    return TokenSplit(part, length, source=(text_split, (path, name, length, vocabulary)))


@lru_cache(maxsize=4)
def _encoded(path: Path, vocabulary: int) -> tuple[tuple[str, ...], Rows]:
    """The vocabulary, frequent words first (those of one frequency in alphabetical order), and the text as its numbers."""
    tokens = [token for line in _lines(path) for token in (*line.split(), END_OF_LINE)]
    counts = Counter(token for token in tokens[: _cut(len(tokens))] if token != UNKNOWN)
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - 1]
    words = (UNKNOWN, *frequent)
    number = {word: i for i, word in enumerate(words)}
    return words, np.array([number.get(token, 0) for token in tokens], np.int64)


def _cut(count: int) -> int:
    return count - round(count * _VALID_SHARE)


def _lines(path: Path) -> list[str]:
    if not path.name.endswith((".txt", ".txt.xz")):
        raise DataError(f"a text is a .txt or .txt.xz file, but '{path}' came")
    try:
        with lzma.open(path, "rt", encoding="utf8") if path.suffix == ".xz" else path.open(encoding="utf8") as file:
            return file.readlines()
    except FileNotFoundError:
        raise DataError(f"there is no text '{path}'; give an existing .txt or .txt.xz file") from None
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise DataError(f"the text '{path}' cannot be read as UTF-8 ({type(error).__name__}: {error}); check the file") from error
