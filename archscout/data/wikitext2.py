"""WikiText-2: articles of Wikipedia, 2,088,628 training tokens with 33,278 different ones (CC BY-SA 3.0).

Merity, Xiong, Bradbury and Socher, "Pointer Sentinel Mixture Models" (2016, arXiv:1609.07843). Where only the validation and test
parts are at hand, the validation part is the training text, but for its last tenth.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.data._contents import Place
from archscout.data._text import TextSource
from archscout.data._text_sets import found_text


@dataclass(frozen=True)
class WikiText2:
    """WikiText-2. vocabulary, words, window: as for a text of one's own; published results have all 33,278 words."""

    vocabulary: str = "auto"
    words: int = 10_000
    window: int = 35

    def find(self, place: Place) -> TextSource:
        """In the data directory: text/wikitext2.train.txt and so on. Raises DataError."""
        notes = ("WikiText-2 (Merity and others, CC BY-SA 3.0)",)
        return found_text(place, "wikitext2", self.vocabulary, self.words, self.window, notes)
