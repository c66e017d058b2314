from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from toy_table import PROBLEM, REPORT, SPACE, TABLE, TASK, Fickle

from archscout.comparison.correlate import correlations, draw, lines
from archscout.comparison.scoring import Question, scores_of
from archscout.core.errors import UserError
from archscout.core.scores import ScoreTable
from archscout.engine.placement import Placement
from archscout.testing.problems import Raising

RECORDED = TABLE.objective("toy")


def scores(folder: Path, sample: object, **judges: object) -> ScoreTable:
    named = judges or {"fickle": Fickle()}
    return scores_of(
        Question(PROBLEM, named, sample.architectures), None, what="test", placement=Placement(workers=1), folder=folder
    )  # type: ignore


def test_rows_are_drawn_by_seed_among_those_with_a_value() -> None:
    rows = draw(TABLE, SPACE, RECORDED, 20, dataset="toy").rows
    assert len(set(rows)) == 20 and np.isfinite(RECORDED.values[rows]).all()
    assert (draw(TABLE, SPACE, RECORDED, 10, dataset="toy").rows == rows[:10]).all(), "a smaller sample is the beginning"
    assert (draw(TABLE, SPACE, RECORDED, 20, dataset="toy", seed=1).rows != rows).any()


def test_a_sample_larger_than_the_table_takes_all_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(draw(TABLE, SPACE, RECORDED, 500, dataset="toy").rows) == 76
    assert "only 76 rows have a value, so all of them are taken instead of 500" in capsys.readouterr().err


def test_the_keys_and_the_numbers(tmp_path: Path) -> None:
    sample = draw(TABLE, SPACE, RECORDED, 24, dataset="toy")
    found = scores(tmp_path, sample)
    [row] = correlations(sample, found, TASK)
    assert list(row)[:8] == [
        "estimator", "table", "dataset", "sample", "kendall", "spearman", "interval", "seconds_per_architecture",
    ]  # fmt: skip
    assert (row["estimator"], row["table"], row["dataset"], row["sample"]) == ("fickle", "toy", "toy", 24)
    worst = np.where(np.isnan(found.values[:, 0]), -1.0, found.values[:, 0])
    assert row["kendall"] == pytest.approx(stats.kendalltau(worst, sample.values).statistic)
    assert row["spearman"] == pytest.approx(stats.spearmanr(worst, sample.values).statistic)
    assert row["interval"][0] < row["kendall"] < row["interval"][1]
    assert row["failed"] == np.isnan(found.values).sum() > 0
    assert row["baselines"]["params"]["kendall"] == pytest.approx(
        stats.kendalltau([sum(a.choices) for a in sample.architectures], sample.values).statistic
    )
    assert set(row["baselines"]) == {"params", "macs"}, "what the table does not have is counted"
    assert row["regret"]["1"] >= row["regret"]["10"] >= 0 and row["against"] == "valid" and row["epochs"] == 9
    json.dumps(row, allow_nan=False)
    assert any("fickle" in line for line in lines([row])) and any("(params)" in line for line in lines([row]))


def test_against_the_test_column() -> None:
    sample = draw(TABLE, SPACE, REPORT, 30, dataset="toy", against="test")
    assert (sample.values == REPORT.values[sample.rows]).all()


def test_several_judges_and_one_that_always_fails(tmp_path: Path) -> None:
    sample = draw(TABLE, SPACE, RECORDED, 30, dataset="toy")
    rows = correlations(sample, scores(tmp_path, sample, fickle=Fickle(), raising=Raising()), TASK)
    assert [row["estimator"] for row in rows] == ["fickle", "raising"]
    assert rows[1]["kendall"] is None and rows[1]["interval"] == [None, None] and rows[1]["failed"] == 30
    assert rows[0]["baselines"] == rows[1]["baselines"]
    json.dumps(rows, allow_nan=False)
    assert lines(rows)


def test_saved_scores_bound_the_draw(tmp_path: Path) -> None:
    part = scores(tmp_path, draw(TABLE, SPACE, RECORDED, 12, dataset="toy"))
    sample = draw(TABLE, SPACE, RECORDED, 10, dataset="toy", seed=5, scored=part)
    [row] = correlations(sample, part, TASK)
    assert row["sample"] == 10
    nothing = ScoreTable("counting", ("x",), part.choices[:1], part.values[:1], part.kinds[:1])
    with pytest.raises(UserError, match="1 rows of 'toy' have a value of toy_valid_9 and a score in the file"):
        draw(TABLE, SPACE, RECORDED, 10, dataset="toy", scored=nothing)
