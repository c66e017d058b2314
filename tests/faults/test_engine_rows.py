"""Rows 1 to 5 and 13 of the fault table, on the engine itself: a driver process with two workers, stopped in every way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from plugins.climbing import Climb

from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.store.log import MemoryLog
from archscout.store.results import write_results
from archscout.store.runs import RunStore
from archscout.testing.drive import Shuffled
from archscout.testing.problems import Sleeping, counting

PLUGINS = Path(__file__).parent / "plugins"
SCRIPT = """
import signal, sys
from pathlib import Path
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Pool
from archscout.store.runs import RunStore
from archscout.testing.problems import Sleeping, counting
sys.path.insert(0, sys.argv[6])
from climbing import Climb

def ended(number, frame):
    raise SystemExit(143)

folder, trace, workers, count, pause = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
signal.signal(signal.SIGTERM, ended)
try:
    made = RunStore.open if (folder / "run.sqlite").exists() else lambda f: RunStore.create(f, request={}, seed=3)
    with made(folder) as store, Pool(workers) as pool:
        judges = {"main": Sleeping(pause, trace)}
        budget = Budget(evaluations=count)
        show = lambda event: print(event.landed, flush=True)
        drive(Climb(), judges, counting(), seed=3, log=store.stage("screen"), executor=pool, budget=budget, notify=show)
except KeyboardInterrupt:
    sys.exit(130)
"""


class Runs:
    def __init__(self, place: Path) -> None:
        self.script = place / "driver.py"
        self.script.write_text(SCRIPT)

    def start(self, folder: Path, workers: int = 2, count: int = 40, pause: float = 0.05) -> subprocess.Popen[str]:
        words = [str(self.script), str(folder), f"{folder}.trace", str(workers), str(count), str(pause), str(PLUGINS)]
        return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, start_new_session=True)

    def finish(self, folder: Path, **settings: int) -> bytes:
        with self.start(folder, **settings) as driver:
            driver.communicate(timeout=60)
        assert driver.returncode == 0
        return results(folder)


def results(folder: Path) -> bytes:
    with RunStore.read(folder) as store:
        write_results(store, folder / "results.csv")
    return (folder / "results.csv").read_bytes()


def wait_for(driver: subprocess.Popen[str], landed: int) -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        if int(line) >= landed:
            return
    raise AssertionError("the driver ended early")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def straight(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return runs.finish(tmp_path_factory.mktemp("straight") / "run")


def test_row_2_killed_at_random_moments(runs: Runs, straight: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    delays = random.Random(1)
    kills = 0
    while kills < 6:
        with runs.start(folder) as driver:
            time.sleep(delays.uniform(0.05, 0.9))
            driver.kill()
        kills += 1
    assert runs.finish(folder) == straight
    judged = len(Path(f"{folder}.trace").read_text().splitlines())
    assert judged <= 40 + 2 * kills, "finished evaluations were repeated"


@pytest.mark.parametrize(
    ("numbers", "code"), [([signal.SIGINT], 130), ([signal.SIGINT, signal.SIGINT], None), ([signal.SIGTERM], 143)], ids=str
)
def test_rows_4_and_5_interrupted(
    numbers: list[signal.Signals], code: int | None, runs: Runs, straight: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with runs.start(folder) as driver:
        wait_for(driver, 10)
        children = psutil.Process(driver.pid).children(recursive=True)
        started = time.monotonic()
        for number in numbers:
            os.killpg(driver.pid, number)
            time.sleep(0.02)
        driver.wait(5)
    assert time.monotonic() - started < 5
    assert code is None or driver.returncode == code
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert runs.finish(folder) == straight


def test_row_3_a_killed_worker_changes_nothing(runs: Runs, straight: bytes, tmp_path: Path) -> None:
    with runs.start(tmp_path / "run") as driver:
        wait_for(driver, 10)
        psutil.Process(driver.pid).children()[0].kill()
        driver.communicate(timeout=60)
    assert driver.returncode == 0 and results(tmp_path / "run") == straight


def test_row_13_a_thousand_results_of_four_workers_are_a_thousand(runs: Runs, tmp_path: Path) -> None:
    with runs.start(tmp_path / "run", workers=4, count=1000, pause=0) as driver:
        wait_for(driver, 400)
        driver.kill()
    runs.finish(tmp_path / "run", workers=4, count=1000, pause=0)
    with RunStore.read(tmp_path / "run") as store:
        seen, log = store.observations(), store.stage("screen")
        assert len(seen) == 1000 == len({row.move for row in seen})
    again, executor = MemoryLog(), Shuffled(4)
    again.moves, again.results, again.charges = list(log.moves), dict(log.results), dict(log.charges)
    budget = Budget(evaluations=1000)
    # verifies every move
    drive(Climb(), {"main": Sleeping()}, counting(), seed=3, log=again, executor=executor, budget=budget)
    assert executor.taken == 0, "everything that was recorded should be replayed"
    assert (again.moves, again.results, again.answer) == (log.moves, log.results, log.answer)
