"""The rules of multinomial distribution learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.problem import Problem
from archscout.core.seeds import derive, generator
from archscout.nn.paths import fair_path
from archscout.nn.supernet import supernet_of
from archscout.nn.supernet_training import Training
from archscout.spaces.nas101 import Nas101
from archscout.spaces.nas201 import Nas201
from archscout.spaces.proxyless import Proxyless
from archscout.spaces.rnn import Rnn
from archscout.strategies import mdenas
from archscout.strategies.mdenas import Mdenas, Multinomial, moved_at_once, moved_in_turn, timed_options
from archscout.testing.tasks import image_task, token_task

CHAIN = Problem(Proxyless(channels=4, depth=1), image_task((3, 8, 8), 3, 64))
"""Of three rows of nine options."""
SHORT = Mdenas(epochs=2, steps_per_trial=1, batch=8)
RULES = {"paper": moved_at_once, "code": moved_in_turn}


def told(rule, theta, trials, values, alpha=0.01):
    return RULES[rule](np.array(theta), np.array(trials), np.array(values), alpha)


@pytest.mark.parametrize(
    ("rule", "trials", "values", "wanted"),
    [
        ("code", (3, 1), (0.4, 0.5), (0.49, 0.51)),
        ("paper", (3, 1), (0.4, 0.5), (0.49, 0.51)),
        ("code", (1, 1), (0.4, 0.5), (0.49, 0.51)),
        ("paper", (1, 1), (0.4, 0.5), (0.5, 0.5)),
        ("code", (1, 3), (0.4, 0.5), (0.5, 0.5)),
        ("paper", (1, 3), (0.4, 0.5), (0.5, 0.5)),
    ],
)
def test_two_options_by_hand(rule, trials, values, wanted):
    assert told(rule, (0.5, 0.5), trials, values) == pytest.approx(wanted, abs=1e-12)


def test_nobody_loses_more_than_it_has():
    assert told("code", (0.004, 0.996), (3, 1), (0.1, 0.2)).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("rule", RULES)
def test_options_that_were_never_tried_neither_gain_nor_lose(rule):
    assert told(rule, (0.25,) * 4, (1, 1, 0, 0), (-0.3, -0.3, 0.0, 0.0)).tolist() == [0.25] * 4
    assert told(rule, (0.5, 0.25, 0.25), (2, 1, 0), (0.1, 0.2, 0.0)) == pytest.approx((0.49, 0.26, 0.25))


counts = st.lists(st.integers(0, 5), min_size=2, max_size=8)


@given(trials=counts, seed=st.integers(0, 1000), rule=st.sampled_from(list(RULES)))
def test_the_sum_stays_one(trials, seed, rule):
    rng = generator(seed)
    theta = rng.dirichlet(np.ones(len(trials)))
    for _ in range(200):
        theta = told(rule, theta, trials, rng.integers(4, size=len(trials)) / 4)
        assert (theta >= 0).all() and theta.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_a_hundred_thousand_trials_keep_a_distribution(rule):
    learned, rng = Multinomial([4], Mdenas(rule=rule, floor=0.1)), generator(0, rule)
    moved = 0
    for number in range(100_000):
        before = learned.theta[0]
        learned.tell(learned.sample(rng) if number % 10 == 0 else [int(rng.integers(4))], float(rng.random()))
        theta = learned.theta[0]
        moved += not np.array_equal(before, theta)
        assert theta.min() >= 0 and abs(theta.sum() - 1) < 1e-9, f"{theta} came after {number + 1:,} trials"
    assert learned.told == 100_000 and moved > 1_000


@given(trials=counts, rule=st.sampled_from(list(RULES)))
def test_equal_values_move_nothing(trials, rule):
    theta = np.full(len(trials), 1 / len(trials))
    assert np.array_equal(told(rule, theta, trials, np.full(len(trials), 0.7)), theta)


@given(trials=counts, seed=st.integers(0, 1000))
def test_the_papers_rule_equals_three_loops(trials, seed):
    values = generator(seed).integers(5, size=len(trials)) / 5
    theta = np.full(len(trials), 1 / len(trials))
    wanted = theta.copy()
    for i in range(len(trials)):
        for j in range(len(trials)):
            if trials[i] < trials[j] and values[i] > values[j]:
                wanted[i] += 0.001 * (trials[i] > 0)
            if trials[i] > trials[j] and values[i] < values[j]:
                wanted[i] -= 0.001 * (trials[j] > 0)
    assert told("paper", theta, trials, values, 0.001) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("rule", "alpha"), [("paper", 0.05), ("code", 1e-3)])  # the code's caps, which depend on turns, stay away
@given(trials=counts, seed=st.integers(0, 1000))
def test_the_rules_do_not_know_the_names_of_options(rule, alpha, trials, seed):
    rng, count = generator(seed), len(trials)
    values, order, theta = (
        rng.integers(4, size=count) / 4,
        rng.permutation(count),
        (1 + rng.dirichlet(np.ones(count))) / (1 + count),
    )
    straight = told(rule, theta, trials, values, alpha)
    found = told(rule, theta[order], np.array(trials)[order], values[order], alpha)
    assert found == pytest.approx(straight[order], abs=1e-12)


def test_one_decision_without_noise_is_learnt():
    ranks = []
    for seed in range(30):
        rng = generator(seed, "quality")
        quality = rng.normal(size=8)
        learned = Multinomial([8], Mdenas(rule="paper"))
        for _ in range(100):
            [choice] = learned.sample(rng)
            learned.tell([choice], float(quality[choice]))
        ranks.append(int((quality > quality[learned.theta[0].argmax()]).sum()))
    assert np.mean(ranks) < 2.0, f"chance is 3.5 better options, but {np.mean(ranks)} came"


def test_bookkeeping():
    last, mean, detrended = (Multinomial([3], Mdenas(bookkeeping=kind)) for kind in ("last", "mean", "detrended"))
    for learned in (last, mean, detrended):
        for choice, value in ((0, 0.2), (0, 0.6), (1, 0.5)):
            learned.tell([choice], value)
    assert last.values[0].tolist() == [0.6, 0.5, 0.0]
    assert mean.values[0] == pytest.approx([0.4, 0.5, 0.0])
    # Before them the moving average was 0.2 and 0.24; the first value has none before it.
    assert detrended.values[0] == pytest.approx([(0.0 + 0.4) / 2, 0.5 - 0.24, 0.0])
    assert last.trials[0].tolist() == [2, 1, 0]


def test_a_snapshot_brings_everything_back():
    rules = Mdenas(bookkeeping="detrended")
    one, other = Multinomial([3, 5], rules), Multinomial([3, 5], rules)
    for choices, value in (([0, 4], 0.3), ([2, 1], 0.5)):
        one.tell(choices, value)
    other.restore(one.state())
    for learned in (one, other):
        learned.tell([1, 1], 0.4)
    assert all(np.array_equal(a, b) for a, b in zip(one.theta, other.theta, strict=True))


@given(options=st.lists(st.integers(2, 6), min_size=1, max_size=5), seed=st.integers(0, 100), turn=st.integers(0, 3))
def test_in_a_round_every_option_comes_once(options, seed, turn):
    most = max(options)
    paths = np.array([fair_path(options, seed, turn * most + place) for place in range(most)])
    for row, count in enumerate(options):
        found = np.bincount(paths[:, row], minlength=count)
        assert len(found) == count and found.min() >= 1
        if count == most:
            assert found.tolist() == [1] * count


def test_the_losses_of_paths_fall_in_the_supernet():
    problem = Problem(Nas201(channels=2, cells=1), image_task((3, 8, 8), 3, 64))
    rules = Mdenas(epochs=30, batch=8, learning_rate=0.05, augment=False, channels=2, depth=1)
    moves = list(rules.search(problem, seed=0))
    assert len(moves) == 30 and all(np.isfinite(move.metrics["loss"]) for move in moves)
    training = Training(supernet_of(problem.space, problem.task, seed=derive(0, "weights")), problem, rules, 0)
    paths = [training.net.gates(sample(problem.space, generator(0, "paths", number))) for number in range(20)]

    def losses():
        batches = [training.batch(training.weighed, step) for step in range(training.weighed.per_pass)]
        return [np.mean([float(training.loss(training.weights, path, batch).detach()) for batch in batches]) for path in paths]

    before = losses()
    training.restore(moves[-1].state)
    assert np.median(losses()) < np.median(before) - 0.2


def test_in_the_warm_up_every_weight_moves_and_no_trial_counts():
    *warm_up, last_of_it, one, two = replace(SHORT, warm_up=1).search(CHAIN, seed=0)
    assert len(warm_up) + 1 == 9, "a round has as many paths as the longest row options"
    assert all(move.state["trials"].sum() == 0 and "accuracy" not in move.metrics for move in (*warm_up, last_of_it))
    before = supernet_of(CHAIN.space, CHAIN.task, seed=derive(0, "weights"))
    stuck = [
        name for name, weight in before.named_parameters() if np.array_equal(weight.detach(), last_of_it.state[f"weights.{name}"])
    ]
    assert not stuck, f"{stuck} should move"
    assert [move.state["trials"].sum() for move in (one, two)] == [3, 6]


def test_the_value_of_a_path_falls_with_its_latency(monkeypatch):
    times, rules = generator(0, "times").uniform(0.1, 9, (3, 9)), replace(SHORT, latency_target=5.0)
    monkeypatch.setattr(Training, "score", lambda self, gates, items: 0.5)
    monkeypatch.setattr(mdenas, "timed_options", lambda net, problem: times)
    timed, *trials = rules.search(CHAIN, seed=0)
    before = np.zeros(27)
    for trial in trials:
        tried = trial.state["trials"] - before == 1
        taken = times.flatten()[tried].sum()
        assert tried.sum() == 3 and trial.metrics["latency_ms"] == pytest.approx(taken)
        assert trial.state["values"][tried] == pytest.approx(0.5 * (taken / 5) ** -0.07)
        before = trial.state["trials"]
    assert len(trials) == 2
    monkeypatch.setattr(mdenas, "timed_options", lambda net, problem: pytest.fail("a search that goes on should time nothing"))
    again = list(rules.search(CHAIN, seed=0, state=timed.state))
    assert [trial.metrics for trial in again] == [trial.metrics for trial in trials]


def test_the_times_of_the_options_of_a_path_add_up_to_that_of_the_path(monkeypatch):
    """With parameters for milliseconds, which add up exactly."""

    def counted(network, task, *, device):
        return [0.0, float(sum(weight.numel() for weight in network.parameters())), 1e9]

    monkeypatch.setattr(mdenas, "latency", counted)
    net = supernet_of(CHAIN.space, CHAIN.task, seed=0)
    times = timed_options(net, CHAIN)
    for choices in ((0, 0, 0), (8, 0, 0), (1, 8, 3), (5, 7, 6)):
        assert times[range(3), choices].sum() == net.cost(CHAIN.space.architecture(choices))["params"]


def test_a_space_without_graphs_has_no_times():
    problem = Problem(Rnn(nodes=2), token_task(length=4, classes=7))
    with pytest.raises(UserError, match="latencies are timed on operation graphs, but 'rnn' has none; leave latency_target at 0"):
        next(replace(SHORT, channels=4, latency_target=5.0).search(problem, seed=0))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="alpha lies above 0"):
        Mdenas(alpha=0)
    with pytest.raises(ValueError, match="latency_target is for paths of the supernet; leave it out, or take supernet=true"):
        Mdenas(supernet=False, latency_target=5.0)


def test_every_operation_of_a_cell_is_timed_where_it_leads_to_the_output(monkeypatch):
    monkeypatch.setattr(mdenas, "latency", lambda network, task, *, device: [float(sum(w.numel() for w in network.parameters()))])
    problem = Problem(Nas201(channels=2, cells=1), CHAIN.task)
    times = timed_options(supernet_of(problem.space, problem.task, seed=0), problem)
    assert (times[:, 3] > times[:, 1]).all() and times[1:, 3].min() == times[1:, 3].max() > 0


def test_rows_that_lead_nowhere_beside_the_first_options_have_no_times():
    space = Nas101(subspace=1)
    net = supernet_of(space, CHAIN.task, seed=0, channels=16)
    with pytest.raises(UserError, match="leads to no output; leave it at 0"):
        timed_options(net, Problem(space, CHAIN.task))
