"""Omniglot: handwritten characters of 50 alphabets, 28 x 28 pixels, by alphabet or by character (MIT licence).

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program induction" (Science, 2015).
Without a setting the 30 background alphabets are the classes (19,280 images); with `alphabet` the characters of that one
alphabet are (20 images each; any of the 50), with `classes=characters` those of all background alphabets (964). There is no
test part, so all splits are drawn; only with `classes=all` are the characters of the evaluation alphabets the test part.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archscout.core.errors import DataError, UnknownName, suggestion
from archscout.data._contents import Contents, FlipRule, Found, Place, digest, file_identity, from_array, read_member, read_npz
from archscout.data._download import RemoteFile
from archscout.data._published import at_hand, fetched

_MD5 = {"background": "68d2efa1b9178cc56df9314c21c6e718", "evaluation": "6b91aef0f799c5bb55b94e3f2daec811"}
_MIRRORS = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    "https://github.com/brendenlake/omniglot/raw/master/python/",
)
_SIDE = 28


@dataclass(frozen=True)
class Omniglot:
    """alphabet: the characters of this alphabet as classes, for instance "Greek"; none: the background alphabets as classes.

    classes: without an alphabet, whether the background alphabets or all their characters are the classes; "all" for the characters
        of all 50 alphabets, those of the 20 evaluation alphabets as the test part (few-shot episodes take these).
    """

    alphabet: str | None = None
    classes: Literal["alphabets", "characters", "all"] = "alphabets"

    def find(self, place: Place) -> Found:
        """In the data directory (omniglot28_*.npz or images_*.zip), in the cache, or from the network."""
        one = self.alphabet is None and self.classes != "all"
        parts = ["background"] if one else ["background", "evaluation"]
        paths = [path for part in parts for path in _part(place, part)]
        name = "omniglot" if self.alphabet is None else f"omniglot-{self.alphabet.lower().replace(' ', '-')}"
        by_character = self.classes != "alphabets" and self.alphabet is None
        name += "-characters" if by_character else ""
        identity = digest([file_identity(paths), self.alphabet, *([self.classes] if by_character else [])])
        return Found(name, identity, lambda: _contents(paths, self.alphabet, by_character))

    def for_episodes(self) -> Omniglot:
        """All characters, unless an alphabet is chosen or the background's characters are."""
        return self if self.alphabet is not None or self.classes == "characters" else Omniglot(classes="all")


def _part(place: Place, part: str) -> list[Path]:
    prepared = at_hand(place, [f"omniglot28_{part}.npz"], ("", "omniglot"))
    packed = at_hand(place, [f"images_{part}.zip"], ("", "omniglot", "omniglot-py"))
    name = f"images_{part}.zip"
    file = RemoteFile(name, tuple(mirror + name for mirror in _MIRRORS), f"md5:{_MD5[part]}")
    return prepared or packed or fetched(place, [file], "omniglot")


def _contents(paths: list[Path], alphabet: str | None, by_character: bool) -> Contents:
    """Choose the classes from all images and their names, which are such as "Greek/character03"."""
    read = [_prepared(path) if path.suffix == ".npz" else _packed(path) for path in paths]
    images = np.concatenate([pictures for pictures, _ in read])
    names = np.concatenate([characters for _, characters in read])
    alphabets = np.array([name.split("/")[0] for name in names])
    labels = names if by_character else alphabets
    if alphabet is not None:
        known = {_loose(name): name for name in np.unique(alphabets).tolist()}
        if _loose(alphabet) not in known:
            raise UnknownName(f"omniglot has no alphabet '{alphabet}'; {suggestion(alphabet, known.values())}")
        chosen = alphabets == known[_loose(alphabet)]
        images, labels = images[chosen], np.array([name.split("/")[1] for name in names[chosen]])
    classes, numbers = np.unique(labels, return_inverse=True)
    what = "characters of one alphabet" if alphabet else "characters" if by_character else "background alphabets"
    notes = [
        f"The images are Omniglot (Lake and others, MIT licence), read from '{paths[0].parent}'.",
        f"The classes are its {len(classes)} {what}.",
        "Ink is bright on black; invert photographs of ink on paper before they are classified.",
    ]
    flip = FlipRule(False, "a mirror changes characters")
    splits = {}
    if by_character and len(read) > 1:
        later = np.arange(len(images)) >= len(read[0][0])
        splits = {"train": np.flatnonzero(~later), "test": np.flatnonzero(later)}
    return from_array(
        np.ascontiguousarray(images[:, :, :, None]), numbers, classes.tolist(), flip=flip, notes=notes, splits=splits, quarters=True
    )


def _prepared(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    try:
        file = read_npz(path)
        return file["images"].astype(np.uint8, copy=False), file["character_names"][file["character"]]
    except (OSError, ValueError, KeyError, EOFError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read as prepared Omniglot ({error}); fetch it again") from error


def _packed(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """The published drawings, 105 x 105 with black ink, averaged down to 28 x 28 with bright ink."""
    try:
        drawings = list(_drawings(path))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read as published Omniglot ({error}); remove it and fetch it again") from error
    if not drawings:
        raise DataError(f"'{path}' holds no drawings of Omniglot; remove it and fetch it again")
    return np.stack([image for image, _ in drawings]), np.array([name for _, name in drawings])


def _drawings(path: Path) -> Iterator[tuple[NDArray[np.uint8], str]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            words = name.split("/")
            if len(words) == 4 and words[3].endswith(".png"):
                with Image.open(io.BytesIO(read_member(archive, name)), formats=["PNG"]) as drawing:
                    small = drawing.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
                yield 255 - np.asarray(small, np.uint8), f"{words[1]}/{words[2]}"


def _loose(name: str) -> str:
    return name.lower().replace("_", " ").replace("-", " ").split("(")[0].strip()
