import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_driver import play as play_toy
from toy_driver import toy as make_toy

from archscout.core.draw import enumerate_space
from archscout.core.errors import LimitError
from archscout.nn.measure import counts
from archscout.strategies.random import RandomSearch


def test_exhausts_a_small_space_without_repeating_and_ends(play, toy):
    played = play(RandomSearch(), toy(), lambda move: 0.0, moves=1000)
    assert played.ended and played.answer is None
    assert len(played.proposed) == 81
    assert set(played.proposed) == set(enumerate_space(toy().space))


def test_the_order_is_random_and_follows_from_the_seed(play, toy):
    orders = [play(RandomSearch(), toy(), lambda move: 0.0, seed=seed).proposed for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_workers_change_nothing(play, toy):
    one, four = (play(RandomSearch(), toy(), lambda move: 0.0, workers=workers) for workers in (1, 4))
    assert one.moves == four.moves


def test_keeps_the_limits_and_still_exhausts(play, toy):
    problem = toy(params=24)  # 8 + 8 * sum of choices: the sum is at most 2
    played = play(RandomSearch(), problem, lambda move: 0.0)
    assert played.ended
    assert all(counts(problem.space, a, problem.task)["params"] <= 24 for a in played.proposed)
    assert len(played.proposed) == sum(sum(a.choices) <= 2 for a in enumerate_space(problem.space)) == 15


def test_limits_that_nothing_meets_name_the_smallest(play, toy):
    with pytest.raises(LimitError, match="smallest network of 'toy' for this task has 8 params"):
        play(RandomSearch(), toy(params=7), lambda move: 0.0)


def test_a_large_space_never_repeats(play, toy):
    played = play(RandomSearch(), toy(20, 4), lambda move: 0.0, moves=2000)
    assert not played.ended
    assert len(set(played.proposed)) == 2000


@settings(max_examples=30)
@given(places=st.integers(1, 4), options=st.integers(1, 4), seed=st.integers(0, 2**32), limit=st.integers(0, 6))
def test_every_small_space_is_exhausted_under_any_limit(places, options, seed, limit):
    problem = make_toy(places, options, params=8 + 8 * limit)
    wanted = {a for a in enumerate_space(problem.space) if sum(a.choices) <= limit}
    played = play_toy(RandomSearch(), problem, lambda move: 0.0, seed=seed, moves=1000)
    assert len(played.proposed) == len(wanted) and set(played.proposed) == wanted
