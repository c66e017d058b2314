"""Images that lie in memory already: arrays, tensors, and map-style Datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archscout.core.errors import DataError
from archscout.data._contents import SPLITS, Contents, Found, Progress, Rows, array_digest, digest, from_array
from archscout.data._decode import picture_of, reason

_SPLIT_NAMES = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def split_name(text: str) -> str | None:
    """train, valid or test for the usual names of splits, else None."""
    return _SPLIT_NAMES.get(text.strip().lower())


def found_arrays(x: Any, y: Any, classes: Sequence[str] | None, splits: Mapping[str, Any] | None, name: str) -> Found:
    """Arrays as a data set; see `open_arrays`. Raises DataError for shapes, values or labels that make no sense."""
    if isinstance(x, Mapping) != isinstance(y, Mapping):
        raise DataError("images and labels are both arrays or both mappings from splits to arrays, but one of each came")
    if isinstance(x, Mapping):
        if splits is not None:
            raise DataError("the splits are given twice: as mappings of arrays and as rows; give them once")
        x, y, splits = _joined(x, y)
    images, labels = to_bytes(_numpy(x)), _numpy(y)
    if labels.shape != images.shape[:1]:
        raise DataError(f"one label for each of the {len(images)} images is needed, but labels of shape {labels.shape} came")
    numbers, names = numbered(labels, classes)
    rows = _split_rows(splits, len(images))
    contents = from_array(images, numbers, names, splits=rows)
    identity = digest([array_digest(images, numbers, *rows.values()), list(rows), *names])
    return Found(name, identity, lambda: contents)


def found_dataset(
    dataset: Any, classes: Sequence[str] | None, splits: Mapping[str, Any] | None, name: str, progress: Progress | None = None
) -> Found:
    """A map-style Dataset, or a mapping from splits to such, as a data set; see `open_dataset`. Every item is read, once."""
    parts = dataset if isinstance(dataset, Mapping) else {"": dataset}
    pictures: list[Any] = []
    labels: list[Any] = []
    skipped: list[tuple[str, str]] = []
    bounds: dict[str, Rows] = {}
    position: list[int] = []
    for split, part in parts.items():
        start = len(pictures)
        for index in range(len(part)):
            try:
                picture, label = part[index]
                pictures.append(picture if isinstance(picture, Image.Image) else _numpy(picture))
                labels.append(label.item() if hasattr(label, "item") else label)
            except Exception as error:
                skipped.append((f"item {index}{f' of {split}' if split else ''}", reason(error)))
                position.append(-1)
            else:
                position.append(len(pictures) - 1)
            if progress is not None and index % 256 == 255:
                progress("reading the data set", index + 1, len(part))
        bounds[split] = np.arange(start, len(pictures))
    if not pictures:
        first = f" (the first, {skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise DataError(f"the data set gives no image{first}; its items should be pairs of image and label")
    if classes is None:
        classes = getattr(next(iter(parts.values())), "classes", None)
    whole = {bool(isinstance(label, int | np.integer)) for label in labels} == {True}
    numbers, names = numbered(np.array(labels), classes if whole else None)
    rows = bounds if isinstance(dataset, Mapping) else _moved(_split_rows(splits, len(position)), np.array(position))
    rows = _split_rows(rows, len(pictures))
    images = _as_images(pictures)
    identity = digest(
        [*(array_digest(np.asarray(image)) for image in images), array_digest(numbers, *rows.values()), list(rows), *names]
    )
    contents = Contents(
        labels=numbers,
        classes=names,
        picture=lambda index: images[index].copy(),
        name_of=lambda index: f"image {index}",
        splits=rows,
        skipped=skipped,
    )
    return Found(name, identity, lambda: contents)


def to_bytes(images: NDArray[Any]) -> NDArray[np.uint8]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) of any usual range as (N, H, W, C) uint8. Raises DataError."""
    if images.ndim == 3:
        images = images[:, :, :, None]
    elif images.ndim == 4 and images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in (1, 2, 3, 4):
        raise DataError(f"images come as (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, but {images.shape} came")
    if not len(images):
        raise DataError("at least two classes of images are needed, but the array holds no image")
    return np.ascontiguousarray(_scaled(images, _range(images)))


def numbered(labels: NDArray[Any], classes: Sequence[str] | None) -> tuple[Rows, tuple[str, ...]]:
    """Labels as 0 .. K - 1, and the K names. Without names, the distinct labels in order are the classes. Raises DataError."""
    if labels.dtype.kind == "f" and np.array_equal(labels, np.rint(labels)):
        labels = labels.astype(np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "iubUS":
        raise DataError(f"labels are one whole number or name per image, but {labels.dtype} of shape {labels.shape} came")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf8")
    if classes is None or labels.dtype.kind == "U":
        values, numbers = np.unique(labels, return_inverse=True)
        return numbers.astype(np.int64), tuple(str(value) for value in values)
    numbers = labels.astype(np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(classes):
        raise DataError(f"labels of {len(classes)} classes are 0 to {len(classes) - 1}, not {numbers.min()} to {numbers.max()}")
    return numbers, tuple(map(str, classes))


def _numpy(values: Any) -> NDArray[Any]:
    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _range(images: NDArray[Any]) -> float:
    """The value that stands for white. Raises DataError for values that are no pixels."""
    if images.dtype == np.uint8:
        return 255.0
    if images.dtype.kind not in "biuf":
        raise DataError(f"pixels are numbers, but {images.dtype} came")
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all() or low < 0 or high > 65535:
        raise DataError(
            f"pixels are whole numbers 0 to 255 or fractions 0 to 1, but values from {low:g} to {high:g} came; "
            "give the images before any normalisation"
        )
    if images.dtype.kind == "b" or (images.dtype.kind == "f" and high <= 1):
        return 1.0
    return 255.0 if high <= 255 else 65535.0


def _scaled(images: NDArray[Any], white: float) -> NDArray[np.uint8]:
    if images.dtype == np.uint8:
        return images
    scaled = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), 1024):
        block = images[start : start + 1024].astype(np.float64)
        scaled[start : start + 1024] = np.clip(np.rint(block * (255.0 / white)), 0, 255)
    return scaled


def _as_images(pictures: Sequence[Any]) -> list[Image.Image]:
    """Pillow images, arrays (H, W), (H, W, C) or (C, H, W) as Pillow images; all arrays share one range."""
    arrays = [picture for picture in pictures if not isinstance(picture, Image.Image)]
    white = max((_range(array[None]) for array in arrays), default=255.0)
    made = []
    for picture in pictures:
        if isinstance(picture, Image.Image):
            made.append(picture)
            continue
        if picture.ndim == 3 and picture.shape[2] not in (1, 3) and picture.shape[0] in (1, 3):
            picture = picture.transpose(1, 2, 0)
        if picture.ndim == 2:
            picture = picture[:, :, None]
        if picture.ndim != 3 or picture.shape[2] not in (1, 2, 3, 4):
            raise DataError(f"an image is (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels, but {picture.shape} came")
        made.append(picture_of(_scaled(picture[None], white)[0]))
    return made


def _joined(x: Mapping[str, Any], y: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any], dict[str, Rows]]:
    if set(x) != set(y):
        raise DataError(f"images and labels come for the same splits, but {sorted(x)} and {sorted(y)} came")
    images = [_numpy(x[name]) for name in x]
    if len({(array.shape[1:], array.dtype) for array in images}) > 1:
        listed = ", ".join(f"{name} {array.shape[1:]} {array.dtype}" for name, array in zip(x, images, strict=True))
        raise DataError(f"the images of all splits have one shape and type, but {listed} came")
    starts = np.cumsum([0, *map(len, images)])
    rows = {name: np.arange(starts[index], starts[index + 1]) for index, name in enumerate(x)}
    return np.concatenate(images), np.concatenate([_numpy(y[name]) for name in x]), rows


def _split_rows(splits: Mapping[str, Any] | None, count: int) -> dict[str, Rows]:
    """Given splits under their own names, as row numbers without overlap. Raises DataError."""
    rows: dict[str, Rows] = {}
    for name, given in (splits or {}).items():
        known = split_name(name)
        if known is None or known in rows:
            raise DataError(f"splits are called {', '.join(SPLITS)}, each given once, but '{name}' came")
        values = _numpy(given)
        if values.dtype == np.bool_ and values.shape == (count,):
            values = np.flatnonzero(values)
        values = values.astype(np.int64)
        if values.ndim != 1 or (len(values) and not 0 <= values.min() <= values.max() < count):
            raise DataError(f"the split '{name}' takes row numbers from 0 to {count - 1} or a mask of {count} values")
        rows[known] = values
    used = np.concatenate([np.empty(0, np.int64), *rows.values()])
    if len(np.unique(used)) < len(used):
        raise DataError("an image belongs to one split, but some rows are given twice; give each row once")
    return {name: rows[name] for name in SPLITS if name in rows}


def _moved(rows: Mapping[str, Rows], position: Rows) -> dict[str, Rows]:
    moved = {name: position[values] for name, values in rows.items()}
    return {name: values[values >= 0] for name, values in moved.items()}
