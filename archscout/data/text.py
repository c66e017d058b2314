"""A text of one's own: a file (.txt, .md, also packed as .xz or .gz), or a folder of such files.

The files of a folder whose names, or else the names of their sub-folders, say train, valid and test are splits; others are read one
after the other. Without splits, the last tenth of the text is the test split and the tenth before it the validation split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from archscout.core.errors import DataError
from archscout.data._contents import Place
from archscout.data._text import TextSource, bare_name, check_settings, texts_in

_NAMES = {"train": "train", "training": "train", "test": "test", **dict.fromkeys(("valid", "validation", "val", "dev"), "valid")}


@dataclass(frozen=True)
class Text:
    """A text file, or a folder of text files.

    vocabulary: "word", "byte", or "auto", which is by word where the text is long enough. words: entries of a vocabulary of words,
    at the most. window: tokens of a window of training.
    """

    path: Path | None = None
    vocabulary: str = "auto"
    words: int = 10_000
    window: int = 35

    def find(self, place: Place) -> TextSource:
        """The files. Raises DataError."""
        check_settings(self.vocabulary, self.words, self.window)
        if self.path is None:
            raise DataError("'text' needs a path: give the text file, or a folder of text files, itself")
        path = self.path.expanduser().resolve()
        return TextSource(bare_name(path), _parts(path), self.vocabulary, self.words, self.window)


def _parts(path: Path) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    if not path.is_dir():
        return (("all", (path,)),)
    files = texts_in(path)
    if not files:
        raise DataError(f"the folder '{path}' holds no texts; give a folder of .txt files, perhaps packed as .xz or .gz")
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file.relative_to(path)), []).append(file)
    if set(splits) == {"all"}:
        return (("all", tuple(files)),)
    loose = splits.pop("all", None)
    if loose:
        raise DataError(
            f"of the files in '{path}' some are named train, valid or test, but '{loose[0].relative_to(path)}' is not; rename it"
        )
    if "train" not in splits:
        raise DataError(f"the files in '{path}' are named {' and '.join(sorted(splits))}, but none train; rename one")
    return tuple((split, tuple(found)) for split, found in splits.items())


def _split_of(file: Path) -> str:
    """The split that a file's name says, else the innermost of its folders that says one, else "all"."""
    names = (bare_name(file), *reversed(file.parent.parts))
    words = (word for name in names for word in re.split(r"[^a-z]+", name.lower()))
    return next((_NAMES[word] for word in words if word in _NAMES), "all")
