"""What several folders of tests share: one cache, folders made once for all test processes, and the installed command."""

from __future__ import annotations

import os

# Before torch is loaded: with as many threads as cores in every test process, tiny operations wait for one another for minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from commandline import Command, banded_images
from filelock import FileLock
from hypothesis import settings
from warm import Warm

settings.register_profile("shared machine", deadline=None)  # a neighbour may take the core away within any example
settings.load_profile("shared machine")

# Shells start background jobs with Ctrl-C ignored, which the commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(session_folder: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: the path of that name, made by the first process that asks for it."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        path, done = session_folder / name, session_folder / f"{name}.done"
        with FileLock(session_folder / f"{name}.lock"):
            if not done.exists():
                make(path)
                done.touch()
        return path

    return made


@pytest.fixture(scope="session")
def archscout(session_folder: Path) -> Iterator[Command]:
    """The installed command."""
    command = Command(session_folder / "cache")
    if not sys.platform.startswith("linux"):
        yield command
        return
    with Warm.started(command.environment) as one, Warm.started(command.environment) as other:
        yield replace(command, warm=cycle((one, other)))


@pytest.fixture
def warm_workers(archscout: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools of this process fork their workers from a process that has loaded everything."""
    from archscout.engine import worker

    if archscout.warm is not None:
        monkeypatch.setattr(worker, "start", next(archscout.warm).start_worker)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users of this machine can reach, which pytest's own are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def small_data(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A file of 360 images of 8x8 in three classes, told apart by the place of a bright band."""

    def make(path: Path) -> None:
        images, labels = banded_images(360)
        np.savez(path, images=images, labels=labels)

    return once("small.npz", make)
