"""How the cores are shared out between the lanes of a training and the threads of its operations."""

from __future__ import annotations

import pytest

from archscout.engine import machine


@pytest.mark.parametrize(
    ("said", "lanes", "threads"),
    [(None, 1, 8), (None, 4, 2), (None, 9, 1), ("3", 1, 3), ("3", 4, 2), ("1", 1, 1), ("16", 2, 4), ("4,2", 1, 4), ("many", 2, 4)],
)
def test_cores_are_shared_out_and_openmp_is_heeded(
    said: str | None, lanes: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert machine.threads_within(lanes) == threads
