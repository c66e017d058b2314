"""Which image belongs to which split: what the data set says, and stratified, seeded draws for what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from archscout.core.errors import DataError
from archscout.core.seeds import generator
from archscout.data._contents import SPLITS, Rows

FRACTION = 0.15


def complete(
    labels: Rows,
    classes: Sequence[str],
    given: Mapping[str, Rows],
    *,
    seed: int,
    valid_fraction: float = FRACTION,
    valid_most: int | None = None,
    limit_per_class: int | None = None,
) -> dict[str, Rows]:
    """Rows of "train", "valid" and "test", each sorted.

    Given splits stay as they are. Otherwise each class gives 15 % (at least one image) to the test split and `valid_fraction`
    (at least one; in all at most `valid_most`) to the validation split. limit_per_class: of each class at most so many images
    in each split. Raises DataError naming a class with too few images.
    """
    splits = {name: np.sort(rows) for name, rows in given.items() if len(rows)}
    pool = splits.get("train")
    if pool is None:
        pool = np.setdiff1d(np.arange(len(labels)), np.concatenate([np.empty(0, np.int64), *splits.values()]))
    missing = [name for name in ("test", "valid") if name not in splits]
    _enough(labels[pool], classes, 1 + len(missing))
    whole = len(pool)
    for name in missing:
        fraction = FRACTION if name == "test" else valid_fraction
        if name == "valid" and valid_most is not None:
            fraction = min(fraction, valid_most / whole)
        splits[name] = _drawn(labels, pool, classes, fraction, whole, seed, name)
        pool = np.setdiff1d(pool, splits[name])
    splits["train"] = pool
    if limit_per_class is not None:
        splits = {name: _limited(labels, rows, classes, limit_per_class, seed, name) for name, rows in splits.items()}
    return {name: splits[name] for name in SPLITS}


def _enough(labels: Rows, classes: Sequence[str], least: int) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < least:
            few = {0: "no readable image", 1: "1 readable image"}.get(int(count), f"{count} readable images")
            raise DataError(
                f"the class '{name}' has {few} to train on, but needs at least {least}, one for each split that is made from them; "
                "add images or leave the class out"
            )


def _drawn(labels: Rows, pool: Rows, classes: Sequence[str], fraction: float, whole: int, seed: int, split: str) -> Rows:
    """Of each class in the pool its share for one split. The share is of the class before any other split was taken from it."""
    grow = whole / len(pool)
    taken = []
    for index, name in enumerate(classes):
        rows = pool[labels[pool] == index]
        number = max(1, round(len(rows) * grow * fraction))
        order = generator(seed, "split", split, name).permutation(len(rows))
        taken.append(rows[order[: min(number, len(rows) - 1)]])
    return np.sort(np.concatenate(taken))


def _limited(labels: Rows, rows: Rows, classes: Sequence[str], limit: int, seed: int, split: str) -> Rows:
    kept = []
    for index, name in enumerate(classes):
        members = rows[labels[rows] == index]
        order = generator(seed, "limit", split, name).permutation(len(members))
        kept.append(members[order[:limit]])
    return np.sort(np.concatenate(kept))
