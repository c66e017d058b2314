"""The conformance suite over the catalogue, and over strategies that break it."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.moves import Propose
from archscout.core.seeds import generator
from archscout.testing.strategies import CHECKS, LOOP_CHECKS, golden, owns_loop

EVERY = catalogue.names("strategies")
LOOPS = [name for name in EVERY if owns_loop(catalogue.make("strategies", name))]
NAMES = [name for name in EVERY if name not in LOOPS]
SHORT = {"batch": 8, "channels": 2, "depth": 1}
"""Of strategies on supernets."""
SETTINGS = {
    "at-nas": [
        {
            "method": method,
            "evolve": method != "fomaml",
            "iterations": 3,
            "every": 1,
            "warm_up": 0.4,
            "population": 3,
            "parents": 1,
            "crossed": 1,
            "mutated": 1,
            "paths": 2,
            "batch": 3,
            "tasks": 2,
            "final_tasks": 2,
            "report": 1,
            "channels": 0,
        }
        for method in ("anil", "fomaml")
    ],
    "darts": [{"epochs": 1, "report": 1}, {"epochs": 0.5, "report": 1, "order": 2, "skip_dropout": 0.3, "most_skips": 1}],
    "fuse": [{"epochs": 0.5, "turns": 2, "rounds": 2, "items": 16, "report": 1, "neighbours": 0}],
    "lpt": [{"epochs": 0.5, "report": 1, "tester_channels": 2}],
    "mdenas": [{"epochs": 3}, {"epochs": 2, "steps_per_trial": 2, "warm_up": 1, "bookkeeping": "detrended"}],
    "nao-ws": [{"epochs": 2, "pool": 6, "new": 3, "rounds": 2, "fits": 3, "items": 16, "report": 2}],
    "metad2a": [{"generate": 20, "keep": 5, "draws": 2}],
    "nasi": [{"steps": 4}, {"steps": 4, "estimator": "single-path", "images": "noise", "limit": 1, "limit_rule": "quantile"}],
}
COSTLY = {"nao": {"embedding": 8, "hidden": 24, "layers": 1, "width": 24, "epochs": 12, "refresh": 6, "initial": 20, "new": 20}}
"""Settings of strategies that learn a network: with their own they would take minutes, and learn only after 50 evaluations."""
GOLDEN = Path(__file__).parent.parent / "golden" / "strategies.json"


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_conforms(name, check):
    check(catalogue.make("strategies", name, **COSTLY.get(name, {})))


@pytest.mark.parametrize("check", LOOP_CHECKS.values(), ids=LOOP_CHECKS)
@pytest.mark.parametrize(("name", "settings"), [(name, settings) for name in LOOPS for settings in SETTINGS[name]])
def test_strategies_that_own_their_loop_conform(name, settings, check):
    known = {field.name for field in fields(catalogue.plugin("strategies", name))}
    short = {name: value for name, value in SHORT.items() if name in known}
    check(catalogue.make("strategies", name, **{**short, **settings}))


def test_mdenas_with_a_judge_conforms():
    for check in CHECKS.values():
        check(catalogue.make("strategies", "mdenas", supernet=False, bookkeeping="mean"))


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
