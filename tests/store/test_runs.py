from __future__ import annotations

import csv
import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archscout.core.draw import mutate, sample
from archscout.core.errors import RunError, StorageError
from archscout.core.evidence import Estimate, Failure, Observation
from archscout.core.moves import Progress, Propose, Search, Wait
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.engine.budget import Budget
from archscout.engine.drive import drive
from archscout.engine.executors import Inline
from archscout.store.contents import DATABASE
from archscout.store.repair import repair
from archscout.store.results import write_results
from archscout.store.runs import RunStore, Share
from archscout.testing.drive import Shuffled, stop_and_go
from archscout.testing.problems import Counting, Noisy, Unreliable, counting

PROBLEM = counting()


@dataclass(frozen=True)
class Wandering:
    """Mutates the best so far; reports on its way, with a snapshot where `keep` says so."""

    keep: bool = False

    def search(self, problem: Problem, *, seed: int, state: Mapping[str, Any] | None = None) -> Search:
        start = 0 if state is None else state["step"]
        best = problem.space.architecture(state["best"].tolist()) if state else sample(problem.space, generator(seed))
        value = state["value"] if state else -1.0
        for step in range(start, 10**6):
            rng = generator(seed, step)
            for seen in (yield Propose(mutate(problem.space, best, rng))):
                if seen.value > value:
                    best, value = seen.architecture, seen.value
            if step % 5 == 4:
                kept = {"step": step + 1, "best": np.array(best.choices), "value": value}
                yield Progress(best, {"value": value}, kept if self.keep else None)


def go(
    store: RunStore, evaluations: int = 30, judge: Any = None, executor: Any = None, strategy: Any = None, notify: Any = None
) -> Any:
    return drive(
        strategy or Wandering(), {"main": judge or Counting()}, PROBLEM, seed=store.seed, log=store.stage("screen"),
        executor=executor or Inline(), budget=Budget(evaluations=evaluations), notify=notify,
    )  # fmt: skip


def create(folder: Path) -> RunStore:
    return RunStore.create(folder, request={"data": "x", "budget": [1, 2.5, None]}, seed=7)


def table(store: RunStore) -> bytes:
    path = store.folder / "results.csv"
    write_results(store, path)
    return path.read_bytes()


@pytest.fixture
def straight(tmp_path: Path) -> bytes:
    with create(tmp_path / "straight") as store:
        go(store)
        return table(store)


class Killed(BaseException):
    pass


def interrupted(folder: Path, results: int = 12) -> None:
    """A run that ends like a kill: the process is gone, nothing was closed."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from test_runs import *\n"
        f"store = create(Path(sys.argv[1]))\n"
        f"go(store, notify=lambda event: os._exit(9) if event.kind == 'landed' and event.landed == {results} else None)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(Path(__file__).parent)], check=False)
    assert done.returncode == 9


def test_what_each_machine_judged_is_kept_with_the_results(tmp_path: Path) -> None:
    one = PROBLEM.space.architecture([1] * 6)
    with create(tmp_path / "run") as store:
        log = store.stage("screen")
        for number, place in enumerate(("", "node-1", "node-2", "node-1")):
            log.add_move(Propose(one), 0)
            outcome = (None, Failure("nan", "")) if number == 3 else (Estimate(0.5), None)
            log.add_result(number, Observation(one, *outcome), 0.25, place)
    for made in (RunStore.read, RunStore.open):
        with made(tmp_path / "run") as store:
            assert store.shares == {"node-1": Share(2, 1, 0.5), "node-2": Share(1, 0, 0.25)}
            assert not [name for name in store.meta if "node" in name]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    space = PROBLEM.space
    one, two = space.architecture([1] * 6), space.architecture([2] * 6)
    with create(tmp_path / "run") as store:
        log = store.stage("screen")
        log.add_move(Propose(one), 0)
        log.add_move(Propose(two, "proxy", 3.0), 0)
        log.add_result(1, Observation(two, None, Failure("error", 'it broke, "badly"\n'), "proxy", 3.0), 0.5)
        log.add_move(Wait(), 0)
        log.add_result(0, Observation(one, Estimate(0.1 + 0.2, 7.0, {"params": 12, "macs": 3.5})), 0.25)
        log.add_move(Progress(one, {"loss": 0.5, "bad": float("nan")}, {"w": np.arange(3.0), "step": 4}), 2)
        log.finish(two, "time")
        store.stage("compare")
        store.finish_stage("finish", {"accuracy": 0.5}, "done")
        store.meta["plan"] = {"epochs": 3}
        (store.folder / "labels.json").write_text("[]")
        store.artifact("labels", store.folder / "labels.json")
        moves, results = list(log.moves), dict(log.results)
    for made in (RunStore.read, RunStore.open):
        with made(tmp_path / "run") as store:
            log = store.stage("screen")
            assert log.moves[:3] == moves[:3] and log.results == results
            assert log.moves[3].move == Progress(one, {"loss": 0.5}) and log.moves[3].delivered == 2
            number, state = log.restart()
            assert number == 4 and state is not None and state["step"] == 4 and state["w"].tolist() == [0, 1, 2]
            assert (log.finished, log.answer, log.reason) == (True, two, "time")
            assert store.stages == ["screen", "compare", "finish"]
            assert store.stage_answer("finish") == {"accuracy": 0.5} and store.stage_finished("finish")
            assert not store.stage_finished("compare") and store.stage_answer("compare") is None
            assert store.request == {"data": "x", "budget": [1, 2.5, None]} and store.seed == 7
            assert store.meta["plan"] == {"epochs": 3} and "nothing" not in store.meta
            assert store.artifacts["labels"].path == "labels.json" and len(store.artifacts["labels"].sha256) == 64
            assert [(row.stage, row.move, row.seconds) for row in store.observations()] == [("screen", 0, 0.25), ("screen", 1, 0.5)]
            assert [row[:2] for row in store.progress()] == [("screen", 3)]


def test_the_clock_counts_from_where_the_run_began(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", request={}, seed=0, begun=time.monotonic() - 100) as store:
        assert 100 <= store.spent_seconds < 150
    with RunStore.open(tmp_path / "run") as store:
        assert 100 <= store.spent_seconds < 200


def test_results_have_no_seconds_and_keep_proposal_order(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        go(store, judge=Unreliable(every=3), executor=Shuffled(3))
        text = table(store).decode()
        rows = list(csv.DictReader(text.splitlines()))
        assert len(rows) == 30 and "seconds" not in text
        assert [int(row["move"]) for row in rows] == sorted(int(row["move"]) for row in rows)
        assert {row["failure"] for row in rows} == {"", "nan"}
        values = [row.observation.value for row in store.observations() if row.observation.estimate]
        assert [float(row["value"]) for row in rows if row["value"]] == values
        assert len((tmp_path / "run" / "timings.csv").read_text().splitlines()) == 31
        assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("keep", [False, True])
def test_stop_and_go_on_disk(keep: bool, workers: int, tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        stop_and_go(
            Wandering(keep),
            PROBLEM,
            Noisy(),
            seed=7,
            evaluations=30,
            workers=workers,
            stops=[9, 1, 20, 3],
            log=store.stage("screen"),
        )
        assert len(list((store.folder / "checkpoints").glob("*"))) == 2 if keep else True


@pytest.mark.parametrize("results", [1, 12, 29])
def test_a_killed_run_goes_on_to_the_same_bytes(results: int, tmp_path: Path, straight: bytes) -> None:
    interrupted(tmp_path / "run", results)
    trace = tmp_path / "trace"
    with RunStore.open(tmp_path / "run") as store:
        assert len(store.observations()) == results and not store.warnings
        go(store, judge=Counting(trace=str(trace)))
        assert table(store) == straight
    assert len(trace.read_text().splitlines()) == 30 - results
    with RunStore.open(tmp_path / "run") as store:  # finished: nothing is done again
        go(store, judge=Unreliable(1))
        assert table(store) == straight


@pytest.mark.parametrize("spoil", ["cut", "append", "both"])
def test_a_torn_tail_recovers_by_itself_twice(spoil: str, tmp_path: Path, straight: bytes) -> None:
    interrupted(tmp_path / "run")
    log = tmp_path / "run" / f"{DATABASE}-wal"
    for _ in range(2):
        if spoil in ("cut", "both"):
            os.truncate(log, log.stat().st_size - 7)
        if spoil in ("append", "both"):
            with log.open("ab") as file:
                file.write(b'{"half": "a rec')
        code = "import os, sys; from archscout.store.runs import RunStore, Share; s = RunStore.open(sys.argv[1]); s.tick(); "
        code += "print(len(s.observations()), *s.warnings, flush=True); os._exit(9)"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False)
        count, warning = done.stdout.split(" ", 1)
        assert warning.count("done again") == 1, done.stderr
        assert int(count) == (12 if spoil == "append" else 11)
    with RunStore.open(tmp_path / "run") as store:
        go(store)
        assert table(store) == straight


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
def test_a_store_cut_in_the_middle(share: float, tmp_path: Path, straight: bytes) -> None:
    with create(tmp_path / "run") as store, pytest.raises(Killed):
        go(store, evaluations=200, notify=lambda event: stop_at(event.landed, 150))
    path = tmp_path / "run" / DATABASE
    os.truncate(path, int(path.stat().st_size * share))
    for made in (RunStore.open, RunStore.read):
        with pytest.raises(RunError, match=r"damaged.*'archscout repair .*' saves what is sound") as caught:
            made(tmp_path / "run")
        assert "\n" not in str(caught.value) and caught.value.exit_code == 1
    assert "saved" in repair(tmp_path / "run")
    assert (tmp_path / "run" / f"{DATABASE}.damaged-1").exists()
    with RunStore.open(tmp_path / "run") as store:
        assert len(store.observations()) <= 150
        go(store)


def stop_at(count: int, limit: int) -> None:
    if count >= limit:
        raise Killed


def test_flipped_bytes_never_pass_for_results(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        go(store)
        whole = [(row.move, row.observation) for row in store.observations()]
    path = tmp_path / "run" / DATABASE
    original, noticed = path.read_bytes(), 0
    rng = random.Random(0)
    used = [place for place, byte in enumerate(original) if byte]
    for _ in range(60):
        data = bytearray(original)
        data[rng.choice(used)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            with RunStore.read(tmp_path / "run") as store:
                assert [(row.move, row.observation) for row in store.observations()] == whole
        except RunError:
            noticed += 1
    assert noticed > 30
    path.write_bytes(original.replace(b"counting:", b"countinG:", 20))
    with pytest.raises(RunError, match="does not fit its checksum"):
        RunStore.open(tmp_path / "run")


def test_one_writer_and_no_stale_lock(tmp_path: Path) -> None:
    code = "import sys, time; from archscout.store.runs import RunStore, Share\n"
    code += "s = RunStore.create(sys.argv[1], request={}, seed=0); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
        started = time.monotonic()
        with pytest.raises(RunError, match=f"in use by PID {holder.pid}") as caught:
            RunStore.open(tmp_path / "run")
        assert time.monotonic() - started < 1 and caught.value.exit_code == 2
        with RunStore.read(tmp_path / "run") as store:  # looking is allowed
            assert store.seed == 0
            with pytest.raises(RunError, match="reading only"):
                store.meta["x"] = 1
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    RunStore.open(tmp_path / "run").close()


def test_reading_while_another_writes(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        go(store, evaluations=5)
        with RunStore.read(tmp_path / "run") as seen:
            assert len(seen.observations()) == 5 and seen.spent_seconds >= 0
        store.meta["more"] = True
        with RunStore.read(tmp_path / "run") as seen:
            assert seen.meta["more"] is True


@pytest.mark.parametrize(("version", "word"), [(2, "newer"), (0, "older")])
def test_other_versions_are_refused(version: int, word: str, tmp_path: Path) -> None:
    create(tmp_path / "run").close()
    connection = sqlite3.connect(tmp_path / "run" / DATABASE)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    for made in (RunStore.open, RunStore.read):
        with pytest.raises(RunError, match=f"store version {version}.*reads version 1; use the {word}"):
            made(tmp_path / "run")


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run in"):
        RunStore.open(tmp_path)
    create(tmp_path / "run").close()
    with pytest.raises(RunError, match="holds a run already"):
        create(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DATABASE).write_text("this is no database at all, it only has the name of one" * 100)
    with pytest.raises(RunError, match="damaged"):
        RunStore.open(tmp_path / "other")
    with pytest.raises(RunError, match="cannot be repaired"):
        repair(tmp_path / "other")
    connection = sqlite3.connect(tmp_path / "foreign.sqlite")
    connection.execute("CREATE TABLE x (y)")
    connection.close()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign.sqlite").rename(tmp_path / "foreign" / DATABASE)
    with pytest.raises(RunError, match="not a run of archscout"):
        RunStore.open(tmp_path / "foreign")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        create(tmp_path / "file" / "run")


def test_a_read_only_folder_fails_first(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    tmp_path.chmod(0o755)
    with create(folder / "run") as store:
        go(store, evaluations=3)
    (folder / "run").chmod(0o555)
    folder.chmod(0o555)
    for parent in folder.parents:
        if parent != Path(parent.root) and os.access(parent, os.W_OK):
            parent.chmod(parent.stat().st_mode | 0o011)

    def made_new() -> str:
        RunStore.create(folder / "other", request={}, seed=0)
        return "made"

    def opened() -> str:
        RunStore.open(folder / "run")
        return "opened"

    for act in (made_new, opened):
        assert as_nobody(act).startswith("2 ") and "cannot be written" in as_nobody(act)
    assert as_nobody(lambda: str(len(RunStore.read(folder / "run").observations()))) == "3"
    folder.chmod(0o755)
    (folder / "run").chmod(0o755)


def as_nobody(act: Callable[[], str]) -> str:
    """What `act` says, or its exit code and message, in a process without the rights of root."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            said = act()
        except RunError as error:
            said = f"{error.exit_code} {error}"
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as said_there:
        return said_there.read()


def test_a_repair_on_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    from commandline import full_disk  # this file is imported by processes of its own, too, which know no tests

    folder = tmp_path / "run"
    RunStore.create(folder, request={}, seed=0).close()
    before = (folder / DATABASE).read_bytes()
    with full_disk(1_000), pytest.raises(StorageError, match="cannot be written"):
        repair(folder)
    assert (folder / DATABASE).read_bytes() == before and not list(folder.glob("*damaged*"))
    assert repair(folder).startswith("saved 0 events")


def test_a_full_disk_keeps_what_was_confirmed(tmp_path: Path, straight: bytes) -> None:
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2]); from test_runs import *\n"
        "from archscout.core.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); store = create(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "seen = []\n"
        "try:\n    with store: go(store, notify=lambda event: seen.append(event.landed))\n"
        "except StorageError as error: print(max(seen)); print(error); sys.exit(error.exit_code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run"), str(Path(__file__).parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    confirmed, message = done.stdout.split("\n", 1)
    assert DATABASE in message and f"[errno {errno.EFBIG}]" in message and os.strerror(errno.EFBIG) in message
    with RunStore.open(tmp_path / "run") as store:
        assert 0 < int(confirmed) == len(store.observations()) < 30
        go(store)
        assert table(store) == straight


def test_the_clock_counts_sessions_and_ignores_the_wall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with create(tmp_path / "run") as store:
        time.sleep(0.15)
        go(store, evaluations=2)
        first = store.spent_seconds
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with RunStore.open(tmp_path / "run") as store:
        assert first <= store.spent_seconds < first + 0.5
        time.sleep(0.1)
        store.tick()
    with RunStore.read(tmp_path / "run") as store:
        assert store.spent_seconds >= first + 0.1 >= 0.25


def test_a_broken_snapshot_falls_back_to_the_one_before(tmp_path: Path, straight: bytes) -> None:
    with create(tmp_path / "run") as store, pytest.raises(Killed):
        go(store, strategy=Wandering(keep=True), notify=lambda event: stop_at(event.landed, 23))
    kept = sorted((tmp_path / "run" / "checkpoints").glob("*"), key=lambda path: int(path.stem.split("-")[1]))
    assert len(kept) == 2
    kept[1].write_bytes(kept[1].read_bytes()[:-5])
    with RunStore.open(tmp_path / "run") as store:
        _, state = store.stage("screen").restart()
        assert state is not None and state["step"] == 15 and "checksum does not fit" in store.warnings[0]
        kept[0].write_bytes(b"")
        go(store, strategy=Wandering(keep=True))
        assert table(store) == straight


def test_tensors_in_snapshots_come_back_as_tensors() -> None:
    import torch

    from archscout.store.snapshots import pack, unpack

    state = {"t": torch.ones(2, dtype=torch.bfloat16), "a": np.eye(2), "n": 3, "f": 0.5, "s": "x", "g": np.float64(2)}
    back = unpack(pack(state))
    assert isinstance(back["t"], torch.Tensor) and back["t"].dtype == torch.bfloat16 and back["t"].tolist() == [1, 1]
    assert isinstance(back["a"], np.ndarray) and back["a"].tolist() == [[1, 0], [0, 1]]
    assert (back["n"], back["f"], back["s"], back["g"]) == (3, 0.5, "x", 2.0)
    with pytest.raises(TypeError, match="arrays, tensors, numbers"):
        pack({"x": object()})


def test_a_kill_while_a_run_is_made_leaves_no_half_run(tmp_path: Path) -> None:
    for place in ("create_database", "insertion"):
        code = "import os, sys; from pathlib import Path; from archscout.store import contents, writer, runs\n"
        code += "make = contents.create_database\n"
        code += "def early(path): make(path); os._exit(9)\n"
        code += "def late(table): os._exit(9)\n"
        code += "if sys.argv[2] == 'insertion': writer.insertion = late\n"
        code += "else: contents.create_database = early\n"
        code += "runs.RunStore.create(sys.argv[1], request={}, seed=0)"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), place], check=False)
        assert done.returncode == 9
        with pytest.raises(RunError, match="no run in"):
            RunStore.open(tmp_path / "run")
    create(tmp_path / "run").close()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["lock", DATABASE]


def test_meta_is_json_and_stays(tmp_path: Path) -> None:
    with create(tmp_path / "run") as store:
        store.meta["a"] = (1, 2)
        store.meta["a"] = {"b": [1]}
        with pytest.raises(ValueError, match="JSON"):
            store.meta["nan"] = float("nan")
        assert json.dumps(store.meta["a"]) == '{"b": [1]}'
    with RunStore.read(tmp_path / "run") as store:
        assert store.meta["a"] == {"b": [1]} and "nan" not in store.meta
