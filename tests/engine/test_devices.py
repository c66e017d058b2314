"""What differs where there are GPUs. This machine need have none: torch's answers about them are stood in for."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate, Failure
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.seeds import seeded
from archscout.engine import placement
from archscout.engine.executors import Pool
from archscout.engine.job import Job
from archscout.engine.request import Request
from archscout.nn.measure import latency
from archscout.testing.problems import counting

TASK = Task("none", IMAGE_CLASSIFICATION, (1, 8, 8), 3, "none")


def device(name: str) -> str:
    found: str = Job.device.func(SimpleNamespace(request=Request("images", device=name)))  # type: ignore[attr-defined]
    return found


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device(name) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]
    with pytest.raises(UserError, match=r"--device cuda:2 needs a GPU .* but there are 2; use --device cpu"):
        device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device("auto") == "cpu"
    with pytest.raises(UserError, match="there is none"):
        device("cuda")


def test_seeded_starts_no_gpu_that_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[tuple[int, Any]] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: f"state {device}")
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states.append((device, state)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with seeded(1):
            first = torch.rand(3)
        with seeded(1):
            assert torch.equal(torch.rand(3), first)
        assert states == []
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        with seeded(1):
            assert torch.equal(torch.rand(3), first)
    assert states == [(0, "state 0"), (1, "state 1")]


def test_latency_waits_for_the_device_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device=None: waited.append(device))
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    network = space.build(space.architecture([3] * 6), TASK)
    assert len(latency(network, TASK, device="meta", warm_up=1, repeats=2)) == 2
    assert waited == ["meta"] * 3


@dataclass(frozen=True)
class Poisoned:
    """Fails as a GPU does that a kernel has brought down; else its value is the number of its process."""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        if not any(architecture.choices):
            raise RuntimeError("CUDA error: device-side assert triggered")
        return Estimate(float(os.getpid()), 0.0)


def test_a_worker_whose_gpu_is_lost_is_replaced() -> None:
    problem = counting()
    bad, good = (problem.space.architecture([choice] * 6) for choice in (0, 1))
    found: list[Any] = []
    with Pool(1) as pool:
        for architecture in (good, good, bad, good):
            job = pool.submit(Poisoned(), problem, architecture, 0)
            while job.outcome is None:
                pool.wait()
            found.append(job.outcome)
    assert isinstance(found[2], Failure) and found[2].kind == "error" and "device-side assert" in found[2].message
    before, same, after = (outcome.value for outcome in (found[0], found[1], found[3]))
    assert before == same != after


def test_the_number_of_workers_is_part_of_a_run_wherever_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    meta: dict[str, int] = {}

    def workers(cores: int, **asked: Any) -> int:
        monkeypatch.setattr(placement, "cores", lambda: cores)
        job = SimpleNamespace(request=Request("images", **asked), store=SimpleNamespace(meta=meta), device="cpu")
        found: int = Job.placement.func(job).workers  # type: ignore[attr-defined]
        return found

    assert workers(3, workers=2) == 2 and not meta
    assert [workers(3), workers(8), workers(8, executor="ray")] == [3, 3, 3]
