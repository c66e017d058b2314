"""Where candidates are judged, as the command line says it: what cannot be had is one sentence, at once."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from commandline import SLOWNESS, Command

from archscout.core.errors import UserError
from archscout.engine import placement
from archscout.engine.placement import Placement
from archscout.engine.request import Request

ELSEWHERE = ("--executor", "ray", "--address")


def commands(data: Path, folder: Path) -> list[tuple[object, ...]]:
    """Every command that takes a cluster."""
    return [
        ("search", "--data", data, "--out", folder / "run"),
        ("score", "--all", "--space", "nas201", "--out", folder / "scores.npz"),
        ("bench", "search", "--strategy", "random", "--table", "nas201", "--dataset", "cifar10", "--queries", 3),
        ("meta", "build", "--out", folder / "meta.npz"),
        ("meta", "train", "signal-tasks", "--table", "nas201", "--dataset", "cifar10"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_without_the_extra_the_install_line_is_named(
    number: int, call: Callable[..., str], small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs Ray, .*pip install 'archscout\[ray\]'"):
        call(*commands(small_data, tmp_path)[number], "--executor", "ray")
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize("what", ["nobody", "deaf", "client", "auto"])
def test_where_no_cluster_answers(what: str, archscout: Command, small_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as listening:  # a port that is taken by something that never answers
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        if what in ("deaf", "client"):
            listening.listen()
        address = {"auto": "auto", "client": f"ray://127.0.0.1:{port}"}.get(what, f"127.0.0.1:{port}")
        begun = time.monotonic()
        # Where Ray looks for clusters of this machine there is none.
        done = archscout(*commands(small_data, tmp_path)[0], *ELSEWHERE, address, code=2, fresh=True, env={"RAY_TMPDIR": tmp_path})
    done.refused(f"no Ray cluster answers at '{address}'", "ray start --head")
    assert time.monotonic() - begun < 20 * SLOWNESS
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("times", "said"), [(2, None), (3, r"'ray://far' \(ConnectionAbortedError: .*it died\); start one")])
def test_a_server_that_dies_as_it_starts_is_asked_again(times: int, said: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the client's own server on the cluster: it forks with threads, and its child may die at once."""
    ray = pytest.importorskip("ray")
    from archscout.engine import ray_executor

    deaths = iter(range(times))

    def init(*_: object, **__: object) -> None:
        for _death in deaths:
            raise ConnectionAbortedError("Initialization failure from server:\nTraceback:\nRuntimeError: it died")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray_executor, "_answers", lambda address: True)
    with pytest.raises(UserError, match=said) if said else nullcontext():
        ray_executor.connect("ray://far")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--executor", "rya"), "did you mean 'ray'"),
        (("--address", "auto"), ""),
        (("--address", "10.0.0.1:6379"), "give --executor ray"),
        (("--cpus-per-candidate", 2), "--cpus-per-candidate is of a cluster"),
        (("--gpus-per-candidate", 1), "--gpus-per-candidate is of a cluster"),
        (("--executor", "ray", "--cpus-per-candidate", 0), "a share of a CPU or a GPU"),
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_refused(words: tuple[object, ...], part: str, call: Callable[..., str]) -> None:
    if not part:
        Placement(address="auto").check()
        return
    with pytest.raises(UserError, match=part):
        call("bench", "search", "--strategy", "random", "--table", "nas201", "--dataset", "cifar10", "--queries", 3, *words)


def test_methods_that_train_one_network_have_nothing_for_a_cluster(call: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--executor is of other methods than 'at-nas'"):
        call("meta", "train", "at-nas", "--data", "bundled", "--executor", "ray")
    with pytest.raises(UserError, match="--ways is of other methods than 'signal-tasks'"):
        call("meta", "train", "signal-tasks", "--table", "nas201", "--dataset", "cifar10", "--ways", 5)


def test_few_architectures_are_judged_in_this_process(call: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="--candidate-timeout goes with --all"):
        call("score", "nas201:3.3.3.1.3.2", "--candidate-timeout", 5)


def test_a_finished_run_needs_no_cluster(archscout: Command, finished: Any, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    told = archscout("resume", run, *ELSEWHERE, "127.0.0.1:1", "--json").json
    assert told["test_value"] == finished.summary["test_value"]
    archscout("resume", run, "--executor", "rya", code=2).refused("did you mean 'ray'")


def test_bench_search_gives_the_same_with_many_workers(call: Callable[..., str]) -> None:
    asked = ("bench", "search", "--strategy", "local", "--table", "nas201", "--dataset", "cifar10", "--queries", 20, "--seeds", 4)
    assert call(*asked, "--workers", 2, "--json") == call(*asked, "--json")


def test_a_look_ahead_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="--look-ahead"):
        Request(data="bundled", look_ahead=0).check()
