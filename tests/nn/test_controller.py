"""The controller of NAO: what it may write, what it learns, which way it climbs."""

from dataclasses import replace
from functools import cache
from statistics import mean

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.encoding import TokenEncoding, architecture_of, encoding_of
from archscout.core.errors import UserError
from archscout.core.seeds import generator, seeded
from archscout.nn import controller as controllers
from archscout.nn.controller import (
    Controller,
    ControllerSettings,
    _loss,
    learned,
    ordered_pairs,
    targets_of,
    train,
    written,
)
from archscout.testing.spaces import random_tokens

SMALL = ControllerSettings(embedding=16, hidden=32, layers=1, width=32, dropout=0.0)
SPACE = catalogue.make("spaces", "nas201")
# Tokens decide what may follow them, and two nodes of two branches each may be swapped.
ENCODING = TokenEncoding(
    vocabulary=8,
    allowed=((1, 2), (4, 5, 6), (1, 2), (4, 5, 6), (1, 2, 3), (4, 5, 6, 7), (1, 2, 3), (4, 5, 6, 7)),
    step=2,
    follows={1: (4, 5), 3: (7,)},
    swaps=(((0, 2, 2),), ((4, 6, 2),)),
)
NAMES = [("nao-cell", {}), ("nao-cell", {"operation_set": "full"}), ("nas101", {}), ("nas201", {}), ("darts", {}), ("rnn", {})]


def built(encoding, settings=SMALL, seed=0):
    with seeded(seed):
        return Controller(encoding, settings).eval()


def memories(encoding, settings=SMALL, count=7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    raw = torch.randn(count, encoding.length // encoding.step, settings.hidden, generator=draw)
    return torch.nn.functional.normalize(raw, dim=-1)


def worth(tokens):
    """An additive worth (N,) of sequences, which does not change where spans of a group change places."""
    return np.asarray(generator(0, "worth").standard_normal(40)[tokens].sum(1))


@cache
def school():
    """Sequences of the small encoding, and controllers that have learned 80 of 400 of them, with augmentation."""
    tokens = np.unique(random_tokens(ENCODING, 2_000, generator(1)), axis=0)
    tokens = generator(2).permutation(tokens)[:400]
    targets = targets_of(worth(tokens), "ranks")
    taught = replace(SMALL, epochs=110, members=2, rate=5e-3)
    return tokens, targets, train(ENCODING, tokens[:80], targets[:80], taught, 0)


@pytest.mark.parametrize(("name", "options"), NAMES, ids=str)
def test_whatever_an_untrained_controller_writes_is_legal(name, options):
    space = catalogue.make("spaces", name, **options)
    encoding = encoding_of(space)
    for seed in range(3):
        rows = built(encoding, seed=seed).write(memories(encoding, count=40, seed=seed))
        assert rows.shape == (40, encoding.length)
        for row in rows.tolist():
            assert encoding.is_legal(row)
            architecture_of(space, row)


def test_illegal_tokens_have_no_probability_and_legal_ones_do():
    controller, rows = built(ENCODING), np.array(random_tokens(ENCODING, 30, generator(0)))
    logits = controller.decode(memories(ENCODING, count=30), torch.from_numpy(rows))
    for row, scores in zip(rows, logits, strict=True):
        for place, before in enumerate((0, *row[:-1])):
            may = set(ENCODING.allowed[place]) & set(ENCODING.follows.get(int(before), range(8)))
            assert {token for token in range(8) if torch.isfinite(scores[place, token])} == may
            assert torch.isneginf(scores[place]).sum() == 8 - len(may)


def test_teacher_forcing_equals_writing_token_by_token():
    for encoding in (ENCODING, encoding_of(catalogue.make("spaces", "nas101"))):
        controller, memory = built(encoding), memories(encoding)
        rows = controller.write(memory)
        assert (controller.decode(memory, rows).argmax(-1) == rows).all(), "forced by what it wrote, it should write the same"
        state, begun, logits = controller._first(memory), torch.nn.functional.pad(rows[:, :-1], (1, 0)), []
        for place in range(encoding.length):
            token = begun[:, place : place + 1]
            states, state = controller.decoder(controller.spoken(token), state)
            logits.append(controller._logits(states, memory, token, place))
        torch.testing.assert_close(torch.cat(logits, 1), controller.decode(memory, rows), rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_central_differences():
    controller, memory = built(ENCODING, replace(SMALL, layers=2, width=12)).double(), memories(ENCODING, count=3).double()
    found, step = controller.gradient(memory), 1e-6
    assert found.abs().max() > 1e-4
    with torch.no_grad():
        for place in np.ndindex(*memory.shape):
            there, back = memory.clone(), memory.clone()
            there[place] += step
            back[place] -= step
            slope = (controller.predict(there) - controller.predict(back))[place[0]] / (2 * step)
            assert abs(slope - found[place]) < 1e-4 * max(1.0, abs(slope))


def test_rows_of_a_memory_have_length_one_also_after_a_step():
    controller, rows = built(ENCODING), torch.tensor(random_tokens(ENCODING, 5, generator(0)))
    memory = controller.encode(rows)
    there = controller.climbed(memory, torch.linspace(0, 9, 5), controller.gradient(memory))
    for some in (memory, there):
        torch.testing.assert_close(some.norm(dim=-1), torch.ones(5, 4))
    torch.testing.assert_close(there[0], memory[0])


def test_one_sequence_alone_gives_what_it_gives_among_others():
    _, _, trained = school()
    tokens = school()[0][:9]
    together = trained.predict(tokens)
    assert together.shape == (9,) and trained.climb(tokens[:1], [0.5], relative=True, seed=0).shape == (2, 8)
    for place in range(9):
        [alone] = trained.predict(tokens[place : place + 1])
        assert alone == pytest.approx(together[place], abs=1e-5)
        assert (trained.rebuilt(tokens[place : place + 1]) == trained.rebuilt(tokens)[place]).all()


def test_it_rebuilds_what_it_learned_from():
    tokens, _, trained = school()
    assert all(fit.reconstructed > 0.95 and fit.epochs == 110 for fit in trained.fits)
    wrong = (trained.rebuilt(tokens[:80]) != tokens[:80]).sum(1)
    assert wrong.mean() < 0.1


@pytest.mark.parametrize(
    ("space", "epochs"),
    [(SPACE, 120), (catalogue.make("spaces", "nao-cell"), 180), (catalogue.make("spaces", "rnn", nodes=4), 120)],
    ids=["nas201", "nao-cell", "rnn"],
)
def test_a_small_pool_of_a_real_space_is_rebuilt_too(space, epochs):
    cells = [sample(space, generator(0, place)) for place in range(40)]
    tokens = written(space, cells)
    trained = learned(space, cells, worth(tokens).tolist(), replace(SMALL, epochs=epochs, rate=5e-3), 0)
    assert trained.fits[0].reconstructed > 0.95
    assert (trained.rebuilt(tokens) != tokens).sum(1).mean() < 0.1
    for row in trained.climb(tokens, [0.5, 2.0, 8.0], relative=True, seed=0).tolist():
        assert trained.encoding.is_legal(row) and architecture_of(space, row) is not None


def test_it_orders_what_it_has_not_seen():
    tokens, targets, trained = school()
    assert ordered_pairs(trained.predict(tokens[80:]), targets[80:]) > 0.75


def test_what_changes_places_hardly_changes_a_prediction():
    tokens, targets, trained = school()
    swapped = tokens[80:].copy()
    swapped[:, [0, 1, 2, 3]] = swapped[:, [2, 3, 0, 1]]
    moved = (swapped != tokens[80:]).any(1)
    assert moved.mean() > 0.5
    told = trained.predict(tokens[80:])
    error = np.sqrt(np.mean((told - targets[80:]) ** 2))
    gap = np.abs(told - trained.predict(swapped))[moved].mean()
    assert gap < error
    plain = train(ENCODING, tokens[:80], targets[:80], replace(SMALL, epochs=40, rate=8e-3, augment=False), 0)
    assert gap < np.abs(plain.predict(tokens[80:]) - plain.predict(swapped))[moved].mean()


def test_a_step_of_no_length_gives_the_reconstruction():
    tokens, _, trained = school()
    for direction in ("gradient", "random"):
        there = trained.climb(tokens[:60], [0.0], direction, relative=True, seed=0)
        assert (there[:60] == trained.rebuilt(tokens[:60])).all()


@pytest.mark.parametrize("relative", [True, False])
def test_steps_go_up_the_gradient_and_random_ones_are_as_long(relative, monkeypatch):
    tokens, _, trained = school()
    member, ways, climbed = trained.members[0], {}, Controller.climbed

    def watched(self, memory, steps, way):
        ways.setdefault(direction, (memory, steps, way))
        return climbed(self, memory, steps, way)

    monkeypatch.setattr(Controller, "climbed", watched)
    for direction in ("gradient", "random"):
        trained.climb(tokens[:20], [0.5, 2.0], direction, relative=relative, seed=0)
    memory, steps, up = ways["gradient"]
    gradient = member.gradient(memory)
    assert steps.tolist() == [0.5] * 20 + [2.0] * 20
    torch.testing.assert_close(torch.cosine_similarity(up, gradient, dim=-1), torch.ones(40, 4))
    torch.testing.assert_close(up.norm(dim=-1), ways["random"][2].norm(dim=-1))
    aside = torch.cosine_similarity(ways["random"][2], gradient, dim=-1)
    assert aside.abs().mean() < 0.3, "random directions should have nothing to do with the gradient"
    if relative:
        torch.testing.assert_close(up.norm(dim=-1).mean(1), torch.ones(40))
    else:
        torch.testing.assert_close(up, gradient)


def test_where_a_prediction_does_not_change_climbing_only_rebuilds():
    tokens, targets, _ = school()
    trained = train(ENCODING, tokens[:80], targets[:80], replace(SMALL, epochs=3), 0)
    with torch.no_grad():
        trained.members[0].predictor[-1].weight.zero_()
    assert not trained.members[0].gradient(memories(ENCODING)).any()
    for direction in ("gradient", "random"):
        assert (trained.climb(tokens, [1.0], direction, relative=True, seed=0) == trained.rebuilt(tokens)).all()


def test_a_small_step_raises_the_prediction():
    tokens, targets, _ = school()
    rises, straight = [], []
    for seed in range(4):
        [member] = train(ENCODING, tokens[:60], targets[:60], replace(SMALL, epochs=15), seed).members
        memory = member.encode(torch.from_numpy(tokens[:60])).detach()
        gradient = member.gradient(memory)
        with torch.no_grad():
            rise = member.predict(member.climbed(memory, torch.full((60,), 0.05), gradient)) - member.predict(memory)
        rises.append(float(rise.mean()))
        straight.append(float((rise >= 0).float().mean()))
    assert min(rises) > 0 and mean(straight) > 0.95


def test_further_steps_change_more_and_find_more_that_is_new():
    tokens, _, trained = school()
    met = {tuple(row) for row in tokens[:80].tolist()}
    steps, count = [0.0, 0.2, 0.6, 1.5, 4.0], 60
    for direction in ("gradient", "random"):
        there = trained.climb(tokens[:count], steps, direction, relative=True, seed=0)
        assert there.shape == (2 * len(steps) * count, 8)
        parts = there.reshape(2, len(steps), count, 8).transpose(1, 0, 2, 3)
        changed = [(part != tokens[:count]).sum(-1).mean() for part in parts]
        new = [len({tuple(row) for row in part.reshape(-1, 8).tolist()} - met) for part in parts]
        assert changed == sorted(changed) and changed[-1] > 1 > 0.1 > changed[0]
        assert new[0] <= new[1] <= new[2] <= max(new) and max(new) > 20 > new[0]
        assert all(ENCODING.is_legal(row) for row in there.tolist())


def test_random_directions_follow_from_the_seed():
    tokens, _, trained = school()
    one, two, other = (trained.climb(tokens[:40], [1.0], "random", relative=True, seed=seed) for seed in (1, 1, 2))
    assert (one == two).all() and (one != other).any()


def test_equal_arguments_give_equal_controllers_and_leave_global_randomness_alone():
    tokens, targets, _ = school()
    noise = torch.random.get_rng_state()
    taught = replace(SMALL, epochs=3, dropout=0.2, members=2)
    one, two, other = (train(ENCODING, tokens[:30], targets[:30], taught, seed) for seed in (1, 1, 2))
    assert torch.equal(noise, torch.random.get_rng_state())
    assert (one.predict(tokens) == two.predict(tokens)).all() and (one.predict(tokens) != other.predict(tokens)).all()
    first, second = (member.state_dict() for member in one.members)
    assert not torch.equal(first["query.weight"], second["query.weight"]), "members should start apart"
    np.testing.assert_allclose(one.predict(tokens), np.mean([one_of(one, place).predict(tokens) for place in (0, 1)], 0), rtol=1e-6)


def one_of(trained, place):
    return type(trained)([trained.members[place]], [trained.fits[place]])


def test_a_training_goes_on_from_weights():
    tokens, targets, trained = school()
    again = train(ENCODING, tokens[:80], targets[:80], replace(SMALL, epochs=1, members=2), 1, start=trained.members)
    assert again.fits[0].reconstructed > 0.9, "what was learned should not be forgotten in a pass"
    assert not torch.equal(again.members[0].query.weight, trained.members[0].query.weight)


@pytest.mark.parametrize("change", [{"ranking": 0.5}, {"targets": "min-max"}, {"layers": 0}, {"trade_off": 0.5}, {"members": 2}])
def test_settings_that_change_the_learning_still_learn(change):
    cells = [sample(SPACE, generator(0, place)) for place in range(60)]
    value = worth(written(SPACE, cells))
    trained = learned(SPACE, cells, value.tolist(), replace(SMALL, epochs=20, rate=4e-3, **change), 0)
    assert len(trained.fits) == change.get("members", 1)
    assert ordered_pairs(trained.predict(written(SPACE, cells)), value) > 0.7


def test_a_ranking_loss_alone_orders():
    tokens, targets, _ = school()
    taught = replace(SMALL, trade_off=0.0, epochs=30, rate=4e-3)
    with_it, without = (
        train(ENCODING, tokens[:80], targets[:80], replace(taught, ranking=weight), 0).fits[0].pairs for weight in (1.0, 0.0)
    )
    assert with_it > 0.85 > 0.75 > without


def test_pseudo_labels_are_told_by_the_first_training_and_do_no_harm():
    cells = [sample(SPACE, generator(0, place)) for place in range(40)]
    value = worth(written(SPACE, cells))
    plain, more = (learned(SPACE, cells, value.tolist(), replace(SMALL, epochs=12, pseudo=count), 0) for count in (0, 100))
    tokens = written(SPACE, cells)
    assert (more.predict(tokens) != plain.predict(tokens)).any()
    assert ordered_pairs(more.predict(tokens), value) > 0.75


def test_pseudo_labels_are_the_first_predictions_and_the_judged_count_as_much_as_they(monkeypatch):
    cells = [sample(SPACE, generator(0, place)) for place in range(40)]
    value, calls = worth(written(SPACE, cells)), []

    def watched(encoding, tokens, targets, settings, seed, **more):
        calls.append((tokens, targets, settings, more, train(encoding, tokens, targets, settings, seed, **more)))
        return calls[-1][-1]

    monkeypatch.setattr(controllers, "train", watched)
    trained = learned(SPACE, cells, value.tolist(), replace(SMALL, epochs=2, pseudo=100), 0)
    (*_, first), (tokens, targets, taught, more, again) = calls
    assert (tokens[:40] == written(SPACE, cells)).all() and len(tokens) == 140
    assert (targets[:40] == targets_of(value, "ranks")).all() and (targets[40:] == first.predict(tokens[40:])).all()
    assert more["weights"].tolist() == [2.5] * 40 + [1.0] * 100, "all judged together as much as all unlabelled"
    assert taught.held_out > 0 and more["start"] == first.members and more["unjudged"] == 100
    assert trained.members == again.members and trained.fits == again.fits


def test_what_is_held_out_stays_so_beside_pseudo_labels(monkeypatch):
    seen = []

    def watched(controller, tokens, *rest):
        if controller.training:
            seen[-1].update(map(tuple, tokens.tolist()))
        return _loss(controller, tokens, *rest)

    monkeypatch.setattr(controllers, "_loss", watched)
    tokens = np.unique(random_tokens(ENCODING, 400, generator(0)), axis=0)
    generator(0).shuffle(tokens)
    judged, rules, left_out = tokens[:200], replace(SMALL, epochs=1, held_out=0.2, augment=False), []
    for rows, unjudged in ((judged, 0), (tokens[:300], 100)):
        seen.append(set())
        fit = train(ENCODING, rows, worth(rows), rules, 0, unjudged=unjudged).fits[0]
        left_out.append({tuple(row) for row in rows.tolist()} - seen[-1])
        assert np.isfinite(fit.held_out_pairs)
    assert left_out[0] == left_out[1] and len(left_out[0]) == 40


@pytest.mark.parametrize("counted", [torch.ones(6), torch.tensor([2.0, 1, 0, 1, 3, 0])], ids=["alike", "weighed"])
def test_the_loss_is_that_of_predictions_and_of_tokens(counted):
    controller, rows, wanted = built(ENCODING), torch.tensor(random_tokens(ENCODING, 6, generator(0))), torch.linspace(0, 1, 6)
    memory = controller.encode(rows)
    wrong = ((controller.predict(memory) - wanted) ** 2 * counted).sum() / counted.sum()
    unclear = -controller.decode(memory, rows).log_softmax(-1).gather(-1, rows[..., None]).mean()
    for share in (0.8, 0.3):
        found = _loss(controller, rows, wanted, counted, replace(SMALL, trade_off=share))
        torch.testing.assert_close(found, share * wrong + (1 - share) * unclear)


def test_what_does_not_count_is_only_rebuilt():
    tokens, targets, _ = school()
    counted = np.r_[np.ones(40), np.zeros(40)]
    misleading = np.r_[targets[:40], 1 - targets[40:80]]
    one, other = (
        train(ENCODING, tokens[:80], some, replace(SMALL, epochs=3), 0, weights=counted) for some in (targets[:80], misleading)
    )
    assert (one.predict(tokens) == other.predict(tokens)).all()


def test_what_is_held_out_is_not_trained_on_and_ends_the_training():
    tokens, targets, _ = school()
    taught = replace(SMALL, epochs=400, patience=10, held_out=0.2, rate=2e-2)
    [fit] = train(ENCODING, tokens[:200], targets[:200], taught, 0).fits
    assert 10 <= fit.epochs < 400 and 0.5 < fit.held_out_pairs <= 1 and 0 < fit.held_out_tokens <= 1
    noise = generator(0).random(200)
    [fit] = train(ENCODING, tokens[:200], noise, replace(taught, epochs=40, patience=0), 0).fits
    assert fit.pairs > 0.65 and fit.held_out_pairs < fit.pairs - 0.1, "chance cannot be held out and known"
    [fit] = train(ENCODING, tokens[:100], targets[:100], replace(SMALL, epochs=2), 0).fits
    assert np.isnan(fit.held_out_pairs) and np.isnan(fit.held_out_tokens), "10 are too few to hold out"


def test_a_training_that_ends_early_gives_the_best_weights(monkeypatch):
    tokens, targets, _ = school()
    checks, losses = [], iter([1.0, 0.5])

    def watched(controller, *given):
        if controller.training:
            return _loss(controller, *given)
        checks.append({name: tensor.clone() for name, tensor in controller.state_dict().items()})
        return torch.tensor(next(losses, 2.0))

    monkeypatch.setattr(controllers, "_loss", watched)
    trained = train(ENCODING, tokens[:100], targets[:100], replace(SMALL, epochs=60, held_out=0.2, patience=10), 0)
    assert trained.fits[0].epochs == 10 + 10 and len(checks) == 4
    torch.testing.assert_close(dict(trained.members[0].state_dict()), checks[1], rtol=0, atol=0)
    assert not torch.equal(checks[1]["query.weight"], checks[3]["query.weight"])


def test_equal_values_teach_nothing_and_do_no_harm():
    cells = [sample(SPACE, generator(0, place)) for place in range(12)]
    for targets in ("ranks", "min-max"):
        trained = learned(SPACE, cells, [3.0] * 12, replace(SMALL, epochs=15, targets=targets), 0)
        told = trained.predict(written(SPACE, cells))
        assert np.isfinite(told).all() and np.abs(told - 0.5).max() < 0.2 and np.isnan(trained.fits[0].pairs)
        for row in trained.climb(written(SPACE, cells), [0.0, 1.0], relative=True, seed=0).tolist():
            assert trained.encoding.is_legal(row)


def test_two_architectures_are_enough_and_one_is_not():
    cells = [SPACE.architecture([0] * 6), SPACE.architecture([3] * 6)]
    trained = learned(SPACE, cells, [0.0, 1.0], replace(SMALL, epochs=60), 0)
    low, high = trained.predict(written(SPACE, cells))
    assert low < high
    with pytest.raises(UserError, match="two judged architectures or more, but 1 came"):
        learned(SPACE, cells[:1], [1.0], SMALL, 0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_targets_lie_between_nought_and_one_in_the_order_of_the_values(values):
    values = np.array(values)
    for kind in ("ranks", "min-max"):
        found = targets_of(values, kind)
        assert found.shape == values.shape and (found >= 0).all() and (found <= 1).all()
        assert all(found[a] <= found[b] for a in range(len(values)) for b in range(len(values)) if values[a] < values[b])
    if len(np.unique(values)) == len(values) and np.ptp(values) > 1e-9:
        assert sorted(targets_of(values, "ranks")) == pytest.approx(np.linspace(0, 1, len(values)))


def test_targets():
    assert targets_of(np.array([5.0, 1.0, 5.0, 9.0]), "ranks").tolist() == [0.5, 0.0, 0.5, 1.0]
    assert targets_of(np.full(3, 7.0), "ranks").tolist() == targets_of(np.full(3, 7.0), "min-max").tolist() == [0.5] * 3
    skewed = np.r_[-100.0, np.linspace(90, 95, 500)]
    assert targets_of(skewed, "min-max")[0] == 0 and targets_of(skewed, "min-max")[250] == pytest.approx(0.5, abs=0.01)
    assert targets_of(np.array([0.0, *[1.0] * 1000]), "min-max").tolist() == [0.0, *[1.0] * 1000]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=25))
def test_ordered_pairs_are_those_that_are_counted_one_by_one(pairs):
    told, wanted = np.array(pairs, float).T
    counts = [
        (np.sign(told[a] - told[b]) * np.sign(wanted[a] - wanted[b]) + 1) / 2
        for a in range(len(pairs))
        for b in range(a)
        if wanted[a] != wanted[b]
    ]
    found = ordered_pairs(told, wanted)
    assert found == pytest.approx(mean(counts)) if counts else np.isnan(found)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hidden": 0}, "hidden is at least 1"),
        ({"members": 0}, "members is at least 1"),
        ({"pseudo": -1}, "not negative"),
        ({"dropout": 1.0}, "dropout"),
        ({"trade_off": 1.1}, "trade_off"),
        ({"targets": "z-scores"}, "ranks or min-max"),
        ({"rate": 0.0}, "above 0"),
    ],
)
def test_settings_are_checked(wrong, words):
    with pytest.raises(ValueError, match=words):
        ControllerSettings(**wrong)


@pytest.mark.parametrize(("reads", "matters"), [("states", True), ("mean", False), ("auto", True)])
def test_a_predictor_of_states_knows_which_is_which(reads, matters):
    """The mean of some states, as published, is that of the same ones in another order."""
    encoding = encoding_of(catalogue.make("spaces", "nas201"))
    with seeded(0):
        controller = Controller(encoding, replace(SMALL, reads=reads)).eval()
    memory = torch.nn.functional.normalize(torch.randn(3, encoding.length, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    there, back = (controller.predict(some) for some in (memory, memory.flip(1)))
    assert torch.allclose(there, back, atol=1e-6) is not matters


@pytest.mark.parametrize(
    ("space", "whole"), [("nas201", True), ("darts", True), ("nas101", False), ("nao-cell", False), ("rnn", True)]
)
def test_what_is_read_follows_from_what_tokens_are(space, whole):
    assert Controller(encoding_of(catalogue.make("spaces", space)), SMALL).whole is whole
