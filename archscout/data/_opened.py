"""The door to data: a folder, a file, a named set, arrays or a map-style Dataset becomes a task, of images or of text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from archscout import catalogue
from archscout.core.errors import DataError, UnknownName, suggestion
from archscout.core.places import cache_folder
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Task
from archscout.core.vocabulary import Vocabulary
from archscout.data._augment import augmentation_of, flip_by_names
from archscout.data._contents import SPLITS, EpisodicSet, FlipRule, Found, Place, Progress, Rows, digest
from archscout.data._decode import SUFFIXES, decode, prepare_files
from archscout.data._derived import derived, parted
from archscout.data._episodes import LEAST_EPISODES, TEST_EPISODES, VALID_EPISODES, EpisodeForm, divided
from archscout.data._form import checked_size
from archscout.data._prepared import SCHEMA, Prepared, keep_split, open_split, prepare, split_rows
from archscout.data._text import TextSource, is_text, open_text, settings_record
from archscout.nn.batches import Augmentation, ImageSplit
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.tokens import TokenSplit

__all__ = ["DataRequest", "OpenedData", "decode", "open_arrays", "open_data", "open_dataset", "prepare_files"]

Channels = Literal["auto", 1, 3]
_EPISODES = EpisodeForm()


@dataclass(frozen=True)
class DataRequest:
    """What data are wanted, and in which form.

    source: a folder, an .npz or .csv file, or the name of a data set; with classes behind it, such as mnist:0, a task made of them
    (`_derived`). data_dir: where published sets lie (also $ARCHSCOUT_DATA). image_size: "auto" or pixels, 8 to 256. seed: of the
    splits that are drawn. labels: a CSV file with the columns file, label and perhaps split, for images in a folder. augment:
    "auto", "none" or a list such as "shift=2,flip,cutout=8". limit_per_class: of each class at most so many images in each split.
    settings: of the data plug-in, such as (("alphabet", "Greek"),). task: the kind of task that the data must be of; "auto" for
    what they are. vocabulary: of a text, "auto", "word" or "byte". episodes: of few-shot tasks.
    """

    source: str
    data_dir: Path | None = None
    image_size: str = "auto"
    channels: Channels = "auto"
    seed: int = 0
    labels: Path | None = None
    augment: str = "auto"
    limit_per_class: int | None = None
    settings: tuple[tuple[str, str], ...] = ()
    task: str = "auto"
    vocabulary: str = "auto"
    episodes: EpisodeForm = _EPISODES


_ARRAYS, _DATASET = DataRequest("arrays"), DataRequest("dataset")


@dataclass(frozen=True)
class OpenedData:
    """A task, and what a report and a user of the network need to know about its data.

    test: the split that only the engine opens, once. preprocessing: how a new image or text is prepared (JSON). counts: images by
    split and class, or tokens by split and whether the vocabulary knows them. skipped: (path, reason). notes: plain sentences.
    bytes: of the prepared images or tokens. fingerprint: as of the task. vocabulary: of a text.
    """

    task: Task
    test: ImageSplit | TokenSplit | EpisodeSplit | None
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    augmentation: Augmentation
    counts: dict[str, dict[str, int]]
    skipped: list[tuple[str, str]]
    notes: list[str]
    bytes: int
    fingerprint: str
    vocabulary: Vocabulary | None = None


def open_data(request: DataRequest, progress: Progress | None = None) -> OpenedData:
    """Find, prepare (or take from the cache) and split the data. Raises DataError or UnknownName, one sentence each."""
    checked_size(request.image_size)
    source, classes = parted(request.source)
    if classes is not None:
        opened = open_data(replace(request, source=source), progress)
        if opened.vocabulary is not None:
            raise DataError(f"':{classes}' names classes of images, but '{source}' is a text; leave it out")
        if opened.task.kind == FEW_SHOT:
            raise DataError(f"few-shot episodes are drawn of all classes; leave ':{classes}' out")
        return derived(opened, classes, request.seed)
    plugin = _plugin(request)
    place = Place(cache_folder(), data_folder_of(request.data_dir), progress)
    if request.task == FEW_SHOT.name and isinstance(plugin, EpisodicSet):
        plugin = plugin.for_episodes()
    found = plugin.find(place)
    kind = LANGUAGE_MODELLING if isinstance(found, TextSource) else IMAGE_CLASSIFICATION
    if request.task not in ("auto", kind.name) and (request.task, kind) != (FEW_SHOT.name, IMAGE_CLASSIFICATION):
        raise DataError(f"the data '{request.source}' make a task of {kind.name}, but {request.task} was asked for")
    if isinstance(found, TextSource):
        _check_of_text(request)
        return _opened_text(found, request)
    return open_found(found, request, progress)


def open_arrays(
    x: Any,
    y: Any,
    request: DataRequest = _ARRAYS,
    *,
    classes: Sequence[str] | None = None,
    splits: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> OpenedData:
    """A task from images and labels in memory. request: the form they are to take; its source names the task.

    x: (N, H, W), (N, H, W, C) or (N, C, H, W), NumPy or torch, whole numbers 0..255 (or 16 bits) or fractions 0..1.
    y: (N,) whole numbers or names. Both may be mappings from "train", "valid" and "test" to such arrays.
    classes: names for the labels 0 .. K - 1. splits: split -> row numbers or a mask, where x and y are single arrays.
    """
    from archscout.data._memory import found_arrays

    return open_found(found_arrays(x, y, classes, splits, request.source), request, progress)


def open_dataset(
    dataset: Any,
    request: DataRequest = _DATASET,
    *,
    classes: Sequence[str] | None = None,
    splits: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> OpenedData:
    """A task from a map-style Dataset of (image, label), or a mapping from split names to such data sets.

    Images are Pillow images, arrays or tensors of any size and are read once, so random changes made by the Dataset are frozen;
    leave them, and normalisation, to archscout. classes: defaults to the attribute `classes` of the Dataset where it has one.
    request: as for `open_arrays`.
    """
    from archscout.data._memory import found_dataset

    return open_found(found_dataset(dataset, classes, splits, request.source, progress), request, progress)


def open_found(found: Found, request: DataRequest, progress: Progress | None = None) -> OpenedData:
    """The last part of all ways in: prepare, split, describe."""
    if request.limit_per_class is not None and request.limit_per_class < 1:
        raise DataError(f"the limit of images per class is at least 1, but {request.limit_per_class} came")
    prepared = prepare(found, request.image_size, request.channels, cache_folder(), progress)
    meta = prepared.meta
    if request.task == FEW_SHOT.name:
        return _opened_classes(prepared, request)
    height, width, channels = (int(meta["form"][key]) for key in ("height", "width", "channels"))
    rule = FlipRule(*meta["flip"]) if meta["flip"] else flip_by_names(meta["classes"])
    augmentation, stated = augmentation_of(request.augment, height, width, rule)
    key, rows = split_rows(prepared, request.seed, request.limit_per_class)
    folder = str(prepared.folder)
    splits = {name: open_split(folder, key, name, augmentation if name == "train" else Augmentation()) for name in SPLITS}
    classes = tuple(meta["classes"])
    fingerprint = _fingerprint(prepared, rows, augmentation)
    test = splits.pop("test")
    return OpenedData(
        task=Task(meta["name"], IMAGE_CLASSIFICATION, (channels, height, width), len(classes), fingerprint, splits),
        test=test,
        classes=classes,
        preprocessing=_preprocessing(splits["train"], height, width, channels),
        augmentation=augmentation,
        counts={name: _counts(prepared.labels[rows[name]], classes) for name in SPLITS},
        skipped=[(path, why) for path, why in meta["skipped"]],
        notes=[*filter(None, meta["notes"]), *_split_notes(prepared, rows, request), stated],
        bytes=int(test.images.nbytes),
        fingerprint=fingerprint,
    )


def _opened_classes(prepared: Prepared, request: DataRequest) -> OpenedData:
    """Few-shot episodes of images."""
    meta, form, labels = prepared.meta, request.episodes, prepared.labels
    if request.limit_per_class is not None or request.augment not in ("auto", "none"):
        raise DataError("few-shot episodes take all images of a class, unchanged; leave the limit and --augment out, or give none")
    height, width, channels = (int(meta["form"][key]) for key in ("height", "width", "channels"))
    names: list[str] = meta["classes"]
    queries = form.queries_of(labels, names)
    quarters = bool(meta["quarters"]) and height == width and request.augment == "auto"
    rows = divided(labels, names, prepared.given, form, request.seed)
    key = keep_split(prepared, rows, digest([SCHEMA, "classes", request.seed, form.ways], 8))
    splits, counts = {}, {}
    for name in SPLITS:
        pool = open_split(str(prepared.folder), key, name, Augmentation())
        turned = quarters and name != "test"
        images = form.ways * (form.shots + queries) / (4 if turned else 1)
        count = {"valid": VALID_EPISODES, "test": TEST_EPISODES}.get(name, max(LEAST_EPISODES, round(len(pool) / images)))
        splits[name] = EpisodeSplit(pool, form.ways, form.shots, queries, count, turned)
        counts[name] = {label: count for label, count in _counts(labels[rows[name]], names).items() if count}
    a_pass = len(splits["train"])
    fingerprint = digest([_fingerprint(prepared, rows, Augmentation()), form.ways, form.shots, queries, quarters, a_pass])
    test = splits.pop("test")
    words = ", ".join(f"{len(counts[name]):,} {name}" for name in SPLITS)
    own = len(prepared.given.get("test", ())) and np.array_equal(rows["test"], np.sort(prepared.given["test"]))
    notes = [
        f"Episodes have {form.ways} classes with {form.shots} image{'s' * (form.shots > 1)} each to learn from and {queries} to be "
        "judged by.",
        f"No class is in two parts: {words} classes; those of the test as {'the data set gives them' if own else 'drawn'}, those "
        f"of the validation drawn, with seed {request.seed}.",
    ]
    if quarters:
        notes.append("In training and validation, images turned by 90, 180 and 270 degrees make further classes.")
    return OpenedData(
        Task(meta["name"], FEW_SHOT, (channels, height, width), form.ways, fingerprint, splits), test,
        tuple(f"class {number + 1}" for number in range(form.ways)),
        _preprocessing(splits["train"].pool, height, width, channels), Augmentation(), counts,
        [(path, why) for path, why in meta["skipped"]], [*filter(None, meta["notes"]), *notes], int(test.pool.images.nbytes),
        fingerprint,
    )  # fmt: skip


def _check_of_text(request: DataRequest) -> None:
    """Raises DataError where something is asked for that only images have."""
    own = {"an image size": request.image_size, "a number of channels": request.channels}
    given = [what for what, value in own.items() if value != "auto"]
    given += ["a label file"] if request.labels is not None else []
    given += ["a limit of images per class"] if request.limit_per_class is not None else []
    given += ["an augmentation"] if request.augment not in ("auto", "none") else []
    if given:
        raise DataError(f"{given[0]} goes with images, but '{request.source}' is a text; leave it out")


def _opened_text(source: TextSource, request: DataRequest) -> OpenedData:
    opened = open_text(source)
    if opened.vocabulary.level == "byte" and "words" in dict(request.settings):
        raise DataError(
            f"--set data.words says how many words are told apart, but '{source.name}' is read byte by byte; leave it out, or give "
            "--vocabulary word"
        )
    return OpenedData(
        opened.task, opened.test, opened.vocabulary.labels(), settings_record(opened.vocabulary, source.window), Augmentation(),
        opened.counts, [], opened.notes, opened.bytes, opened.task.fingerprint, opened.vocabulary,
    )  # fmt: skip


def _reads_as_text(path: Path, task: str) -> bool:
    """Whether a file or folder is a text: by what is asked for, else by the names of the files."""
    if task != "auto":
        return task == LANGUAGE_MODELLING.name and path.exists()
    if path.is_dir():
        files = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        return any(map(is_text, files)) and not any(entry.is_dir() or entry.suffix.lower() in SUFFIXES for entry in files)
    return path.is_file() and is_text(path)


def _plugin(request: DataRequest) -> Any:
    source, path = request.source, Path(request.source).expanduser()
    settings = dict(request.settings)
    named = [name for name in catalogue.names("data") if name not in ("folder", "arrays", "text")]
    if request.vocabulary != "auto":
        settings["vocabulary"] = request.vocabulary
        known = source in named and "vocabulary" in {field.name for field in fields(catalogue.plugin("data", source))}
        if not known and not _reads_as_text(path, request.task) and (path.exists() or source in named):
            raise DataError(
                f"a vocabulary goes with a text, but '{source}' is none; leave it out, or give --task language-modelling"
            )
    if _reads_as_text(path, request.task):
        return _made("text", settings, path=path)
    if path.is_dir():
        return _made("folder", settings, path=path, labels=request.labels)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _made("folder", settings, path=path.parent, labels=request.labels or path)
    if request.labels is not None:
        raise DataError(f"a label file goes with a folder of images, but '{source}' is none; leave the label file out")
    if path.is_file() and path.suffix.lower() == ".npz":
        return _made("arrays", settings, path=path)
    if request.task != "auto" and _reads_as_text(path, "auto"):
        raise DataError(f"'{source}' is a text, but a task of {request.task} is one of images; give images, or leave --task out")
    if path.is_file() and path.suffix.lower() != ".py":
        raise DataError(f"'{source}' is neither a folder of images nor an .npz or .csv file; give one of these, or a .txt file")
    if source in named or source.endswith(".py"):
        return _made(source, settings)
    if source in ("folder", "arrays", "text"):
        what = {"folder": "folder of images", "arrays": ".npz file", "text": "text file"}[source]
        raise DataError(f"'{source}' needs a path: give the {what} itself")
    hint = suggestion(source, named)
    if len(path.parts) > 1 or path.suffix or source.startswith((".", "~")):
        raise DataError(f"there is no folder or file '{source}'; give an existing one, or a data set; {hint}")
    raise UnknownName(f"there is no folder and no data set '{source}'; {hint}")


def _made(name: str, settings: Mapping[str, str], **own: Any) -> Any:
    """The data plug-in of this name, with settings as they are written, and its own, which the request says elsewhere."""
    if twice := settings.keys() & own.keys():
        raise DataError(f"--set data.{min(twice)} says again what --data and --labels say; leave it out")
    return catalogue.make("data", name, **own, **catalogue.typed(catalogue.plugin("data", name), settings, "data"))


def data_folder_of(data_dir: Path | None) -> Path | None:
    """Where published sets lie: this folder, else $ARCHSCOUT_DATA, else nowhere. Raises DataError where it is no folder."""
    chosen = data_dir or os.environ.get("ARCHSCOUT_DATA")
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        where = "--data-dir" if data_dir else "$ARCHSCOUT_DATA"
        raise DataError(f"{where} names '{folder}', which is no folder; give the folder that holds the data sets")
    return folder


def _preprocessing(train: ImageSplit, height: int, width: int, channels: int) -> dict[str, Any]:
    return {
        "version": 1,
        "channels": channels,
        "mode": "L" if channels == 1 else "RGB",
        "height": height,
        "width": width,
        "orientation": "as stored by the camera (EXIF)",
        "transparency": "on white",
        "resize": "scale until the shorter side fits, then cut out the centre; not at all when the size is right",
        "resampling": "bilinear with antialiasing (Pillow BILINEAR)",
        "value_range": [0, 255],
        "mean": list(train.mean),
        "std": list(train.std),
        "formula": "x = (pixel / 255 - mean) / std, per channel",
        "layout": "NCHW",
        "dtype": "float32",
    }


def _fingerprint(prepared: Prepared, rows: Mapping[str, Rows], augmentation: Augmentation) -> str:
    """32 hex digits: of pixels, labels, classes, splits and augmentation, so not of the place where the data lie."""
    meta = prepared.meta
    parts = [meta["images"], prepared.labels.tolist(), *meta["classes"], augmentation]
    return digest([*parts, *(f"{name}:{rows[name].tolist()}" for name in SPLITS)])


def _counts(labels: Rows, classes: Sequence[str]) -> dict[str, int]:
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def _split_notes(prepared: Prepared, rows: Mapping[str, Rows], request: DataRequest) -> list[str]:
    given = [name for name in SPLITS if len(prepared.given.get(name, ()))]
    drawn = [name for name in SPLITS if name not in given]
    sizes = ", ".join(f"{len(rows[name]):,} {name}" for name in SPLITS)
    how = []
    if given:
        how.append(f"{_listed(given)} as the data set gives {'it' if len(given) == 1 else 'them'}")
    if drawn:
        source = "the training images" if "train" in given else "all images" if not given else "the other images"
        how.append(f"{_listed(drawn)} drawn from {source} class by class with seed {request.seed}")
    notes = [f"Splits: {sizes} images; {'; '.join(how)}."]
    if request.limit_per_class is not None:
        notes.append(f"At most {request.limit_per_class} images of each class are used in each split, as asked for.")
    if prepared.meta["skipped"]:
        number = len(prepared.meta["skipped"])
        notes.append(f"{number} file{'s' * (number > 1)} could not be used and {'were' if number > 1 else 'was'} left out.")
    return notes


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
