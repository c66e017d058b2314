"""A folder of images: one sub-folder per class, perhaps within train, valid and test, or a CSV file with labels.

Hidden files and files that are no images are passed over; sub-folders within a class are walked. A CSV file has a column file,
filename, image or path, a column label, class or target, and perhaps a column split; its paths are relative to the folder.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from archscout.core.errors import DataError
from archscout.data._contents import SPLITS, Contents, Found, Place, digest
from archscout.data._decode import SUFFIXES, open_picture
from archscout.data._memory import split_name


@dataclass(frozen=True)
class Folder:
    """Images in a folder. labels: a CSV file; `labels.csv` in the folder is used by itself."""

    path: Path = Path()
    labels: Path | None = None

    def find(self, place: Place) -> Found:
        """List the images. Raises DataError for a folder that makes no task."""
        root = Path(self.path).expanduser().resolve()
        if not root.is_dir():
            raise DataError(f"there is no folder '{root}'; give a folder with one sub-folder of images per class")
        table = Path(self.labels).expanduser().resolve() if self.labels is not None else root / "labels.csv"
        listing = _from_table(root, table) if self.labels is not None or table.is_file() else _from_folders(root)
        stats = [os.stat(item.path) for item in listing.items]
        facts = [(*vars(item).values(), stat.st_size, stat.st_mtime_ns) for item, stat in zip(listing.items, stats, strict=True)]
        return Found(root.name or "images", digest([*facts, *listing.notes]), lambda: _contents(root, listing))


@dataclass(frozen=True)
class _Item:
    path: Path
    label: str
    split: str | None


@dataclass
class _Listing:
    items: list[_Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _contents(root: Path, listing: _Listing) -> Contents:
    items = listing.items
    classes = tuple(sorted({item.label for item in items}, key=_natural))
    numbers = {name: number for number, name in enumerate(classes)}
    train = {item.label for item in items if item.split in (None, "train")}
    for item in items:
        if item.label not in train:
            raise DataError(f"the class '{item.label}' has images in '{item.split}' but none to train on; add some or leave it out")
    splits = {name: np.array([row for row, item in enumerate(items) if item.split == name], np.int64) for name in SPLITS}
    return Contents(
        labels=np.array([numbers[item.label] for item in items], np.int64),
        classes=classes,
        picture=lambda index: open_picture(items[index].path),
        name_of=lambda index: os.path.relpath(items[index].path, root),
        splits={name: rows for name, rows in splits.items() if len(rows)},
        notes=[f"The images come from the folder '{root}'.", *listing.notes],
    )


def _from_folders(root: Path) -> _Listing:
    tops = _folders(root)
    splits = {folder.name: split_name(folder.name) for folder in tops}
    found = [name for name in splits.values() if name]
    listing = _Listing()
    if "train" not in found:
        for folder in tops:
            listing.items += [_Item(path, folder.name, None) for path in _images(folder)]
    else:
        if len(set(found)) < len(found):
            raise DataError(f"'{root}' has two folders for one split; keep one of them")
        for folder in tops:
            split = splits[folder.name]
            if split is None:
                listing.notes.append(f"The folder '{folder.name}' beside the split folders was not used.")
                continue
            for inner in _folders(folder):
                listing.items += [_Item(path, inner.name, split) for path in _images(inner)]
    _explain_none(root, listing, tops)
    return listing


def _explain_none(root: Path, listing: _Listing, tops: Sequence[Path]) -> None:
    named = {item.label for item in listing.items}
    if len(named) >= 2:
        empty = [folder.name for folder in tops if folder.name not in named and split_name(folder.name) is None]
        if empty and all(item.split is None for item in listing.items):
            listing.notes.append(f"Folders without images were not used: {', '.join(empty)}.")
        return
    if named:
        raise DataError(
            f"at least two classes are needed, but '{root}' has images of '{named.pop()}' only; add a second sub-folder"
        )
    loose = sum(1 for _ in _images(root))
    if loose:
        raise DataError(f"the {loose} images of '{root}' lie in no class; make one sub-folder per class, or a labels.csv")
    raise DataError(
        f"the folder '{root}' holds no images; give a folder with one sub-folder of images per class, "
        "or --task language-modelling for a folder of texts"
    )


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"the folder '{root}' cannot be read ({error.strerror}); check its permissions") from error


def _images(folder: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in sorted(files):
            path = Path(base, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


def _natural(name: str) -> tuple[int, int, str]:
    """Numbers in their order, then names in theirs."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _from_table(root: Path, table: Path) -> _Listing:
    try:
        text = table.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(f"the label file '{table}' cannot be read ({why}); give a CSV file") from error
    first = text.split("\n", 1)[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    header = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    file_column = next((header[name] for name in ("file", "filename", "image", "path") if name in header), None)
    label_column = next((header[name] for name in ("label", "class", "target") if name in header), None)
    if file_column is None or label_column is None:
        raise DataError(f"the label file '{table}' needs the columns file and label, but has {', '.join(header) or 'none'}")
    listing, seen = _Listing([], [f"Labels come from the file '{table}'."]), set[Path]()
    for row in rows:
        where = f"line {rows.line_num} of the label file '{table}'"
        name, label = (row[file_column] or "").strip(), (row[label_column] or "").strip()
        if not name and not label:
            continue
        path = next((base / name for base in (root, table.parent) if name and (base / name).is_file()), None)
        if path is None:
            raise DataError(f"{where} names the image '{name}', which does not exist in '{root}'; correct or remove the line")
        if not label or path in seen:
            what = "is named twice" if label else "has no label"
            raise DataError(f"the image '{name}' in {where} {what}; correct or remove the line")
        seen.add(path)
        listing.items.append(_Item(path, label, _split_of(row, header, where)))
    if len({item.label for item in listing.items}) < 2:
        raise DataError(f"at least two classes are needed, but the label file '{table}' names fewer")
    listing.items.sort(key=lambda item: os.fspath(item.path))
    return listing


def _split_of(row: dict[str, str], header: dict[str, str], where: str) -> str | None:
    text = (row.get(header.get("split", "split")) or "").strip()
    split = split_name(text)
    if text and split is None:
        raise DataError(f"{where} has the split '{text}'; splits are train, valid and test")
    return split
