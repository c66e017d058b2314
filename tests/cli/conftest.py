from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Command
from PIL import Image
from typer.testing import CliRunner

CLASSES = ("high", "middle", "low")


@dataclass(frozen=True)
class Finished:
    """A small search that is done."""

    folder: Path
    data: Path
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.out)
        return summary


@pytest.fixture(scope="session")
def image_folder(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """90 images of three classes, told apart by the place of a bright band, of mixed sizes and modes; one is no image."""

    def make(root: Path) -> None:
        random = np.random.default_rng(0)
        for number in range(90):
            size = (10, 14, 18)[number % 5 % 3]
            pixels = random.integers(0, 120, (size, size, 3))
            band = number % 3 * size // 3
            pixels[band : band + size // 3] += 120
            folder = root / CLASSES[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels.astype(np.uint8)).convert(("RGB", "L", "RGBA", "P")[number % 4])
            picture.save(folder / f"{number:03d}.png")
        (root / CLASSES[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")

    return once("images", make)


@pytest.fixture(scope="session")
def finished(archscout: Command, image_folder: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Finished:
    """A finished search on `image_folder`, to be looked at and not to be changed."""

    def make(place: Path) -> None:
        place.mkdir()
        done = archscout(
            *("search", "--data", image_folder, "--budget", 12, "--epochs", 12, "--image-size", 12, "--max-macs", "150k"),
            *("--workers", 1, "--formats", "pt2", "--out", place / "run", "--json"),
            fresh=True,
        )
        (place / "out.json").write_text(done.out)
        (place / "err.txt").write_text(done.err)

    place = once("finished", make)
    return Finished(place / "run", image_folder, (place / "out.json").read_text(), (place / "err.txt").read_text())


@pytest.fixture
def call(archscout: Command, warm_workers: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command in this process and give its standard output: for those that need no process of their own."""
    from archscout.cli.main import commands

    for name, value in archscout.environment.items():
        monkeypatch.setenv(name, value)
    app = commands()

    def run(*words: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    return run
