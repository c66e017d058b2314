"""The trace of a screening and the calibration of judges, from a run that happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Command
from scipy.stats import kendalltau

from archscout.report.facts import ReportFacts, from_json
from archscout.store.runs import RunStore


@pytest.fixture(scope="module")
def place(archscout: Command, once: Any, small_data: Path) -> Path:
    def make(folder: Path) -> None:
        words = ("--budget", 16, "--epochs", 1, "--workers", 1, "--formats", "", "--estimator", "naswot")
        archscout(
            "search",
            "--data",
            small_data,
            *words,
            "--space",
            "nas201",
            "--set",
            "space.cells=1",
            "--set",
            "space.channels=4",
            "--out",
            folder,
        )

    made: Path = once("judged", make)
    return made


@pytest.fixture
def facts(place: Path) -> ReportFacts:
    return from_json((place / "report.json").read_text("utf8"))


def test_the_trace_is_the_screening(place: Path, facts: ReportFacts) -> None:
    trace = facts.trace
    assert trace is not None and trace.judge == "naswot"
    with RunStore.read(place) as store:
        seen = [row.observation for row in store.observations("screen")]
    values = [(float(number), o.value) for number, o in enumerate(seen, 1) if o.estimate]
    assert list(trace.points) == values and trace.count == len(seen)
    assert trace.best[-1][1] == max(value for _, value in values)
    assert [value for _, value in trace.best] == sorted({value for _, value in trace.best})
    named = {name: role for name, role, _ in trace.levels}
    assert {"ResNet-type": "baseline", "random architecture": "random"}.items() <= named.items(), "the judge was asked of them too"


def test_the_calibration_is_of_what_was_trained_alike(place: Path, facts: ReportFacts) -> None:
    assert [calibration.judge for calibration in facts.calibrations] == ["parameters", "MACs", "naswot"]
    with RunStore.read(place) as store:
        trained = [row.observation for row in store.observations("compare") if row.observation.estimate]
    rungs: dict[float, set[float]] = {}
    for o in trained:
        rungs.setdefault(o.fidelity or 0.0, set()).add(o.value)
    for calibration in facts.calibrations:
        values = [value for *_, value in calibration.points]
        scores = [score for _, _, score, _ in calibration.points]
        assert set(values) <= rungs[min(rungs)], "the first rung trained the most networks"
        if np.ptp(values) and np.ptp(scores):
            assert calibration.kendall == pytest.approx(kendalltau(scores, values).statistic)
        assert (calibration.interval is None) == (len(values) < 8) or calibration.kendall is None


def test_the_network_and_every_cell_are_drawn(place: Path, facts: ReportFacts) -> None:
    text = (place / "report.html").read_text("utf8")
    assert facts.network and text.count('<figure class="zoom') == 1 + len(facts.cells)
    assert all(f"<figcaption>{cell.name}" in text for cell in facts.cells)
