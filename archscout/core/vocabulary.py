"""What a language model's numbers stand for: words or bytes, the same for training and for new texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from archscout.core.errors import DataError, RunError

UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
Level = Literal["word", "byte"]
Tokens = Sequence[str] | bytes
"""Words, or a text as it is, whose bytes are its tokens."""
_HEX = "{:02x}"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that are told apart, in the order of the logits.

    level: tokens are words, divided by white space, with `<eos>` at the end of every line; or the bytes of the UTF-8 text, whose
    entries are two hexadecimal digits each. `<unk>`, where it is an entry, stands for every other token.
    """

    level: Level
    entries: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of each entry."""
        return {entry: number for number, entry in enumerate(self.entries)}

    def encode(self, tokens: Tokens) -> NDArray[np.int64]:
        """The numbers of tokens. Raises DataError for an unknown one where the vocabulary has no `<unk>`."""
        numbers, other = self.numbers, self.numbers.get(UNKNOWN, -1)
        if isinstance(tokens, bytes):
            found = np.array([numbers.get(_HEX.format(byte), other) for byte in range(256)])[np.frombuffer(tokens, np.uint8)]
        else:
            found = np.fromiter((numbers.get(token, other) for token in tokens), np.int64, len(tokens))
        if other < 0 and (strange := np.flatnonzero(found < 0)).size:
            token = tokens[int(strange[0])]
            what = f"the {self.level} '{token if isinstance(token, str) else _HEX.format(token)}'"
            raise DataError(f"{what} is not in the vocabulary, which has no {UNKNOWN}; leave it out of the text")
        return found

    def text(self, numbers: Iterable[int]) -> str:
        """The text of token numbers; an unknown byte is shown as U+FFFD."""
        entries = [self.entries[number] for number in numbers]
        if self.level == "byte":
            parts = [b"\xef\xbf\xbd" if entry == UNKNOWN else bytes.fromhex(entry) for entry in entries]
            return b"".join(parts).decode("utf8", "replace")
        return re.sub(" ?\n ?", "\n", " ".join("\n" if entry == END_OF_LINE else entry for entry in entries))

    @property
    def unwritten(self) -> tuple[int, ...]:
        """The numbers that a sample should not have: `<unk>`."""
        return (self.numbers[UNKNOWN],) if UNKNOWN in self.numbers else ()

    def labels(self) -> tuple[str, ...]:
        """The entries as a person reads them."""
        if self.level == "word":
            return self.entries
        return tuple(entry if entry == UNKNOWN else _shown(int(entry, 16)) for entry in self.entries)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"version": 1, "level": self.level, "entries": list(self.entries)}

    @classmethod
    def from_record(cls, record: Any) -> Vocabulary:
        """From JSON. Raises RunError for what is none."""
        try:
            level, entries = record["level"], tuple(record["entries"])
            if record["version"] != 1 or level not in get_args(Level) or not all(isinstance(entry, str) for entry in entries):
                raise ValueError(f"version {record['version']}, level {level!r}")
            if level == "byte" and not all(entry == UNKNOWN or len(bytes.fromhex(entry)) == 1 for entry in entries):
                raise ValueError("an entry is no byte")
            if len(set(entries)) != len(entries):
                raise ValueError("an entry comes twice")
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the vocabulary is damaged: {type(error).__name__}: {error}; export the run again") from error
        return cls(level, entries)


def words_of(text: str) -> list[str]:
    """The words of a text, with `<eos>` at the end of every line."""
    lines = text.replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    return [token for line in lines for token in (*line.split(), END_OF_LINE)]


def learned(tokens: Tokens, most: int) -> Vocabulary:
    """The vocabulary of training tokens: `<unk>`, then the most frequent ones, those of one frequency in alphabetical order.

    A word that occurs once is left to `<unk>`, so that the network learns what stands where a word is unknown. most: entries of a
    vocabulary of words.
    """
    if isinstance(tokens, bytes):
        counts = Counter({_HEX.format(byte): n for byte, n in Counter(tokens).items()})
    else:
        counts = Counter(tokens)
        counts.pop(UNKNOWN, None)
    frequent = sorted(counts, key=lambda token: (-counts[token], token))
    if isinstance(tokens, bytes):
        return Vocabulary("byte", (UNKNOWN, *frequent))
    return Vocabulary("word", (UNKNOWN, *[token for token in frequent if counts[token] > 1][: most - 1]))


def _shown(byte: int) -> str:
    return chr(byte) if 33 <= byte < 127 else {32: "space", 10: "new line"}.get(byte, f"0x{byte:02x}")
