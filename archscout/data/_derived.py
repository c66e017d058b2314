"""Tasks made of the classes of a data set, by a name: which classes, and whether against the rest.

    mnist:0               0 against the other digits, of which as many images are used
    cifar10:cat+dog,ship  three classes: cats and dogs, ships, and all others, of which as many as of the named ones together

A class is called by its name, or by its number from 0 on where no class has that name. The named classes get the labels 0, 1, ...
in the order in which they are named, the others the last one. Which images of the others are used is drawn, split by split, by the
seed of the splits.
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
from archscout.data._contents import Rows, digest
from archscout.nn.batches import ImageSplit

if TYPE_CHECKING:
    from archscout.data._opened import OpenedData

Groups = tuple[tuple[int, ...], ...]
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
    names = ["+".join(opened.classes[number] for number in group) for group in groups]
    if sum(map(len, groups)) < len(opened.classes):
        names.append("other" if "other" not in names else "(other)")
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
    note = (
        f"Of these images those of {len(names)} classes are used: {', '.join(names)}; the last is cut to as many as of the others."
    )
    return replace(
        opened,
        task=replace(opened.task, name=f"{opened.task.name}:{classes}", classes=len(names), fingerprint=fingerprint, splits=splits),
        test=test,
        classes=tuple(names),
        counts=counts,
        notes=[*opened.notes, note if names[-1] in ("other", "(other)") else note.partition(";")[0] + "."],
        fingerprint=fingerprint,
    )


def _groups(text: str, classes: Sequence[str]) -> Groups:
    groups = tuple(tuple(_number(name.strip(), classes) for name in group.split("+")) for group in text.split(","))
    named = [number for group in groups for number in group]
    if twice := [classes[number] for number in named if named.count(number) > 1]:
        raise DataError(f"the class '{twice[0]}' is named twice in ':{text}'; name each class once")
    return groups


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
    count = int(split.labels.max()) + 1
    moved = np.full(max(count, 1 + max(map(max, groups))), len(groups), np.int64)
    for label, group in enumerate(groups):
        moved[list(group)] = label
    labels = moved[split.labels]
    others = labels[split.rows] == len(groups)
    kept, rest = split.rows[~others], split.rows[others]
    order = generator(seed, "others", name).permutation(len(rest))
    rows: Rows = np.sort(np.concatenate([kept, rest[order[: len(kept)]]]))
    return replace(split, labels=labels, rows=rows, source=None)


def _counts(split: ImageSplit, names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, np.bincount(split.labels[split.rows], minlength=len(names)).tolist(), strict=True))
