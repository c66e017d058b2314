"""Texts as language-modelling tasks: where the parts lie, the vocabulary, the splits, and what is to be said of them."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError
from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.core.vocabulary import UNKNOWN, Level, Tokens, Vocabulary, learned, words_of
from archscout.data._contents import SPLITS, array_digest, digest, files_in
from archscout.nn.tokens import TokenSplit

ENDINGS = (".txt", ".text", ".md", ".tokens")
PACKED = (".xz", ".gz")
_HELD_OUT = 0.1
"""Of a text without published splits, the share of each of validation and test."""
_LEAST_WORDS, _LEAST_USES = 20_000, 5
"""From so many words on, each used so often in the mean, a text is read word by word; else byte by byte."""
_LEAST_WINDOWS = 2


@dataclass(frozen=True)
class TextSource:
    """A text that has been located but not read.

    parts: by "train", "valid", "test" the files of a published split; or by "all" those of a text that is split by position.
    stands_in: whether the validation part serves as training text, since there is none. vocabulary: "auto", "word" or "byte".
    words: the most entries of a vocabulary of words. window: L.
    """

    name: str
    parts: tuple[tuple[str, tuple[Path, ...]], ...]
    vocabulary: str = "auto"
    words: int = 10_000
    window: int = 35
    stands_in: bool = False
    notes: tuple[str, ...] = ()


def check_settings(vocabulary: str, words: int, window: int) -> None:
    """Raises DataError for settings that a text cannot have."""
    if vocabulary not in ("auto", *get_args(Level)):
        raise DataError(f"a vocabulary is auto, word or byte, but '{vocabulary}' came")
    if words < 2 or window < 1:
        raise DataError(f"a window has at least 1 token and a vocabulary 2, but {window} and {words} came")


def is_text(path: Path) -> bool:
    """Whether a file's name is that of a text, packed or not."""
    name = path.name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name.endswith(ENDINGS) and not path.name.startswith(".")


def texts_in(folder: Path) -> list[Path]:
    """The texts below a folder, in the order of their paths."""
    return [file for file in files_in(folder) if is_text(file)]


def bare_name(path: Path) -> str:
    """A file's name without the endings of texts and of packed files."""
    name = path.name
    for ending in (*PACKED, *ENDINGS):
        name = name.removesuffix(ending)
    return name


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text as numbers. ids: by split. level_why: why it is read by words or bytes."""

    vocabulary: Vocabulary
    ids: Mapping[str, NDArray[np.int64]]
    why: str


@dataclass(frozen=True)
class OpenedText:
    """What a text amounts to; the fields that `data._opened.OpenedData` has."""

    task: Task
    test: TokenSplit | None
    vocabulary: Vocabulary
    counts: dict[str, dict[str, int]]
    notes: list[str]
    bytes: int


def open_text(source: TextSource) -> OpenedText:
    """Read, split and number a text. Raises DataError."""
    encoded = encoded_text(source)
    ids, vocabulary = encoded.ids, encoded.vocabulary
    for split in SPLITS:
        if split in ids and (len(ids[split]) - 1) // source.window < _LEAST_WINDOWS:
            total = sum(map(len, ids.values()))
            other = ", --vocabulary byte," if vocabulary.level == "word" else ""
            raise DataError(
                f"'{source.name}' has {total:,} {vocabulary.level}s and {len(ids[split]):,} of them for the {split} split, too few "
                f"for {_LEAST_WINDOWS} windows of {source.window}; give a longer text{other} or a smaller --set data.window"
            )
    if len(vocabulary) < 2:
        raise DataError(
            f"a vocabulary takes words that come twice or more, but the training text of '{source.name}' has none; give a "
            "longer text or --vocabulary byte"
        )
    splits = {split: text_split(source, split) for split in ids}
    fingerprint = digest([*vocabulary.entries, source.window, *(f"{split}:{array_digest(part)}" for split, part in ids.items())])
    test = splits.pop("test", None)
    return OpenedText(
        Task(source.name, LANGUAGE_MODELLING, (source.window,), len(vocabulary), fingerprint, splits),
        test, vocabulary, {split: _counts(vocabulary, part) for split, part in ids.items()},
        [*source.notes, *_notes(source, encoded)], sum(part.nbytes for part in ids.values()),
    )  # fmt: skip


def text_split(source: TextSource, split: str) -> TokenSplit:
    """One split of a text; it travels between processes as these arguments."""
    return TokenSplit(encoded_text(source).ids[split], source.window, source=(text_split, (source, split)))


@lru_cache(maxsize=4)
def encoded_text(source: TextSource) -> Encoded:
    """The vocabulary, learned from the training split alone, and the splits as its numbers."""
    raw = {
        part: b"\n".join(filter(None, (read_text(path).rstrip(b"\n") for path in paths))) + b"\n" for part, paths in source.parts
    }
    if not any(text.strip() for text in raw.values()):
        raise DataError(f"the text '{source.name}' is empty; give a text of some thousand words")
    bytewise, why = source.vocabulary == "byte", "as asked for"
    if not bytewise:
        parts = _split({part: words_of(_decoded(source, text)) for part, text in raw.items()}, source)
        if source.vocabulary == "auto":
            count, different = len(parts["train"]), len(set(parts["train"]))
            why = f"the training text has {count:,} words, {different:,} of them different"
            bytewise = count < max(_LEAST_WORDS, _LEAST_USES * different)
    if bytewise:
        parts = _split(raw, source)
    vocabulary = learned(parts["train"], source.words)
    return Encoded(vocabulary, {split: vocabulary.encode(parts[split]) for split in SPLITS if split in parts}, why)


def _split(parts: Mapping[str, Tokens], source: TextSource) -> dict[str, Tokens]:
    """The parts as splits: what is missing is cut off the end of the training text."""
    found: dict[str, Tokens] = dict(parts)
    if "all" in found:
        found["train"] = found.pop("all")
    if source.stands_in:
        found["train"] = found.pop("valid")
    text = found["train"]
    held = round(len(text) * _HELD_OUT)
    for split in ("test", "valid"):
        if split not in found:
            found[split], text = text[len(text) - held :], text[: len(text) - held]
    return {**found, "train": text}


def _decoded(source: TextSource, text: bytes) -> str:
    try:
        return text.decode().replace("\ufeff", "")  # byte-order marks, one for each file
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text '{source.name}' is not UTF-8 (byte 0x{text[error.start]:02x} at position {error.start:,}); "
            "convert it, or give --vocabulary byte"
        ) from error


def read_text(path: Path) -> bytes:
    """The bytes of a text, unpacked. Raises DataError."""
    try:
        match path.suffix.lower():
            case ".xz":
                return lzma.decompress(path.read_bytes())
            case ".gz":
                return gzip.decompress(path.read_bytes())
            case _:
                return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no text '{path}'; give an existing file") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"the text '{path}' cannot be read ({type(error).__name__}: {error}); check the file") from error


def _counts(vocabulary: Vocabulary, ids: NDArray[np.int64]) -> dict[str, int]:
    unknown = int((ids == vocabulary.numbers.get(UNKNOWN, -1)).sum())
    return {f"known {vocabulary.level}s": len(ids) - unknown, "unknown": unknown}


def _notes(source: TextSource, encoded: Encoded) -> list[str]:
    vocabulary, ids = encoded.vocabulary, encoded.ids
    given = [part for part, _ in source.parts if part != "all"]
    cut = [split for split in SPLITS if split not in given]
    sizes = ", ".join(f"{len(part):,} {split}" for split, part in ids.items())
    how = "all cut by position from one text" if not given else "as published"
    if source.stands_in:
        how = "no training part is at hand, so the validation part is the training text, but for its last tenth"
    elif given and cut:
        how = f"{' and '.join(cut)} cut off the end of the training text"
    notes = [f"Splits: {sizes} {vocabulary.level}s; {how}."]
    if vocabulary.level == "word":
        shares = ", ".join(f"{np.mean(part == 0):.2%} of {split}" for split, part in ids.items())
        notes.append(
            f"A token is a word (divided by white space) or the end of a line ({encoded.why}). The vocabulary has "
            f"{len(vocabulary):,} entries, learned from the training split; other words count as {UNKNOWN}: {shares}. A perplexity "
            "counts them as one word, so it compares only with others of the same vocabulary."
        )
    else:
        notes.append(
            f"A token is a byte of the text ({encoded.why}); {len(vocabulary) - 1} different ones occur in the training split. A "
            "perplexity is per byte."
        )
    return notes


def settings_record(source_vocabulary: Vocabulary, window: int) -> dict[str, Any]:
    """How a new text becomes the network's input, for `preprocessing.json`."""
    words = "words, divided by white space, and <eos> at the end of every line"
    return {
        "version": 1,
        "level": source_vocabulary.level,
        "tokens": words if source_vocabulary.level == "word" else "bytes of the UTF-8 text",
        "window": window,
        "vocabulary": "vocabulary.json",
        "layout": "tokens (B, L) int64, the numbers of vocabulary.json",
    }
