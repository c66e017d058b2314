"""The conformance suite of estimators, over the catalogue."""

import pytest

from archscout import catalogue
from archscout.core.problem import Problem
from archscout.testing import estimators
from archscout.testing.tasks import image_task

# Settings that keep a judge quick enough for a test; a judge that is missing here runs with its own.
SMALL = {
    "naswot": {"batch": 16},
    "train": {"epochs": 2},
}
# Judges that measure this machine: their values cannot repeat, everything else is checked.
MEASURED = {"latency"}


@pytest.mark.parametrize("check", estimators.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", catalogue.names("estimators"))
def test_conforms(name, check):
    if name in MEASURED and check is estimators.repeats:
        check = estimators.is_finite
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    check(catalogue.make("estimators", name, **SMALL.get(name, {})), Problem(space, image_task()))


def test_small_settings_name_judges_that_exist():
    assert set(SMALL) <= set(catalogue.names("estimators"))
