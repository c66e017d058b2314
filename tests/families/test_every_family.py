"""What every family of tasks must do."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.pictures import Pictures, TaskForm
from archscout.core.protocols import Family
from archscout.families._task import open_task
from archscout.nn.batches import batches

FORM = TaskForm(train=320, valid=200)
NAMES = catalogue.names("families")


@pytest.fixture(params=NAMES)
def family(request: pytest.FixtureRequest, data_dir: Path) -> Any:
    settings = {"data": str(data_dir / "own.npz")} if request.param == "dataset" else {}
    return catalogue.make("families", request.param, **settings)


def arrays(drawn: Pictures) -> tuple[np.ndarray, ...]:
    return drawn.train, drawn.train_labels, drawn.valid, drawn.valid_labels


def test_the_room_has_the_families() -> None:
    assert {"cifar10", "dataset", "glyphs", "omniglot", "shapes", "textures"} <= set(NAMES)


def test_a_task_has_its_form(family: Any, data_dir: Path) -> None:
    assert isinstance(family, Family)
    for number in range(4):
        drawn = family.draw(number, FORM, seed=0, data_dir=data_dir)
        classes = len(drawn.classes)
        assert FORM.fewest <= classes <= FORM.most and len(set(drawn.classes)) == classes
        for images, labels, size in ((drawn.train, drawn.train_labels, 320), (drawn.valid, drawn.valid_labels, 200)):
            assert images.shape == (size, 16, 16, 3) and images.dtype == np.uint8 and images.flags.c_contiguous
            assert labels.shape == (size,) and labels.dtype == np.int64
            counts = np.bincount(labels, minlength=classes)
            assert len(counts) == classes and counts.max() - counts.min() <= 1
        assert not {image.tobytes() for image in drawn.train} & {image.tobytes() for image in drawn.valid}


@pytest.mark.parametrize("form", [TaskForm(32, 60, 40, 2, 3), TaskForm(9, 64, 64, 4, 4), TaskForm(8, 300, 20, 2, 20)])
def test_other_forms(family: Any, form: TaskForm, data_dir: Path) -> None:
    for number in range(6):
        drawn = family.draw(number, form, seed=1, data_dir=data_dir)
        assert drawn.train.shape == (form.train, form.side, form.side, 3) and len(drawn.valid) == form.valid
        assert form.fewest <= len(drawn.classes) <= form.most


def test_the_same_arguments_give_the_same_task(family: Any, data_dir: Path) -> None:
    first, again = (family.draw(3, FORM, seed=5, data_dir=data_dir) for _ in range(2))
    assert all(map(np.array_equal, arrays(first), arrays(again)))
    assert (first.classes, first.mirrored) == (again.classes, again.mirrored)
    for number, seed in ((4, 5), (3, 6)):
        other = family.draw(number, FORM, seed=seed, data_dir=data_dir)
        assert not np.array_equal(other.train[:40], first.train[:40])


def test_a_longer_part_changes_no_other(family: Any, data_dir: Path) -> None:
    drawn = family.draw(1, FORM, seed=0, data_dir=data_dir)
    longer = family.draw(1, replace(FORM, train=330, valid=206), seed=0, data_dir=data_dir)
    assert longer.classes == drawn.classes  # which classes there are follows from the number alone


def test_another_process_draws_the_same(data_dir: Path, tmp_path: Path) -> None:
    made = [catalogue.make("families", name) for name in ("textures", "shapes", "glyphs")]
    here = [open_task(family, 2, FORM, seed=9).fingerprint for family in made]
    code = (
        "from archscout import catalogue; from archscout.core.pictures import TaskForm\n"
        "from archscout.families._task import open_task\n"
        "for name in ('textures', 'shapes', 'glyphs'):\n"
        "    print(open_task(catalogue.make('families', name), 2, TaskForm(train=320, valid=200), seed=9).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == here, done.stderr


def test_a_task_for_trainings(family: Any, data_dir: Path) -> None:
    task = open_task(family, 1, FORM, seed=0, data_dir=data_dir)
    drawn = family.draw(1, FORM, seed=0, data_dir=data_dir)
    name = type(family).__module__.split(".")[-1]
    assert (task.name, task.shape, task.classes) == (f"{name}/1", (3, 16, 16), len(drawn.classes))
    assert task.fingerprint != open_task(family, 2, FORM, seed=0, data_dir=data_dir).fingerprint
    train, valid = task.splits["train"], task.splits["valid"]
    assert train.augmentation.shift == 1 and train.augmentation.flip == drawn.mirrored and not valid.augmentation.shift
    assert all(type(number) is float for number in (*train.mean, *train.std)) and min(train.std) > 0
    assert train.mean == pytest.approx(drawn.train.mean((0, 1, 2)) / 255)
    [(x, y)] = batches(task, "valid", 200)
    assert x.shape == (200, 3, 16, 16) and y.tolist() == drawn.valid_labels.tolist()


def test_a_split_travels_by_reference(family: Any, data_dir: Path) -> None:
    from archscout.families import _task

    split = open_task(family, 1, FORM, seed=0, data_dir=data_dir).splits["valid"]
    packed = pickle.dumps(split)
    assert len(packed) < 1000
    _task._opened.cache_clear()
    assert np.array_equal(pickle.loads(packed).images, split.images)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (TaskForm(fewest=1), "at least 2 classes"),
        (TaskForm(fewest=6, most=5), "at least 2 classes"),
        (TaskForm(side=4), "8 to 128 pixels"),
        (TaskForm(train=10), "more images or fewer classes"),
    ],
)
def test_forms_that_no_task_has(family: Any, form: TaskForm, why: str, data_dir: Path) -> None:
    with pytest.raises(UserError, match=why):
        family.draw(0, form, seed=0, data_dir=data_dir)


@pytest.mark.parametrize("name", sorted({"textures", "shapes", "glyphs", "omniglot", "cifar10"}))
def test_tasks_can_be_learned_and_differ_in_difficulty(name: str, data_dir: Path) -> None:
    """How much better than chance, 0 to 1, a ridge regression on random features is."""
    family, form = catalogue.make("families", name), TaskForm(train=640, valid=400, most=10)
    skills = []
    for number in range(10):
        drawn = family.draw(number, form, seed=0, data_dir=data_dir)
        chance = 1 / len(drawn.classes)
        skills.append((ridge_accuracy(drawn) - chance) / (1 - chance))
    assert sum(skill > 0.1 for skill in skills) >= 7, np.round(skills, 2)
    if name not in ("omniglot", "cifar10"):  # which stand here for the published ones
        assert sum(skill > 0.97 for skill in skills) <= 4 and np.std(skills) > 0.07, np.round(skills, 2)


def ridge_accuracy(drawn: Pictures) -> float:
    filters = torch.randn((96, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    filters = torch.cat([filters[:48], filters[48:].mean(1, keepdim=True).expand(-1, 3, -1, -1)])
    filters = filters - filters.mean((2, 3), keepdim=True)

    def features(images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        seen = torch.nn.functional.conv2d(x, filters).abs()
        pooled = torch.nn.functional.adaptive_avg_pool2d(seen, 3).flatten(1)
        return torch.cat([pooled, x.mean((2, 3)), torch.ones(len(x), 1)], 1).double().numpy()

    train, valid = features(drawn.train), features(drawn.valid)
    scale = train.std(0) + 1e-6
    train, valid = train / scale, valid / scale
    wanted = np.eye(len(drawn.classes))[drawn.train_labels]
    weights = np.linalg.solve(train.T @ train + 30 * np.eye(train.shape[1]), train.T @ wanted)
    return float(np.mean((valid @ weights).argmax(1) == drawn.valid_labels))
