import pytest

from archscout.core.draw import neighbours
from archscout.strategies.local import LocalSearch


def right(move):
    return sum(choice == 2 for choice in move.architecture.choices) / 6


def trap(move):
    """Two optima: all 2 (1.0) and all 0 (0.9)."""
    choices = move.architecture.choices
    return max(sum(c == 2 for c in choices) / 4, 0.9 * sum(c == 0 for c in choices) / 4)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
def test_climbs_to_the_optimum_of_a_smooth_problem(play, toy, first, workers):
    played = play(LocalSearch(first), toy(6), right, moves=150, workers=workers)
    assert max(o.value for o in played.landed) == 1.0


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("workers", [1, 3, 50])
def test_restarts_out_of_traps_and_ends_when_exhausted(play, toy, first, workers):
    played = play(LocalSearch(first), toy(4), trap, moves=1000, workers=workers)
    assert played.ended and played.answer is None
    assert len(played.proposed) == len(set(played.proposed)) == 81
    assert max(o.value for o in played.landed) == 1.0


def test_moves_at_the_first_improvement(play, toy):
    space = toy(6).space
    played = play(LocalSearch(), toy(6), right, moves=40)
    here, value = played.proposed[0], played.landed[0].value
    for observation in played.landed[1:]:
        assert observation.architecture in neighbours(space, here)
        if observation.value > value:
            here, value = observation.architecture, observation.value
        if value == 1.0:
            break
    assert value == 1.0


def test_best_improvement_judges_the_whole_neighbourhood(play, toy):
    problem = toy(6)
    played = play(LocalSearch(first_improvement=False), problem, right, moves=30)
    ring = set(neighbours(problem.space, played.proposed[0]))
    assert set(played.proposed[1:13]) == ring and len(ring) == 12
    best = max(played.landed[1:13], key=lambda o: o.value)
    assert played.proposed[13] in neighbours(problem.space, best.architecture)


def test_the_neighbours_come_in_random_order(play, toy):
    problem = toy(6)
    played = play(LocalSearch(first_improvement=False), problem, right, moves=13)
    assert played.proposed[1:] != neighbours(problem.space, played.proposed[0])


def test_failures_are_no_place_to_stand(play, toy):
    played = play(LocalSearch(), toy(4), lambda move: None, moves=1000)
    assert played.ended and len(played.proposed) == 81
    played = play(LocalSearch(), toy(6), lambda m: None if m.architecture.choices[0] == 1 else right(m), moves=300, workers=2)
    assert max(o.value for o in played.landed) == 1.0


def test_keeps_the_limits(play, toy):
    played = play(LocalSearch(), toy(6, params=8 + 8 * 5), right, moves=1000)
    assert played.ended
    assert all(sum(a.choices) <= 5 for a in played.proposed)


def test_spaces_that_draw_in_their_own_way_are_climbed_by_mutation(play, toy):
    class Drawn(type(toy().space)):
        """Legal are the architectures whose first two choices differ."""

        def architecture(self, choices):
            made = super().architecture(choices)
            assert choices[0] != choices[1], "illegal"
            return made

        def sample(self, rng):
            while True:
                choices = [int(c) for c in rng.integers(3, size=6)]
                if choices[0] != choices[1]:
                    return self.architecture(choices)

        def mutate(self, architecture, rng):
            while True:
                choices = list(architecture.choices)
                choices[int(rng.integers(6))] = int(rng.integers(3))
                if choices[0] != choices[1] and tuple(choices) != architecture.choices:
                    return self.architecture(choices)

    problem = type(toy())(Drawn(6), toy().task)
    played = play(LocalSearch(), problem, right, moves=120)
    assert max(o.value for o in played.landed) == 5 / 6
