"""The conformance suite of methods that learn across tasks, over the catalogue."""

import pytest

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.evidence import Episode
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.testing import meta
from archscout.testing.tasks import image_task

SMALL = {"signal-tasks": {"population": 5, "steps": 6, "tournament": 3}}


def episodes():
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    rng = generator(0, "episodes")
    architectures = [sample(space, rng) for _ in range(6)]
    return [Episode(Problem(space, image_task()), architectures, [float(number) for number in range(6)])]


@pytest.mark.parametrize("check", meta.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", catalogue.names("meta"))
def test_conforms(name, check):
    check(catalogue.make("meta", name, **SMALL.get(name, {})), episodes())
