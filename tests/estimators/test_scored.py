from __future__ import annotations

from pathlib import Path

import pytest

from archscout import catalogue
from archscout.core.draw import enumerate_space
from archscout.core.errors import CandidateError, NotFinite, UnknownName, UserError
from archscout.core.problem import Problem
from archscout.core.scores import make_scores, pack
from archscout.estimators.scored import Scored
from archscout.strategies.random import RandomSearch
from archscout.testing import estimators
from archscout.testing.drive import run
from archscout.testing.problems import CountingSpace, counting, right_share
from archscout.testing.tasks import image_task

SPACE = CountingSpace(3, 3)
PROBLEM = Problem(SPACE, image_task())
EVERY = list(enumerate_space(SPACE))


def written(path: Path, *, judges: tuple[str, ...] = ("share",), leave_out: int = 0) -> str:
    outcomes = [[right_share(PROBLEM, a), *["nan"] * (len(judges) - 1)] for a in EVERY]
    outcomes[1], outcomes[2] = ["nan"] * len(judges), ["oom"] * len(judges)
    kept = len(EVERY) - leave_out
    path.write_bytes(pack(make_scores(EVERY[:kept], judges, outcomes[:kept], {"seconds": {judges[0]: 0.25}})))
    return str(path)


@pytest.mark.parametrize("check", estimators.CHECKS, ids=lambda check: check.__name__)
def test_conforms(check, tmp_path):
    check(catalogue.make("estimators", "scored", path=written(tmp_path / "s.npz")), PROBLEM)


def test_a_look_is_what_was_scored(tmp_path):
    judge = Scored(written(tmp_path / "s.npz"))
    for architecture in EVERY[3:]:
        found = judge.estimate(PROBLEM, architecture, seed=99)
        assert found.value == right_share(PROBLEM, architecture) and found.cost_seconds == 0.25
        assert judge.refusal(PROBLEM, architecture) is None
    with pytest.raises(NotFinite, match="is a failure"):
        judge.estimate(PROBLEM, EVERY[1], seed=0)
    with pytest.raises(CandidateError, match=r"failure \(oom\)"):
        judge.estimate(PROBLEM, EVERY[2], seed=0)


def test_what_was_not_scored_is_refused_and_costs_nothing(tmp_path):
    judge = Scored(written(tmp_path / "s.npz", leave_out=9))
    assert judge.refusal(PROBLEM, EVERY[-1]) == "is not in the score file"
    with pytest.raises(CandidateError, match="is not in the score file"):
        judge.estimate(PROBLEM, EVERY[-1], seed=0)
    log = run(RandomSearch(), PROBLEM, judge, evaluations=18)
    refused = [seen for seen in log.observations if seen.refused]
    assert len(log.observations) - len(refused) == 18 and refused, "all that was scored, and refusals beside it"


def test_a_file_that_changes_is_read_again(tmp_path):
    judge = Scored(written(tmp_path / "s.npz", leave_out=9))
    assert judge.refusal(PROBLEM, EVERY[-1])
    written(tmp_path / "s.npz")
    assert judge.refusal(PROBLEM, EVERY[-1]) is None


def test_files_that_do_not_fit(tmp_path):
    other = counting(3, 3)
    judge = Scored(written(tmp_path / "s.npz"))
    with pytest.raises(UserError, match="are of the space 'counting', but 'nas201'"):
        judge.refusal(Problem(catalogue.make("spaces", "nas201"), other.task), EVERY[0])
    with pytest.raises(UserError, match="there is no score file"):
        Scored(str(tmp_path / "nothing.npz")).refusal(PROBLEM, EVERY[0])
    two = written(tmp_path / "two.npz", judges=("share", "never"))
    with pytest.raises(UnknownName, match="share, never"):
        Scored(two).refusal(PROBLEM, EVERY[0])
    assert Scored(two, "share").estimate(PROBLEM, EVERY[5], seed=0).value == right_share(PROBLEM, EVERY[5])
    with pytest.raises(UserError, match=r"'scored' needs a score file; give it as --estimator scores\.npz"):
        catalogue.make("estimators", "scored").refusal(PROBLEM, EVERY[0])
