from __future__ import annotations

import re
from pathlib import Path

import pytest

from archscout.comparison.results import read_claims, render
from archscout.core.errors import UserError

HEAD = "claim,published,ours,low,high,command,seed,commit,seconds,machine\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf8")
    return path


def test_rows_and_the_page(tmp_path: Path) -> None:
    path = written(
        tmp_path / "naswot.csv",
        HEAD + 'Kendall,0.574,0.5712,0.55,0.59,archscout bench correlate,0,abc,12,"x86, 2 cores"\n'
        "too high,0.9,0.5,0.4,0.6,do <it>,0,abc,,m\nundecided,,,,,,,,,\nyes,,True,,,,,,,\n",
    )
    claims = read_claims(path)
    assert [claim.within for claim in claims] == [True, False, None, None]
    assert claims[0].interval == (0.55, 0.59) and claims[0].others == (("seconds", "12"),)
    text = render([("naswot", claims)])
    assert "4 numbers, 2 of them beside a published one" in text and "within it 1 of 2 times" in text
    assert 'class="n good">0.5712' in text and 'class="n bad">0.5<' in text and "do &lt;it&gt;" in text
    assert "light-dark(" in text and not re.search(r'src="(?!data:)|href="(?!#)|https?://', text)


def test_the_results_of_this_project_are_read() -> None:
    for path in Path(__file__).parents[2].joinpath("results").glob("*.csv"):
        assert read_claims(path)


@pytest.mark.parametrize(("text", "word"), [("a,b\n1,2\n", "claim and ours"), ("", "claim and ours"), ("\udcff", "cannot be read")])
def test_other_files_are_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode("utf8", "surrogateescape"))
    with pytest.raises(UserError, match=word):
        read_claims(path)
