from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError
from archscout.core.scores import ScoreTable, check_space, make_scores, pack, read_scores

ARCHITECTURES = [Architecture("toy", (row, 2, 255)) for row in range(5)]
OUTCOMES = [[1.5, "nan"], [-2.0, 0.1], ["oom", 7], [0.0, "error"], [1e300, 3]]


@pytest.fixture
def table() -> ScoreTable:
    return make_scores(ARCHITECTURES, ["one", "two"], OUTCOMES, {"seed": 3, "seconds": {"one": 0.5}})


def test_a_file_gives_back_what_went_in(table: ScoreTable, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(pack(table))
    there = read_scores(tmp_path / "a.npz")
    assert there.space == "toy" and there.judges == ("one", "two") and there.facts == table.facts and len(there) == 5
    assert there.choices.dtype == np.uint8
    for row, (architecture, outcomes) in enumerate(zip(ARCHITECTURES, OUTCOMES, strict=True)):
        assert there.row(architecture) == row and there.architecture(row) == architecture
        for column, outcome in enumerate(outcomes):
            if isinstance(outcome, str):
                assert there.failure(row, column) == outcome and np.isnan(there.values[row, column])
            else:
                assert there.failure(row, column) is None and there.values[row, column] == outcome
    assert pack(there) == pack(table), "equal tables make equal files"


def test_what_was_not_scored_has_no_row(table: ScoreTable) -> None:
    assert table.row(Architecture("toy", (9, 2, 255))) is None
    assert table.row(Architecture("other", (0, 2, 255))) is None and table.row(Architecture("toy", (0, 2))) is None


def test_large_choices(tmp_path: Path) -> None:
    table = make_scores([Architecture("toy", (70_000,)), Architecture("toy", (3,))], ["one"], [[1.0], [2.0]], {})
    assert table.choices.dtype == np.uint32 and table.row(Architecture("toy", (70_000,))) == 0


def test_the_column_of_a_judge(table: ScoreTable) -> None:
    assert table.column("two") == 1
    with pytest.raises(UnknownName, match="one, two"):
        table.column()
    with pytest.raises(UserError, match="of the space 'toy', but 'nas201'"):
        check_space(table, "nas201", "a.npz")


def _changed(content: bytes) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    arrays["values"][0, 0] += 1e-12
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _later(content: bytes) -> bytes:
    from archscout.core import packed, scores

    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file if name != "digest"}
    head = json.loads(arrays["facts"].tobytes()) | {"format": 9}
    arrays["facts"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, digest=packed.arrays_digest(arrays, scores._KIND.names), **arrays)
    return out.getvalue()


def _pickled(content: bytes) -> bytes:
    out = io.BytesIO()
    np.savez(out, facts=np.array([object()]), choices=1, values=1, kinds=1, digest=1)
    return out.getvalue()


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_changed, "checksum"),
        (_later, "format 9"),
        (_pickled, "no score file"),
        (lambda content: content[: len(content) // 2], "no score file"),
        (lambda content: content.replace(b"values.npy", b"valves.npy"), "no score file"),
        (lambda content: b"", "no score file"),
        (lambda content: b"PK\x03\x04 and then nothing", "no score file"),
        (lambda content: b"1,2,3\n", "no score file"),
    ],
)
def test_other_and_damaged_files_are_refused_in_one_sentence(table: ScoreTable, tmp_path: Path, spoil: object, word: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(spoil(pack(table)))  # type: ignore[operator]
    with pytest.raises(UserError, match=word) as caught:
        read_scores(path)
    assert "\n" not in str(caught.value)


def test_every_byte_counts(table: ScoreTable, tmp_path: Path) -> None:
    content, path = pack(table), tmp_path / "a.npz"
    silent = []
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            there = read_scores(path)
        except UserError:
            continue
        if not np.array_equal(there.values, table.values, equal_nan=True) or there.facts != table.facts:
            silent.append(place)
    assert not silent, "wrong numbers were read without a word"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no score file .* archscout score --all"):
        read_scores(tmp_path / "a.npz")
