"""How often long trainings report."""

from __future__ import annotations

import pytest

from archscout.nn.pace import steps_per_report
from archscout.strategies.darts import Darts


@pytest.mark.parametrize(("step", "steps"), [(0.01, 1000), (0.5, 20), (60.0, 1)])
def test_a_report_every_ten_seconds(step: float, steps: int) -> None:
    assert steps_per_report(Darts(), step) == steps


def test_who_asks_for_reports_gets_them() -> None:
    assert steps_per_report(Darts(report=7), 0.01) == 7
