"""Opens models of MetaD2A for a problem: the model, the extractor that it learned with, features of the images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind
from archscout.core.models import model_file
from archscout.core.problem import Problem
from archscout.core.protocols import Extractor, Space
from archscout.core.seeds import generator
from archscout.core.sketch import from_text, shared, sketch
from archscout.nn import checkpoint
from archscout.nn.metad2a import Model

_log = logging.getLogger(__name__)
MOST_PER_CLASS = 200
"""Images of a class whose features are taken, at random where there are more."""
_SEEN = 3
"""So many images that a data set shares with one that was learned from make it known."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A model, ready for one problem.

    features: (n, F) for each class of the problem's training images. facts: of the model (`database`, `extractor`, `sources`).
    """

    model: Model
    features: tuple[NDArray[np.float32], ...]
    facts: Mapping[str, Any]
    known: tuple[str, ...]
    """The data sets of the meta-training that these images were found in."""

    @property
    def distance(self) -> float:
        """Of the data from those that were learned from; more than 1 is outside of what was seen."""
        return self.model.distance(self.features)


def default_name(space: Space) -> str:
    """Of the model that comes with archscout for a space, where one does."""
    return f"metad2a-{space.name}"


def opened(name: str, problem: Problem, method: str) -> Opened:
    """The model of this name for a problem; where it is empty, the one that comes with archscout for the space.

    Raises UnknownName or UserError where there is none, or it is of another space or version; KindError for other tasks.
    """
    check_kind(problem.task, None, method)
    path = model_file(name or default_name(problem.space))
    model, facts = _read(path)
    model.check_space(problem.space)
    extractor = _extractor(facts, path)
    images, labels = _images(problem)
    features = extractor.features(images)
    by_class = tuple(features[labels == number] for number in range(problem.task.classes))
    return Opened(model, by_class, facts, _known(images, facts))


@lru_cache(maxsize=2)
def _read(path: Path) -> tuple[Model, Mapping[str, Any]]:
    found, remarks = checkpoint.load(path)
    if found is None:
        raise UserError(f"'{path}' holds no model of archscout{''.join(f'; {remark}' for remark in remarks)}; train it again")
    for remark in remarks:
        _log.warning(remark)
    tensors, facts = found
    return Model.from_state({**tensors, **facts.get("model", {})}), facts


def _extractor(facts: Mapping[str, Any], path: Path) -> Extractor:
    """The extractor that a model learned with. Raises UserError where its weights are others by now."""
    record = facts["extractor"]
    made: Extractor = catalogue.make("extractors", record["name"], **record["settings"])
    if made.digest != record["digest"]:
        raise UserError(f"'{path}' learned from features of other weights of '{record['name']}'; train it again")
    return made


def _images(problem: Problem) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Training images (N, H, W, C) and labels (N,), at most 200 a class, the same for everybody."""
    data = problem.task.splits["train"]
    labels = data.labels[data.rows]
    rng = generator(0, "features", problem.task.fingerprint)
    chosen = []
    for number in range(problem.task.classes):
        rows = np.flatnonzero(labels == number)
        chosen.append(np.sort(rng.permutation(rows)[:MOST_PER_CLASS]))
    rows = np.concatenate(chosen)
    return np.ascontiguousarray(data.images[data.rows[rows]]), labels[rows]


def _known(images: NDArray[np.uint8], facts: Mapping[str, Any]) -> tuple[str, ...]:
    mine = sketch(images)
    return tuple(name for name, text in facts.get("sources", {}).items() if shared(mine, from_text(text)) >= _SEEN)
