from dataclasses import dataclass
from time import sleep

import pytest
import torch

from archscout.core.architecture import Decision, checked
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.estimators.latency import Latency

SEEN: list[tuple[tuple[int, ...], int, bool]] = []


class Sleeper(torch.nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(1))
        self.seconds = seconds

    def forward(self, x):
        SEEN.append((tuple(x.shape), torch.get_num_threads(), self.training))
        sleep(self.seconds * (10 if len(SEEN) <= 3 else 1))  # the first passes are slow, as they are in life
        return x.flatten(1)[:, :2]


@dataclass(frozen=True)
class SleepSpace:
    name: str = "sleep"
    decisions: tuple[Decision, ...] = (Decision("milliseconds", ("0", "1", "2", "3", "4", "5")),)

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture, task):
        return Sleeper(architecture.choices[0] / 1000)


PROBLEM = Problem(SleepSpace(), Task("t", IMAGE_CLASSIFICATION, (1, 4, 4), 2, "t"))


@pytest.fixture(autouse=True)
def clear():
    SEEN.clear()


def test_the_value_is_minus_the_median_milliseconds_after_the_warm_up():
    estimate = Latency(warm_up=3, repeats=15).estimate(PROBLEM, PROBLEM.space.architecture((4,)), seed=0)
    assert 4.0 <= estimate.metrics["latency_ms"] < 40.0 / 2
    assert estimate.value == -estimate.metrics["latency_ms"]
    assert estimate.metrics["latency_p95_ms"] >= estimate.metrics["latency_ms"]
    assert estimate.cost_seconds >= (3 * 40 + 15 * 4) / 1000
    assert len(SEEN) == 18


def test_slower_networks_are_worse():
    slow, quick = (Latency(warm_up=3, repeats=9).estimate(PROBLEM, PROBLEM.space.architecture((c,)), seed=0).value for c in (5, 0))
    assert slow < quick < 0


def test_batch_threads_and_mode():
    before = torch.get_num_threads()
    Latency(batch=7, warm_up=0, repeats=2, threads=1).estimate(PROBLEM, PROBLEM.space.architecture((0,)), seed=0)
    assert SEEN == [((7, 1, 4, 4), 1, False)] * 2
    assert torch.get_num_threads() == before


def test_the_threads_come_back_after_an_error_and_the_generator_is_untouched(monkeypatch):
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2)
    monkeypatch.setattr(Sleeper, "forward", lambda self, x: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            Latency().estimate(PROBLEM, PROBLEM.space.architecture((0,)), seed=0)
        assert torch.get_num_threads() == 2
        assert torch.equal(state, torch.random.get_rng_state())
    finally:
        torch.set_num_threads(before)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        Latency(repeats=0)
