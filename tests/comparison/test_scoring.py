"""Many judgements: once each, the same after a kill, in a file that tells damage."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from toy_table import PROBLEM, SPACE, TABLE, Fickle

from archscout.comparison import scoring
from archscout.comparison.scoring import Question, scores_of
from archscout.comparison.whole import by_class, whole
from archscout.core.architecture import Architecture
from archscout.core.errors import RunError, UserError
from archscout.core.scores import ScoreTable, read_scores
from archscout.core.seeds import derive
from archscout.engine.placement import Placement
from archscout.testing.problems import Counting, Raising


def question(judges: object = None, architectures: Sequence[Architecture] | None = None, seed: int = 3) -> Question:
    named = judges if isinstance(judges, dict) else {"fickle": judges or Fickle()}
    return Question(PROBLEM, named, architectures or whole(SPACE, None, 0), seed)


def asked(what: Question, out: Path | None, **options: object) -> ScoreTable:
    return scores_of(what, out, what="test", placement=Placement(workers=1), **options)  # type: ignore[arg-type]


def same(one: ScoreTable, other: ScoreTable) -> bool:
    exact = all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("choices", "kinds"))
    return exact and np.array_equal(one.values, other.values, equal_nan=True)


def test_every_architecture_is_scored_with_the_seed_of_its_name(tmp_path: Path) -> None:
    found = asked(question(), tmp_path / "scores.npz")
    assert len(found) == 81 and found.judges == ("fickle",) and found.choices.dtype == np.uint8
    failed = 0
    for architecture in whole(SPACE, None, 0):
        row = found.row(architecture)
        assert row is not None and found.architecture(row) == architecture
        if found.failure(row, 0) is not None:
            assert found.failure(row, 0) == "nan" and np.isnan(found.values[row, 0])
            failed += 1
        else:
            assert found.values[row, 0] == Fickle().estimate(PROBLEM, architecture, seed=derive(3, "estimate", architecture)).value
    assert 3 < failed < 30
    assert same(found, read_scores(tmp_path / "scores.npz")) and not (tmp_path / "scores.npz.part").exists()
    assert found.facts["complete"] and found.facts["question"]["seed"] == 3 and found.facts["seconds"]["fickle"] > 0


@pytest.mark.parametrize("torn", [1, 17, 200])
def test_a_kill_loses_nothing_and_changes_nothing(tmp_path: Path, torn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = asked(question(), tmp_path / "straight.npz")
    trace, out = tmp_path / "trace", tmp_path / "scores.npz"
    again = question(Fickle(str(trace)))
    kept = tmp_path / "kept"
    write = scoring.LineFile.add

    def add(self: scoring.LineFile, entry: list[object]) -> None:
        write(self, entry)
        if len(trace.read_text().splitlines()) == 30:
            shutil.copy(self.path, kept)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scoring.LineFile, "add", add)
        asked(again, out)
    content = kept.read_bytes()
    Path(f"{out}.part").write_bytes(content[:-torn])
    lost = content[-torn:-1].count(b"\n") + 1
    assert same(asked(again, out), straight)
    assert len(trace.read_text().splitlines()) == 81 + lost


def test_a_finished_file_is_read_and_another_question_leaves_it_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, out = tmp_path / "trace", tmp_path / "scores.npz"
    first = asked(question(Fickle(str(trace))), out)
    assert same(asked(question(Fickle(str(trace))), out), first)
    assert len(trace.read_text().splitlines()) == 81 and "already" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"another question \(seed differs\)"):
        asked(question(Fickle(str(trace)), seed=4), out)
    with pytest.raises(UserError, match="judges differs"):
        asked(question(Fickle(str(trace), every=9)), out)


def test_a_part_file_of_another_question_or_damaged_or_in_use_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "scores.npz"
    part = Path(f"{out}.part")
    lines = scoring.LineFile(part, question(seed=4).record)
    with pytest.raises(RunError, match="in use"):
        asked(question(), out)
    lines.add([0, [[1.0, None, "", 0.1]]])
    lines.add([1, [[1.0, None, "", 0.1]]])
    lines.close()
    with pytest.raises(RunError, match=r"another question \(seed differs\)"):
        asked(question(), out)
    content = part.read_bytes()
    part.write_bytes(content.replace(b"[0,[[1.0", b"[0,[[9.0"))
    with pytest.raises(RunError, match=r"line 2 of .* is damaged"):
        asked(question(seed=4), out)


def test_time_that_is_up_leaves_a_random_part_and_the_next_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    out = tmp_path / "scores.npz"
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "monotonic", lambda: next(clock))
        part = asked(question(), out, minutes=0.5)
    assert 5 < len(part) < 40 and not part.facts["complete"] and Path(f"{out}.part").exists()
    assert [part.architecture(row) for row in range(len(part))] == whole(SPACE, None, 0)[: len(part)]
    assert same(asked(question(), out), asked(question(), tmp_path / "straight.npz"))
    with pytest.raises(UserError, match="time was up"):
        asked(question(), tmp_path / "other.npz", minutes=0)


def test_several_judges_share_a_pass_and_each_fails_for_itself(tmp_path: Path) -> None:
    judges = {"fickle": Fickle(), "counting": Counting(), "raising": Raising("never")}
    found = asked(question(judges), tmp_path / "scores.npz")
    alone = asked(question(), tmp_path / "alone.npz")
    assert found.judges == ("fickle", "counting", "raising")
    assert np.array_equal(found.values[:, 0], alone.values[:, 0], equal_nan=True)
    assert np.isfinite(found.values[:, 1]).all() and {found.failure(row, 2) for row in range(81)} == {"error"}
    assert found.column("counting") == 1
    with pytest.raises(UserError, match="fickle, counting, raising"):
        found.column()


def test_worker_processes_give_the_same(tmp_path: Path) -> None:
    few = whole(SPACE, None, 0)[:9]
    judges = {"counting": Counting(), "never": Raising("never")}
    alone = asked(question(judges, few), None, folder=tmp_path)
    assert same(scores_of(question(judges, few), None, what="test", placement=Placement(workers=2), folder=tmp_path), alone)
    assert not list(tmp_path.iterdir()), "a part file that served its purpose goes"


def test_judges_that_fail_everywhere_stop_it_early(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"raising could judge none of 20 .*this judge never works.*choose another judge.*--data"):
        asked(question({"raising": Raising()}), tmp_path / "scores.npz")
    with pytest.raises(UserError, match="none of 2 "):
        asked(question({"raising": Raising()}, whole(SPACE, None, 0)[:2]), None, folder=tmp_path)


def test_a_class_is_judged_once_for_all_its_members(tmp_path: Path) -> None:
    class Signed(type(SPACE)):  # type: ignore[misc]
        def signature(self, architecture: Architecture) -> str:
            return str(sorted(architecture.choices))

    space = Signed(4, 3)
    members = by_class(space, whole(space, None, 0))
    assert len(members) == 15 and sum(map(len, members.values())) == 81
    trace = tmp_path / "trace"
    what = Question(PROBLEM, {"counting": Counting(trace=str(trace))}, list(members), 0, members)
    found = asked(what, tmp_path / "scores.npz")
    assert len(found) == 81 and len(trace.read_text().splitlines()) == 15 and found.facts["judged"] == 15
    for first, alike in members.items():
        assert len({found.values[found.row(member), 0] for member in alike}) == 1, first
    with pytest.raises(UserError, match="--per-class"):
        by_class(SPACE, [])


def test_the_whole_of_a_table_or_space() -> None:
    order = whole(SPACE, TABLE, 0)
    assert sorted(order) == sorted(whole(SPACE, None, 0)) and len(order) == 81 and order != sorted(order)
    assert order == whole(SPACE, TABLE, 0) != whole(SPACE, TABLE, 1)
    with pytest.raises(UserError, match=r"at most 2,000,000 are enumerated; .* --table"):
        whole(type(SPACE)(30, 4), None, 0)
