import pickle
from math import log

import pytest

from archscout import catalogue
from archscout.core.errors import NotFinite, UnknownName, UserError
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.estimators.blend import Blend
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201")
PROBLEM = Problem(SPACE, image_task((1, 8, 8)))
ARCHITECTURE = SPACE.architecture((3, 3, 3, 1, 3, 2))
PARAMS, MACS = (catalogue.make("estimators", name).estimate(PROBLEM, ARCHITECTURE, seed=0).value for name in ("params", "macs"))


def value(terms):
    return Blend(terms).estimate(PROBLEM, ARCHITECTURE, seed=0).value


@pytest.mark.parametrize(
    ("terms", "wanted"),
    [
        ("params", PARAMS),
        ("-params", -PARAMS),
        ("params - 0.2*macs", PARAMS - 0.2 * MACS),
        ("params*1 + macs*-0.2", PARAMS - 0.2 * MACS),
        ("log(params)/4 - 10", log(PARAMS) / 4 - 10),
        ("2*(params - 3*log(macs))", 2 * PARAMS - 6 * log(MACS)),
        ("params(sign=-1)", -PARAMS),
        ("log(params(sign=-1))", -log(PARAMS)),
        ("params - params", 0.0),
    ],
)
def test_the_sum(terms, wanted):
    assert value(terms) == pytest.approx(wanted)


def test_the_logarithm_keeps_the_order_of_negative_values():
    assert value("log(macs(sign=-1))") < value("log(params(sign=-1))")


class Judge:
    """Stands in for `catalogue.make`: knows every name; counts its calls."""

    calls = 0

    def __init__(self, value):
        self.value = value

    def estimate(self, problem, architecture, *, seed):
        Judge.calls += 1
        return Estimate(self.value + seed, 2.0, {"latency_ms": 7.0})


@pytest.fixture
def judge(monkeypatch):
    from archscout.estimators import blend

    blend._parts.cache_clear()
    monkeypatch.setattr(Judge, "calls", 0)
    monkeypatch.setattr(catalogue, "make", lambda room, name, **settings: NAMED[room, name])
    yield
    blend._parts.cache_clear()


NAMED = {("estimators", "some-judge"): Judge(3.0), ("estimators", "nought"): Judge(0.0)}


@pytest.mark.parametrize("terms", ["2*some-judge - 1", "2*some_judge - 1"])
def test_hyphens_costs_metrics_and_seed(judge, terms):
    found = Blend(terms).estimate(PROBLEM, ARCHITECTURE, seed=5)
    assert found == Estimate(15.0, 2.0, {"some-judge": 8.0, "latency_ms": 7.0})


def test_a_judge_that_occurs_twice_is_asked_once(judge):
    found = Blend("some-judge + log(some-judge) + nought").estimate(PROBLEM, ARCHITECTURE, seed=0)
    assert Judge.calls == 2 and found.cost_seconds == 4.0


def test_the_logarithm_of_nought_is_a_typed_failure(judge):
    with pytest.raises(NotFinite, match="logarithm of 'nought'"):
        Blend("log(nought)").estimate(PROBLEM, ARCHITECTURE, seed=0)


def test_costs_and_metrics_are_merged():
    found = Blend("params + macs").estimate(PROBLEM, ARCHITECTURE, seed=0)
    assert {name: found.metrics[name] for name in ("params", "macs")} == {"params": PARAMS, "macs": MACS}
    assert found.metrics["work"] > MACS
    assert found.cost_seconds > 0


MISREAD = ("", "params +", "params macs", "params*macs", "macs/params", "params**2", "open('x')", "params(sign=x)", "a.b", "True")


@pytest.mark.parametrize("terms", MISREAD)
def test_texts_of_another_form_are_the_users_fault(terms):
    with pytest.raises(UserError, match="terms read like"):
        catalogue.make("estimators", "blend", terms=terms)


def test_unknown_judges_and_settings_fail_at_once():
    with pytest.raises(UnknownName, match="no estimator 'parms'; did you mean 'params'"):
        catalogue.make("estimators", "blend", terms="parms + macs")
    with pytest.raises(UnknownName, match="no setting 'sing'; did you mean 'sign'"):
        catalogue.make("estimators", "blend", terms="params(sing=1)")


def test_travels_to_workers_and_equals_itself():
    blend = Blend("params - 2*log(macs)")
    assert pickle.loads(pickle.dumps(blend)) == blend
    assert catalogue.record(blend)["settings"] == {"terms": "params - 2*log(macs)"}


def test_the_default_can_be_made_and_run():
    assert Blend().estimate(PROBLEM, ARCHITECTURE, seed=0).metrics.keys() >= {"naswot", "macs"}
