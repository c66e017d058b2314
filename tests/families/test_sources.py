"""Families that read data: what they draw from, what they refuse, and what they say of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archscout import catalogue
from archscout.core.errors import DataError, UnknownName
from archscout.core.pictures import TaskForm
from archscout.core.protocols import SourcedFamily
from archscout.core.sketch import shared, sketch
from archscout.data import _download, bundled
from archscout.data._contents import read_npz
from archscout.data._opened import DataRequest, open_data
from archscout.families import _held_out, _subsets, omniglot
from archscout.families._subsets import LEAST, originals, parted

FORM = TaskForm(train=320, valid=200, fewest=2, most=4)
SHARED = Path(__file__).parents[2] / "shared" / "data"
SHARED = SHARED if SHARED.is_dir() else Path(__file__).parents[3] / "shared" / "data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files of shared/data")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise _download.URLError("no network in tests")

    monkeypatch.setattr(_download, "urlopen", refused)


def dataset(data: object) -> SourcedFamily:
    made: SourcedFamily = catalogue.make("families", "dataset", data=str(data))
    return made


def bundled_images() -> np.ndarray:
    return read_npz(bundled.FILE)["images"].reshape(-1, 28, 28)


def folder_of(images: np.ndarray, folder: Path, classes: int = 2) -> Path:
    for index, image in enumerate(images):
        own = folder / f"class {index % classes}"
        own.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(own / f"{index}.png")
    return folder


def noise_in(folder: Path, **counts: int) -> Path:
    """A folder of random images: class -> how many."""
    random = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.mark.parametrize("form", ["grey", "RGB", "inverted", "with others"])
def test_what_is_kept_for_testing_is_refused(form: str, tmp_path: Path) -> None:
    images = bundled_images()[:600]
    if form == "RGB":
        images = images[..., None].repeat(3, 3)
    elif form == "inverted":
        images = 255 - images
    elif form == "with others":
        images = np.concatenate([images[:300], np.random.default_rng(0).integers(0, 256, (300, 28, 28), np.uint8)])
    with pytest.raises(DataError, match="holds images of Fashion-MNIST, which is kept for testing and never learned from"):
        dataset(folder_of(images, tmp_path / "mine")).draw(0, FORM, seed=0)  # type: ignore[attr-defined]


@with_shared
def test_all_published_sets_that_are_kept_are_refused(tmp_path: Path) -> None:
    evaluation = read_npz(SHARED / "omniglot28_evaluation.npz")["images"]
    for data, name in (
        ("fashion-mnist", "Fashion-MNIST"), ("mnist", "MNIST"), ("sign-digits", "the sign digits"),
        (folder_of(evaluation[:400], tmp_path / "letters"), "Omniglot's evaluation alphabets"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"holds images of {name}, "):
            dataset(data).sources(SHARED)


@with_shared
def test_the_published_sets_that_are_learned_from_are_not_refused() -> None:
    for name in ("cifar10", "omniglot"):
        assert catalogue.make("families", name).draw(0, FORM, seed=0, data_dir=SHARED).train.std() > 1


def test_a_named_set_is_refused_too() -> None:
    with pytest.raises(DataError, match="'bundled' holds images of Fashion-MNIST"):
        dataset("bundled").sources()


def test_every_family_that_reads_checks_what_it_reads(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the data of a family held out, it would draw nothing."""
    readers = [("cifar10", {}), ("omniglot", {}), ("dataset", {"data": str(data_dir / "own.npz")})]
    for name, settings in readers:
        family = catalogue.make("families", name, **settings)
        [(source, found)] = family.sources(data_dir).items()
        monkeypatch.setattr(_held_out, "sketches", lambda kept=found: {"mnist": kept})
        _subsets.named_source.cache_clear()
        omniglot._source.cache_clear()
        with pytest.raises(DataError, match=f"'{source}' holds images of MNIST"):
            family.draw(0, FORM, seed=0, data_dir=data_dir)
        monkeypatch.undo()
        monkeypatch.setenv("ARCHSCOUT_CACHE", str(data_dir.parent / "family-cache"))


def test_sources_are_stated(data_dir: Path) -> None:
    family = dataset(data_dir / "own.npz")
    assert isinstance(family, SourcedFamily)
    [(name, found)] = family.sources(data_dir).items()
    images = np.load(data_dir / "own.npz")["x"]
    train = open_data(DataRequest(str(data_dir / "own.npz"))).task.splits["train"]
    assert name == "own" and shared(found, sketch(images)) == len(found) == len(train)
    assert not any(isinstance(catalogue.make("families", name), SourcedFamily) for name in ("textures", "shapes", "glyphs"))


def test_only_training_images_are_drawn_from(data_dir: Path) -> None:
    found = _subsets.named_source("cifar10", data_dir)
    rows = np.concatenate(found.rows)
    assert len(rows) == 45_000 and rows.max() < 50_000 and found.mirrored


def test_the_parts_share_no_original(data_dir: Path) -> None:
    source = _subsets.named_source(str(data_dir / "own.npz"), None)
    take = originals(source, np.array([0, 3]), np.random.default_rng(0), FORM)
    labels = np.arange(400) % 2
    train, valid = ({image.tobytes() for image in take(part, labels)} for part in ("train", "valid"))  # type: ignore[arg-type]
    assert not train & valid and len(train) + len(valid) == len(source.rows[0]) + len(source.rows[3])
    known = {source.images[row].tobytes() for row in source.rows[3]}
    assert {image.tobytes() for image in take("train", labels)[1::2]} <= known


@given(st.integers(2, 200), st.floats(0, 1))
def test_parted(count: int, share: float) -> None:
    parts = parted(np.arange(count), share)
    assert np.array_equal(np.concatenate([parts["train"], parts["valid"]]), np.arange(count)) and all(map(len, parts.values()))


def test_omniglot_takes_characters_of_few_alphabets(data_dir: Path) -> None:
    family = catalogue.make("families", "omniglot")
    drawn = [family.draw(number, TaskForm(train=80, valid=40, fewest=2, most=4), seed=0, data_dir=data_dir) for number in range(12)]
    alphabets = [{name.split("/")[0] for name in pictures.classes} for pictures in drawn]
    assert {"Greek"} in alphabets and {"Latin"} in alphabets and not any(pictures.mirrored for pictures in drawn)
    many = family.draw(0, TaskForm(train=80, valid=40, fewest=11, most=20), seed=0, data_dir=data_dir)
    assert len(many.classes) in (11, 12)  # no alphabet alone has as many


def test_few_images_are_varied(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    folder = folder_of(random.integers(0, 256, (30, 20, 20, 3), np.uint8), tmp_path / "few")
    drawn = dataset(folder).draw(0, FORM, seed=0)  # type: ignore[attr-defined]
    assert len(drawn.train) == 320 and len(drawn.classes) == 2


def test_data_of_which_no_task_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"at least {LEAST} training images each, but 'scarce' has 1 .*'b' "):
        dataset(noise_in(tmp_path / "scarce", a=60, b=11)).sources()
    with pytest.raises(DataError, match="at least two classes are needed"):
        dataset(noise_in(tmp_path / "single", a=60)).sources()
    with pytest.raises(DataError, match="give a folder, a file or the name of a data set"):
        dataset("").sources()
    with pytest.raises(DataError, match="there is no folder or file"):
        dataset(tmp_path / "nowhere").sources()
    with pytest.raises(UnknownName, match="no data set 'cifr10'; did you mean 'cifar10'"):
        dataset("cifr10").sources()
    text = tmp_path / "a.txt"
    text.write_text("a text " * 500)
    with pytest.raises(DataError):
        dataset(text).sources()


@pytest.mark.parametrize("name", ["cifar10", "omniglot"])
def test_missing_data(name: str, tmp_path: Path) -> None:
    family = catalogue.make("families", name)
    with pytest.raises(DataError, match="could not be downloaded"):
        family.draw(0, FORM, seed=0, data_dir=tmp_path)
    with pytest.raises(DataError, match="which is no folder"):
        family.draw(0, FORM, seed=0, data_dir=tmp_path / "nowhere")


def test_a_class_with_too_few_images_is_left_out(tmp_path: Path) -> None:
    drawn = dataset(noise_in(tmp_path / "uneven", a=40, b=40, c=5)).draw(0, FORM, seed=0)  # type: ignore[attr-defined]
    assert drawn.classes == ("a", "b")


def test_the_file_of_sketches() -> None:
    kept = _held_out.sketches()
    assert {name: len(hashes) for name, hashes in kept.items()} == {
        "fashion_mnist": 4096, "mnist": 4096, "sign_digits": 2062, "omniglot_evaluation": 4096,
    }  # fmt: skip
    assert all(hashes.dtype == np.uint64 and (np.diff(hashes.astype(object)) > 0).all() for hashes in kept.values())
    expected = round(6500 * 4096 / 70_000)  # the bundled images are part of Fashion-MNIST, whose sketch holds 4,096 of 70,000
    assert shared(sketch(bundled_images()[..., None]), kept["fashion_mnist"]) == pytest.approx(expected, rel=0.2)


def test_png_and_array_are_the_same_images(tmp_path: Path) -> None:
    image = bundled_images()[5]
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "PNG")
    read = np.asarray(Image.open(packed).convert("RGB"))
    assert np.array_equal(sketch(read[None]), sketch(image[None, :, :, None]))
