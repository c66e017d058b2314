"""Published texts in a data directory: `text/NAME.train.txt`, `.valid.txt` and `.test.txt`, perhaps packed."""

from __future__ import annotations

from pathlib import Path

from archscout.core.errors import DataError
from archscout.data._contents import SPLITS, Place
from archscout.data._text import ENDINGS, PACKED, TextSource, check_settings


def found_text(place: Place, name: str, vocabulary: str, words: int, window: int, notes: tuple[str, ...]) -> TextSource:
    """The parts of a published text that are at hand; the validation part stands in for missing training text. Raises DataError."""
    check_settings(vocabulary, words, window)
    root = place.data_dir.resolve() if place.data_dir is not None else None
    for folder in [] if root is None else [root / "text", root / name, root]:
        parts = {split: path for split in SPLITS if (path := _file(folder, name, split)) is not None}
        if "train" in parts or "valid" in parts:
            stands_in = "train" not in parts
            named = tuple((split, (path,)) for split, path in parts.items())
            said = (f"The text is {notes[0]}, read from '{folder}'.", *notes[1:])
            return TextSource(name, named, vocabulary, words, window, stands_in=stands_in, notes=said)
    where = "no --data-dir was given" if place.data_dir is None else f"'{place.data_dir}' does not hold it"
    raise DataError(
        f"the text '{name}' is not fetched from the network, and {where}; put {name}.train.txt, {name}.valid.txt and "
        f"{name}.test.txt (or .txt.xz) into a folder 'text' and give the folder above it with --data-dir"
    )


def _file(folder: Path, name: str, split: str) -> Path | None:
    for ending in ENDINGS:
        for packed in ("", *PACKED):
            path = folder / f"{name}.{split}{ending}{packed}"
            if path.is_file():
                return path
    return None
