"""An exported language model on new texts: perplexities and samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.errors import DataError, UserError
from archscout.core.problem import LANGUAGE_MODELLING
from archscout.core.vocabulary import END_OF_LINE, UNKNOWN, Vocabulary, words_of
from archscout.export.folder import load_model
from archscout.nn.language import likelihoods, sampled
from archscout.nn.tokens import TokenSplit

SHORT = 2000
"""Texts of up to so many tokens are read in one piece; longer ones in windows of the task's length, several columns at a time."""


def measure_of(folder: Path) -> Callable[[str, bytes], dict[str, Any]]:
    """What measures a text, given its name and bytes: name, tokens, unknown ones, the perplexity of all tokens but the first.

    Of a long text fewer than a window's tokens at the end are left out. Raises UserError; the measure raises DataError.
    """
    network, info = load_model(folder)
    vocabulary, window = vocabulary_of(info), int(info["task"]["shape"][0])

    def measured(name: str, text: bytes) -> dict[str, Any]:
        ids = vocabulary.encode(tokens_of(vocabulary, text, name))
        if len(ids) < 2:
            raise DataError(f"a perplexity needs a text of two tokens or more, but '{name}' has {len(ids)}")
        split = TokenSplit(ids, len(ids) - 1 if len(ids) <= max(SHORT, window) else window)
        return {
            "file": name,
            "tokens": len(ids),
            "unknown": int((ids == vocabulary.numbers.get(UNKNOWN, -1)).sum()),
            "perplexity": LANGUAGE_MODELLING.measured(float(np.mean(likelihoods(network, split)))),
        }

    return measured


def written_text(folder: Path, count: int, start: str = "", temperature: float = 0.8, seed: int = 0) -> str:
    """The text of `count` tokens that the model writes after `start`. Raises DataError, UserError."""
    if count < 1 or not (math.isfinite(temperature) and temperature >= 0):
        raise UserError(f"a sample has 1 token or more and a temperature from 0 on, but {count} and {temperature} came")
    network, info = load_model(folder)
    vocabulary = vocabulary_of(info)
    begun: Sequence[int] = vocabulary.encode(tokens_of(vocabulary, start.encode(), "--start")).tolist()
    if vocabulary.level == "word" and start:
        begun = begun[:-1]  # the line goes on
    if not begun:
        begun = [vocabulary.numbers.get(END_OF_LINE if vocabulary.level == "word" else "0a", 0)]
    found = sampled(network, begun, count, temperature=temperature, seed=seed, never=vocabulary.unwritten)
    return vocabulary.text(found)


def tokens_of(vocabulary: Vocabulary, text: bytes, name: str) -> Sequence[str] | bytes:
    """The tokens of a text for a vocabulary. Raises DataError."""
    if vocabulary.level == "byte":
        return text
    try:
        return words_of(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"the text '{name}' is not UTF-8 (byte 0x{text[error.start]:02x} at position {error.start:,}); convert it"
        ) from error


def vocabulary_of(info: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of an exported model. Raises UserError for a model of images."""
    if info.get("vocabulary") is None:
        raise UserError("the network of this run is no language model; give it images with archscout predict")
    return Vocabulary.from_record(info["vocabulary"])
