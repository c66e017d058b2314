"""The conformance suite over the catalogue, and over strategies that break it."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import small

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.moves import Propose
from archscout.core.seeds import generator
from archscout.testing.strategies import (
    CHECKS,
    LOOP_CHECKS,
    goes_on_where_it_was_stopped,
    golden,
    learns_on_where_it_was_stopped,
    owns_loop,
)

EVERY = catalogue.names("strategies")
LOOPS = [name for name in EVERY if owns_loop(catalogue.make("strategies", name))]
NAMES = [name for name in EVERY if name not in LOOPS]
GOLDEN = Path(__file__).parent.parent / "golden" / "strategies.json"


def without(checks, one):
    """The names of all others: that one is row 17 of the fault table, and looked at in tests/faults."""
    return [name for name in checks if name != one.__name__]


@pytest.mark.parametrize("check", without(CHECKS, goes_on_where_it_was_stopped))
@pytest.mark.parametrize(("name", "settings"), [pair for pair in small.strategies() if pair[0] in NAMES], ids=str)
def test_conforms(name, settings, check):
    CHECKS[check](catalogue.make("strategies", name, **settings))


@pytest.mark.parametrize("check", without(LOOP_CHECKS, learns_on_where_it_was_stopped))
@pytest.mark.parametrize(("name", "settings"), [pair for pair in small.strategies() if pair[0] in LOOPS], ids=str)
def test_strategies_that_own_their_loop_conform(name, settings, check):
    LOOP_CHECKS[check](catalogue.make("strategies", name, **settings))


@pytest.mark.parametrize("check", without(CHECKS, goes_on_where_it_was_stopped))
def test_mdenas_with_a_judge_conforms(check):
    CHECKS[check](catalogue.make("strategies", "mdenas", supernet=False, bookkeeping="mean"))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_moves_are_the_recorded_ones(name):
    recorded = json.loads(GOLDEN.read_text("utf8"))
    assert golden([name])[name] == recorded.get(name), f"see the head of archscout/testing/strategies.py ({GOLDEN})"
    assert len(recorded[name]) == 10


def test_the_record_holds_no_strangers():
    assert sorted(json.loads(GOLDEN.read_text("utf8"))) == NAMES


@dataclass
class Bad:
    """Random search with one fault."""

    fault: str

    def search(self, problem, *, seed, state=None):
        rng = generator(0 if self.fault == "seedless" else seed)
        if self.fault == "hidden state":
            self.count = getattr(self, "count", 0) + 1
            rng = generator(seed, self.count)
        first = sample(problem.space, rng)
        while True:
            architecture = sample(problem.space, rng)
            if self.fault == "illegal":
                architecture = Architecture(architecture.space, (9, *architecture.choices[1:]))
            landed = yield Propose(first if self.fault == "stuck" else architecture)
            if self.fault == "impatient":
                [_] = landed
            if self.fault == "trusting":
                assert all(observation.estimate for observation in landed), "it trusted"
            if self.fault == "picks failures" and any(observation.failure for observation in landed):
                return next(observation.architecture for observation in landed if observation.failure)


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("seedless", "follows_from_the_seed", "another seed should give other moves"),
        ("hidden state", "follows_from_the_seed", "equal seeds should give equal moves"),
        ("hidden state", "goes_on_where_it_was_stopped", "the log has"),
        ("illegal", "proposes_legal_architectures", "takes 0 to 3"),
        ("", "keeps_the_limits", "exceeds .* but was proposed"),
        ("trusting", "survives_failures", "it trusted"),
        ("picks failures", "survives_failures", "the answer should be no failure"),
        ("impatient", "bears_empty_landings", "not enough values to unpack"),
        ("stuck", "beats_random", "should be above random search"),
    ],
)
def test_the_checks_find_faults(fault, check, message):
    with pytest.raises(Exception, match=message):
        CHECKS[check](Bad(fault))


@pytest.mark.parametrize("check", [name for name in CHECKS if name not in ("keeps_the_limits", "beats_random")])
def test_the_checks_find_nothing_where_nothing_is_wrong(check):
    CHECKS[check](Bad(""))


def test_a_claim_not_made_is_not_checked():
    class Modest(Bad):
        BEATS_RANDOM = False

    CHECKS["beats_random"](Modest("stuck"))
