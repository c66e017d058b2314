"""The workers of a Ray cluster do what every executor must, and lose nothing with a worker or a machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from two_machines import TwoMachines, hosts

from archscout import catalogue
from archscout.engine.parcels import kept_folder
from archscout.engine.placement import Placement
from archscout.testing.executors import CHECKS, PROBLEM, leaves_files_where_they_belong, outcomes
from archscout.testing.problems import Choosy, Counting, Sleeping

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of Ray's own files
]
ARCHITECTURES = [PROBLEM.space.architecture([i % 4, i % 3, 1, 2, 3, i % 2]) for i in range(24)]
_SEEING = """
import os, time
from dataclasses import dataclass
from archscout.core.evidence import Estimate

@dataclass(frozen=True)
class Seeing:
    def estimate(self, problem, architecture, *, seed):
        time.sleep(0.5)
        return Estimate(float(os.environ.get("CUDA_VISIBLE_DEVICES") or -1), metrics={"cuda": int(problem.device == "cuda")})
"""
VALUES = [Sleeping(0).estimate(PROBLEM, one, seed=0) for one in ARCHITECTURES]


@pytest.fixture(scope="module")
def make(machines: TwoMachines) -> Iterator[Callable[..., Any]]:
    """Executors on the cluster, which this process joins."""
    import ray

    from archscout.engine.ray_executor import RayExecutor

    Placement("ray", machines.address, 2).check()
    yield RayExecutor
    ray.shutdown()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_ray_does_what_every_executor_must(check: Callable[..., None], make: Callable[..., Any], tmp_path: Path) -> None:
    check(make, tmp_path)


def test_what_came_back_leaves_no_copy_behind(make: Callable[..., Any], tmp_path: Path) -> None:
    leaves_files_where_they_belong(make, tmp_path)
    assert not list(kept_folder().iterdir())


def test_work_is_spread_and_said_by_whom(make: Callable[..., Any]) -> None:
    with make(3) as executor:
        jobs = [executor.submit(Sleeping(0.3), PROBLEM, one, 0) for one in ARCHITECTURES]
        assert outcomes(executor, jobs) == VALUES
        assert {job.place for job in jobs} == {"machine-1", "machine-2"}
        assert executor.state == "3 of 3 workers on 2 machines, 0 waiting"


def test_candidates_with_a_gpu_each_compute_on_their_own(make: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "seeing.py"
    file.write_text(_SEEING)
    judge = catalogue.plugin("estimators", str(file))()
    with make(0, gpus=1.0) as executor:
        assert executor.workers == 2
        found = outcomes(executor, [executor.submit(judge, PROBLEM, one, 0) for one in ARCHITECTURES[:8]])
    assert {one.value for one in found} == {0.0, 1.0} and all(one.metrics["cuda"] for one in found)
    with make(1) as executor:
        [found] = outcomes(executor, [executor.submit(judge, replace(PROBLEM, device="cuda"), ARCHITECTURES[0], 0)])
    assert not found.metrics["cuda"], "without a GPU of their own candidates compute on CPUs"


def test_quick_candidates_go_several_at_a_time(make: Callable[..., Any]) -> None:
    with make(1) as executor:
        calls: list[int] = []
        fly = executor._fly
        executor._fly = lambda member, jobs: (calls.append(len(jobs)), fly(member, jobs))
        assert outcomes(executor, [executor.submit(Sleeping(0), PROBLEM, one, 0) for one in ARCHITECTURES]) == VALUES
    assert calls[0] == 1, "nothing is known of the first"
    assert max(calls) > 4 and sum(calls) == len(ARCHITECTURES)


def test_a_worker_that_cannot_load_a_judge_does_not_draw_its_candidates(make: Callable[..., Any], tmp_path: Path) -> None:
    choosy = Choosy(str(tmp_path / "trace"), 0.1)
    with make(2) as executor:
        jobs = [executor.submit(choosy, PROBLEM, one, 0) for one in ARCHITECTURES]
        assert outcomes(executor, jobs) == VALUES
        assert "1 unable to load a judge" in executor.state
        jobs = [executor.submit(Sleeping(0.3), PROBLEM, one, 0) for one in ARCHITECTURES]
        executor.wait(0.1)
        assert all(member.jobs for member in executor._team), "it judges what it can load"
        assert outcomes(executor, jobs) == VALUES


def test_a_judge_that_nobody_can_load_fails_alone(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archscout.engine import ray_executor

    monkeypatch.setattr(ray_executor, "_JOIN_SECONDS", 5.0)
    bad = Choosy(str(tmp_path / "no" / "trace"))
    for workers in (1, 9):  # there is no room for so many
        with make(workers) as executor:
            assert outcomes(executor, [executor.submit(Counting(), PROBLEM, ARCHITECTURES[0], 0)]) == VALUES[:1]
            judges = [Counting(), Counting(), bad, bad, Counting()]
            found = outcomes(executor, [executor.submit(one, PROBLEM, ARCHITECTURES[0], 0) for one in judges])
            assert [found[place] for place in (0, 1, 4)] == VALUES[:1] * 3
            for place in (2, 3):
                assert found[place].kind == "error"
                assert "cannot load the judge or the problem: FileNotFoundError" in found[place].message


@pytest.mark.parametrize("what", ["host", "process"])
def test_a_killed_worker_loses_nothing(what: str, make: Callable[..., Any]) -> None:
    with make(2) as executor:
        jobs = [executor.submit(Sleeping(0.4), PROBLEM, one, 0) for one in ARCHITECTURES]
        while sum(job.outcome is not None for job in jobs) < 4:
            executor.wait(1.0)
        [victim, *_] = hosts()
        if what == "process":
            [victim, *_] = victim.children()
        os.kill(victim.pid, signal.SIGKILL)
        assert outcomes(executor, jobs) == VALUES


def test_a_killed_machine_loses_nothing_and_a_new_one_is_used(make: Callable[..., Any], machines: TwoMachines) -> None:
    with make(3) as executor:
        jobs = [executor.submit(Sleeping(0.6), PROBLEM, one, 0) for one in ARCHITECTURES]
        while len({job.place for job in jobs if job.outcome}) < 2:
            executor.wait(1.0)
        machines.kill()
        machines.add()
        assert outcomes(executor, jobs) == VALUES
        assert "machine-1" in {job.place for job in jobs}


def test_closing_leaves_nobody(make: Callable[..., Any]) -> None:
    with make(2) as executor:
        executor.submit(Sleeping(60), PROBLEM, ARCHITECTURES[1], 0)
        while "1 of 2" not in executor.state:
            executor.wait(0.5)
        time.sleep(0.5)
        there = [process for host in hosts() for process in (host, *host.children(recursive=True))]
        assert there
    _, alive = psutil.wait_procs(there, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_a_cluster_without_room_is_refused(machines: TwoMachines, make: Callable[..., Any]) -> None:
    from archscout.core.errors import UserError

    for wanted, words in (
        ({"cpus": 64.0}, "64 CPUs"),
        ({"gpus": 3.0}, "3 GPUs"),
        ({"gpus": 1.5}, "a share of one GPU"),
        ({"cpus": 1e-6}, "cannot have 1e-06 CPUs"),
    ):
        with pytest.raises(UserError, match=words):
            Placement("ray", machines.address, **{f"{name}_per_candidate": share for name, share in wanted.items()}).check()
    machines.cluster.wait_for_nodes()  # a cluster counts a machine that was killed until it misses it
    assert partial(Placement, "ray", machines.address)().crew() == 3
