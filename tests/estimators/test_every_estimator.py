"""The conformance suite of estimators, over the catalogue."""

import pytest

from archscout import catalogue
from archscout.core.problem import Problem
from archscout.testing import estimators
from archscout.testing.tasks import image_task

# Settings that keep a judge quick enough for a test; a judge that is missing here runs with its own.
SMALL = {
    "epe-nas": {"batch": 16},
    "jacob-cov": {"batch": 16},
    "linear-regions": {"samples": 100},
    "fisher": {"batch": 12},
    "grad-norm": {"batch": 12},
    "gradsign": {"batch": 6},
    "grasp": {"batch": 12},
    "naswot": {"batch": 16},
    "plain": {"batch": 12},
    "signal-regression": {"steps": 4, "every": 2, "signals": "nb101"},
    "snip": {"batch": 12},
    "ntk-condition": {"batch": 4},
    "swap": {"repeats": 2},
    "train": {"epochs": 2},
    "zico": {"batch": 12},
    "zen": {"batch": 4, "repeats": 2},
}
# Judges that measure this machine: their values cannot repeat, everything else is checked.
MEASURED = {"latency"}
# Judges that read a file; their own tests run the suite.
READERS = {"scored"}


@pytest.mark.parametrize("check", estimators.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [name for name in catalogue.names("estimators") if name not in READERS])
def test_conforms(name, check):
    if name in MEASURED and check is estimators.repeats:
        check = estimators.is_finite
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    check(catalogue.make("estimators", name, **SMALL.get(name, {})), Problem(space, image_task()))


def test_small_settings_name_judges_that_exist():
    assert set(SMALL) <= set(catalogue.names("estimators"))
