"""Handwritten characters of one to three background alphabets of Omniglot; the evaluation alphabets are never drawn from.

Each character was drawn by 20 people. The drawings of some are for training, of the others for validation; each is varied as often
as a task needs images, and may have others beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archscout.core.pictures import Pictures, TaskForm
from archscout.core.places import cache_folder
from archscout.data._contents import Place
from archscout.data._opened import data_folder_of
from archscout.data._prepared import prepare
from archscout.data.omniglot import Omniglot as Drawings
from archscout.families._drawing import Design, Part, class_count, drawn
from archscout.families._look import Floats, Look
from archscout.families._subsets import Source, made_source, originals
from archscout.families._writing import drawn_paper


@dataclass(frozen=True)
class Omniglot:
    """Characters of the background alphabets of Omniglot."""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number. Raises DataError where the set cannot be had."""
        return drawn("omniglot", number, form, seed, partial(_designed, _source(data_dir)))

    def sources(self, data_dir: Path | None = None) -> Mapping[str, NDArray[np.uint64]]:
        """What it reads: the name of the set and the sketch of its images."""
        source = _source(data_dir)
        return {source.name: source.sketch}


@lru_cache(maxsize=2)
def _source(data_dir: Path | None) -> Source:
    found = Drawings(classes="characters").find(Place(cache_folder(), data_folder_of(data_dir)))
    prepared = prepare(found, "auto", 1, cache_folder())
    images = np.load(prepared.folder / "images.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
    classes = tuple(prepared.meta["classes"])
    rows = tuple(np.flatnonzero(prepared.labels == label) for label in range(len(classes)))
    return made_source(found.name, images, rows, classes, mirrored=False)


def _designed(source: Source, rng: np.random.Generator, look: Look, form: TaskForm) -> Design:
    alphabet_of = np.array([name.split("/")[0] for name in source.classes])
    alphabets = rng.permutation(np.unique(alphabet_of))
    many = int(rng.integers(1, 4))
    while np.isin(alphabet_of, alphabets[:many]).sum() < form.fewest and many < len(alphabets):
        many += 1
    characters = np.flatnonzero(np.isin(alphabet_of, alphabets[:many]))
    count = class_count(rng, form, len(characters))
    # There are few drawings of each, so the variations must make up for it.
    look = replace(look, shift=max(look.shift, 0.1), turn=min(max(look.turn, 0.15), 0.4), scale=max(look.scale, 0.15))
    chosen = np.sort(rng.permutation(characters)[:count])
    take, paper = originals(source, chosen, rng, form), drawn_paper(rng)

    def paint(part: Part, labels: NDArray[np.int64], side: int, rng: np.random.Generator) -> Floats:
        own = take(part, labels)
        padded = np.pad(own, ((0, 0), (1, 1), (1, 1), (0, 0)))  # what is beyond the border is empty
        return paper.written(padded, lambda many: padded[rng.integers(len(own), size=many)], look, side, rng)

    return Design(tuple(source.classes[label] for label in chosen), paint, look)
