import pytest

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.problem import Problem
from archscout.nn.measure import counts
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201")
ARCHITECTURE = SPACE.architecture((3, 3, 3, 1, 3, 2))


@pytest.fixture(scope="module")
def problem():
    return Problem(SPACE, image_task((3, 16, 16), classes=10))


@pytest.mark.parametrize("name", ["params", "macs"])
def test_more_is_better_unless_told(problem, name):
    found = counts(problem.space, ARCHITECTURE, problem.task)
    estimate = catalogue.make("estimators", name).estimate(problem, ARCHITECTURE, seed=0)
    assert estimate.value == found[name] > 0
    assert estimate.metrics == found
    assert 0 <= estimate.cost_seconds < 5
    fewer = catalogue.make("estimators", name, sign=-1).estimate(problem, ARCHITECTURE, seed=0)
    assert fewer.value == -estimate.value


def test_params_are_those_of_the_built_network(problem):
    network = problem.space.build(ARCHITECTURE, problem.task)
    value = catalogue.make("estimators", "params").estimate(problem, ARCHITECTURE, seed=0).value
    assert value == sum(parameter.numel() for parameter in network.parameters())


def test_the_two_judges_differ_and_order_networks_by_size(problem):
    small = problem.space.architecture((1, 1, 1, 1, 1, 1))
    for name in ("params", "macs"):
        judge = catalogue.make("estimators", name)
        assert judge.estimate(problem, small, seed=0).value < judge.estimate(problem, ARCHITECTURE, seed=0).value
    values = {catalogue.make("estimators", name).estimate(problem, small, seed=0).value for name in ("params", "macs")}
    assert len(values) == 2


@pytest.mark.parametrize("name", ["params", "macs"])
def test_the_sign_is_checked(name):
    with pytest.raises(UserError, match=r"sign is 1 .* but 2 came"):
        catalogue.make("estimators", name, sign=2)
