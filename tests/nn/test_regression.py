"""The regression against the same done with modules; what it refuses; recurrent networks."""

from dataclasses import dataclass

import _plain_regression as plain
import pytest
import torch
from torch import nn

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import NotFinite, UnknownName, UserError
from archscout.core.operations import GraphBuilder
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import generator, seeded
from archscout.core.signals import signal_task
from archscout.nn.recurrent import LanguageModel
from archscout.nn.regression import MapRegressor, Schedule, SequenceRegressor, regress, regressed_images, stage_ends
from archscout.nn.signals import sequences, targets
from archscout.testing.tasks import image_task

TASK = image_task((3, 16, 16), classes=5)
CHANNELS = {"combo": (64, 64, 64), "nb101": (64, 48, 16)}
SPACES = {
    "nas201": {"channels": 4, "cells": 1}, "nas101": {"stem": 4, "cells": 1}, "darts": {"channels": 4, "layers": 3},
    "mobile": {}, "macro": {"channels": 4, "head": 8}, "transnas-cell": {"channels": 4}, "transnas-macro": {"channels": 4},
    "few-shot": {"channels": 4, "nodes": 2}, "handmade-few-shot": {},
    "handmade": {}, "nao-cell": {"channels": 4, "layers": 1}, "proxyless": {"channels": 4, "depth": 2},
}  # fmt: skip


def graph_of(name, number=0, shape=(3, 16, 16)):
    space = catalogue.make("spaces", name, **SPACES[name])
    return space.operations(sample(space, generator(number, "graph")), image_task(shape, classes=5))


def inputs(name, dtype=torch.float64, shape=(3, 16, 16)):
    signals = signal_task(name)
    images = torch.randn(signals.batch, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return signals, images, targets(signals, images, 0)


@pytest.mark.parametrize("signals", ["combo", "nb101"])
@pytest.mark.parametrize("space", ["nas201", "nas101", "darts", "macro"])
def test_errors_equal_those_of_modules_trained_the_plain_way(space, signals):
    graph = graph_of(space)
    task, images, wanted = inputs(signals)
    regressor = MapRegressor(graph, CHANNELS[signals], 3, dtype=torch.float64)
    network = plain.Tapped(graph, CHANNELS[signals]).double()
    plain.copy_weights(network, regressor.weights)
    ours = regress(regressor, task, images, wanted, Schedule(6, 2), 5)
    theirs = plain.train(network, task, images, wanted, steps=6, every=2, seed=5)
    assert ours.keys() == theirs.keys() == {2, 4, 6}
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=1e-8)


def test_every_space_of_graphs_is_in_the_list():
    made = {name: catalogue.make("spaces", name) for name in catalogue.names("spaces")}
    assert {name for name, space in made.items() if isinstance(space, GraphSpace)} == set(SPACES)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_of_graphs_names_three_stages(name):
    for number in range(5):
        graph = graph_of(name, number, (3, 32, 32))
        taps = stage_ends(graph)
        extents = [graph.operations[tap].shape[1] for tap in taps]
        assert len(set(taps)) == 3 and taps == sorted(taps) and extents == sorted(extents, reverse=True)
        assert len(set(extents)) == 3 or name == "transnas-macro"  # some of whose networks halve their map once


def test_the_benchmarks_networks_end_their_stages_where_the_paper_taps_them():
    space = catalogue.make("spaces", "nas201")
    graph = space.operations(space.at(0), image_task((3, 32, 32)))
    assert [graph.operations[tap].shape for tap in stage_ends(graph)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    space = catalogue.make("spaces", "nas101", stem=16)
    graph = space.operations(sample(space, generator(0)), image_task((3, 32, 32)))
    assert [graph.operations[tap].shape for tap in stage_ends(graph)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def marked(strides):
    builder = GraphBuilder((3, 16, 16))
    x, places = builder.input, []
    for number, stride in enumerate(strides, start=1):
        x = builder.mark(f"stage{number}", builder.conv(x, 4, 3, stride=stride))
        places.append(x)
    return builder.finish(builder.linear(builder.global_pool(x), 2)), places


@pytest.mark.parametrize(
    ("strides", "tapped"),
    [((1, 2, 2), [0, 1, 2]), ((1, 1, 2, 1, 2), [1, 3, 4]), ((2, 2, 2, 2), [1, 2, 3]), ((1, 1, 2, 1), [1, 2, 3])],
)
def test_the_last_maps_of_the_last_three_resolutions_are_tapped_or_three_stages(strides, tapped):
    graph, places = marked(strides)
    assert stage_ends(graph) == [places[number] for number in tapped]


def test_too_few_stages_are_told_of():
    with pytest.raises(UserError, match="this one marks 2"):
        stage_ends(marked((1, 2))[0])


def test_a_network_of_zeros_converges_to_the_mean_and_is_worse_than_a_residual_one():
    task, images, wanted = inputs("combo", torch.float32)
    space = catalogue.make("spaces", "nas201", channels=8, cells=1)
    errors = {}
    for name, cell in (("none", (0,) * 6), ("residual", (3, 0, 3, 1, 0, 1))):
        regressor = MapRegressor(space.operations(space.architecture(cell), TASK), (64,) * 3, 0, statistics="batch")
        errors[name] = list(regress(regressor, task, images, wanted, Schedule(100, 100), 0).values())[-1]
    means = [y - y.mean((0, 2, 3), keepdim=True) for y in wanted]  # all cells of `none`: what a head sees is the same everywhere
    constant = sum(w * float(y.square().mean()) for w, y in zip((0.25, 0.5, 1), means, strict=True))
    assert errors["residual"] < errors["none"] == pytest.approx(constant, rel=1e-3)


def test_without_steps_of_any_size_the_error_stays():
    task, images, wanted = inputs("combo")
    regressor = MapRegressor(graph_of("nas201"), (64,) * 3, 0, dtype=torch.float64, rate=0.0, statistics="batch")
    found = list(regress(regressor, task, images, wanted, Schedule(4, 1), 0).values())
    assert found == [found[0]] * 4
    noisy, images, wanted = inputs("nb101")
    regressor = MapRegressor(graph_of("nas201"), CHANNELS["nb101"], 0, dtype=torch.float64, rate=0.0, statistics="batch")
    found = list(regress(regressor, noisy, images, wanted, Schedule(4, 1), 0).values())
    assert len(set(found)) == 4 and max(found) - min(found) < 0.1 * found[0]


def test_biases_and_normalisations_do_not_decay():
    regressor = MapRegressor(graph_of("nas201"), (64,) * 3, 0)
    decayed, others = regressor.optimiser().param_groups
    assert decayed["weight_decay"] == 4e-5 and others["weight_decay"] == 0
    assert all(weight.dim() > 1 for weight in decayed["params"]) and all(weight.dim() == 1 for weight in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(regressor.weights)


def test_an_error_that_is_no_number_ends_it_early():
    task, images, wanted = inputs("combo", torch.float32)
    regressor = MapRegressor(graph_of("nas201"), (64,) * 3, 0, rate=1e18)
    with pytest.raises(NotFinite, match=r"at step [23] "):
        regress(regressor, task, images, wanted, Schedule(1000, 10), 0)


@dataclass
class Told:
    """A network whose errors are told: of training steps, and of evaluations."""

    training: list
    evaluated: list

    def optimiser(self):
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)

    def errors(self, x, targets, *, training):
        return torch.tensor((self.training if training else self.evaluated).pop(0), requires_grad=training)


@pytest.mark.parametrize("early", [float("inf"), float("nan")])
def test_an_early_evaluation_that_is_no_number_fails_nothing(early):
    """Running statistics lag behind the weights."""
    task, images, _ = inputs("combo")
    assert regress(Told([1.0] * 3, [early, 2.0, 3.0]), task, images, [], Schedule(3, 1), 0) == {2: 2.0, 3: 3.0}
    with pytest.raises(NotFinite, match="at step 3"):
        regress(Told([1.0] * 3, [1.0, 2.0, early]), task, images, [], Schedule(3, 1), 0)
    with pytest.raises(NotFinite, match="at step 2"):
        regress(Told([1.0, early, 1.0], [1.0] * 3), task, images, [], Schedule(3, 3), 0)


def test_how_often_the_error_is_evaluated_does_not_change_it():
    task, images, wanted = inputs("nb101")
    graph = graph_of("nas201")
    last = set()
    for every in (1, 2, 4):
        regressor = MapRegressor(graph, CHANNELS["nb101"], 0, dtype=torch.float64)
        regress(regressor, task, images, wanted, Schedule(4, every), 0)
        last.add(float(regressor.weights["stem.conv.weight"].detach().sum()))
    assert len(last) == 1


def test_one_thread_computes_and_the_others_come_back():
    task, images, wanted = inputs("combo", torch.float32)
    before, seen = torch.get_num_threads(), []

    class Watching(MapRegressor):
        def errors(self, x, targets, *, training):
            seen.append(torch.get_num_threads())
            return super().errors(x, targets, training=training)

    try:
        torch.set_num_threads(2)
        regress(Watching(graph_of("nas201"), (64,) * 3, 0), task, images, wanted, Schedule(1, 1), 0)
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("steps", "every"), [(0, 1), (5, 0)])
def test_a_schedule_has_steps(steps, every):
    with pytest.raises(ValueError, match="at least 1"):
        Schedule(steps, every)


def test_the_batch_is_the_tasks_own_images_or_noise():
    task = image_task((3, 16, 16), classes=5)
    signals = signal_task("combo")
    images = regressed_images(task, signals)
    assert images.shape == (16, 3, 16, 16) and torch.equal(images, regressed_images(task, signals))
    assert not torch.equal(images, regressed_images(task, signals, draw=1))
    assert regressed_images(task, signals, resolution=8).shape == (16, 3, 8, 8)
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        regressed_images(task, signals, split="trian")
    bare = type(task)("no data", task.kind, (3, 16, 16), 5, "no data")
    drawn = regressed_images(bare, signals)
    assert drawn.shape == (16, 3, 16, 16) and float(drawn.std()) == pytest.approx(1, abs=0.03)


NODES = [("linear", (0, 1)), ("activation_tanh", (2,)), ("linear", (1, 3)), ("elementwise_sum", (3, 4))]


def model(dropouts=(0.0, 0.0, 0.0)):
    return LanguageModel(NODES, [3], 1, [(12, 20), (20, 12)], dropouts)


def test_a_recurrent_network_learns_a_sequence_that_an_identity_would_not():
    task = signal_task("nlp-combo")
    read, written = sequences(task, 0)
    with seeded(0):
        regressor = SequenceRegressor(model(), 64, rate=1e-2)
        trace = regress(regressor, task, read, [written], Schedule(200, 50), 0)
    assert list(trace) == [50, 100, 150, 200]
    assert trace[200] < trace[50] < 1.1 and trace[200] < 0.75


def test_weights_on_hidden_states_are_those_that_read_them():
    columns = model().recurrent_weights()
    assert set(columns) == {f"cells.{cell}.layers.{node}.weight" for cell in (0, 1) for node in (0, 2)}
    assert columns["cells.0.layers.0.weight"].tolist() == [False] * 12 + [True] * 20
    assert columns["cells.0.layers.2.weight"].tolist() == [True] * 20 + [False] * 20


@pytest.mark.parametrize("train_recurrent", [True, False])
def test_weights_on_hidden_states_are_trained_unless_the_released_code_is_followed(train_recurrent):
    task = signal_task("nlp-combo")
    read, written = sequences(task, 0)
    with seeded(0):
        one = model()
        before = {name: weight.detach().clone() for name, weight in one.named_parameters()}
        regressor = SequenceRegressor(one, 64, train_recurrent=train_recurrent)
        regress(regressor, task, read, [written], Schedule(3, 3), 0)
    weights = dict(one.named_parameters())
    for name, columns in one.recurrent_weights().items():
        moved = (weights[name] != before[name]).any(0)
        assert bool(moved[~columns].all()) and bool(moved[columns].any()) is train_recurrent


def test_a_share_of_the_weights_on_hidden_states_is_left_out_in_training_only():
    with seeded(0):
        one = model()
        regressor = SequenceRegressor(one, 64, weight_drop=0.5, dropouts=(0.0, 0.0))
        task = signal_task("nlp-combo")
        read, written = sequences(task, 0)
        with torch.no_grad():
            evaluated = {float(regressor.errors(read, [written], training=False)) for _ in range(3)}
            trained = {float(regressor.errors(read, [written], training=True)) for _ in range(3)}
    assert len(evaluated) == 1 and len(trained) == 3


def test_the_parts_of_a_language_model_are_its_whole():
    with seeded(0):
        one = LanguageModel(NODES, [3], 30, [(12, 20), (20, 12)])
    tokens = torch.randint(30, (2, 5), generator=torch.Generator().manual_seed(0))
    outputs, _ = one.hidden(one.embedding(tokens))
    assert torch.allclose(one(tokens), nn.functional.linear(outputs, one.embedding.weight, one.bias))
