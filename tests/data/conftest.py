from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(cache))
    monkeypatch.delenv("ARCHSCOUT_DATA", raising=False)
    return cache


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of random images: relative folder -> number of images."""

    def make(counts: dict[str, int], size: tuple[int, int] = (16, 16), mode: str = "RGB", name: str = "images") -> Path:
        root = tmp_path / name
        random = np.random.default_rng(0)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                shape = (*size, 3) if mode == "RGB" else size
                Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(root / folder / f"{index:03d}.png")
        return root

    return make
