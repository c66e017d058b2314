"""What every method that learns across tasks must do: a list of checks that take one and episodes and raise AssertionError.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_method(check):
    check(MyMethod(...), [Episode(Problem(space, image_task()), architectures, labels)])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

from archscout import catalogue
from archscout.core.evidence import Episode, Estimate, Failure, Observation, observed
from archscout.core.moves import Judge, Learned
from archscout.core.protocols import MetaLearner
from archscout.core.seeds import generator

Answer = Callable[[Mapping[str, Any], Episode, int], Estimate | Failure]
"""(settings, episode, place of the architecture) -> what the judge says."""


def says_what_it_learned(learner: MetaLearner, episodes: Sequence[Episode]) -> None:
    """It makes the trials that it states, and something is learned after each; how good that is never falls."""
    moves = _moves(learner, episodes, _any_value)
    assert len([move for move in moves if isinstance(move, Judge)]) == learner.trials
    assert all(isfinite(move.fitness) for move in moves if isinstance(move, Learned)) and isinstance(moves[-1], Learned)
    told = [move.fitness for move in moves if isinstance(move, Learned)]
    assert told == sorted(told)
    assert isinstance(moves[1], Learned), "what was learned must be told after the first trial, so that it can be stopped"


def repeats(learner: MetaLearner, episodes: Sequence[Episode]) -> None:
    """The same seed and answers give the same moves, another seed others."""
    first, again, other = (_moves(learner, episodes, _any_value, seed) for seed in (0, 0, 1))
    assert first == again and first != other


def makes_settings_of_its_judge(learner: MetaLearner, episodes: Sequence[Episode]) -> None:
    """Every setting that it tries can be made."""
    for move in _moves(learner, episodes, _any_value):
        catalogue.make("estimators", learner.judge, **move.settings)


def survives_failures(learner: MetaLearner, episodes: Sequence[Episode]) -> None:
    """Candidates that fail, some or all of them, do not stop it."""
    for share in (0.5, 1.0):

        def some(settings: Mapping[str, Any], episode: Episode, place: int, share: float = share) -> Estimate | Failure:
            if generator(0, str(settings), place).random() < share:
                return Failure("nan", "no number")
            return _any_value(settings, episode, place)

        assert isinstance(_moves(learner, episodes, some)[-1], Learned)


def prefers_what_ranks_right(learner: MetaLearner, episodes: Sequence[Episode]) -> None:
    """Among settings that rank the labelled architectures the right and the wrong way round, a right one is learned."""

    def right(settings: Mapping[str, Any]) -> bool:
        return generator(0, "right", str(settings)).random() < 0.5

    def answer(settings: Mapping[str, Any], episode: Episode, place: int) -> Estimate:
        return Estimate(episode.labels[place] * (1 if right(settings) else -1))

    assert right(_moves(learner, episodes, answer)[-1].settings)


CHECKS = (says_what_it_learned, repeats, makes_settings_of_its_judge, survives_failures, prefers_what_ranks_right)


def check_meta_learner(learner: MetaLearner, episodes: Sequence[Episode]) -> None:
    """All checks."""
    for check in CHECKS:
        check(learner, episodes)


def _moves(learner: MetaLearner, episodes: Sequence[Episode], answer: Answer, seed: int = 0) -> list[Judge | Learned]:
    learning = learner.learn(episodes, seed=seed)
    moves: list[Judge | Learned] = []
    landed: list[list[Observation]] | None = None
    while True:
        try:
            move = next(learning) if landed is None else learning.send(landed)
        except StopIteration:
            return moves
        moves.append(move)
        landed = [_landed(move, episode, answer) for episode in episodes] if isinstance(move, Judge) else None


def _landed(move: Judge, episode: Episode, answer: Answer) -> list[Observation]:
    return [observed(one, answer(move.settings, episode, place)) for place, one in enumerate(episode.architectures)]


def _any_value(settings: Mapping[str, Any], episode: Episode, place: int) -> Estimate:
    return Estimate(float(generator(0, str(settings), place).random()))
