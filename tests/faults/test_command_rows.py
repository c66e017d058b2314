"""Rows of the fault table, each through the installed command: 1 to 10, 12, 14 to 16, 18 and 20.

The limits in seconds that a row states hold on a quiet machine; here they are stretched by `commandline.SLOWNESS`.
"""

from __future__ import annotations

import csv
import errno
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from commandline import SLOWNESS, Command, Done, end_of, landed, limit_files, unprivileged, until

from archscout.core.scores import read_scores
from archscout.store.contents import DATABASE
from archscout.store.runs import RunStore

STRANGE = Path(__file__).parent / "plugins" / "strange.py"


class Screening:
    """Searches that train nothing, over `nas201` with the judge of plugins/strange.py."""

    def __init__(self, archscout: Command, data: Path) -> None:
        self.archscout, self.data = archscout, data

    def words(
        self, out: Path, budget: int = 40, workers: int = 1, strategy: str = "regularized-evolution", **faults: object
    ) -> list[str]:
        settings = [word for name, value in faults.items() for word in ("--set", f"estimator.{name}={value}")]
        return [
            *("search", "--data", str(self.data), "--budget", str(budget), "--space", "nas201", "--strategy", strategy),
            *("--estimator", str(STRANGE), "--screen-only", "--workers", str(workers), "--out", str(out), "--json", *settings),
        ]  # fmt: skip

    def start(self, out: Path, **options: object) -> subprocess.Popen[str]:
        return self.archscout.start(*self.words(out, **options))

    def run(self, out: Path, *more: str, code: int = 0, **options: object) -> Done:
        return self.archscout(*self.words(out, **options), *more, code=code)

    def interrupted(self, out: Path, after: int = 12, **options: object) -> None:
        """A run whose driver is killed once so many results have landed."""
        driver = self.start(out, pause=0.05, **options)
        assert until(lambda: landed(out) >= after, driver)
        driver.kill()
        assert end_of(driver).code == -signal.SIGKILL


@pytest.fixture(scope="module")
def screening(archscout: Command, small_data: Path) -> Screening:
    return Screening(archscout, small_data)


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="module")
def undisturbed(screening: Screening, once: Once) -> bytes:
    """results.csv of 40 evaluations with one worker."""
    return (once("undisturbed", screening.run) / "results.csv").read_bytes()


@pytest.fixture(scope="module")
def undisturbed_pair(screening: Screening, once: Once) -> bytes:
    """results.csv of 40 evaluations with two workers."""
    return (once("undisturbed-pair", lambda out: screening.run(out, workers=2)) / "results.csv").read_bytes()


@pytest.fixture(scope="module")
def torn(screening: Screening, once: Once) -> Path:
    """A run that was killed after 12 of 40 results; to be copied."""
    return once("torn", screening.interrupted)


def results(folder: Path) -> bytes:
    return (folder / "results.csv").read_bytes()


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv") as file:
        return list(csv.DictReader(file))


def seconds(folder: Path) -> list[float]:
    with open(folder / "timings.csv") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


def gone(processes: list[psutil.Process], timeout: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_row_1_driver_killed(screening: Screening, undisturbed_pair: bytes, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    screening.interrupted(tmp_path / "run", after=20, workers=2, trace=trace)
    screening.archscout("resume", tmp_path / "run")
    assert results(tmp_path / "run") == undisturbed_pair
    judged = len(trace.read_text().splitlines())
    assert judged <= 40 + 2, "more than the two candidates in flight was judged again"


def test_row_2_driver_killed_at_random_moments(screening: Screening, undisturbed: bytes, tmp_path: Path) -> None:
    run, moments, kills = tmp_path / "run", random.Random(2), 0
    driver = screening.start(run, pause=0.03)
    while kills < 4:
        have = landed(run)
        assert until(lambda have=have: landed(run) > have, driver)
        time.sleep(moments.uniform(0.0, 0.25))
        driver.kill()
        end_of(driver)
        kills += 1
        driver = screening.archscout.start("resume", run)
    assert end_of(driver).code == 0
    assert results(run) == undisturbed


def test_row_3_worker_killed(screening: Screening, undisturbed_pair: bytes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = screening.start(run, workers=2, pause=0.1)
    assert until(lambda: landed(run) >= 5, driver)
    psutil.Process(driver.pid).children()[0].kill()
    assert end_of(driver).code == 0
    assert results(run) == undisturbed_pair


def test_row_3_a_worker_that_always_dies(screening: Screening, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    screening.run(tmp_path / "run", budget=9, workers=2, fault="die", every=3, trace=trace)
    killed = [row for row in rows(tmp_path / "run") if row["failure"] == "killed"]
    assert killed and len(rows(tmp_path / "run")) == 9
    for row in killed:
        assert trace.read_text().splitlines().count(f"judge {row['architecture']}") == 2, "it should be tried once more"


def test_row_4_interrupted_once(screening: Screening, undisturbed_pair: bytes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = screening.start(run, workers=2, pause=0.1)
    assert until(lambda: landed(run) >= 5, driver)
    children = psutil.Process(driver.pid).children(recursive=True)
    assert len(children) >= 2
    began = time.monotonic()
    os.killpg(driver.pid, signal.SIGINT)
    done = end_of(driver)
    assert time.monotonic() - began < 5 * SLOWNESS
    assert done.code == 130 and done.out == "" and "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("archscout: stopped") and f"archscout resume {run}" in done.err
    assert gone(children, 2 * SLOWNESS)
    assert 5 <= landed(run) < 40
    screening.archscout("resume", run)
    assert results(run) == undisturbed_pair


@pytest.mark.parametrize(("signals", "code"), [((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)], ids=str)
def test_row_5_interrupted_twice_or_terminated(
    signals: tuple[signal.Signals, ...], code: int, screening: Screening, undisturbed: bytes, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    driver = screening.start(run, pause=0.06)
    assert until(lambda: landed(run) >= 5, driver)
    children = psutil.Process(driver.pid).children(recursive=True)
    for number in signals:
        if driver.poll() is None:
            driver.send_signal(number)
            time.sleep(0.2)
    done = end_of(driver)
    assert done.code == code and "Traceback" not in done.err
    assert gone(children, 2 * SLOWNESS)
    assert 5 <= landed(run) < 40
    screening.archscout("resume", run)
    assert results(run) == undisturbed


def test_row_6_disk_full(screening: Screening, undisturbed: bytes, torn: Path, tmp_path: Path) -> None:
    run = shutil.copytree(torn, tmp_path / "run")
    size = max(path.stat().st_size for path in run.glob(f"{DATABASE}*"))

    driver = screening.archscout.start("resume", run)
    limit_files(driver, size + 30_000)
    said_full(end_of(driver), run)
    had = landed(run)
    assert had >= 12
    kept = [row.observation for row in RunStore.read(run).observations()]
    screening.archscout("resume", run)
    assert results(run) == undisturbed
    assert [row.observation for row in RunStore.read(run).observations()][:had] == kept


def said_full(done: Done, folder: Path) -> None:
    """Check that a command ended as the row says where the disk was full below this folder."""
    [message] = [line for line in done.err.splitlines() if line.startswith("archscout:")]
    assert done.code == 1 and done.out == "" and "Traceback" not in done.err
    assert str(folder) in message and os.strerror(errno.EFBIG) in message and f"[errno {errno.EFBIG}]" in message


@pytest.mark.parametrize("size", [0, 60_000], ids=["for the lock", "for the store"])
def test_row_6_disk_full_from_the_start(size: int, screening: Screening, tmp_path: Path) -> None:
    driver = screening.start(tmp_path / "run", budget=3)
    limit_files(driver, size)
    said_full(end_of(driver), tmp_path / "run")
    assert len(screening.run(tmp_path / "run", budget=3).json["pareto"]) >= 1


def test_row_7_disk_full_in_a_worker(screening: Screening, tmp_path: Path) -> None:
    """A judge that keeps what it trains finds the disk full: that is no fault of its candidate, which is judged again later."""
    done = screening.run(tmp_path / "run", code=1, fault="full", trace=tmp_path / "kept")
    message = done.err.splitlines()[-1]
    assert message.startswith(
        f"archscout: '{tmp_path / 'kept'}' cannot be written: {os.strerror(errno.ENOSPC)} [errno {errno.ENOSPC}]"
    )
    assert landed(tmp_path / "run") < 40 and not [row for row in rows(tmp_path / "run") if row["failure"]]


def test_row_8_read_only_folder(screening: Screening, open_folder: Path) -> None:
    run, trace, cache = open_folder / "run", open_folder / "trace", open_folder / "cache"
    for folder, mode in ((run, 0o555), (cache, 0o777)):
        folder.mkdir()
        folder.chmod(mode)
    done = screening.archscout(
        *screening.words(run, trace=trace), code=2, before=unprivileged(), env={"ARCHSCOUT_CACHE": str(cache), "HOME": str(cache)}
    )
    done.refused(str(run), "cannot be written")
    assert not trace.exists() and not list(run.iterdir())


@pytest.mark.parametrize("damage", ["cut", "half a line"])
def test_row_9_torn_tail(damage: str, screening: Screening, undisturbed: bytes, torn: Path, tmp_path: Path) -> None:
    run = shutil.copytree(torn, tmp_path / "run")
    log = run / f"{DATABASE}-wal"
    for turn in range(2):
        with open(log, "r+b") as file:
            if damage == "cut":
                file.truncate(log.stat().st_size - 7)
            else:
                file.seek(0, os.SEEK_END)
                file.write(b"{half a line")
        have = landed(run)
        driver = screening.archscout.start("resume", run)
        if turn == 0:
            assert until(lambda have=have: landed(run) > have + 1, driver)
            driver.kill()
        done = end_of(driver)
        assert sum("not written to its end" in line for line in done.err.splitlines()) == 1, done.err
    assert done.code == 0
    assert results(run) == undisturbed


@pytest.mark.parametrize("place", ["log", "database", "database beside a log"])
def test_row_10_garbage_in_the_middle(place: str, screening: Screening, undisturbed: bytes, torn: Path, tmp_path: Path) -> None:
    run = shutil.copytree(torn, tmp_path / "run")
    if place != "log":
        RunStore.open(run).close()  # SQLite empties the log into the database
    if place == "database beside a log":
        with RunStore.open(run) as store:
            store.meta["note"] = "something to write, so that there is a log"
            run = shutil.copytree(run, tmp_path / "killed")
    damaged = run / (f"{DATABASE}-wal" if place == "log" else DATABASE)
    content = bytearray(damaged.read_bytes())
    places = [found.start() for found in re.finditer(b"nas201:", content)]
    middle = places[len(places) // 2]
    content[middle : middle + 10] = b"garbage!!!"
    damaged.write_bytes(content)

    def files() -> dict[str, bytes]:
        """Of SQLite; whoever looks may leave an empty log, and its index."""
        found = {path.name: path.read_bytes() for path in run.glob(f"{DATABASE}*") if not path.name.endswith("-shm")}
        return {name: data for name, data in found.items() if data}

    before = files()
    assert (f"{DATABASE}-wal" in before) == (place != "database")
    for words in (("resume", run), ("show", run)):
        done = screening.archscout(*words, code=1)
        done.refused(f"the store of '{run}' is damaged", f"'archscout repair {run}' saves what is sound", code=1)
        named = rf"'{DATABASE}-wal' is broken in the middle, at byte [\d,]+;|event \d+ \(in '\w+'\) does not|\(past event \d+\)"
        assert re.search(named, done.err), done.err
        assert files() == before, "nothing should be changed"
    saved = re.fullmatch(r"saved \d+ events with (\d+) results; .*'run.sqlite.damaged-1'\n", screening.archscout("repair", run).out)
    assert saved and int(saved[1]) <= 12
    assert {name: files()[name.replace(DATABASE, f"{DATABASE}.damaged-1")] for name in before} == before
    screening.archscout("resume", run)
    assert results(run) == undisturbed


SHORT = """
from dataclasses import dataclass
from archscout.testing.problems import CountingSpace

@dataclass(frozen=True)
class Short(CountingSpace):
    "Four decisions."

    length: int = 4
    name: str = "short"
"""


def test_rows_6_9_and_10_in_a_file_of_lines(archscout: Command, tmp_path: Path) -> None:
    """What scores a whole space keeps its results in one: a full disk, half a line at the end, garbage in the middle."""
    space = tmp_path / "space.py"
    space.write_text(SHORT)

    def words(name: str) -> list[object]:
        return ["score", "--all", "--space", space, "--estimator", STRANGE, "--workers", 1, "--out", tmp_path / name, "--json"]

    archscout(*words("straight.npz"))
    part = tmp_path / "run.npz.part"
    process = archscout.start(*words("run.npz"))
    limit_files(process, 4_000)
    said_full(end_of(process), part)
    content = part.read_bytes()
    assert 3_900 < len(content) <= 4_000 and content.endswith(b"\n"), "a line that did not fit is taken back"
    part.write_bytes(content + b"c0ffee00 [half a li")
    process = archscout.start(*words("run.npz"))
    assert until(lambda: part.stat().st_size > len(content) + 500, process)
    process.kill()
    end_of(process)
    whole = part.read_bytes()
    assert whole.startswith(content)
    lines = whole.splitlines(keepends=True)
    lines[2] = b"garbage!!!" + lines[2][10:]
    part.write_bytes(b"".join(lines))
    done = archscout(*words("run.npz"), code=1)
    assert done.err.splitlines()[-1] == (
        f"archscout: line 3 of '{part}' is damaged; 'archscout repair {part}' saves what is before it"
    )
    assert part.read_bytes() == b"".join(lines)
    assert archscout("repair", part).out == "saved 1 lines; the damaged file is kept as 'run.npz.part.damaged-1'\n"
    assert part.read_bytes() == b"".join(lines[:2])
    assert part.with_name("run.npz.part.damaged-1").read_bytes() == b"".join(lines)
    archscout(*words("run.npz"))
    one, other = (read_scores(tmp_path / name) for name in ("run.npz", "straight.npz"))
    assert np.array_equal(one.values, other.values, equal_nan=True) and np.array_equal(one.choices, other.choices)


def test_row_12_two_drivers(screening: Screening, undisturbed: bytes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = screening.start(run, pause=0.12)
    assert until(lambda: landed(run) >= 2, driver)
    began = time.monotonic()
    second = screening.archscout("resume", run, code=2)
    assert time.monotonic() - began < 1 * SLOWNESS
    second.refused("in use by PID", str(driver.pid))
    assert driver.poll() is None
    driver.kill()
    end_of(driver)
    screening.archscout("resume", run)  # no stale lock
    assert results(run) == undisturbed


@pytest.mark.parametrize("fault", ["nan", "infinite", "error"])
def test_row_14_not_finite(fault: str, screening: Screening, tmp_path: Path) -> None:
    done = screening.run(tmp_path / "run", budget=30, fault=fault)
    failed = [row for row in rows(tmp_path / "run") if row["failure"]]
    assert len(rows(tmp_path / "run")) == 30 and 2 <= len(failed) <= 15
    for row in failed:
        assert row["value"] == "" and row["message"]
        assert row["failure"] == ("error" if fault == "error" else "nan")
    worst = {row["architecture"] for row in failed}
    assert done.json["best"]["architecture"] not in worst
    assert not worst & {row["architecture"] for row in done.json["pareto"]}


def test_row_14_too_many_failures(screening: Screening, tmp_path: Path) -> None:
    done = screening.run(tmp_path / "run", "--allowed-failures", "0.1", code=3, budget=20, fault="nan", every=3)
    assert done.json["evaluations"] == 20


@pytest.mark.parametrize("fault", ["greedy", "shared"])
def test_row_15_out_of_memory(fault: str, screening: Screening, tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = screening.archscout.start(*screening.words(run, budget=12, fault=fault, every=3), "--candidate-memory", "300")
    assert until(lambda: landed(run) >= 1, driver)
    held = [psutil.Process(driver.pid).memory_info().rss]
    while landed(run) < 11 and driver.poll() is None:
        held.append(psutil.Process(driver.pid).memory_info().rss)
        time.sleep(0.02)
    assert end_of(driver).code == 0
    failed = [row for row in rows(run) if row["failure"]]
    assert failed and {row["failure"] for row in failed} == {"oom"} and "300 MB" in failed[0]["message"]
    assert len(rows(run)) == 12 and len(failed) < 12
    assert max(held) - held[0] < 50 << 20


@pytest.mark.parametrize("fault", ["hang", "children"])
def test_row_16_hanging(fault: str, screening: Screening, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    screening.run(tmp_path / "run", "--candidate-timeout", "2", budget=8, fault=fault, every=3, trace=trace)
    failed = [row["failure"] for row in rows(tmp_path / "run")]
    assert "timeout" in failed and set(failed) == {"", "timeout"}
    took = [spent for row, spent in zip(failed, seconds(tmp_path / "run"), strict=True) if row]
    assert all(2 <= spent < 2 + 1 * SLOWNESS for spent in took)
    if fault == "children":
        for number in Path(f"{trace}.children").read_text().split():
            assert not psutil.pid_exists(int(number)) or psutil.Process(int(number)).status() == psutil.STATUS_ZOMBIE


def test_row_18_workers(screening: Screening, undisturbed: bytes, undisturbed_pair: bytes, tmp_path: Path) -> None:
    for workers in (1, 2):
        screening.run(tmp_path / str(workers), budget=20, workers=workers, strategy="random")
    assert results(tmp_path / "1") == results(tmp_path / "2")
    one, two = (
        {row["architecture"]: row["value"] for row in csv.DictReader(table.decode().splitlines())}
        for table in (undisturbed, undisturbed_pair)
    )
    both = one.keys() & two.keys()
    assert len(both) >= 10
    assert all(one[architecture] == two[architecture] for architecture in both)


def test_row_20_another_version(screening: Screening, torn: Path, tmp_path: Path) -> None:
    run = shutil.copytree(torn, tmp_path / "run")
    with sqlite3.connect(run / DATABASE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for words in (("resume", run), ("show", run)):
        screening.archscout(*words, code=2).refused("version 99", "newer")


YESTERDAY = """
import datetime, sys, time
real = time.time
time.time = lambda: real() - 86_400
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) - datetime.timedelta(days=1)
datetime.datetime = Shifted
sys.argv[0] = "archscout"
from archscout.cli.main import main
main()
"""


def test_row_20_clock_set_back(screening: Screening, undisturbed: bytes, torn: Path, tmp_path: Path) -> None:
    run = shutil.copytree(torn, tmp_path / "run")
    with RunStore.read(run) as store:
        before = store.spent_seconds
    command = [sys.executable, "-c", YESTERDAY, "resume", str(run), "--json"]
    began = time.monotonic()
    done = subprocess.run(command, env=screening.archscout.environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert results(run) == undisturbed
    with RunStore.read(run) as store:
        assert before < store.spent_seconds < before + took
    assert all(spent >= 0 for spent in seconds(run))
