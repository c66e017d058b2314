"""Decoded images on disk: `<cache>/prepared/<key>/` holds images.npy (N, H, W, C) uint8, labels.npy (N,), given.npz and meta.json.

A folder is written beside its place and moved there whole, under a lock that dies with its process, so a reader never sees half
of one. Its contents are checked against their checksums whenever a data set is opened; a damaged folder is made anew. The rows
of the splits for one seed lie in `split-<digest>.npz` in the same folder, so that another seed decodes nothing again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from archscout.core.errors import ArchscoutError, DataError, StorageError
from archscout.data._contents import SPLITS, Contents, Found, Progress, Rows, array_digest, digest, read_npz
from archscout.data._decode import each, fitted, reason
from archscout.data._form import Form, choose_form
from archscout.data._splits import complete
from archscout.nn.batches import Augmentation, ImageSplit

SCHEMA = 2


@dataclass(frozen=True)
class Prepared:
    """A prepared folder that has been checked. meta: what meta.json says."""

    folder: Path
    meta: Mapping[str, Any]
    labels: Rows = field(repr=False)
    given: Mapping[str, Rows] = field(repr=False)


def prepare(found: Found, image_size: str, channels: str | int, cache: Path, progress: Progress | None = None) -> Prepared:
    """The prepared folder of a data set, from the cache or made now.

    Raises DataError for data that make no task or a cache that cannot be written, StorageError for a full disk.
    """
    folder = cache / "prepared" / digest([SCHEMA, found.name, found.identity, image_size, channels], 12)
    ready = _checked(folder)
    if ready is not None:
        return ready
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            ready = _checked(folder)
            if ready is None:
                _make(folder, found, image_size, channels, progress)
                ready = _checked(folder)
    except ArchscoutError:
        raise
    except OSError as error:
        raise _storage_trouble(folder.parent, error) from error
    if ready is None:
        raise StorageError(f"the prepared images in '{folder}' could not be read back as they were written; check the disk")
    return ready


def split_rows(prepared: Prepared, seed: int, limit_per_class: int | None) -> tuple[str, dict[str, Rows]]:
    """The name of the split's file in the prepared folder, and the rows of "train", "valid" and "test"."""
    meta = prepared.meta
    rows = complete(
        prepared.labels,
        meta["classes"],
        prepared.given,
        seed=seed,
        valid_fraction=meta["valid_fraction"],
        valid_most=meta["valid_most"],
        limit_per_class=limit_per_class,
    )
    return keep_split(prepared, rows, digest([SCHEMA, seed, limit_per_class], 8)), rows


def keep_split(prepared: Prepared, rows: Mapping[str, Rows], key: str) -> str:
    """Keep the rows of the splits, and the statistics of the training rows, in the prepared folder under a name, which it gives."""
    path = prepared.folder / f"split-{key}.npz"
    kept = _read_split(path)
    if kept is None or any(not np.array_equal(kept[name], rows[name]) for name in SPLITS):
        images = np.load(prepared.folder / "images.npy", mmap_mode="r", allow_pickle=False)
        mean, std = statistics(images, rows["train"])
        _write_split(path, {**rows, "mean": mean, "std": std})
        open_split.cache_clear()
    return key


@lru_cache(maxsize=64)
def open_split(folder: str, key: str, name: str, augmentation: Augmentation) -> ImageSplit:
    """One split of a prepared folder, its images mapped from disk; splits travel between processes as these arguments."""
    base = Path(folder)
    kept = _read_split(base / f"split-{key}.npz")
    try:
        if kept is None:
            raise FileNotFoundError(f"no readable 'split-{key}.npz'")
        images = np.load(base / "images.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
        labels = np.load(base / "labels.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"the prepared images in '{base}' are gone ({error}); open the data set again") from error
    mean, std = tuple(map(float, kept["mean"])), tuple(map(float, kept["std"]))
    source = (open_split, (folder, key, name, augmentation))
    return ImageSplit(images, labels, kept[name], mean, std, augmentation, source)


def statistics(images: NDArray[np.uint8], rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel of these rows, on the scale 0..1; a deviation is at least 1/255."""
    channels = images.shape[3]
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    for start in range(0, len(rows), 1024):
        block = images[rows[start : start + 1024]].reshape(-1, channels)
        total += block.sum(0, dtype=np.uint64)
        squares += np.square(block, dtype=np.uint16).sum(0, dtype=np.uint64)
        count += len(block)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean / 255, np.maximum(deviation, 1.0) / 255


def _checked(folder: Path) -> Prepared | None:
    """The folder if it is whole, else None."""
    try:
        meta = json.loads((folder / "meta.json").read_text("utf8"))
        if meta["schema"] != SCHEMA or meta.pop("checksum") != _meta_digest(meta):
            return None
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        given = read_npz(folder / "given.npz")
    except (OSError, ValueError, KeyError, EOFError):
        return None
    whole = array_digest(images) == meta["images"] and array_digest(labels, *given.values()) == meta["labels"]
    return Prepared(folder, meta, labels, given) if whole else None


def _make(folder: Path, found: Found, image_size: str, channels: str | int, progress: Progress | None) -> None:
    """Read, decode and write a data set, then move it into its place. The caller holds the lock."""
    for left in [folder, *folder.parent.glob(f"{folder.name}.*.tmp")]:  # damaged, or left behind by a killed process
        shutil.rmtree(left, ignore_errors=True)
    open_split.cache_clear()
    contents = found.read()
    _sensible(contents)
    form = choose_form(contents, image_size, channels)
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        kept, skipped = _write_images(made / "images.npy", contents, form, progress)
        labels = contents.labels[kept]
        given = _renumbered(contents.splits, kept, len(contents.labels))
        _no_class_emptied(contents, labels, skipped)
        _write(made / "labels.npy", lambda file: np.save(file, labels))
        _write(made / "given.npz", lambda file: np.savez(file, **given))  # type: ignore[arg-type]
        images = np.load(made / "images.npy", mmap_mode="r", allow_pickle=False)
        meta = {
            "schema": SCHEMA,
            "name": found.name,
            "classes": list(contents.classes),
            "images": array_digest(images),
            "labels": array_digest(labels, *given.values()),
            "form": form.record(),
            "skipped": [*map(list, contents.skipped), *map(list, skipped)],
            "notes": [*contents.notes, *form.notes],
            "valid_fraction": contents.valid_fraction,
            "valid_most": contents.valid_most,
            "quarters": contents.quarters,
            "flip": None if contents.flip is None else [contents.flip.keeps_labels, contents.flip.reason],
        }
        meta["checksum"] = _meta_digest(meta)
        _write(made / "meta.json", lambda file: file.write(json.dumps(meta, indent=1).encode()))
        os.chmod(made, 0o755)
        os.replace(made, folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _meta_digest(meta: Mapping[str, Any]) -> str:
    return digest([json.dumps(meta, sort_keys=True)])


def _write_images(path: Path, contents: Contents, form: Form, progress: Progress | None) -> tuple[Rows, list[tuple[str, str]]]:
    """Write the readable images one after the other; a full disk is then an error and not a crash, as it would be with a map."""
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    count = len(contents.labels)
    with path.open("wb") as file:
        _header(file, count, form)
        for index, result in enumerate(_images(contents, form)):
            if isinstance(result, Exception):
                skipped.append((contents.name_of(index), reason(result)))
            else:
                file.write(result.data)
                kept.append(index)
            if progress is not None and (index % 256 == 255 or index + 1 == count):
                progress("decoding images", index + 1, count)
        end = file.tell()
        file.seek(0)
        _header(file, len(kept), form)
        file.seek(end)
        file.flush()
        os.fsync(file.fileno())
    return np.array(kept, np.int64), skipped


def _images(contents: Contents, form: Form) -> Iterator[NDArray[np.uint8] | Exception]:
    height, width, channels = form.shape
    if contents.array is not None and contents.array.shape[1:] == form.shape:
        yield from (np.ascontiguousarray(image) for image in contents.array)
        return

    def one(index: int) -> NDArray[np.uint8]:
        with contents.picture(index) as picture:
            return np.ascontiguousarray(fitted(picture, height, width, channels))

    yield from each(one, range(len(contents.labels)))


def _header(file: BinaryIO, count: int, form: Form) -> None:
    """The start of a .npy file; NumPy leaves room for the number of rows to change."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *form.shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _sensible(contents: Contents) -> None:
    if len(contents.classes) < 2:
        only = f"only the class '{contents.classes[0]}'" if contents.classes else "no class"
        raise DataError(f"at least two classes are needed, but there is {only}; give each class its own sub-folder or label")
    if not len(contents.labels):
        raise DataError("the data set holds no images; give each class its own sub-folder with images")


def _no_class_emptied(contents: Contents, labels: Rows, skipped: list[tuple[str, str]]) -> None:
    first = f"'{skipped[0][0]}': {skipped[0][1]}" if skipped else ""
    if not len(labels):
        raise DataError(f"none of the {len(contents.labels)} images can be used (the first, {first}); give readable images")
    counts = np.bincount(labels, minlength=len(contents.classes))
    for index, name in enumerate(contents.classes):
        if not counts[index]:
            cause = f" (the first left out, {first})" if first else ""
            raise DataError(f"the class '{name}' has no image that can be used{cause}; add readable images or leave the class out")


def _renumbered(splits: Mapping[str, Rows], kept: Rows, count: int) -> dict[str, Rows]:
    """Rows of the splits once the rows that are not kept have gone."""
    place = np.full(count, -1, np.int64)
    place[kept] = np.arange(len(kept))
    return {name: moved[moved >= 0] for name, moved in ((name, place[rows]) for name, rows in splits.items())}


def _read_split(path: Path) -> dict[str, NDArray[Any]] | None:
    try:
        return read_npz(path, (*SPLITS, "mean", "std"))
    except (OSError, ValueError):
        return None


def _write_split(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    try:
        descriptor, made = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, path)
        finally:
            Path(made).unlink(missing_ok=True)
    except OSError as error:
        raise _storage_trouble(path.parent, error) from error


def _write(path: Path, fill: Any) -> None:
    with path.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_trouble(folder: Path, error: OSError) -> ArchscoutError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(f"the disk is full: no prepared images fit into '{folder}' ({error.strerror}); make room there")
    text = error.strerror or str(error)
    return DataError(f"prepared images cannot be kept in '{folder}' ({text}); set ARCHSCOUT_CACHE to a folder that can be written")
