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


def test_workers_elsewhere_are_shown_with_their_pace(capsys: pytest.CaptureFixture[str]) -> None:
    job = SimpleNamespace(store=SimpleNamespace(spent_seconds=7.0, observations=list), seconds=None, evaluations=None)
    with Display(True, cast(Any, job)) as display:
        for landed in (4, 8):
            event = Event("stopped", landed, landed, 0, landed, 30.0, None, workers="3 of 4 workers on 2 machines, 1 waiting")
            display("screen", event, "")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("screen: 4 judged (0 a second, 3 of 4 workers on 2 machines, 1 waiting)")
    assert "8 judged (0 a second" not in second and second.endswith("a second, 3 of 4 workers on 2 machines, 1 waiting)")


def test_what_is_left_names_the_final_training_only_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    told = "[     7 s] screen: 10 judged; about 30 s left"
    assert shown(capsys, landed=10, screen_only=False) == f"{told}, and the final training\n"
    assert shown(capsys, landed=10, screen_only=True) == f"{told}\n"
    assert shown(capsys, landed=0, screen_only=True) == "[     7 s] screen: 0 judged\n"
