from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout import catalogue
from archscout.core.errors import DataError, UnknownName, UserError
from archscout.data import _download, bundled, cifar10, fashion_mnist, mnist, omniglot, sign_digits
from archscout.data._contents import Place
from archscout.data._episodes import EpisodeForm
from archscout.data._opened import DataRequest, open_data
from archscout.data._published import read_idx

SHARED = Path(__file__).parents[2] / "shared" / "data"
SHARED = SHARED if SHARED.is_dir() else Path(__file__).parents[3] / "shared" / "data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files of shared/data")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise _download.URLError("no network in tests")

    monkeypatch.setattr(_download, "urlopen", refused)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, parts: tuple[str, ...] = ("train", "t10k"), count: int = 200) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part in parts:
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))


def test_all_sets_are_listed() -> None:
    listed = catalogue.names("data")
    assert {"arrays", "bundled", "cifar10", "fashion-mnist", "folder", "mnist", "omniglot", "sign-digits"} <= set(listed)
    assert all(catalogue.summary("data", name).endswith((".", ").")) for name in listed)


def test_bundled_needs_nothing() -> None:
    data = open_data(DataRequest("bundled"))
    assert {split: set(counts.values()) for split, counts in data.counts.items()} == {"train": {450}, "valid": {100}, "test": {100}}
    assert data.task.shape == (1, 28, 28) and data.augmentation.flip and data.classes[0] == "T-shirt/top"
    assert bundled.FILE.stat().st_size <= 3_000_000
    assert "MIT" in bundled.FILE.with_name("LICENSE").read_text("utf8")


def test_a_changed_bundled_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.npz"
    copy.write_bytes(bundled.FILE.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(bundled, "FILE", copy)
    with pytest.raises(DataError, match="install archscout again"):
        open_data(DataRequest("bundled"))


def test_fashion_mnist(tmp_path: Path) -> None:
    write_idx(tmp_path / "fashion-mnist")
    data = open_data(DataRequest("fashion-mnist", data_dir=tmp_path))
    assert data.counts["valid"] == dict.fromkeys(fashion_mnist.CLASSES, 2) and sum(data.counts["test"].values()) == 200
    assert data.augmentation.flip and data.test is not None and (data.test.rows == np.arange(200, 400)).all()
    assert open_data(DataRequest("fashion-mnist", data_dir=tmp_path / "fashion-mnist")).fingerprint == data.fingerprint
    with pytest.raises(DataError, match="--data-dir"):
        open_data(DataRequest("mnist", data_dir=tmp_path))


def test_data_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "mnist-t10k", ("t10k",))
    monkeypatch.setenv("ARCHSCOUT_DATA", str(tmp_path))
    data = open_data(DataRequest("mnist"))
    assert sum(data.counts["test"].values()) == 30 and not data.augmentation.flip
    assert any("do not compare" in note for note in data.notes)
    monkeypatch.setenv("ARCHSCOUT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"\$ARCHSCOUT_DATA names"):
        open_data(DataRequest("mnist"))


CUT = gzip.compress(idx(np.zeros((2, 3, 3), np.uint8)), mtime=0)[:-9]


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"text", mtime=0), CUT, idx(np.zeros(5, np.uint8))])
def test_damaged_idx_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ("a.gz" if content[:2] == b"\x1f\x8b" else "a")
    path.write_bytes(content)
    with pytest.raises(DataError, match="fetch it again"):
        read_idx(path, 3)


def test_idx_of_a_false_size(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 1 << 31, 1 << 10, 28) + b"xx")
    with pytest.raises(DataError, match="should hold"):
        read_idx(path, 3)


def cifar_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Six binary files of CIFAR-10, whole in form; all images of one file are the same."""
    parts = {}
    for number, name in enumerate(cifar10._PARTS):
        records = np.full((10_000, 3073), number, np.uint8)
        records[:, 0] = np.arange(10_000) % 10
        records[:, 1:1025] = 99  # the red channel
        parts[name] = records.tobytes()
    return parts


def test_cifar10_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = cifar_parts(monkeypatch)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    contents = cifar10.Cifar10().find(Place(tmp_path / "cache", tmp_path)).read()
    assert contents.array is not None and contents.array.shape == (60_000, 32, 32, 3)
    assert contents.array[59_999, 0, 0].tolist() == [99, 5, 5] and contents.labels[13] == 3
    assert (contents.splits["test"] == np.arange(50_000, 60_000)).all()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name, content in parts.items():
        (tmp_path / "cifar-10-batches-bin" / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match="not whole"):
        cifar10.Cifar10().find(Place(tmp_path / "cache", tmp_path)).read()


def test_pickled_cifar10_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is not here and 'cifar-10-binary.tar.gz' could not be downloaded"):
        open_data(DataRequest("cifar10", data_dir=tmp_path))


def test_published_omniglot(tmp_path: Path) -> None:
    for part, alphabets in (("background", ("Greek", "Latin")), ("evaluation", ("Angelic",))):
        with zipfile.ZipFile(tmp_path / f"images_{part}.zip", "w") as archive:
            for alphabet in alphabets:
                for character in ("character01", "character02"):
                    for drawer in range(1, 6):
                        drawing = Image.new("1", (105, 105), 1)
                        drawing.paste(0, (0, 0, 60, drawer * 10))
                        packed = io.BytesIO()
                        drawing.save(packed, "PNG")
                        archive.writestr(f"images_{part}/{alphabet}/{character}/0001_{drawer:02d}.png", packed.getvalue())
    data = open_data(DataRequest("omniglot", data_dir=tmp_path))
    assert data.classes == ("Greek", "Latin") and data.task.shape == (1, 28, 28) and not data.augmentation.flip
    assert data.task.splits["train"].images[0, 0, 0, 0] == 255  # ink is bright
    one = open_data(DataRequest("omniglot", data_dir=tmp_path, settings=(("alphabet", "angelic"),)))
    assert one.classes == ("character01", "character02") and one.task.name == "omniglot-angelic"
    characters = open_data(DataRequest("omniglot", data_dir=tmp_path, settings=(("classes", "characters"),)))
    assert characters.task.name == "omniglot-characters" and characters.classes[1:3] == ("Greek/character02", "Latin/character01")
    assert {sum(counts) for counts in zip(*(split.values() for split in characters.counts.values()), strict=True)} == {5}
    few = DataRequest("omniglot", data_dir=tmp_path, task="few-shot", episodes=EpisodeForm(2))
    episodes = open_data(few)
    assert set(episodes.counts["test"]) == {"Angelic/character01", "Angelic/character02"}, "as the data set gives them"
    assert len(episodes.counts["train"]) == len(episodes.counts["valid"]) == 2
    assert [split.quarters for split in (*episodes.task.splits.values(), episodes.test)] == [True, True, False]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="need 6 classes, but there are 4"):  # those of the background, if that is asked for
        open_data(replace(few, settings=(("classes", "characters"),)))
    with pytest.raises(UserError, match="one of alphabets, characters, all, but 'letters' came"):
        open_data(DataRequest("omniglot", data_dir=tmp_path, settings=(("classes", "letters"),)))
    with pytest.raises(UnknownName, match="did you mean 'Greek'"):
        open_data(DataRequest("omniglot", data_dir=tmp_path, settings=(("alphabet", "Greec"),)))


def test_published_sign_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_digits, "_COUNT", 50)
    photograph = io.BytesIO()
    Image.new("RGB", (100, 100), (200, 100, 50)).save(photograph, "JPEG")
    with zipfile.ZipFile(tmp_path / sign_digits._ARCHIVE.name, "w") as archive:
        archive.writestr("Sign-Language-Digits-Dataset-master/README.md", "")
        for index in range(50):
            archive.writestr(f"Sign-Language-Digits-Dataset-master/Dataset/{index % 10}/IMG_{index}.JPG", photograph.getvalue())
    data = open_data(DataRequest("sign-digits", data_dir=tmp_path))
    assert data.task.shape == (3, 32, 32) and data.task.classes == 10
    monkeypatch.setattr(sign_digits, "_COUNT", 51)
    with pytest.raises(DataError, match="should hold 51 images"):
        sign_digits.SignDigits().find(Place(tmp_path, tmp_path)).read()


@with_shared
def test_shared_files() -> None:
    for name, shape, train in [("sign-digits", (3, 32, 32), 1442), ("omniglot", (1, 28, 28), 13_496), ("mnist", (1, 28, 28), 7001)]:
        data = open_data(DataRequest(name, data_dir=SHARED))
        assert data.task.shape == shape and sum(data.counts["train"].values()) == train
    greek = open_data(DataRequest("omniglot", data_dir=SHARED, settings=(("alphabet", "Greek"),)))
    assert greek.task.classes == 24


@with_shared
def test_shared_cifar10_decodes() -> None:
    contents = cifar10.Cifar10().find(Place(SHARED, SHARED)).read()
    with contents.picture(0) as first, contents.picture(59_999) as last:
        assert first.size == last.size == (32, 32) and first.mode == "RGB"
    assert (np.bincount(contents.labels[contents.splits["train"]]) == 5000).all()


@with_shared
def test_stated_checksums_are_those_of_the_published_files() -> None:
    for file in mnist._FILES[2:]:
        content = (SHARED / "mnist-t10k" / file.name).read_bytes()
        assert file.checksum == f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"
    assert set(omniglot._MD5) == {"background", "evaluation"}


@with_shared
def test_bundled_images_are_fashion_mnist() -> None:
    images = read_idx(SHARED / "fashion-mnist" / "t10k-images-idx3-ubyte.gz", 3)
    labels = read_idx(SHARED / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz", 1)
    data = open_data(DataRequest("bundled"))
    assert data.test is not None
    kept, names = data.test.images[data.test.rows], data.test.labels[data.test.rows]
    for label in range(10):
        assert (kept[names == label][:, :, :, 0] == images[labels == label][:100]).all()
