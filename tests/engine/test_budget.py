from __future__ import annotations

import pytest

from archscout.core.errors import UserError
from archscout.engine.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10m", (600.0, None)),
        ("90s", (90.0, None)),
        ("1h30m", (5400.0, None)),
        ("2.5h", (9000.0, None)),
        (" 1H ", (3600.0, None)),
        ("200", (None, 200)),
    ],
)
def test_budgets_read(text: str, meant: tuple[float | None, int | None]) -> None:
    assert parse_budget(text) == meant


@pytest.mark.parametrize("text", ["10x", "", "0", "0m", "-5", "m", "1.5", "30m1h", "ten", "1e3", "٣", "nan"])
def test_other_budgets_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match="10m, 90s or 1h30m") as caught:
        parse_budget(text)
    assert f"'{text}' came" in str(caught.value) and "\n" not in str(caught.value)


def test_stop_reasons() -> None:
    both = Budget(seconds=10, evaluations=5)
    assert both.stop(wall=9, charged=99, evaluations=4) is None
    assert both.stop(wall=9, charged=0, evaluations=5) == "evaluations"
    assert both.stop(wall=10, charged=0, evaluations=0) == "time"
    assert both.remaining(4) == 6 and both.remaining(11) == 0
    charged = Budget(seconds=10, clock="charged")
    assert charged.stop(wall=99, charged=9, evaluations=99) is None and charged.remaining(99) is None
    assert charged.stop(wall=0, charged=10, evaluations=0) == "time"
    assert Budget().stop(wall=1e9, charged=1e9, evaluations=10**9) is None


def test_only_the_named_judges_are_counted() -> None:
    assert Budget().counts("main") and Budget().counts("proxy")
    assert Budget(judges=("main",)).counts("main") and not Budget(judges=("main",)).counts("proxy")
