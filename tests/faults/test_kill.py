"""The kill test: a main job killed at five moments, and resumed, ends as an undisturbed one does and repeats nothing.

Where a worker dies with its driver, workers are fresh interpreters. Where the driver works alone they are forked, since each would
spend three seconds of a core on loading what trains.
"""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import Command, end_of, until
from safetensors.numpy import load_file

from archscout.core.errors import ArchscoutError
from archscout.store.runs import RunStore

PLUGINS = Path(__file__).parent / "plugins"
BUDGET = 16


def words(folder: Path, data: Path, stop_at: int = 0) -> list[str]:
    trace = f"{folder}.trace"
    return [
        *("search", "--data", str(data), "--budget", str(BUDGET), "--space", str(PLUGINS / "watched.py"), "--epochs", "2"),
        *("--estimator", str(PLUGINS / "strange.py"), "--set", f"estimator.trace={trace}", "--set", f"space.trace={trace}"),
        *("--set", f"space.stop_at={stop_at}", "--set", f"estimator.stop_at={stop_at}"),
        *("--workers", "1", "--seed", "3", "--formats", "", "--out", str(folder), "--json"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def straight(archscout: Command, small_data: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    return once("straight", lambda folder: replace(archscout, warm_workers=True)(*words(folder, small_data)))


def lines(folder: Path) -> list[str]:
    return Path(f"{folder}.trace").read_text().splitlines()


def moment(straight: Path, name: str) -> int:
    """The line of the undisturbed run's trace at which a killed one ends."""
    stage, place = name.split()
    numbers = [number for number, line in enumerate(lines(straight), start=1) if line.startswith(stage)]
    return numbers[int({"early": 0.1, "middle": 0.5, "late": 0.9}[place] * len(numbers))]


def stages(folder: Path) -> list[str]:
    try:
        with RunStore.read(folder) as store:
            return store.stages
    except ArchscoutError:
        return []


def seconds(folder: Path) -> dict[tuple[str, str], str]:
    with open(folder / "timings.csv") as file:
        return {(row["stage"], row["move"]): row["seconds"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("when", ["judge middle", "compare early", "compare late", "finish", "finish interrupted", "report"])
def test_killed_and_resumed(when: str, archscout: Command, small_data: Path, straight: Path, tmp_path: Path) -> None:
    folder, alone = tmp_path / "run", when in ("finish", "finish interrupted", "report")
    archscout = replace(archscout, warm_workers=alone)
    if alone:
        driver = archscout.start(*words(folder, small_data))
        sign = (folder / "model.safetensors").exists if when == "report" else lambda: "finish" in stages(folder)
        assert until(sign, driver)
        driver.send_signal(signal.SIGINT if "interrupted" in when else signal.SIGKILL)
    else:
        driver = archscout.start(*words(folder, small_data, moment(straight, when)))
    assert end_of(driver).code == (130 if "interrupted" in when else -signal.SIGKILL)
    before = confirmed(folder)
    summary = archscout("resume", folder, "--json", fresh=when == "report").json

    assert (folder / "results.csv").read_bytes() == (straight / "results.csv").read_bytes()
    mine, theirs = (load_file(path / "model.safetensors") for path in (folder, straight))
    assert mine.keys() == theirs.keys() and all((mine[name] == theirs[name]).all() for name in mine)
    wanted = json.loads((straight / "summary.json").read_text())
    for name in ("architecture", "params", "macs"):
        assert summary["best"][name] == wanted["best"][name]
    for name in ("test_value", "test_interval", "baselines", "search_won", "evaluations", "stopped"):
        assert summary[name] == wanted[name]
    assert before.items() <= seconds(folder).items(), "a finished evaluation was judged again"
    once, twice = lines(straight), lines(folder)
    final = sum(line.startswith("finish") for line in once)
    in_flight = {"judge": 1, "compare": max(map(once.count, once)), "finish": final, "report": 0}
    assert len(twice) - len(once) <= in_flight[when.split()[0]], "more was repeated than what was in flight"


def confirmed(folder: Path) -> dict[tuple[str, str], str]:
    with RunStore.read(folder) as store:
        return {(row.stage, str(row.move)): f"{row.seconds:.6f}" for row in store.observations()}
