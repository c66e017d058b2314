"""The conformance suites of methods that learn across tasks, over the catalogue."""

import pytest
import small

from archscout import catalogue
from archscout.core.protocols import DatabaseLearner, EpisodeLearner, MetaLearner
from archscout.testing import meta

LEARNERS = {name: catalogue.make("meta", name, **small.META.get(name, {})) for name in catalogue.names("meta")}
LEARN_JUDGES = [name for name, learner in LEARNERS.items() if isinstance(learner, MetaLearner)]
LEARN_FROM_DATABASES = [name for name, learner in LEARNERS.items() if isinstance(learner, DatabaseLearner)]
LEARN_FROM_EPISODES = [name for name, learner in LEARNERS.items() if isinstance(learner, EpisodeLearner)]
LESSONS = meta.Lessons(small.MADE, tasks=60, records=8)


def without_resumes(checks):
    """All others: that one is row 17 of the fault table, and looked at in tests/faults."""
    return [check for check in checks if check is not meta.resumes]


@pytest.mark.parametrize("check", meta.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", LEARN_JUDGES)
def test_conforms(name, check):
    check(LEARNERS[name], small.labelled())


@pytest.mark.parametrize("check", without_resumes(meta.DATABASE_CHECKS), ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", LEARN_FROM_DATABASES)
def test_conforms_with_a_database(name, check):
    if check is meta.learns_from_accuracies:
        check(LEARNERS[name], LESSONS)
    else:
        check(small.brief(name), small.FEW_LESSONS)


@pytest.mark.parametrize("check", without_resumes(meta.EPISODE_CHECKS), ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", LEARN_FROM_EPISODES)
def test_conforms_with_episodes(name, check):
    check(LEARNERS[name], small.EPISODES)


def test_every_method_is_of_one_kind():
    assert sorted([*LEARN_JUDGES, *LEARN_FROM_DATABASES, *LEARN_FROM_EPISODES]) == sorted(catalogue.names("meta"))
