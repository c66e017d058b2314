from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archscout.core.errors import DataError
from archscout.data._opened import DataRequest, open_arrays, open_data, open_dataset

LABELS = np.arange(40) % 2


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (40, 12, 10, 3), np.uint8)


def test_all_forms_of_one_array_are_one_data_set(pixels: np.ndarray) -> None:
    first = open_arrays(pixels, LABELS)
    assert first.task.shape == (3, 12, 10)
    for form in (
        pixels.astype(np.int64),
        pixels.astype(np.float64),
        pixels.astype(np.float32) / 255,
        pixels.transpose(0, 3, 1, 2),
        pixels.astype(np.uint16) * 257,
        torch.from_numpy(pixels),
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255,
    ):
        assert open_arrays(form, torch.from_numpy(LABELS)).fingerprint == first.fingerprint
    named = open_arrays(pixels, np.array(["cat", "dog"])[LABELS])
    assert named.classes == ("cat", "dog") and named.augmentation.flip and not first.augmentation.flip
    assert open_arrays(pixels, LABELS, classes=["cat", "dog"]).fingerprint == named.fingerprint


def test_grey_arrays(pixels: np.ndarray) -> None:
    data = open_arrays(pixels[:, :, :, 0], LABELS)
    assert data.task.shape == (1, 12, 10)
    assert (data.task.splits["train"].images[:, :, :, 0] == pixels[:, :, :, 0]).all()
    assert open_arrays(pixels[:, :, :, 0] > 100, LABELS).task.shape == (1, 12, 10)
    assert open_arrays(np.repeat(pixels[:, :, :, :1], 3, 3), LABELS).task.shape == (1, 12, 10)


def test_given_splits(pixels: np.ndarray) -> None:
    mask = np.zeros(40, np.bool_)
    mask[:8] = True
    data = open_arrays(pixels, LABELS, splits={"test": mask, "val": np.arange(8, 14)})
    assert data.test is not None
    assert data.test.rows.tolist() == list(range(8)) and data.task.splits["valid"].rows.tolist() == list(range(8, 14))
    assert data.task.splits["train"].rows.tolist() == list(range(14, 40))
    formed = open_arrays(pixels, LABELS, DataRequest("mine", image_size="8", channels=1, seed=3), splits={"test": mask})
    assert (formed.task.name, formed.task.shape) == ("mine", (1, 8, 8)) and formed.test is not None and len(formed.test) == 8
    same = open_arrays(
        {"test": pixels[:8], "valid": pixels[8:14], "train": pixels[14:]},
        {"test": LABELS[:8], "valid": LABELS[8:14], "train": LABELS[14:]},
    )
    assert same.counts == data.counts


@pytest.mark.parametrize(
    ("x", "y", "splits", "match"),
    [
        (np.zeros((4, 9)), np.arange(4), None, r"images come as .* but \(4, 9\) came"),
        (np.zeros((4, 9, 9)), np.arange(3), None, "one label for each of the 4 images"),
        (np.full((4, 9, 9), -1.0), np.arange(4), None, "before any normalisation"),
        (np.full((4, 9, 9), np.nan), np.arange(4), None, "before any normalisation"),
        (np.zeros((4, 9, 9)), np.array([0.5, 1, 2, 3]), None, "one whole number or name"),
        (np.zeros((4, 9, 9)), np.zeros(4, int), None, "at least two classes"),
        (np.zeros((0, 9, 9)), np.zeros(0, int), None, "at least two classes"),
        (np.zeros((9, 2, 2)), np.arange(9) % 3, None, "4 is the least"),
        (np.zeros((4, 9, 9)), np.arange(4), {"test": [4]}, "row numbers from 0 to 3"),
        (np.zeros((4, 9, 9)), np.arange(4), {"later": [1]}, "splits are called"),
        (np.zeros((4, 9, 9)), np.arange(4), {"test": [1], "train": [1]}, "given twice"),
        ({"train": np.zeros((4, 9, 9))}, np.arange(4), None, "one of each came"),
    ],
)
def test_arrays_that_make_no_sense(x: object, y: object, splits: dict[str, object] | None, match: str) -> None:
    with pytest.raises(DataError, match=match):
        open_arrays(x, y, splits=splits)


def test_labels_outside_the_names(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="labels of 2 classes are 0 to 1, not 0 to 3"):
        open_arrays(pixels, np.arange(40) % 4, classes=["cat", "dog"])


class Pairs:
    classes = ("cat", "dog")

    def __init__(self, pixels: np.ndarray, form: str) -> None:
        self.pixels, self.form = pixels, form

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[object, object]:
        image = self.pixels[index]
        if self.form == "pillow":
            return Image.fromarray(image), int(LABELS[index])
        if self.form == "tensor":
            return torch.from_numpy(image).permute(2, 0, 1) / 255, torch.tensor(LABELS[index])
        if self.form == "broken" and index == 3:
            raise OSError("cannot be read")
        return image, np.int64(LABELS[index])


def test_data_sets(pixels: np.ndarray) -> None:
    plain = open_arrays(pixels, LABELS, classes=["cat", "dog"])
    for form in ("pillow", "tensor", "array"):
        assert open_dataset(Pairs(pixels, form)).fingerprint == plain.fingerprint
    broken = open_dataset(Pairs(pixels, "broken"))
    assert broken.skipped == [("item 3", "cannot be read")] and sum(broken.counts["train"].values()) == 27
    halves = open_dataset({"train": Pairs(pixels[:30], "pillow"), "test": Pairs(pixels[30:], "pillow")})
    assert sum(halves.counts["test"].values()) == 10
    rows = open_dataset(Pairs(pixels, "broken"), splits={"test": [3, 4, 5]})
    assert rows.test is not None and rows.test.rows.tolist() == [3, 4]
    with pytest.raises(DataError, match="gives no image"):
        open_dataset([])


def test_torch_data_set(pixels: np.ndarray) -> None:
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(LABELS))
    data = open_dataset(dataset)
    assert data.fingerprint == open_arrays(pixels, LABELS).fingerprint


def test_files_of_arrays(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=pixels, labels=LABELS, classes=np.array(["cat", "dog"]))
    data = open_data(DataRequest(str(path)))
    assert data.fingerprint == open_arrays(pixels, LABELS, classes=["cat", "dog"]).fingerprint and data.task.name == "mine"
    np.savez(path, x_train=pixels[:30], y_train=LABELS[:30], x_test=pixels[30:], y_test=LABELS[30:])
    assert sum(open_data(DataRequest(str(path))).counts["test"].values()) == 10
    np.savez(path, train_images=pixels[:30], train_labels=LABELS[:30], valid_images=pixels[30:], valid_labels=LABELS[30:])
    assert sum(open_data(DataRequest(str(path))).counts["valid"].values()) == 10


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_pickle_in_a_file_is_refused(pixels: np.ndarray, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "bad.npz"
    np.savez(path, x=pixels, y=np.array([Canary(canary)] * 40, dtype=object))
    with pytest.raises(DataError, match="without pickle"):
        open_data(DataRequest(str(path)))
    path.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(DataError, match="without pickle"):
        open_data(DataRequest(str(path)))
    assert not canary.exists()
    for arrays, match in [({"a": pixels}, "but holds a"), ({"x_test": pixels, "y_test": LABELS}, "needs training arrays")]:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=match):
            open_data(DataRequest(str(path)))
