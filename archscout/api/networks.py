"""Networks that a run left: loaded, and used on new data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from archscout.core.errors import DataError, RunError, UserError
from archscout.engine.resolve import genotype_of

if TYPE_CHECKING:
    from torch import nn


def load(folder: str | Path, space: str | None = None) -> nn.Module:
    """The trained network of a run folder, in evaluation mode, on the CPU. space: the `.py` file of a space of one's own."""
    from archscout.export.folder import load_model

    load_own_space(space)
    network, _ = load_model(Path(folder))
    return network


def load_own_space(space: str | None) -> None:
    """Import the file of a user's own space, so that networks of it can be built: a folder that names a file never runs it."""
    from archscout import catalogue

    if space is not None:
        catalogue.plugin("spaces", space)


def predict(
    folder: str | Path, data: str | Path, top: int = 1, space: str | None = None, support: str | Path | None = None
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """What the trained network of a run says of new images: rows with file and labels, and the files that were skipped.

    Of a language model and texts: rows with file, tokens, unknown ones, and perplexity. support: for a few-shot network, a folder
    with a sub-folder of a few images for each class.
    """
    from archscout.export.predictions import predict_arrays, predict_episode

    load_own_space(space)
    folder, path = Path(folder), Path(data)
    few = (folder / "adaptation.json").is_file()
    if few != (support is not None):
        raise UserError(
            "a few-shot network adapts to some images of each class first; give them with --support FOLDER, a sub-folder for each"
            if few else "--support is for few-shot networks, and this one has its classes; leave it out"
        )  # fmt: skip
    if (folder / "vocabulary.json").is_file():
        return _predict_texts(folder, path)
    preprocessing = _preprocessing(folder)
    images, names, skipped = _read_images(path, preprocessing)
    if support is None:
        return predict_arrays(folder, images, names, top), skipped
    shown, labels, unread = _read_support(Path(support), preprocessing)
    return predict_episode(folder, shown, labels, images, names, top), [*unread, *skipped]


def adapt(model: str, support: str | Path, data: str | Path, *, rounds: int = 3, top: int = 1, seed: int = 0) -> dict[str, Any]:
    """Fit architecture and weights of a meta-trained supernet to a few images of new classes, and label others.

    model: of `archscout meta train at-nas`. support: a folder with a sub-folder of images for each class, as many in each.
    Gives architecture, genotype, score (of held-out images of the support), seconds, rows (as `predict` gives them), skipped.
    """
    from archscout.export.predictions import answered, classes_of, episode_of, labelled
    from archscout.learners._meta_network import opened
    from archscout.nn.at_nas import adapt as adapt_network

    found = opened(model)
    preprocessing = found.facts["preprocessing"]
    shown, labels, unread = _read_support(Path(support), preprocessing)
    classes = classes_of(labels, found.task.classes)
    if len({labels.count(name) for name in classes}) > 1:
        raise UserError(f"the support '{support}' must have as many images of each class; leave some out or add some")
    images, names, skipped = _read_images(Path(data), preprocessing)
    episode, begun = episode_of(shown, labels, images, preprocessing), monotonic()
    fitted = adapt_network(
        found.network, found.space, found.population, episode.support, episode.support_labels, found.inner, seed=seed, rounds=rounds
    )
    seconds = monotonic() - begun
    logits = answered(found.network.path(fitted.architecture), fitted.weights, episode, found.inner.statistics)
    return {
        "architecture": str(fitted.architecture), "genotype": genotype_of(found.space, fitted.architecture), "score": fitted.score,
        "seconds": seconds, "rows": labelled(logits, classes, names, top), "skipped": [*unread, *skipped],
    }  # fmt: skip


def sample(
    folder: str | Path, length: int = 100, *, start: str = "", temperature: float = 0.8, seed: int = 0, space: str | None = None
) -> str:
    """The text of so many tokens that the language model of a run writes after `start`."""
    from archscout.export.texts import written_text

    load_own_space(space)
    _preprocessing(Path(folder))
    return written_text(Path(folder), length, start, temperature, seed)


def _read_support(folder: Path, preprocessing: Mapping[str, Any]) -> tuple[Any, list[str], list[tuple[str, str]]]:
    """The images in the sub-folders of a folder, the names of these, and what was skipped."""
    if not folder.is_dir():
        raise UserError(f"there is no folder '{folder}'; give one with a sub-folder of a few images for each class")
    images, names, skipped = _read_images(folder, preprocessing)
    parts = [Path(name).relative_to(folder).parts for name in names]
    if loose := [name for name, part in zip(names, parts, strict=True) if len(part) < 2]:
        raise UserError(f"'{loose[0]}' lies in no sub-folder of '{folder}'; give each class its own")
    return images, [part[0] for part in parts], skipped


def _read_images(path: Path, preprocessing: Mapping[str, Any]) -> tuple[Any, list[str], list[tuple[str, str]]]:
    """The images of a file or folder as a network takes them, their names, and what was skipped."""
    from archscout.data._contents import files_in
    from archscout.data._opened import prepare_files

    if not path.exists():
        raise UserError(f"there is no image or folder '{path}'; give the path to an image or to a folder of images")
    files = [path] if path.is_file() else files_in(path)
    images, skipped = prepare_files(files, preprocessing)
    left_out = {path for path, _ in skipped}
    if not len(images):
        why = f"{skipped[0][0]}: {skipped[0][1]}" if skipped else "it is empty"
        raise UserError(f"no image could be read from '{path}'; {why}")
    return images, [str(file) for file in files if str(file) not in left_out], skipped


def _predict_texts(folder: Path, path: Path) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The perplexities of a text, or of the texts of a folder that can be measured; and which of these were skipped."""
    from archscout.data._text import read_text, texts_in
    from archscout.export.texts import measure_of

    if not path.exists():
        raise UserError(f"there is no text or folder '{path}'; give the path to a text or to a folder of texts")
    files, measured = [path] if path.is_file() else texts_in(path), measure_of(folder)
    if not files:
        raise UserError(f"the folder '{path}' holds no texts; give .txt files, perhaps packed as .xz or .gz")
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[str, str]] = []
    for file in files:
        try:
            rows.append(measured(str(file), read_text(file)))
        except DataError as error:
            if path.is_file():
                raise
            skipped.append((str(file), str(error)))
    if not rows:
        raise UserError(f"no text in the folder '{path}' can be measured; {skipped[0][1]}")
    return rows, skipped


def _preprocessing(folder: Path) -> dict[str, Any]:
    import json

    path = folder / "preprocessing.json"
    if not path.is_file():
        raise RunError(f"'{folder}' holds no trained network yet; finish the run with 'archscout resume {folder}'")
    facts: dict[str, Any] = json.loads(path.read_text("utf8"))
    return facts
