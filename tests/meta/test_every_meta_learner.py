"""The conformance suites of methods that learn across tasks, over the catalogue."""

from dataclasses import replace

import pytest

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.evidence import Episode
from archscout.core.problem import Problem
from archscout.core.protocols import DatabaseLearner, EpisodeLearner, MetaLearner
from archscout.core.seeds import generator
from archscout.testing import meta
from archscout.testing.databases import MadeUp
from archscout.testing.tasks import episode_task, image_task

SMALL = {
    "at-nas": {
        "method": "anil",
        "iterations": 6,
        "every": 2,
        "warm_up": 0.3,
        "population": 4,
        "parents": 2,
        "crossed": 1,
        "mutated": 1,
        "paths": 2,
        "batch": 2,
        "tasks": 2,
        "final_tasks": 2,
        "report": 1,
    },
    "signal-tasks": {"population": 5, "steps": 6, "tournament": 3},
    "metad2a": {"code": 8, "hidden": 16, "per_class": 3, "epochs": 6, "batch": 6, "rate": 0.004},
}
LEARNERS = {name: catalogue.make("meta", name, **SMALL.get(name, {})) for name in catalogue.names("meta")}
LEARN_JUDGES = [name for name, learner in LEARNERS.items() if isinstance(learner, MetaLearner)]
LEARN_FROM_DATABASES = [name for name, learner in LEARNERS.items() if isinstance(learner, DatabaseLearner)]
LEARN_FROM_EPISODES = [name for name, learner in LEARNERS.items() if isinstance(learner, EpisodeLearner)]
EPISODES = meta.EpisodeLessons(Problem(catalogue.make("spaces", "few-shot", channels=2, nodes=2), episode_task()))
MADE = MadeUp(catalogue.make("spaces", "nas201"), width=4, images=6, hidden=1)
LESSONS, FEW_LESSONS = meta.Lessons(MADE, tasks=60, records=8), meta.Lessons(MADE, tasks=15, records=5)
BRIEF = {"metad2a": {"epochs": 2}}
"""What need not have learned much takes few lessons."""


def episodes():
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    rng = generator(0, "episodes")
    architectures = [sample(space, rng) for _ in range(6)]
    return [Episode(Problem(space, image_task()), architectures, [float(number) for number in range(6)])]


@pytest.mark.parametrize("check", meta.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", LEARN_JUDGES)
def test_conforms(name, check):
    check(LEARNERS[name], episodes())


@pytest.mark.parametrize("check", meta.DATABASE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", LEARN_FROM_DATABASES)
def test_conforms_with_a_database(name, check):
    if check is meta.learns_from_accuracies:
        check(LEARNERS[name], LESSONS)
    else:
        check(replace(LEARNERS[name], **BRIEF.get(name, {})), FEW_LESSONS)


@pytest.mark.parametrize("check", meta.EPISODE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", LEARN_FROM_EPISODES)
def test_conforms_with_episodes(name, check):
    check(LEARNERS[name], EPISODES)


def test_every_method_is_of_one_kind():
    assert sorted([*LEARN_JUDGES, *LEARN_FROM_DATABASES, *LEARN_FROM_EPISODES]) == sorted(catalogue.names("meta"))
