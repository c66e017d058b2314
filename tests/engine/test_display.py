"""The lines on standard error, where there is no terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from archscout.engine.display import Display
from archscout.engine.drive import Event


def shown(capsys: pytest.CaptureFixture[str], *, landed: int, screen_only: bool) -> str:
    store = SimpleNamespace(spent_seconds=7.0, observations=lambda: [None] * landed)
    job = SimpleNamespace(store=store, seconds=None, evaluations=20, request=SimpleNamespace(screen_only=screen_only))
    with Display(True, cast(Any, job)) as display:
        display("screen", Event("stopped", landed, landed, 0, landed, 30.0, None), "")
    return capsys.readouterr().err


def test_what_is_left_names_the_final_training_only_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    told = "[     7 s] screen: 10 judged; about 30 s left"
    assert shown(capsys, landed=10, screen_only=False) == f"{told}, and the final training\n"
    assert shown(capsys, landed=10, screen_only=True) == f"{told}\n"
    assert shown(capsys, landed=0, screen_only=True) == "[     7 s] screen: 0 judged\n"
