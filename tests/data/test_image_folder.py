from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archscout.core.errors import DataError, UserError
from archscout.data import _decode
from archscout.data._opened import DataRequest, OpenedData, decode, open_data, prepare_files

Make = Callable[..., Path]


def opened(root: Path, **settings: object) -> OpenedData:
    return open_data(DataRequest(str(root), **settings))  # type: ignore[arg-type]


def totals(data: OpenedData) -> dict[str, int]:
    return {split: sum(counts.values()) for split, counts in data.counts.items()}


def one_sentence(error: UserError) -> str:
    text = str(error)
    assert "\n" not in text and error.exit_code == 2
    return text


def test_plain_folder_is_split_class_by_class(images: Make) -> None:
    data = opened(images({"cats": 20, "dogs": 40}))
    assert data.classes == ("cats", "dogs")
    assert data.task.shape == (3, 16, 16) and data.task.classes == 2
    assert data.counts == {
        "train": {"cats": 14, "dogs": 28},
        "valid": {"cats": 3, "dogs": 6},
        "test": {"cats": 3, "dogs": 6},
    }
    assert data.test is not None
    rows = np.concatenate([data.task.splits["train"].rows, data.task.splits["valid"].rows, data.test.rows])
    assert sorted(rows) == list(range(60))
    assert "test" not in data.task.splits


def test_splits_follow_the_seed_and_decode_nothing_again(images: Make, own_cache: Path) -> None:
    root = images({"a1": 20, "b1": 20})
    first, again, other = opened(root), opened(root), opened(root, seed=1)
    assert first.fingerprint == again.fingerprint == first.task.fingerprint != other.fingerprint
    assert len([path for path in (own_cache / "prepared").iterdir() if path.is_dir()]) == 1


def test_fingerprint_is_of_the_contents_not_of_the_place(images: Make) -> None:
    one, two = images({"aa": 5, "bb": 5}, name="here"), images({"aa": 5, "bb": 5}, name="there")
    assert opened(one).fingerprint == opened(two).fingerprint
    Image.new("RGB", (16, 16)).save(two / "aa" / "000.png")
    assert opened(one).fingerprint != opened(two).fingerprint


def test_split_folders_are_used_as_they_are(images: Make) -> None:
    data = opened(images({"train/aa": 10, "train/bb": 10, "val/aa": 2, "val/bb": 3, "test/aa": 4, "test/bb": 1, "spare/aa": 3}))
    assert data.counts["valid"] == {"aa": 2, "bb": 3} and data.counts["test"] == {"aa": 4, "bb": 1}
    assert totals(data)["train"] == 20
    assert any("'spare'" in note for note in data.notes)


@pytest.mark.parametrize(("there", "missing"), [("validation", "test"), ("test", "valid")])
def test_a_missing_split_is_taken_from_train(images: Make, there: str, missing: str) -> None:
    data = opened(images({"train/aa": 20, "train/bb": 20, f"{there}/aa": 2, f"{there}/bb": 2}))
    assert data.counts[missing] == {"aa": 3, "bb": 3} and totals(data)["train"] == 34


def test_hidden_files_other_files_and_nested_folders(images: Make) -> None:
    root = images({"aa/left over/deep": 3, "aa": 3, "bb": 4, ".hidden": 3})
    (root / "aa" / ".000.png").write_bytes(b"x")
    (root / "aa" / "readme.txt").write_text("hello")
    (root / "empty").mkdir()
    data = opened(root)
    assert data.classes == ("aa", "bb") and sum(totals(data).values()) == 10 and not data.skipped
    assert any("empty" in note for note in data.notes)


def test_unreadable_files_are_listed_and_not_fatal(images: Make) -> None:
    root = images({"aa": 6, "bb": 6})
    (root / "aa" / "no.png").write_bytes(b"this is text")
    whole = (root / "aa" / "000.png").read_bytes()
    (root / "bb" / "torn.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (3, 16)).save(root / "bb" / "thin.png")
    (root / "bb" / "empty.jpg").write_bytes(b"")
    data = opened(root)
    reasons = dict(data.skipped)
    assert set(reasons) == {"aa/no.png", "bb/torn.png", "bb/thin.png", "bb/empty.jpg"}
    assert "not an image" in reasons["aa/no.png"] and "truncated" in reasons["bb/torn.png"] and "too few" in reasons["bb/thin.png"]
    assert sum(totals(data).values()) == 12
    assert any("4 files could not be used" in note for note in data.notes)
    assert opened(root).skipped == data.skipped


def test_a_decompression_bomb_is_skipped(images: Make) -> None:
    root = images({"aa": 4, "bb": 4})

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for name, side in (("large", 10_000), ("huge", 60_000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (root / "aa" / f"{name}.png").write_bytes(bomb)
    data = opened(root)
    assert {path for path, _ in data.skipped} == {"aa/large.png", "aa/huge.png"}
    assert all("pixels" in why for _, why in data.skipped)


def test_images_of_mixed_sizes_and_modes(images: Make, tmp_path: Path) -> None:
    root = images({"aa": 5, "bb": 5}, size=(40, 30))
    grey = np.full((50, 33), 128, np.uint8)
    Image.fromarray(grey).save(root / "aa" / "grey.png")
    Image.fromarray(grey).convert("1").save(root / "aa" / "bits.png")
    Image.fromarray(grey).convert("P").save(root / "aa" / "palette.gif")
    Image.fromarray(grey).convert("LA").save(root / "aa" / "la.png")
    Image.new("RGBA", (90, 33)).save(root / "bb" / "rgba.png")
    Image.new("CMYK", (33, 33)).save(root / "bb" / "cmyk.jpg")
    Image.fromarray(np.full((33, 33), 40_000, np.uint16)).save(root / "bb" / "deep.png")
    Image.fromarray(np.full((33, 33), 0.5, np.float32)).save(root / "bb" / "float.tif")
    data = opened(root)
    assert not data.skipped and data.task.shape == (3, 24, 24)  # the median shorter side is 33 or 30
    x, y = data.task.splits["train"].take(np.arange(3))
    assert x.shape == (3, 3, 24, 24) and y.shape == (3,)


def test_values_of_modes(tmp_path: Path) -> None:
    form = {"height": 8, "width": 8, "channels": 1}

    def value(picture: Image.Image, name: str, channels: int = 1) -> list[int]:
        picture.save(tmp_path / name)
        array = decode(tmp_path / name, form | {"channels": channels})
        assert array.shape == (8, 8, channels) and array.dtype == np.uint8
        return [int(number) for number in array[4, 4]]

    assert value(Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)), "deep.png") == [100]
    assert value(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "float.tif") == [128]
    assert value(Image.new("1", (8, 8), 1), "bit.png") == [255]
    assert value(Image.new("RGBA", (8, 8), (200, 0, 0, 0)), "clear.png", 3) == [255, 255, 255]
    assert value(Image.new("RGBA", (8, 8), (200, 10, 20, 255)), "solid.png", 3) == [200, 10, 20]
    assert value(Image.new("LA", (8, 8), (90, 255)), "la.png") == [90]
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    assert value(palette, "palette.png", 3) == [10, 200, 30]
    palette.save(tmp_path / "p.png", transparency=1)
    assert decode(tmp_path / "p.png", form | {"channels": 3})[0, 0].tolist() == [255, 255, 255]


def test_orientation_is_honoured(tmp_path: Path) -> None:
    picture = Image.new("L", (16, 8))
    picture.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    array = decode(tmp_path / "turned.png", {"height": 16, "width": 8, "channels": 1})[:, :, 0]
    assert (array[:8] == 255).all() and (array[8:] == 0).all()


def test_resizing_cuts_out_the_centre(tmp_path: Path) -> None:
    picture = Image.new("L", (96, 32), 0)
    picture.paste(200, (32, 0, 64, 32))
    picture.save(tmp_path / "wide.png")
    array = decode(tmp_path / "wide.png", {"height": 16, "width": 16, "channels": 1})
    assert (array[:, 2:-2] == 200).all()


@pytest.mark.parametrize(
    ("size", "asked", "shape"),
    [
        ((28, 28), "auto", (28, 28)),
        ((20, 30), "auto", (20, 30)),
        ((20, 60), "auto", (16, 16)),
        ((100, 120), "auto", (64, 64)),
        ((6, 6), "auto", (8, 8)),
        ((28, 28), "16", (16, 16)),
        ((28, 28), "32", (32, 32)),
    ],
)
def test_image_size(images: Make, size: tuple[int, int], asked: str, shape: tuple[int, int]) -> None:
    data = opened(images({"aa": 3, "bb": 3}, size=size), image_size=asked)
    assert data.task.shape[1:] == shape
    assert any(f"{shape[1]} x {shape[0]} pixels" in note for note in data.notes)


def test_channels(images: Make) -> None:
    grey, colour = images({"aa": 3, "bb": 3}, mode="L", name="grey"), images({"aa": 3, "bb": 3})
    assert opened(grey).task.shape[0] == 1 and opened(grey, channels=3).task.shape[0] == 3
    assert opened(colour).task.shape[0] == 3 and opened(colour, channels=1).task.shape[0] == 1
    for path in grey.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert opened(grey).task.shape[0] == 1


def test_statistics_and_preprocessing_give_the_training_images_back(images: Make) -> None:
    root = images({"aa": 10, "bb": 10})
    data = opened(root)
    train = data.task.splits["train"]
    pixels = train.images[train.rows].reshape(-1, 3) / 255
    np.testing.assert_allclose(data.preprocessing["mean"], pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(data.preprocessing["std"], pixels.std(0), rtol=1e-9)
    x = train.normalise(train.take(np.arange(len(train)))[0])
    assert abs(float(x.mean())) < 1e-5 and abs(float(x.std()) - 1) < 1e-3
    (root / "aa" / "new.png").write_bytes(b"no image")
    paths = [root / "aa" / "001.png", root / "aa" / "new.png", root / "bb" / "002.png"]
    array, skipped = prepare_files(paths, data.preprocessing)
    assert array.shape == (2, 16, 16, 3) and [path for path, _ in skipped] == [str(paths[1])]
    assert (array[0] == train.images[1]).all() and (array[1] == train.images[12]).all()
    with pytest.raises(DataError, match="cannot be read as an image"):
        decode(paths[1], data.preprocessing)
    assert prepare_files([], data.preprocessing)[0].shape == (0, 16, 16, 3)


def test_splits_travel_by_reference(images: Make) -> None:
    data = opened(images({"aa": 30, "bb": 30}, size=(32, 32)))
    train = data.task.splits["train"]
    packed = pickle.dumps(train)
    assert len(packed) < 1000
    back = pickle.loads(packed)
    assert (back.images == train.images).all() and (back.rows == train.rows).all() and back.augmentation == train.augmentation
    assert data.task.splits["valid"].augmentation.shift == 0


def test_limit_per_class(images: Make) -> None:
    data = opened(images({"aa": 40, "bb": 20}), limit_per_class=4)
    assert data.counts == {"train": {"aa": 4, "bb": 4}, "valid": {"aa": 4, "bb": 3}, "test": {"aa": 4, "bb": 3}}
    with pytest.raises(DataError, match="at least 1"):
        opened(images({"aa": 40, "bb": 20}), limit_per_class=0)


@pytest.mark.parametrize(
    ("classes", "augment", "expected"),
    [
        (("cat", "dog"), "auto", (1, True, 0)),
        (("0", "1"), "auto", (1, False, 0)),
        (("b", "dog"), "auto", (1, False, 0)),
        (("turn_left", "stop"), "auto", (1, False, 0)),
        (("turnLeft", "stop"), "auto", (1, False, 0)),
        (("cleft", "bright"), "auto", (1, True, 0)),
        (("cat", "dog"), "none", (0, False, 0)),
        (("0", "1"), "shift=2,flip,cutout=8", (2, True, 8)),
        (("cat", "dog"), "auto,noflip,cutout=4", (1, False, 4)),
        (("cat", "dog"), "auto,shift=1/8,cutout=1/2", (2, True, 8)),
    ],
)
def test_augmentation(images: Make, classes: tuple[str, str], augment: str, expected: tuple[int, bool, int]) -> None:
    data = opened(images(dict.fromkeys(classes, 3)), augment=augment)
    made = data.augmentation
    assert (made.shift, made.flip, made.cutout) == expected
    assert data.task.splits["train"].augmentation == made
    assert "Training images are" in data.notes[-1]


@pytest.mark.parametrize("augment", ["flap", "shift=90", "shift=2/3", "shift=1/0", "none,flip", "", "cutout"])
def test_augmentation_that_makes_no_sense(images: Make, augment: str) -> None:
    with pytest.raises(DataError, match="augmentation is") as caught:
        opened(images({"aa": 3, "bb": 3}), augment=augment)
    one_sentence(caught.value)


def test_table_of_labels(images: Make, tmp_path: Path) -> None:
    root = images({"": 12})
    lines = [f"{index:03d}.png;{'even' if index % 2 == 0 else 'odd'};{'test' if index < 4 else ''}" for index in range(12)]
    table = tmp_path / "my.csv"
    table.write_text("\ufeffFileName;Target;split\n" + "\n".join(lines) + "\n\n", "utf8")
    data = opened(root, labels=table)
    assert data.classes == ("even", "odd")
    assert totals(data) == {"train": 6, "valid": 2, "test": 4}
    (root / "labels.csv").write_text(table.read_text("utf-8-sig"))
    assert opened(root).fingerprint == opened(root / "labels.csv").fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\n000.png,a\n999.png,b\n", "line 3 .*'999.png', which does not exist"),
        ("file,colour\n000.png,a\n", "needs the columns file and label, but has file, colour"),
        ("", "needs the columns"),
        ("file,label\n000.png,a\n001.png,a\n", "at least two classes"),
        ("file,label\n000.png,a\n001.png\n", "has no label"),
        ("file,label\n000.png,a\n000.png,b\n", "named twice"),
        ("file,label,split\n000.png,a,later\n", "has the split 'later'"),
    ],
)
def test_tables_that_make_no_sense(images: Make, text: str, match: str) -> None:
    root = images({"": 4})
    (root / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=match) as caught:
        opened(root)
    one_sentence(caught.value)


@pytest.mark.parametrize(
    ("counts", "match"),
    [
        ({}, "holds no images"),
        ({"": 3}, "lie in no class"),
        ({"aa": 5}, "at least two classes are needed, but .* has images of the class 'aa' only|'aa' only"),
        ({"aa": 5, "bb": 2}, "the class 'bb' has 2 readable images to train on, but needs at least 3"),
        ({"train/aa": 5, "train/bb": 5, "test/cc": 1}, "the class 'cc' has images in 'test' but none to train on"),
        ({"train/aa": 5, "train/bb": 5, "val/aa": 1, "validation/bb": 1}, "two folders for one split"),
    ],
)
def test_folders_that_make_no_task(images: Make, tmp_path: Path, counts: dict[str, int], match: str) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=match) as caught:
        opened(images(counts))
    one_sentence(caught.value)


def test_nothing_readable(images: Make) -> None:
    root = images({"aa": 3, "bb": 3})
    for path in (root / "aa").iterdir():
        path.write_bytes(b"text")
    with pytest.raises(DataError, match="the class 'aa' has no image that can be used"):
        opened(root)
    for path in (root / "bb").iterdir():
        path.write_bytes(b"text")
    with pytest.raises(DataError, match="none of the 6 images can be used"):
        opened(root)
    for folder in ("aa", "bb"):
        for path in (root / folder).iterdir():
            Image.new("L", (2, 2)).save(path)
    with pytest.raises(DataError, match="4 is the least"):
        opened(root)


def test_requests_that_make_no_sense(images: Make, tmp_path: Path) -> None:
    root = images({"aa": 3, "bb": 3})
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "note.pdf").write_text("x")
    for request, match in [
        (DataRequest(str(root), image_size="big"), "the image size is 'auto'"),
        (DataRequest(str(root), image_size="4"), "from 8 to 256"),
        (DataRequest(str(root), channels=2), "'auto', 1 or 3"),  # type: ignore[arg-type]
        (DataRequest(str(tmp_path / "nowhere")), "there is no folder or file"),
        (DataRequest(str(tmp_path / "note.pdf")), "neither a folder"),
        (DataRequest(str(tmp_path / "note.txt")), "too few for 2 windows"),
        (DataRequest("fashon-mnist"), "did you mean 'fashion-mnist'"),
        (DataRequest("folder"), "needs a path"),
        (DataRequest("bundled", labels=tmp_path / "note.txt"), "a label file goes with a folder"),
        (DataRequest("mnist", data_dir=tmp_path / "nowhere"), "--data-dir names"),
        (DataRequest("bundled", settings=(("alphabet", "Greek"),)), "no setting 'alphabet'"),
    ]:
        with pytest.raises(UserError, match=match) as caught:
            open_data(request)
        one_sentence(caught.value)


def test_progress_is_told(images: Make) -> None:
    told: list[tuple[str, int, int]] = []
    open_data(DataRequest(str(images({"aa": 3, "bb": 3}))), lambda *step: told.append(step))
    assert told == [("decoding images", 6, 6)]


def test_threads_keep_the_order() -> None:
    results = list(_decode.each(lambda number: 10 // number, list(range(600))))
    assert isinstance(results[0], ZeroDivisionError) and results[1:] == [10 // number for number in range(1, 600)]
