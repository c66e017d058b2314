"""Counting, limits, and draws under limits."""

from __future__ import annotations

import pytest
from torch import nn

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import LimitError
from archscout.core.joint import JointSpace, member_space, names_of
from archscout.core.operations import GraphBuilder
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.seeds import generator
from archscout.nn.measure import UNKNOWN_WORK, _built_counts, acceptance, counts, latency, smallest_count
from archscout.testing.problems import CountingSpace

TASK = Task("none", IMAGE_CLASSIFICATION, (1, 28, 28), 10, "none")
MOBILE, HANDMADE = catalogue.make("spaces", "mobile"), catalogue.make("spaces", "handmade")


def test_work_weighs_what_macs_do_not() -> None:
    g = GraphBuilder((8, 16, 16))
    plain = g.finish(g.conv(g.input, 8, 3))
    g = GraphBuilder((8, 16, 16))
    depthwise = g.finish(g.conv(g.input, 8, 3, groups=8))
    g = GraphBuilder((8, 16, 16))
    active = g.finish(g.relu(g.batch_norm(g.conv(g.input, 8, 3))))
    assert plain.work == round(plain.macs + 240_000 + 6.8 * plain.params)
    assert depthwise.work == round(5.2 * depthwise.macs + 240_000 + 6.8 * depthwise.params)
    assert active.work == round(plain.macs + 240_000 + 6.8 * active.params + 2 * 57 * 8 * 16 * 16)


@pytest.mark.parametrize("name", ["params", "macs", "work"])
def test_tight_limits_are_met_by_mending_a_draw(name: str) -> None:
    smallest = smallest_count(Problem(MOBILE, TASK), name)
    problem = Problem(MOBILE, TASK, {name: smallest * 1.5})
    accept = acceptance(problem)
    rng = generator(0)
    drawn = {sample(MOBILE, rng, accept) for _ in range(5)}
    assert all(counts(MOBILE, a, TASK)[name] <= smallest * 1.5 for a in drawn)


def test_a_limit_below_the_smallest_network_names_it() -> None:
    smallest = smallest_count(Problem(MOBILE, TASK), "params")
    with pytest.raises(LimitError, match=f"smallest network of 'mobile' for this task has {smallest:,} params"):
        acceptance(Problem(MOBILE, TASK, {"params": smallest - 1}))


@pytest.mark.parametrize("choices", [(0,) * 6, (3, 1, 0, 2, 2, 1)])
def test_networks_that_are_built_and_run_count_as_by_arithmetic(choices: tuple[int, ...]) -> None:
    space = CountingSpace()
    architecture = space.architecture(choices)
    found = space.counts(architecture, TASK)
    assert _built_counts(space, architecture, TASK) == found
    assert counts(space, architecture, TASK) == {**found, "work": UNKNOWN_WORK * found["macs"]}


def test_no_limits_no_test() -> None:
    assert acceptance(Problem(MOBILE, TASK, {"latency_ms": 5})) is None


def test_a_joint_space_counts_and_builds_by_the_name_in_the_architecture() -> None:
    joint = JointSpace((MOBILE, HANDMADE))
    residual = HANDMADE.architecture((0, 0, 0))
    assert names_of(joint) == ("mobile", "handmade")
    assert member_space(joint, residual) is HANDMADE
    assert counts(joint, residual, TASK) == counts(HANDMADE, residual, TASK)
    assert isinstance(joint.build(residual, TASK), nn.Module)


def test_latency_is_sorted_and_positive() -> None:
    network = HANDMADE.build(HANDMADE.architecture((0, 0, 0)), TASK)
    times = latency(network, TASK, repeats=5)
    assert len(times) == 5
    assert times == sorted(times)
    assert times[0] > 0
