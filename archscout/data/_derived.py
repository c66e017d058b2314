"""Tasks made of the classes of a data set, by a name: which classes, and what of the others.

    mnist:0               0 against the other digits, of which as many images are used
    cifar10:cat+dog,ship  three classes: all others, cats and dogs, ships; of the others as many as of the named ones together
    mnist:0,1,*           three classes: all others, without leaving images out, 0, and 1

A class is called by its name, or by its number from 0 on where no class has that name. The others get the label 0, so that this
means the same in all tasks of a data set, and the named classes 1, 2, ... in the order in which they are named; where all are
named, they begin with 0. Which images of the others are used is drawn, split by split, by the seed of the splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from archscout.core.errors import DataError, suggestion
from archscout.core.seeds import generator
from archscout.data._contents import digest
from archscout.nn.batches import ImageSplit

if TYPE_CHECKING:
    from archscout.data._opened import OpenedData

Groups = tuple[tuple[int, ...], ...]
"""The numbers of the classes that make up each named class; before them how the others are taken."""
_AS_MANY, _ALL, _NO_OTHERS = (-1,), (-2,), (-3,)
_FORM = "a task made of classes reads like mnist:0 or cifar10:cat+dog,ship"


def parted(source: str) -> tuple[str, str | None]:
    """`mnist:0` -> mnist and 0; a path that exists, or a name without a colon, has no second part."""
    base, colon, classes = source.rpartition(":")
    if not colon or not base or Path(source).expanduser().exists():
        return source, None
    return base, classes


def derived(opened: OpenedData, classes: str, seed: int) -> OpenedData:
    """The task of these classes of the data. Raises DataError for classes that there are not, or that make no task."""
    groups = _groups(classes, opened.classes)
    names = ["+".join(opened.classes[number] for number in group) for group in groups[1:]]
    others = sum(map(len, groups[1:])) < len(opened.classes)
    if others:
        names.insert(0, "other" if "other" not in names else "(other)")
    else:
        groups = (_NO_OTHERS, *groups[1:])
    if len(names) < 2:
        raise DataError(f"':{classes}' leaves no class to tell the named ones from; leave it out, or name fewer classes; {_FORM}")
    every: dict[str, ImageSplit] = {**opened.task.splits, "test": cast(ImageSplit, opened.test)}
    splits = {name: _split(split, name, groups, seed) for name, split in every.items()}
    counts = {name: _counts(split, names) for name, split in splits.items()}
    test = splits.pop("test")
    for split, found in counts.items():
        if empty := [name for name, count in found.items() if not count]:
            raise DataError(f"the class '{empty[0]}' has no image in the split '{split}'; name other classes")
    fingerprint = digest([opened.fingerprint, groups, seed])
    cut = f"; of '{names[0]}' as many as of the others together" if groups[0] == _AS_MANY else ""
    return replace(
        opened,
        task=replace(opened.task, name=f"{opened.task.name}:{classes}", classes=len(names), fingerprint=fingerprint, splits=splits),
        test=test,
        classes=tuple(names),
        counts=counts,
        notes=[*opened.notes, f"Of these images {len(names)} classes are made: {', '.join(names)}{cut}."],
        fingerprint=fingerprint,
    )


def _groups(text: str, classes: Sequence[str]) -> Groups:
    parts = text.split(",")
    every = len(parts) > 1 and parts[-1].strip() == "*"
    groups = tuple(tuple(_number(name.strip(), classes) for name in group.split("+")) for group in parts[: -1 if every else None])
    named = [number for group in groups for number in group]
    if twice := [classes[number] for number in named if named.count(number) > 1]:
        raise DataError(f"the class '{twice[0]}' is named twice in ':{text}'; name each class once")
    return _ALL if every else _AS_MANY, *groups


def _number(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    raise DataError(f"there is no class '{name}'; {suggestion(name, classes[:20])}; {_FORM}")


def _split(split: ImageSplit, name: str, groups: Groups, seed: int) -> ImageSplit:
    if split.source is None:
        return _of_groups(split, name, groups, seed)
    return open_derived(split.source, name, groups, seed)


@lru_cache(maxsize=64)
def open_derived(source: tuple[Callable[..., ImageSplit], tuple[Any, ...]], name: str, groups: Groups, seed: int) -> ImageSplit:
    """A split of a derived task; it travels between processes as these arguments. source: opens the split of all classes."""
    made, arguments = source
    found = _of_groups(made(*arguments), name, groups, seed)
    return replace(found, source=(open_derived, (source, name, groups, seed)))


def _of_groups(split: ImageSplit, name: str, groups: Groups, seed: int) -> ImageSplit:
    how, *named = groups
    first = 0 if how == _NO_OTHERS else 1
    moved = np.zeros(1 + max(int(split.labels.max()), *map(max, named)), np.int64)
    for label, group in enumerate(named, first):
        moved[list(group)] = label
    labels = moved[split.labels]
    rows = split.rows
    if how == _AS_MANY:
        kept, rest = rows[labels[rows] > 0], rows[labels[rows] == 0]
        order = generator(seed, "others", name).permutation(len(rest))
        rows = np.sort(np.concatenate([kept, rest[order[: len(kept)]]]))
    return replace(split, labels=labels, rows=rows, source=None)


def _counts(split: ImageSplit, names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, np.bincount(split.labels[split.rows], minlength=len(names)).tolist(), strict=True))
