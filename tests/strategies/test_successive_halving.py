from dataclasses import dataclass

import pytest

from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate
from archscout.core.joint import JointSpace
from archscout.core.moves import Progress, Propose
from archscout.core.problem import Problem
from archscout.strategies.successive_halving import SuccessiveHalving
from archscout.testing.drive import run
from archscout.testing.problems import TASK, CountingSpace


@dataclass(frozen=True)
class Size:
    """The sum of the choices, in any space."""

    epochs: float = 1.0

    def estimate(self, problem, architecture, *, seed):
        return Estimate(float(sum(architecture.choices)))


NINE = tuple(f"toy:{a}.{b}.0.0" for a in range(3) for b in range(3))


def total(move):
    return float(sum(move.architecture.choices))


def rungs(played):
    """fidelity -> the architectures judged there."""
    found = {}
    for move in played.moves:
        if isinstance(move, Propose):
            found.setdefault(move.fidelity, []).append(str(move.architecture))
    return found


@pytest.mark.parametrize("workers", [1, 2, 5, 30])
def test_a_third_goes_on_each_time(play, toy, workers):
    played = play(SuccessiveHalving(), toy(), total, workers=workers)
    assert {rung: len(judged) for rung, judged in rungs(played).items()} == {1.0: 27, 3.0: 9, 9.0: 3}
    assert played.ended and total(Propose(played.answer)) == max(o.value for o in played.landed)
    for low, high in ((1.0, 3.0), (3.0, 9.0)):
        left = set(rungs(played)[low]) - set(rungs(played)[high])
        value = {str(o.architecture): o.value for o in played.landed if o.fidelity == low}
        assert min(value[a] for a in rungs(played)[high]) >= max(value[a] for a in left)


def test_the_same_run_at_any_number_of_workers(play, toy):
    one, many = (play(SuccessiveHalving(), toy(), total, workers=workers) for workers in (1, 4))
    assert (rungs(one), one.answer) == (rungs(many), many.answer)


def test_given_candidates_from_several_spaces(play, toy):
    given = ("mobile:4.4", "nas201:1.1.1.1.1.1", "toy:2.2.2.2")
    played = play(SuccessiveHalving(given, rungs=(1, 2), keep=3), toy(), total)
    assert rungs(played) == {1: list(given), 2: ["mobile:4.4"]}
    assert str(played.answer) == "mobile:4.4"


def test_ties_go_to_the_earlier_candidate(play, toy):
    played = play(SuccessiveHalving(NINE), toy(), lambda move: 1.0)
    assert list(map(len, rungs(played).values())) == [9, 3, 1]
    assert rungs(played)[3.0] == list(NINE[:3])
    assert str(played.answer) == NINE[0]


def test_failures_drop_out_at_any_rung(play, toy):
    def value(move):
        first, second, *_ = move.architecture.choices
        return None if (first == 2 and move.fidelity == 1) or second == 2 else total(move)

    played = play(SuccessiveHalving(NINE, rungs=(1, 2, 3), keep=2), toy(), value, workers=3)
    assert rungs(played)[2] == ["toy:0.1.0.0", "toy:1.1.0.0"]
    assert rungs(played)[3] == ["toy:1.1.0.0"]
    assert str(played.answer) == "toy:1.1.0.0"


def test_the_answer_comes_from_the_deepest_rung_that_could_be_judged(play, toy):
    played = play(SuccessiveHalving(NINE), toy(), lambda move: total(move) if move.fidelity == 1 else None)
    assert str(played.answer) == "toy:2.2.0.0"
    assert play(SuccessiveHalving(NINE), toy(), lambda move: None).answer is None


def test_values_of_different_fidelities_are_never_compared(play, toy):
    played = play(SuccessiveHalving(NINE), toy(), lambda move: total(move) if move.fidelity < 9 else -100.0 + total(move))
    assert set(rungs(played)[9.0]) == {"toy:2.2.0.0"}
    progress = [move for move in played.moves if isinstance(move, Progress)]
    assert [move.metrics["value"] for move in progress] == [4.0, 4.0, -96.0]
    assert {str(move.best) for move in progress} == {"toy:2.2.0.0"}


def test_some_are_always_kept_and_cost_nobody_the_place(play, toy):
    kept = ("toy:0.0.0.0", "base:7")
    played = play(SuccessiveHalving(NINE, keep_always=kept), toy(), lambda m: -1.0 if m.architecture.space == "base" else total(m))
    assert rungs(played)[1.0] == [*NINE, "base:7"]
    assert set(rungs(played)[3.0]) == {*kept, "toy:1.2.0.0", "toy:2.2.0.0"}  # eight rivals, two go on
    assert set(rungs(played)[9.0]) == {*kept, "toy:2.2.0.0"}
    assert str(played.answer) == "toy:2.2.0.0"


def test_a_baseline_that_wins_is_the_answer(play, toy):
    played = play(SuccessiveHalving(NINE, keep_always=("base:99",)), toy(), total)
    assert str(played.answer) == "base:99"


def test_a_small_space_gives_fewer(play, toy):
    played = play(SuccessiveHalving(count=50), toy(2, 3), total)
    assert len(rungs(played)[1.0]) == 9


def test_drawn_candidates_keep_the_limits(play, toy):
    played = play(SuccessiveHalving(), toy(params=8 + 8 * 3), total)
    assert played.proposed and all(sum(a.choices) <= 3 for a in played.proposed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rungs": ()}, "rungs are rising"),
        ({"rungs": (3.0, 1.0)}, "rungs are rising"),
        ({"rungs": (0.0, 1.0)}, "rungs are rising"),
        ({"keep": 1}, "keep is at least 2"),
        ({"count": 0}, "count at least 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        SuccessiveHalving(**settings)


def test_a_candidate_that_is_no_architecture_is_the_users_fault(play, toy):
    with pytest.raises(UserError, match="an architecture reads like"):
        play(SuccessiveHalving(("resnet",)), toy(), total)
    assert Architecture.parse(" toy:1.2 ") == Architecture("toy", (1, 2))


def test_candidates_of_several_spaces_run_through_the_real_driver():
    searched, handmade = CountingSpace(), CountingSpace(name="handmade")
    problem = Problem(JointSpace((searched, handmade)), TASK)
    given = ("counting:0.0.0.0.0.0", "counting:1.3.1.3.1.3")
    strategy = SuccessiveHalving(given, rungs=(1, 3), keep_always=("handmade:0.0.0.0.0.0",))
    log = run(strategy, problem, Size())
    judged = [(str(o.architecture), o.fidelity) for o in log.observations]
    assert judged[3:] == [("counting:1.3.1.3.1.3", 3), ("handmade:0.0.0.0.0.0", 3)]
    assert str(log.answer) == "counting:1.3.1.3.1.3"
