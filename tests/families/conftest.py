"""Small data sets in the form of the published ones, and one cache for all tests of families."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from archscout.data import cifar10


@pytest.fixture(autouse=True)
def shared_cache(session_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(session_folder / "family-cache"))
    monkeypatch.delenv("ARCHSCOUT_DATA", raising=False)


def patterns(count: int, classes: int, side: int, channels: int, random: np.random.Generator) -> np.ndarray:
    """Images (N, side, side, C): a pattern of the class, i % K, with much noise."""
    middle = random.integers(0, 256, (classes, 4, 4, channels)).astype(np.int16).repeat(side // 4, 1).repeat(side // 4, 2)
    noise = random.integers(-60, 61, (count, side, side, channels), np.int8)
    return np.clip(middle[np.arange(count) % classes] + noise, 0, 255).astype(np.uint8)


def write_cifar10(folder: Path) -> None:
    """Six binary files, whole in form."""
    target = folder / "cifar-10-batches-bin"
    target.mkdir(parents=True)
    known = patterns(10_000, 10, 32, 3, np.random.default_rng(7))
    for number, name in enumerate(cifar10._PARTS):
        records = np.empty((10_000, 3073), np.uint8)
        records[:, 0] = np.arange(10_000) % 10
        images = patterns(10_000, 10, 32, 3, np.random.default_rng(number)) if name.startswith("test") else known
        images[:, 0, 0, 0], images[:, 0, 1, 0] = number, np.arange(10_000) // 256  # no image comes twice
        records[:, 1:] = images.transpose(0, 3, 1, 2).reshape(10_000, -1)
        (target / name).write_bytes(records.tobytes())


def write_omniglot(folder: Path) -> None:
    """Two background alphabets of eight and four characters, 20 drawings of each; and no evaluation part."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [
        *(f"Greek/character{number:02d}" for number in range(1, 9)),
        *(f"Latin/character{number:02d}" for number in range(1, 5)),
    ]
    images = patterns(20 * 12, 12, 28, 1, np.random.default_rng(3))[..., 0]
    order = np.argsort(np.arange(20 * 12) % 12, kind="stable")
    np.savez(
        folder / "omniglot28_background.npz", images=images[order], alphabet=(np.arange(240) // 160).astype(np.uint8),
        character=(np.arange(240) // 20).astype(np.uint16), drawer=np.arange(240, dtype=np.uint8) % 20 + 1,
        alphabet_names=np.array(["Greek", "Latin"]), character_names=np.array(names),
    )  # fmt: skip


@pytest.fixture(scope="session")
def data_dir(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Where CIFAR-10, Omniglot and a file `own.npz` of eight classes lie."""

    def make(folder: Path) -> None:
        write_cifar10(folder)
        write_omniglot(folder)
        own = patterns(8 * 60, 8, 24, 3, np.random.default_rng(5))
        np.savez(folder / "own.npz", x=own, y=np.arange(8 * 60) % 8)

    return once("family-data", make)
