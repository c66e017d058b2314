"""Row 19 of the fault table for recorded tables and score files: what runs code, leaves its folder or fills the memory is refused.

One process reads all of them, so that the most memory it ever held can be looked at. Data, checkpoints and weights have such tests
beside their own (tests/data/test_memory_data.py, tests/export/test_export.py, tests/nn).
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import Command

MOST_MB = 200
READ = """
import sys
from pathlib import Path
from archscout.benchmarks._import import Asked, import_values
from archscout.benchmarks._open import open_table, space_of
from archscout.core.errors import UserError
from archscout.core.scores import read_scores
for name in sys.argv[1:]:
    path = Path(name)
    try:
        if path.suffix == ".json":
            space_of(open_table(path.stem)), open_table(path.stem).objective("x")
        elif path.stem.startswith("score"):
            read_scores(path)
        else:
            import_values(path, Asked("nas201", "svhn"))
        print("taken")
    except UserError as error:
        assert "\\n" not in str(error) and len(str(error)) < 700, str(error)
        print(f"refused: {error}")
[most] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(most) / 1024)
"""


class Touch:
    """Unpickling it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.canary,)


def header(shape: str, kind: str = "'<f8'") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return file.getvalue()


def bomb(name: str) -> bytes:
    """An archive of a few MB that holds 1 GB of zeros in the array of this name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        with made.open(f"{name}.npy", "w", force_zip64=True) as member:
            member.write(header(f"({1 << 27},)"))
            zeros = bytes(1 << 24)
            for _ in range(64):
                member.write(zeros)
        made.writestr("value.npy", header("(1,)") + bytes(8))
    return file.getvalue()


def tar(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        entry = tarfile.TarInfo(name)
        entry.size = 3
        made.addfile(entry, io.BytesIO(b"out"))
    return file.getvalue()


def objects(canary: Path) -> dict[str, bytes]:
    made = {}
    for name in ("architecture", "value", "facts", "choices", "values", "kinds", "digest"):
        file = io.BytesIO()
        np.lib.format.write_array(file, np.array([Touch(canary)], object), allow_pickle=True)
        made[f"{name}.npy"] = file.getvalue()
    return made


HUGE = {"architecture.npy": header(f"({1 << 60},)"), "value.npy": header(f"({1 << 60},)")}
PLAIN = {"architecture.npy": header("(1,)", "'<U1'") + b"a\0\0\0", "value.npy": header("(1,)") + bytes(8)}
TABLES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "objects.npz": (lambda canary: archive(objects(canary)), "holds pickled objects, which are never opened"),
    "pickle.npz": (lambda canary: pickle.dumps(Touch(canary)), "it is no .npz file"),
    "pickle.csv": (lambda canary: pickle.dumps(Touch(canary)), "it is no CSV text"),
    "pickle.pth": (lambda canary: archive({"archive/data.pkl": pickle.dumps(Touch(canary))}), "it is no CSV text"),
    "torch.npz": (lambda canary: archive({"archive/data.pkl": pickle.dumps(Touch(canary))}), "which is no array"),
    "outside.npz": (lambda canary: archive({**PLAIN, f"../{canary.name}.npy": b"out"}), "'../canary.npy', which is no array"),
    "absolute.npz": (lambda canary: archive({**PLAIN, f"{canary}.npy": b"out"}), "which is no array"),
    "tar.npz": (lambda canary: tar(f"../{canary.name}"), "it is no .npz file"),
    "huge.npz": (lambda canary: archive(HUGE), "claims 1,152,921,504,606,846,976 values, more than there are bytes for"),
    "negative.npz": (lambda canary: archive({**PLAIN, "value.npy": header("(-4,)") + bytes(8)}), "claims -4 values"),
    "bomb.npz": (lambda canary: bomb("architecture"), "and at most 67,108,864 are read"),
    "header.npz": (lambda canary: archive({**PLAIN, "value.npy": header("(" * 4_000 + ")" * 4_000)}), "is damaged"),
    "long.npz": (lambda canary: archive({**PLAIN, "value.npy": header("(" + "1," * 20_000 + ")")}), "is damaged"),
    "many.npz": (lambda canary: archive({f"a{number}.npy": b"" for number in range(300)}), "more than 256 arrays"),
    "lzma.npz": (lambda canary: archive(PLAIN, zipfile.ZIP_LZMA), "packed in an unusual way"),
    "large.csv": (lambda canary: b"architecture,value\n" + b"a" * (65 << 20), "at most 67,108,864 are read"),
    "score-objects.npz": (lambda canary: archive(objects(canary)), "is no score file of archscout"),
    "score-pickle.npz": (lambda canary: pickle.dumps(Touch(canary)), "is no score file of archscout"),
    "score-bomb.npz": (lambda canary: bomb("facts"), "is no score file of archscout"),
    "score-huge.npz": (
        lambda canary: archive(dict.fromkeys(objects(canary), header(f"({1 << 60},)"))), "is no score file of archscout",
    ),
    "tables/outside.json": (lambda canary: record(str(canary)), "(ValueError); remove it and import it again"),
    "tables/deep.json": (lambda canary: b"[" * 500_000, "cannot be read (RecursionError)"),
    "tables/large.json": (lambda canary: b" " * (65 << 20), "cannot be read"),
    "tables/pickle.json": (lambda canary: pickle.dumps(Touch(canary)), "cannot be read (UnicodeDecodeError)"),
}  # fmt: skip


def record(file: str) -> bytes:
    """A table whose rows lie in another folder."""
    facts = {"format": 1, "space": "listed-outside", "rows": 1, "columns": [], "rows_file": f"../{file}", "rows_sha256": ""}
    return json.dumps(facts).encode()


def test_row_19_malicious_tables(tmp_path: Path) -> None:
    canary, paths = tmp_path / "canary", [tmp_path / name for name in TABLES]
    (tmp_path / "tables").mkdir()
    for path, (make, _) in zip(paths, TABLES.values(), strict=True):
        path.write_bytes(make(canary))
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "ARCHSCOUT_TABLES": str(tmp_path / "tables")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *said, most = done.stdout.splitlines()
    for line, (name, (_, words)) in zip(said, TABLES.items(), strict=True):
        assert line.startswith("refused: ") and words in line, f"{name}: {line}"
    assert float(most) < MOST_MB, f"it held {most} MB"
    assert sorted(tmp_path.rglob("*")) == before and not canary.exists() and not (tmp_path.parent / "canary").exists()


def test_the_canary_sings(tmp_path: Path) -> None:
    """What the files hold would do harm."""
    np.load(io.BytesIO(archive(objects(tmp_path / "canary"))), allow_pickle=True)["value"]
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["objects.npz", "outside.npz"])
def test_row_19_as_a_user_sees_it(name: str, archscout: Command, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / name
    make, words = TABLES[name]
    path.write_bytes(make(canary))
    env = {"ARCHSCOUT_TABLES": str(tmp_path / "tables")}
    archscout(
        "bench", "import", path, "--table", "nas201", "--dataset", "svhn", code=2, env=env, fresh=name == "objects.npz"
    ).refused(str(path), words)
    assert not canary.exists() and not (tmp_path / "tables").exists()
