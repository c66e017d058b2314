"""War and Peace: the novel by Leo Tolstoy in English, 394,538 training words (Project Gutenberg number 2600, public domain).

With the splits of timbmg/RNNLM (`data/wap.*.txt`); upper and lower case and punctuation are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.data._contents import Place
from archscout.data._text import TextSource
from archscout.data._text_sets import found_text


@dataclass(frozen=True)
class WarAndPeace:
    """War and Peace. vocabulary, words, window: as for a text of one's own."""

    vocabulary: str = "auto"
    words: int = 10_000
    window: int = 35

    def find(self, place: Place) -> TextSource:
        """In the data directory: text/warandpeace.train.txt and so on. Raises DataError."""
        notes = ("War and Peace by Leo Tolstoy (Project Gutenberg number 2600, public domain)",)
        return found_text(place, "warandpeace", self.vocabulary, self.words, self.window, notes)
