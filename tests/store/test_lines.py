from __future__ import annotations

from pathlib import Path

import pytest

from archscout.core.errors import RunError
from archscout.store.lines import LineFile

QUESTION = {"space": "toy", "seed": 1}


def filled(path: Path, count: int = 4) -> Path:
    lines = LineFile(path, QUESTION)
    for number in range(count):
        lines.add([number, None, "text \n with a break"])
    lines.close()
    return path


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = filled(tmp_path / "deep" / "a.part")
    lines = LineFile(path, QUESTION)
    assert [entry[0] for entry in lines.entries] == [0, 1, 2, 3] and lines.entries[0][2] == "text \n with a break"
    lines.add([4])
    lines.close()
    again = LineFile(path, QUESTION)
    assert len(again.entries) == 5
    again.close(remove=True)
    assert not path.exists()


def test_a_torn_end_is_dropped_wherever_it_was_torn(tmp_path: Path) -> None:
    content = filled(tmp_path / "a").read_bytes()
    for length in range(len(content)):
        path = tmp_path / "b"
        path.write_bytes(content[:length])
        lines = LineFile(path, QUESTION)
        whole = max(0, content[:length].count(b"\n") - 1)
        assert [entry[0] for entry in lines.entries] == list(range(whole))
        lines.add([whole, None, "text \n with a break"])
        lines.close()
        assert path.read_bytes() == content[: len(path.read_bytes())], "it goes on as if nothing had been"


def test_a_file_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    for text in ("one line without an end", "c0ffee00 [half a li"):
        path = tmp_path / "notes"
        path.write_text(text)
        with pytest.raises(RunError, match="no file of archscout"):
            LineFile(path, QUESTION)
        assert path.read_text() == text


def test_damage_another_question_and_another_writer_are_told(tmp_path: Path) -> None:
    path = filled(tmp_path / "a")
    content = path.read_bytes()
    with pytest.raises(RunError, match=r"another question \(seed differs\)"):
        LineFile(path, {**QUESTION, "seed": 2})
    assert path.read_bytes() == content
    path.write_bytes(content.replace(b"[2,", b"[3,"))
    with pytest.raises(RunError, match="line 4 of"):
        LineFile(path, QUESTION)
    path.write_bytes(content)
    first = LineFile(path, QUESTION)
    with pytest.raises(RunError, match="in use"):
        LineFile(path, QUESTION)
    first.close()
    with pytest.raises(RunError, match="cannot be written"):
        LineFile(path / "below-a-file", QUESTION)
