"""The commands on a Ray cluster of two machines: the same files as the pool writes, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from commandline import Command, end_of, landed, until
from two_machines import TwoMachines, hosts

from archscout.core.scores import read_scores
from archscout.store.runs import RunStore

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's own files
]
STRANGE = Path(__file__).parent.parent / "faults" / "plugins" / "strange.py"
SEARCHING = ("bench", "search", "--table", "nas201", "--dataset", "cifar10", "--strategy", "local", "--queries", 20, "--seeds", 5)
BUILDING = (
    "meta", "build", "--families", "shapes,glyphs", "--tasks", 4, "--records", 12, "--epochs", 0.5, "--set", "recipe.batch=8",
    "--set", "form.side=8", "--set", "form.fewest=3", "--set", "form.most=4", "--out", "meta.npz",
)  # fmt: skip
LEARNING = (
    "meta", "train", "signal-tasks", "--table", "nas201", "--dataset", "cifar10", "--labelled", 5, "--set", "meta.population=3",
    "--set", "meta.steps=2", "--set", "estimator.steps=3", "--set", "estimator.statistics=batch", "--set", "space.channels=4",
    "--set", "space.cells=1", "--set", "estimator.resolution=8",
)  # fmt: skip
VARYING = {"file": "", "seconds": 0, "digest": ""}
SPACE = """
from dataclasses import dataclass
from archscout.testing.problems import CountingSpace

@dataclass(frozen=True)
class Tiny(CountingSpace):
    length: int = 2
"""


@pytest.fixture(scope="module")
def words(small_data: Path) -> tuple[object, ...]:
    """A search that trains nothing, with a judge of a file."""
    return (
        "search", "--data", small_data, "--budget", 40, "--space", "nas201", "--strategy", "regularized-evolution",
        "--estimator", STRANGE, "--screen-only", "--workers", 2, "--json", "--set", "estimator.pause=0.15",
    )  # fmt: skip


@pytest.fixture(scope="module")
def on(machines: TwoMachines) -> tuple[object, ...]:
    return "--executor", "ray", "--address", machines.address


@pytest.fixture(scope="module")
def straight(archscout: Command, words: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """results.csv of the pool."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    archscout(*words, "--out", folder, fresh=True)
    return results(folder)


def results(folder: Path) -> bytes:
    return (folder / "results.csv").read_bytes()


def marks(folder: Path) -> dict[str, object]:
    """Which images each contestant had right, as measured by the driver with the weights that came back."""
    with RunStore.read(folder) as store:
        return {name: value for name, value in store.meta.items() if name.startswith("valid_marks")}


def test_a_killed_worker_and_a_killed_machine_change_nothing(
    archscout: Command, words: tuple[object, ...], on: tuple[object, ...], straight: bytes, machines: TwoMachines, tmp_path: Path
) -> None:
    driver = archscout.start(*words, *on, "--out", tmp_path / "run", fresh=True)
    assert until(lambda: landed(tmp_path / "run") >= 5, driver)
    hosts()[0].kill()
    have = landed(tmp_path / "run")
    assert until(lambda: landed(tmp_path / "run") >= have + 5, driver)
    machines.kill()
    machines.add()
    done = end_of(driver)
    assert done.code == 0, done.err
    assert results(tmp_path / "run") == straight
    with RunStore.read(tmp_path / "run") as store:
        assert sum(share.judged for share in store.shares.values()) == 40
    assert "judged by machine-1" in (tmp_path / "run" / "report.html").read_text()


def test_a_killed_driver_goes_on_there_or_here(
    archscout: Command, words: tuple[object, ...], on: tuple[object, ...], straight: bytes, tmp_path: Path
) -> None:
    driver = archscout.start(*words, *on, "--out", tmp_path / "run", fresh=True)
    for after, then in ((8, ()), (20, ("--executor", "local"))):
        assert until(lambda after=after: landed(tmp_path / "run") >= after, driver)
        driver.kill()
        assert end_of(driver).code == -signal.SIGKILL
        driver = archscout.start("resume", tmp_path / "run", *then, fresh=True)
    done = end_of(driver)
    assert done.code == 0, done.err
    assert results(tmp_path / "run") == straight
    assert until(lambda: not hosts(), psutil.Process(os.getpid())), "workers outlive their driver"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_driver_says_how_to_go_on(
    number: signal.Signals, archscout: Command, words: tuple[object, ...], on: tuple[object, ...], tmp_path: Path
) -> None:
    driver = archscout.start(*words, *on, "--out", tmp_path / "run", fresh=True)
    assert until(lambda: landed(tmp_path / "run") >= 3, driver)
    driver.send_signal(number)
    done = end_of(driver, 30)
    assert done.code == 128 + number and f"Go on with: archscout resume {tmp_path / 'run'}" in done.err


def test_trained_weights_come_back(archscout: Command, on: tuple[object, ...], small_data: Path, tmp_path: Path) -> None:
    asked = (
        "search", "--data", small_data, "--budget", 12, "--epochs", 2, "--image-size", 8, "--max-macs", "150k", "--workers", 2,
        "--formats", "", "--json", "--look-ahead", 2,
    )  # fmt: skip
    archscout(*asked, "--out", tmp_path / "here", fresh=True)
    archscout(*asked, *on, "--out", tmp_path / "there", fresh=True)
    assert results(tmp_path / "there") == results(tmp_path / "here")
    assert marks(tmp_path / "there") == marks(tmp_path / "here") != {}


@pytest.fixture
def both(archscout: Command, on: tuple[object, ...], tmp_path: Path) -> Callable[..., list[Path]]:
    """Run a command with two workers, here and on the cluster, each in a folder of its own; gives these."""

    def run(*words: object) -> list[Path]:
        folders = [tmp_path / "here", tmp_path / "there"]
        for folder, more in zip(folders, ((), on), strict=True):
            folder.mkdir()
            place = {"cwd": folder, "fresh": True, "env": {"ARCHSCOUT_SIGNALS": str(folder)}}
            done = archscout(*words, "--workers", 2, *more, "--json", **place)
            (folder / "said.json").write_text(json.dumps(done.json | VARYING))
        return folders

    return run


def said(folder: Path) -> object:
    return json.loads((folder / "said.json").read_text())


@pytest.mark.parametrize("words", [SEARCHING, BUILDING, LEARNING], ids=["bench search", "meta build", "meta train"])
def test_the_other_commands_give_the_same(words: tuple[object, ...], both: Callable[..., list[Path]]) -> None:
    here, there = both(*words)
    assert said(here) == said(there)


def test_scores_are_the_same(both: Callable[..., list[Path]], tmp_path: Path) -> None:
    space = tmp_path / "tiny.py"
    space.write_text(SPACE)
    here, there = both("score", "--all", "--space", space, "--estimator", "macs,params", "--out", "scores.npz")
    one, other = (read_scores(folder / "scores.npz") for folder in (here, there))
    assert len(one) == 16 and one.values.tolist() == other.values.tolist()


def test_through_a_client(
    archscout: Command, words: tuple[object, ...], straight: bytes, machines: TwoMachines, tmp_path: Path
) -> None:
    address = f"ray://127.0.0.1:{machines.port}"
    archscout(*words, "--executor", "ray", "--address", address, "--out", tmp_path / "run", fresh=True)
    assert results(tmp_path / "run") == straight


def test_the_doctor_shows_the_cluster(archscout: Command, machines: TwoMachines) -> None:
    checks = {check["name"]: check for check in archscout("doctor", "--address", machines.address, "--json", fresh=True).json}
    assert checks["cluster"]["ok"] and checks["cluster"]["found"].startswith("2 machines with 3 CPUs and 2 GPUs: machine-")
