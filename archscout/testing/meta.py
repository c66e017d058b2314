"""What every method that learns across tasks must do: lists of checks that raise AssertionError.

Those of a `MetaLearner` take one and episodes:

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_method(check):
    check(MyMethod(...), [Episode(Problem(space, image_task()), architectures, labels)])

Those of a `DatabaseLearner` take one and a made-up database:

@pytest.mark.parametrize("check", DATABASE_CHECKS, ids=lambda check: check.__name__)
def test_my_method(check):
    check(MyMethod(...), Lessons(MadeUp(space), tasks=20, records=5))

Those of an `EpisodeLearner`, `EPISODE_CHECKS`, take one and `EpisodeLessons(Problem(space, episode_task()))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archscout import catalogue
from archscout.core.database import MetaDatabase
from archscout.core.evidence import Episode, Estimate, Failure, Observation, observed
from archscout.core.moves import Judge, Learned, Lecture
from archscout.core.problem import Problem
from archscout.core.protocols import DatabaseLearner, EpisodeLearner, MetaLearner, Snapshot
from archscout.core.seeds import generator
from archscout.nn.checkpoint import under
from archscout.store.snapshots import pack, unpack
from archscout.testing.databases import MadeUp

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


@dataclass(frozen=True)
class Lessons:
    """A made-up database of some tasks, each with a few records."""

    made: MadeUp
    tasks: int
    records: int

    @cached_property
    def database(self) -> MetaDatabase:
        """The records."""
        return self.made.database(self.tasks, self.records)

    @cached_property
    def features(self) -> list[list[NDArray[np.float32]]]:
        """Of each task."""
        return [self.made.features(task) for task in range(self.tasks)]

    def lectures(
        self, learner: DatabaseLearner, seed: int = 0, state: Snapshot | None = None, database: MetaDatabase | None = None
    ) -> list[Lecture]:
        """All that a training says."""
        return list(learner.training(database or self.database, self.made.space, self.features, seed=seed, state=state))


@dataclass(frozen=True)
class EpisodeLessons:
    """A few-shot task from whose episodes something is learned."""

    problem: Problem

    def lectures(self, learner: EpisodeLearner, seed: int = 0, state: Snapshot | None = None) -> list[Lecture]:
        """All that a training says."""
        return list(learner.episodes_training(self.problem, seed=seed, state=state))


def says_how_far_it_is(learner: Any, lessons: Lessons | EpisodeLessons) -> None:
    """Steps rise to a total that stays; numbers are finite; the last state holds what was learned, and can be kept."""
    lectures = lessons.lectures(learner)
    done = [lecture.done for lecture in lectures]
    assert done == sorted(set(done)) and {lecture.total for lecture in lectures} == {done[-1]}
    assert all(isfinite(value) for lecture in lectures for value in lecture.metrics.values())
    last = lectures[-1].state
    assert last is not None and under("learned.", last), "the last state must hold names that begin with 'learned.'"
    assert same_states(unpack(pack(last)), last)


def repeats_its_training(learner: Any, lessons: Lessons | EpisodeLessons) -> None:
    """The same seed learns the same, another seed something else."""
    first, again, other = (_last(lessons.lectures(learner, seed)) for seed in (0, 0, 1))
    assert same_states(first, again) and not same_states(first, other)


def resumes(learner: Any, lessons: Lessons | EpisodeLessons) -> None:
    """From the state of a random lecture, a training goes on to the same states and the same end, for three seeds."""
    for seed in range(3):
        whole = lessons.lectures(learner, seed)
        kept = [number for number, lecture in enumerate(whole) if lecture.state is not None]
        assert len(kept) > 1, "a training that was cut must be able to go on"
        cut = kept[int(generator(seed, "cut").integers(len(kept) - 1))]
        rest = lessons.lectures(learner, seed, state=unpack(pack(whole[cut].state or {})))
        later = whole[cut + 1 :]
        assert [(one.done, one.metrics) for one in rest] == [(one.done, one.metrics) for one in later]
        for one, other in zip(rest, later, strict=True):
            assert same_states(one.state or {}, other.state or {}), (
                f"going on after step {whole[cut].done} leads elsewhere at {one.done}"
            )


def learns_from_accuracies(learner: DatabaseLearner, lessons: Lessons) -> None:
    """Other accuracies teach something else; and where it tells how it ranks within tasks, that is well above chance."""
    lectures = lessons.lectures(learner)
    ranked = [lecture.metrics["spearman"] for lecture in lectures if "spearman" in lecture.metrics]
    assert not ranked or max(ranked) > 0.3, f"the made-up database is easy to learn from, but the ranks agree by {max(ranked):.2f}"
    shuffled = replace(lessons.database, accuracy=generator(0, "shuffled").permutation(lessons.database.accuracy))
    assert not same_states(_last(lectures), _last(lessons.lectures(learner, database=shuffled)))


EPISODE_CHECKS = (says_how_far_it_is, repeats_its_training, resumes)
DATABASE_CHECKS = (*EPISODE_CHECKS, learns_from_accuracies)


def same_states(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states have the same names and, to the last bit, the same values."""
    return one.keys() == other.keys() and all(np.array_equal(np.asarray(one[name]), np.asarray(other[name])) for name in one)


def check_database_learner(learner: DatabaseLearner, lessons: Lessons) -> None:
    """All checks."""
    for check in DATABASE_CHECKS:
        check(learner, lessons)


def _last(lectures: Sequence[Lecture]) -> Mapping[str, Any]:
    return lectures[-1].state or {}


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
