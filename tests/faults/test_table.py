"""The fault table is whole: each of its twenty rows has a test here that names it."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_row_of_the_fault_table_has_a_test() -> None:
    text = "\n".join(path.read_text("utf8") for path in Path(__file__).parent.glob("test_*.py"))
    names = re.findall(r"^def test_rows?_([\d_and]+)", text, re.MULTILINE)
    rows = {int(number) for name in names for number in re.findall(r"\d+", name)}
    assert rows == set(range(1, 21))
