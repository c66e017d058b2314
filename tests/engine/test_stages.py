"""The rules by which the stages choose: finalists, the rung that decides, how many can compete."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, LimitError
from archscout.core.evidence import Estimate, Failure, Observation
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.engine.customs import IMAGES
from archscout.engine.job import Job
from archscout.engine.plan import RUNG_FACTOR, _contest, check_limits
from archscout.engine.request import Request
from archscout.engine.stages import RANDOM, SEARCHED, Contestant, _distance, _spread, decide
from archscout.testing.tasks import image_task, token_task


def architecture(*choices: int) -> Architecture:
    return Architecture("mobile", choices)


def seen(one: Architecture, fidelity: float, value: float | None) -> Observation:
    if value is None:
        return Observation(one, None, Failure("nan", "no number"), fidelity=fidelity)
    return Observation(one, Estimate(value), fidelity=fidelity)


A, B, C, D = (Contestant(SEARCHED, architecture(k)) for k in range(4))
BASE = Contestant("ResNet-type", Architecture("handmade", (0,)))
DRAWN = Contestant(RANDOM, architecture(9))
EVERYONE = (A, B, C, BASE, DRAWN)


def test_finalists_of_a_named_judge_are_its_best_but_unlike_one_another() -> None:
    ranked = [architecture(0, 0, 0, 0), architecture(0, 0, 0, 1), architecture(1, 1, 1, 0), architecture(2, 2, 2, 2)]
    assert _spread(ranked, 2, rough=False) == [ranked[0], ranked[2]]
    assert len(_spread(ranked, 4, rough=False)) == 4


def test_finalists_of_the_rough_judge_come_from_its_whole_better_third() -> None:
    ranked = [architecture(k, k, k, k) for k in range(30)]
    chosen = _spread(ranked, 4, rough=True)
    assert chosen == [ranked[0], ranked[3], ranked[6], ranked[9]]
    assert _spread(ranked[:2], 4, rough=True) == ranked[:2]
    assert _distance(ranked[0], ranked[1]) == 4


def test_the_highest_complete_rung_decides() -> None:
    first = [seen(c.architecture, 1.0, v) for c, v in zip(EVERYONE, (0.5, 0.6, 0.4, 0.3, 0.2), strict=True)]
    second = [seen(c.architecture, 3.0, v) for c, v in zip((B, BASE, DRAWN), (0.7, 0.8, 0.1), strict=True)]
    contest = decide(EVERYONE, first + second, (1.0, 3.0))
    assert contest.fidelity == 3.0
    assert contest.best() == BASE
    assert contest.best(SEARCHED) == B
    assert contest.value(A) is None
    assert contest.last[A.architecture].value == 0.5


def test_a_rung_without_all_that_always_go_on_does_not_decide() -> None:
    first = [seen(c.architecture, 1.0, v) for c, v in zip(EVERYONE, (0.5, 0.6, 0.4, 0.3, 0.2), strict=True)]
    contest = decide(EVERYONE, [*first, seen(B.architecture, 3.0, 0.9)], (1.0, 3.0))
    assert contest.fidelity == 1.0
    assert contest.best() == B


def test_a_failed_baseline_counts_as_landed_and_never_wins() -> None:
    values = (0.5, 0.6, 0.4, None, 0.2)
    contest = decide(EVERYONE, [seen(c.architecture, 1.0, v) for c, v in zip(EVERYONE, values, strict=True)], (1.0, 3.0))
    assert contest.fidelity == 1.0
    assert contest.value(BASE) is None
    assert contest.best() == B


def test_nobody_waits_on_a_higher_rung_for_who_failed_below() -> None:
    first = [seen(c.architecture, 1.0, v) for c, v in zip(EVERYONE, (0.5, 0.6, 0.4, None, 0.2), strict=True)]
    second = [seen(c.architecture, 3.0, v) for c, v in zip((B, DRAWN), (0.7, 0.1), strict=True)]
    contest = decide(EVERYONE, first + second, (1.0, 3.0))
    assert contest.fidelity == 3.0
    assert contest.best() == B and contest.value(BASE) is None


def test_nothing_trained_is_an_error_with_reasons() -> None:
    with pytest.raises(ArchscoutError, match="no number"):
        decide(EVERYONE, [seen(c.architecture, 1.0, None) for c in EVERYONE], (1.0,))
    with pytest.raises(ArchscoutError, match="time was up"):
        decide(EVERYONE, [], (1.0,))


def test_a_latency_that_no_network_has_is_told_with_what_the_smallest_takes() -> None:
    task = Task("none", IMAGE_CLASSIFICATION, (1, 8, 8), 3, "none")
    space = catalogue.make("spaces", "nas201")

    def job(bound: float) -> Any:
        request = Request("none", limits={"latency_ms": bound})
        problem = Problem(space, task, request.limits)
        return SimpleNamespace(request=request, space=space, task=task, device="cpu", problem=lambda limits: problem)

    check_limits(job(10_000.0))
    with pytest.raises(LimitError, match=r"--max-latency 1e-06ms cannot be met: the smallest network of 'nas201' .* takes .* ms"):
        check_limits(job(1e-6))


@pytest.mark.parametrize(("space", "first"), [("rnn", 0.75), ("nlp-rnn", 0.5), ("handmade-rnn", 0.75)])
def test_rivals_are_trained_with_the_dropouts_of_the_searched_networks(space: str, first: float) -> None:
    shares = {"dropout_embedding": "0.5", "dropout_input": "0.5", "dropout_output": "0.25"}
    if space == "nlp-rnn":
        del shares["dropout_embedding"]
    request = Request("none", space=space, settings={f"space.{name}": share for name, share in shares.items()})
    opened: Any = SimpleNamespace(task=token_task())
    store: Any = SimpleNamespace()
    job = Job(request, opened, store)
    for family in (0, 1):
        network = job.handmade.build(job.handmade.architecture((family, 7)), job.task)
        assert [dropout.p for dropout in network.dropouts] == [first, 0.25]


def test_equals_go_to_the_earlier() -> None:
    contest = decide((A, B, BASE), [seen(c.architecture, 1.0, 0.5) for c in (A, B, BASE)], (1.0,))
    assert contest.best() == A


@pytest.mark.parametrize(("affordable", "count", "finalists"), [(1e6, 50_000, 9), (3e4, 50_000, 2), (3e6, 300, 9)])
def test_as_many_finalists_as_can_be_trained_at_all(affordable: float, count: int, finalists: int) -> None:
    found, first = _contest(IMAGES, affordable, count)
    assert found == finalists
    trainings = found + 3 + RUNG_FACTOR * (-(-found // RUNG_FACTOR) + 3)
    assert first * trainings <= affordable * 1.0001 or first == 512


def test_small_sets_are_seen_more_often() -> None:
    task = image_task()
    assert IMAGES.most_epochs(task, 50_000) == 30
    assert IMAGES.most_epochs(task, 1_000) == 200
