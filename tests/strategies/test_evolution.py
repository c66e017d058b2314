from collections import deque

import pytest

from archscout.core.evidence import Estimate, Observation
from archscout.core.moves import Propose, Wait
from archscout.core.seeds import generator
from archscout.strategies._aging import Population
from archscout.strategies.assisted_evolution import AssistedEvolution
from archscout.strategies.regularized_evolution import RegularizedEvolution

BOTH = (RegularizedEvolution(population=6), AssistedEvolution(candidates=8, population=6))


def right(move):
    return sum(choice == 2 for choice in move.architecture.choices) / 8


def distance(one, other):
    return sum(a != b for a, b in zip(one.choices, other.choices, strict=True))


def observed(space, value, judge="main"):
    return Observation(space.architecture([0] * 4), Estimate(value), judge=judge)


def test_the_oldest_dies_whatever_its_value(toy):
    alive = Population(2, 2, generator(0))
    space = toy().space
    alive.extend([observed(space, 9.0), observed(space, 1.0), observed(space, 2.0)])
    assert [o.value for o in alive._alive] == [1.0, 2.0]


def test_only_the_main_judges_successes_live(play, toy):
    alive = Population(5, 2, generator(0))
    space = toy().space
    failed = play(RegularizedEvolution(), toy(), lambda move: None, moves=1).landed
    alive.extend([observed(space, 9.0, "proxy"), *failed, observed(space, 1.0)])
    assert len(alive) == 1


def test_children_differ_in_one_decision_from_a_living_one(play, toy):
    played = play(RegularizedEvolution(population=5), toy(8), right, moves=80)
    alive = deque((o.architecture for o in played.landed[:5]), maxlen=5)
    for child in played.proposed[5:]:
        assert 1 in {distance(child, parent) for parent in alive}
        alive.append(child)


def test_a_tournament_of_all_breeds_from_the_best_only(play, toy):
    played = play(RegularizedEvolution(population=5, tournament=5), toy(8), right, moves=60)
    for place in range(5, 60):
        living = played.landed[place - 5 : place]
        top = max(o.value for o in living)
        assert any(distance(played.proposed[place], o.architecture) == 1 for o in living if o.value == top)


@pytest.mark.parametrize("strategy", BOTH, ids=["regularized", "assisted"])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_finds_the_optimum(play, toy, strategy, workers):
    played = play(strategy, toy(8), right, moves=600, workers=workers)
    assert max(o.value for o in played.landed) == 1.0


def test_failed_newcomers_are_drawn_again_until_the_population_is_full(play, toy):
    count = iter(range(1000))
    played = play(RegularizedEvolution(population=5), toy(30), lambda move: right(move) if next(count) >= 12 else None, moves=40)
    start, first_child = played.proposed[:17], played.proposed[17]
    assert min(distance(a, b) for a in start for b in start if a != b) > 1  # strangers
    assert 1 in {distance(first_child, a) for a in start[12:]}


def test_where_everything_fails_it_goes_on(play, toy):
    for workers in (1, 3, 20):
        played = play(RegularizedEvolution(population=5), toy(8), lambda move: None, moves=200, workers=workers)
        assert not played.ended and len(played.proposed) >= 50


def test_failures_never_breed(play, toy):
    strategy = RegularizedEvolution(population=4, tournament=1)
    played = play(strategy, toy(30), lambda move: None if move.architecture.choices[0] else 1.0, moves=300)
    good = [o.architecture for o in played.landed if o.estimate]
    for child in played.proposed[played.proposed.index(good[3]) + 1 :]:
        assert min(distance(child, parent) for parent in good) <= 1


def test_more_workers_than_members_wait_for_the_first(play, toy):
    played = play(RegularizedEvolution(population=2), toy(), right, moves=10, workers=4)
    assert [type(move) for move in played.moves[:4]] == [Propose, Propose, Wait, Propose]


def test_skip_duplicates(play, toy):
    plain, fresh = (play(RegularizedEvolution(6, 3, skip), toy(6), right, moves=150).proposed for skip in (False, True))
    assert len(set(plain)) < 150
    assert len(set(fresh)) == 150


def test_skip_duplicates_goes_on_when_the_space_is_exhausted(play, toy):
    played = play(RegularizedEvolution(3, 2, True), toy(2), right, moves=40)
    assert len(played.proposed) == 40 and len(set(played.proposed)) == 9


def test_assisted_judges_the_best_of_the_proxy_first(play, toy):
    played = play(AssistedEvolution(candidates=20, population=10), toy(8), right, moves=31)
    judges = [move.judge for move in played.moves]
    assert judges == ["proxy"] * 20 + ["main"] * 11
    scores = {o.architecture: o.value for o in played.landed[:20]}
    picked = played.proposed[20:30]
    assert len(scores) == 20
    assert [scores[a] for a in picked] == sorted(scores.values(), reverse=True)[:10]
    assert 1 in {distance(played.proposed[30], parent) for parent in picked}


def test_assisted_never_breeds_by_proxy_values(play, toy):
    def value(move):
        return right(move) if move.judge == "main" else 100.0 - right(move)

    played = play(AssistedEvolution(), toy(8), value, moves=400)
    assert max(o.value for o in played.landed if o.judge == "main") == 1.0


def test_assisted_without_any_proxy_score_starts_at_random(play, toy):
    played = play(AssistedEvolution(), toy(8), lambda m: None if m.judge == "proxy" else right(m), moves=60, workers=3)
    assert sum(o.judge == "main" for o in played.landed) >= 35


def test_settings_are_checked():
    with pytest.raises(ValueError, match="population and tournament are at least 1"):
        RegularizedEvolution(tournament=0)
    with pytest.raises(ValueError, match="candidates >= population"):
        AssistedEvolution(candidates=5)


@pytest.mark.parametrize("strategy", BOTH, ids=["regularized", "assisted"])
def test_keeps_the_limits(play, toy, strategy):
    played = play(strategy, toy(8, params=8 + 8 * 6), right, moves=200)
    assert len(played.proposed) == 200
    assert all(sum(a.choices) <= 6 for a in played.proposed)


def test_a_parent_without_neighbours_in_the_limits_is_replaced(play, toy):
    played = play(RegularizedEvolution(2, 1), toy(4, params=8), right, moves=10)  # one architecture meets the limit
    assert {str(a) for a in played.proposed} == {"toy:0.0.0.0"}
