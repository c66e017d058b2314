"""NAO-WS: the pool, the shared scores, and recurrent cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.draw import enumerate_space, sample
from archscout.core.moves import Progress
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task
from archscout.core.seeds import generator
from archscout.nn.supernet import supernet_of
from archscout.nn.supernet_training import Schedule, Training
from archscout.nn.tokens import TokenSplit
from archscout.spaces.nao_cell import NaoCell
from archscout.spaces.rnn import Rnn
from archscout.strategies.nao_ws import NaoWs
from archscout.testing.strategies import folded

SHORT = NaoWs(batch=8, channels=2, depth=1, epochs=3, pool=8, new=4, rounds=3, fits=3, items=16, report=100)


def text_problem(nodes=3):
    """A text in which a token follows from the one before it."""
    ids = np.cumsum(generator(0, "text").integers(1, 3, size=4_000)) % 11
    data = TokenSplit(ids.astype(np.int64), 10)
    task = Task("text", LANGUAGE_MODELLING, (10,), 11, "text", {"train": data, "valid": data})
    return Problem(Rnn(nodes=nodes, size=16), task)


def reports(strategy, problem, seed=0):
    return [move for move in strategy.search(problem, seed=seed) if isinstance(move, Progress)]


def large_choices(strategy, training, architecture):
    """In place of a score."""
    return float(sum(architecture.choices))


@pytest.mark.parametrize("space", [folded().space, NaoCell(2, 1)], ids=lambda space: space.name)
def test_the_pool_is_renewed_in_every_round_but_the_last(space, monkeypatch):
    monkeypatch.setattr(NaoWs, "_score", large_choices)
    found = reports(SHORT, replace(folded(), space=space))
    pools = [report.state["pool"].split() for report in found]
    assert len(found) == 3 and all(len(pool) == len(set(pool)) == 8 for pool in pools)
    assert [report.metrics.get("new") for report in found] == [4.0, 4.0, None]
    met = found[-1].state["met"].split()
    assert len(set(met)) == 8 + 4 + 4, "nobody comes twice"
    for pool, before in ((pools[0], met[:8]), (pools[1], pools[0])):
        assert pool[:4] == ranked(before)[:4], "the best stay"
    assert pools[2] == ranked(pools[1]) and str(found[-1].best) == pools[2][0], "the last round only ranks"


def ranked(texts):
    """Those of large choices first."""
    return sorted(texts, key=lambda text: -sum(Architecture.parse(text).choices))


def test_all_of_a_pool_are_scored_on_the_same_images():
    problem = folded()
    training = Training(supernet_of(problem.space, problem.task, seed=0), problem, Schedule(share=0.5, batch=8), 0)
    gates = training.net.gates(problem.space.architecture([3, 1, 2, 3, 1, 4]))
    one = training.score(gates, 16)
    training.score(training.net.gates(problem.space.architecture([1] * 6)), 16)
    assert training.score(gates, 16) == one and 0 <= one <= 1


@pytest.mark.parametrize("problem", [replace(folded(), space=NaoCell(2, 1)), text_problem()], ids=["images", "text"])
def test_all_architectures_are_scored_on_the_same_items_from_all_of_the_other_share(problem, monkeypatch):
    training = Training(supernet_of(problem.space, problem.task, seed=0), problem, Schedule(share=0.5, batch=8), 0)
    seen, batch = [], Training.batch

    def watched(*given):
        seen.append(batch(*given))
        return seen[-1]

    monkeypatch.setattr(Training, "batch", watched)
    for place in range(2):
        training.score(training.net.gates(sample(problem.space, generator(0, place))), 32 * 32)
    half = len(seen) // 2
    for (x, y), (u, v) in zip(seen[:half], seen[half:], strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)
    data = training.judged_data
    rows, _ = data.take(np.arange(len(data)))
    rows = rows if isinstance(data, TokenSplit) else data.normalise(rows)
    given = {row.numpy().tobytes() for x, _ in seen[:half] for row in x}
    third = len(rows) // 3
    for part in (rows[:third], rows[third:-third], rows[-third:]):
        assert len(given & {row.numpy().tobytes() for row in part}) > 4, "a part of the data should not go unseen"


def test_few_windows_are_two_since_they_normalise_each_other():
    problem = text_problem()
    training = Training(supernet_of(problem.space, problem.task, seed=0), problem, Schedule(share=0.5, batch=8), 0)
    gates = training.net.gates(problem.space.architecture([0] * len(problem.space.decisions)))
    assert training.score(gates, 1) == training.score(gates, 64) < 0


def test_the_schedule_of_texts_is_that_of_darts_unless_told_otherwise():
    schedule = Schedule().of_kind(LANGUAGE_MODELLING)
    assert (schedule.learning_rate, schedule.momentum, schedule.clip, schedule.batch) == (20.0, 0.0, 0.25, 16)
    assert Schedule(learning_rate=1.5).of_kind(LANGUAGE_MODELLING).learning_rate == 1.5
    assert Schedule().of_kind(folded().task.kind) == Schedule()


@pytest.mark.parametrize("share", ["node", "node_prev_act"])
def test_recurrent_cells_learn_together(share):
    problem = text_problem()
    problem = Problem(Rnn(nodes=3, size=16, share=share), problem.task)
    strategy = NaoWs(batch=16, epochs=6, pool=8, new=4, rounds=2, fits=3, items=1024, report=10)
    found = reports(strategy, problem)
    assert found[-1].metrics["best"] > -np.log(11) + 0.3, "the next token should be guessed better than by chance"
    assert found[-1].metrics["loss"] < found[0].metrics["loss"]
    assert strategy.memory(problem) > 0
    paced = strategy.paced(problem, 2.0, seed=0)
    assert 0 < paced["epochs"] <= 6 and 2 <= paced["pool"] <= 8 and paced["new"] <= paced["pool"]


def test_a_cut_search_of_texts_goes_on_to_the_same_answer():
    problem, strategy = text_problem(), NaoWs(batch=16, epochs=2, pool=6, new=3, rounds=2, fits=2, items=256, report=3, channels=8)
    straight = reports(strategy, problem)
    for place in (0, len(straight) // 2):
        again = list(strategy.search(problem, seed=0, state=straight[place].state))
        assert [(m.best, dict(m.metrics)) for m in again] == [(m.best, dict(m.metrics)) for m in straight[place + 1 :]]


def test_what_moves_the_weights_of_a_text_is_not_what_is_scored():
    problem = text_problem()
    task = replace(problem.task, splits={"train": TokenSplit(np.arange(4_001), 10)})
    training = Training(supernet_of(problem.space, task, seed=0), Problem(problem.space, task), Schedule(share=0.7, batch=8), 0)
    weighed = {
        int(token) for step in range(training.weighed.per_pass) for token in training.batch(training.weighed, step)[0].flatten()
    }
    assert len(weighed) == 35 * 8 * 10 and not weighed & set(training.judged_data.ids.tolist())


def test_more_new_ones_than_the_pool_holds_are_refused():
    with pytest.raises(ValueError, match="take places of the pool"):
        NaoWs(pool=4, new=5)


def test_equal_scores_are_borne(monkeypatch):
    monkeypatch.setattr(Training, "score", lambda training, gates, items: 0.5)
    found = reports(SHORT, folded())
    assert len(found) == 3 and all(report.metrics["best"] == 0.5 and "pairs" not in report.metrics for report in found)
    assert found[-1].best is not None


def test_a_space_smaller_than_the_pool_is_the_pool():
    problem = text_problem(nodes=1)
    found = reports(replace(SHORT, epochs=1, rounds=2), problem)
    everything = set(map(str, enumerate_space(problem.space)))
    assert len(everything) == 4 < SHORT.pool and str(found[-1].best) in everything
    for report in found:
        texts = report.state["pool"].split()
        assert len(texts) == 4 and set(texts) == set(report.state["met"].split()) == everything
        assert not report.metrics.get("new"), "nobody comes twice"


def test_scores_that_are_no_numbers_come_last_and_teach_nothing(monkeypatch):
    problem = folded()
    judged = []

    def score(training, gates, items):
        judged.append(float("nan") if len(judged) % 3 else 0.5 + len(judged) / 100)
        return judged[-1]

    monkeypatch.setattr(Training, "score", score)
    found = reports(SHORT, problem)
    assert all(np.isfinite(report.metrics["best"]) for report in found) and found[-1].best is not None
    monkeypatch.setattr(Training, "score", lambda training, gates, items: float("nan"))
    assert "best" not in reports(SHORT, problem)[-1].metrics


def test_a_round_leaves_one_of_those_that_were_scored(monkeypatch):
    monkeypatch.setattr(NaoWs, "_score", large_choices)
    found = reports(replace(SHORT, pool=20, new=19), text_problem(nodes=2))
    for report, before in zip(found[1:], found, strict=False):
        assert report.state["pool"].split()[0] in before.state["met"].split() and report.best is not None
    with pytest.raises(ValueError, match="but not all, and 20 came"):
        replace(SHORT, pool=20, new=20)
    with pytest.raises(ValueError, match="fits is at least 1"):
        replace(SHORT, fits=0)


def test_dropouts_of_a_text_are_those_of_the_step():
    problem = text_problem()
    schedule = Schedule(batch=8)
    trained = {}
    for name, space in (("without", problem.space), ("with", replace(problem.space, dropout_output=0.5))):
        training = Training(supernet_of(space, problem.task, seed=0), Problem(space, problem.task), schedule, 0)
        gates, batch = training.net.gates(next(iter(enumerate_space(space)))), training.batch(training.weighed, 0)
        trained[name] = [
            float(training.loss(training.weights, gates, batch, step=step).detach()) for step in (0, 0, 1)
        ] + [float(training.loss(training.weights, gates, batch).detach())]  # fmt: skip
    assert len(set(trained["without"])) == 1
    again, same, other, plain = trained["with"]
    assert again == same and len({again, other, plain}) == 3 and plain == trained["without"][0]
