"""Row 19 of the fault table for checkpoints, weights, runs and archives of images: whoever made them, nothing in them is run.

One process reads all of them, so that the most memory it ever held beyond what is loaded can be looked at; test_malicious.py does
the same for recorded tables and score files.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import Command
from safetensors.torch import save
from test_malicious import MOST_MB, Touch, archive, tar

from archscout.nn.checkpoint import _digest
from archscout.store.contents import DATABASE, Event, checksum
from archscout.store.repair import write_contents
from archscout.store.runs import RunStore, _load

READ = """
import sys
from pathlib import Path
from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import ArchscoutError
from archscout.core.seeds import generator
from archscout.data._contents import Place
from archscout.export.weights import load_weights
from archscout.learners._dataset_model import _read
from archscout.nn import checkpoint
from archscout.nn.baseline_tasks import read_baseline
from archscout.store.runs import RunStore
from archscout.store.snapshots import unpack
import numpy as np, torch

def most():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

def resumed(path):
    found, remarks = checkpoint.load(path)
    if found is None:
        raise checkpoint.DamagedCheckpoint("; ".join(remarks))

def run(folder):
    for made in (RunStore.read, RunStore.open):
        try:
            with made(folder) as store:
                store.stage("screen").restart()
        except ArchscoutError as error:
            last = error
        else:
            return
    raise last

def data(name, path):
    return lambda: catalogue.make("data", name).find(Place(path / "cache", path)).read()

torch.nn.Linear(3, 2)(torch.ones(3))
loaded = most()
for name in sys.argv[1:]:
    path = Path(name)
    readers = {
        "resume": lambda: resumed(path), "result": lambda: checkpoint.weights(path), "snapshot": lambda: unpack(path.read_bytes()),
        "network": lambda: load_weights(torch.nn.Linear(3, 2), path), "baseline": lambda: read_baseline(path),
        "model": lambda: _read(path),
        "extractor": lambda: catalogue.make("extractors", "resnet18", weights=str(path)).features(np.zeros((1, 9, 9, 3), np.uint8)),
    }
    if path.suffix == ".run":
        readers = {"run": lambda: run(path)}
    if path.suffix == ".data":
        readers = {"data": data(path.stem.partition("_")[0], path)}
    for reader, read in readers.items():
        try:
            read()
            print(path.name, reader, "taken")
        except (ArchscoutError, checkpoint.DamagedCheckpoint) as error:
            print(path.name, reader, "refused:", " ".join(str(error).split()))
        except ValueError as error:
            print(path.name, reader, "refused:" if reader == "snapshot" else "NOT TYPED:", " ".join(str(error).split()))
        except Exception as error:
            print(path.name, reader, "NOT TYPED:", type(error).__name__, error)
print(most() - loaded)
"""


def header(facts: object, length: int | None = None) -> bytes:
    text = json.dumps(facts).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def sealed(facts: str) -> bytes:
    """A checkpoint whose checksum fits, made by somebody else."""
    return save({"network.a": torch.ones(3)}, {"facts": facts, "digest": _digest({"network.a": torch.ones(3)}, facts)})


def torch_archive(canary: Path) -> bytes:
    """As torch.save writes it."""
    return archive({"archive/data.pkl": pickle.dumps(Touch(canary)), "archive/version": b"3", f"../{canary.name}": b"out"})


HUGE = {"a": {"dtype": "F32", "shape": [1 << 58], "data_offsets": [0, 1 << 60]}}
WEIGHTS: dict[str, Callable[[Path], bytes]] = {
    "pickle.pth": lambda canary: pickle.dumps(Touch(canary)),
    "torch.pth": torch_archive,
    "pickle.safetensors": lambda canary: pickle.dumps(Touch(canary)),
    "torch.safetensors": torch_archive,
    "tar.safetensors": lambda canary: tar(f"../{canary.name}"),
    "long.safetensors": lambda canary: header({}, 1 << 60),
    "huge.safetensors": lambda canary: header(HUGE),
    "deep.safetensors": lambda canary: len(b"[" * 90_000).to_bytes(8, "little") + b"[" * 90_000,
    "list.safetensors": lambda canary: sealed("[]"),
    "text.safetensors": lambda canary: sealed("no JSON at all"),
    "nested.safetensors": lambda canary: sealed("[" * 90_000),
    "foreign.safetensors": lambda canary: save({"a": torch.ones(3)}, {"plain": "1", "tensors": "{}"}),
}


def store(folder: Path, spoil: Callable[[Any], None]) -> None:
    """A run whose contents were changed by somebody who made all the checksums fit."""
    folder.mkdir(parents=True)
    with RunStore.create(folder / "made", request={}, seed=0) as made:
        made.finish_stage("screen")
    contents, connection = _load(folder / "made", "ro")
    connection.close()
    spoil(contents)
    chain = ""
    for number, event in enumerate(contents.events):
        chain = checksum(chain, event.table, event.values)
        contents.events[number] = type(event)(number + 1, event.table, event.values, chain)
    write_contents(folder / DATABASE, contents)


def of_bytes(data: bytes) -> Callable[[Path, Path], None]:
    def make(folder: Path, canary: Path) -> None:
        folder.mkdir(parents=True)
        (folder / DATABASE).write_bytes(data or pickle.dumps(Touch(canary)))

    return make


def with_meta(value: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    return lambda folder, canary: store(folder, lambda contents: contents.tables["run"].append(("plan", value(canary))))


def with_event(table: str, *values: object) -> Callable[[Path, Path], None]:
    def spoil(contents: Any) -> None:
        contents.tables["stages"] = [("screen", 0, 0, None, None)]
        contents.events.append(Event(1, "moves", ("screen", 0, "progress", None, None, None, 0), ""))
        contents.events.append(Event(2, table, values, ""))

    return lambda folder, canary: store(folder, spoil)


RUNS: dict[str, Callable[[Path, Path], None]] = {
    "pickle.run": of_bytes(b""),
    "archive.run": of_bytes(archive({"../canary": b"out"})),
    "blob.run": with_meta(lambda canary: pickle.dumps(Touch(canary))),
    "deep.run": with_meta(lambda canary: "[" * 90_000),
    "outside.run": with_event("progress", "screen", 0, "{}", "../kept.safetensors", "00"),
    "absolute.run": with_event("progress", "screen", 0, "{}", "/etc/hostname", "00"),
    "kind.run": with_event("moves", "screen", 1, "propose", b"\x80\x04", "main", None, 0),
    "missing.run": with_event("observations", "screen", 7, 0.5, 0.0, "{}", None, None, 0.1),
}


def bomb(name: str) -> bytes:
    """An archive of a few MB with a picture of 1 GB."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open(name, "w", force_zip64=True) as member,
    ):
        for _ in range(64):
            member.write(bytes(1 << 24))
    return file.getvalue()


SIGNS, CHARACTERS = "Sign-Language-Digits-Dataset.zip", "images_background.zip"
DATA: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "sign_digits_outside.data": (SIGNS, lambda canary: archive({f"../{canary.name}": b"", "../Dataset/0/canary.jpg": b""})),
    "sign_digits_bomb.data": (SIGNS, lambda canary: bomb("a/Dataset/0/b.jpg")),
    "sign_digits_pickle.data": (SIGNS, lambda canary: pickle.dumps(Touch(canary))),
    "omniglot_outside.data": (CHARACTERS, lambda canary: archive({"../Greek/character01/canary.png": b"out", "/canary": b"out"})),
    "omniglot_bomb.data": (CHARACTERS, lambda canary: bomb("images_background/Greek/character01/b.png")),
    "cifar10_outside.data": ("cifar-10-binary.tar.gz", lambda canary: tar(f"../{canary.name}")),
    "cifar10_pickle.data": ("cifar-10-binary.tar.gz", lambda canary: pickle.dumps(Touch(canary))),
}


def test_row_19_malicious_files(tmp_path: Path) -> None:
    canary, place = tmp_path / "canary", tmp_path / "place"
    place.mkdir()
    kept = place / "kept.safetensors"
    for name, make in WEIGHTS.items():
        (place / name).write_bytes(make(canary))
    for name, build in RUNS.items():
        build(place / name, canary)
    for folder, (name, make) in DATA.items():
        (place / folder).mkdir()
        (place / folder / name).write_bytes(make(canary))
    kept.write_bytes(b"a file beside a run, which no run may remove")
    names = [*WEIGHTS, *RUNS, *DATA]
    done = subprocess.run(
        [sys.executable, "-c", READ, *names], capture_output=True, text=True, check=False, cwd=place, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ARCHSCOUT_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *said, grown = done.stdout.splitlines()
    assert len(said) == 7 * len(WEIGHTS) + len(RUNS) + len(DATA)
    taken = [line for line in said if " refused: " not in line]
    assert not taken, "\n".join(taken)
    assert float(grown) < MOST_MB, f"it grew by {grown} MB"
    assert not canary.exists() and not list(tmp_path.rglob("canary*")) and kept.exists()


def test_the_canary_sings(tmp_path: Path) -> None:
    """What the files hold would do harm."""
    pickle.loads(WEIGHTS["pickle.pth"](tmp_path / "canary"))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["pickle.run", "blob.run", "outside.run"])
def test_row_19_a_run_as_a_user_sees_it(name: str, archscout: Command, tmp_path: Path) -> None:
    RUNS[name](tmp_path / name, tmp_path / "canary")
    for words in (("resume", tmp_path / name), ("show", tmp_path / name)):
        archscout(*words, code=1).refused(str(tmp_path / name), "is damaged", code=1)
    assert not (tmp_path / "canary").exists()
