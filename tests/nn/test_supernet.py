"""Supernets of all shared spaces keep the contract; and what is special to some."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from _plain_supernet import PlainSupernet, load
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.kinds import kinds_of
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import SharedSpace
from archscout.core.seeds import generator
from archscout.nn import gates as gating
from archscout.nn.executor import Program
from archscout.nn.supernet import GraphSupernet, Supernet, activations, supernet_of
from archscout.spaces.darts import Darts
from archscout.spaces.nas201 import Nas201
from archscout.testing.supernets import CHECKS
from archscout.testing.tasks import token_task

SMALL = Task("noise", IMAGE_CLASSIFICATION, (3, 8, 8), 4, "noise")
TOKENS = token_task(length=4, classes=7)
SETTINGS = {
    "darts": [{"channels": 4, "layers": 3}],
    "few-shot": [{"channels": 4, "cells": 3, "nodes": 2}],
    "nao-cell": [{"channels": 4, "layers": 1, "join": "conv"}],
    "nas101": [{"stem": 6, "stacks": 2, "cells": 1, "subspace": subspace} for subspace in (1, 2, 3)],
    "nas201": [{"channels": 4, "cells": 1}],
    "proxyless": [{"channels": 4, "depth": 2, "skip": True}],
    "rnn": [
        {"nodes": 4, "size": 6},
        {"nodes": 4, "size": 6, "share": "node_prev_act"},
        {"nodes": 4, "size": 6, "share": "node_prev_act", "ends": "loose"},
    ],
}
SPACES = [catalogue.make("spaces", name, **settings) for name, listed in SETTINGS.items() for settings in listed]
SHARED = [name for name in catalogue.names("spaces") if isinstance(catalogue.make("spaces", name), SharedSpace)]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_supernet_keeps_the_contract(space, check):
    check(space, SMALL if IMAGE_CLASSIFICATION in kinds_of(space) else TOKENS)


class HalfNas201(Nas201):
    """Its supernet's operations see a half of the channels."""

    def supernet(self, task):
        return self.partial_supernet(task, 2)


class HalfDarts(Darts):
    """Its supernet's operations see a half of the channels."""

    def supernet(self, task):
        return self.partial_supernet(task, 2)


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "a_path_has_the_layers_of_the_space"])
@pytest.mark.parametrize("space", [HalfNas201(channels=4, cells=1), HalfDarts(channels=4, layers=3)], ids=repr)
def test_supernets_of_partial_channels_keep_it_too(space, check):
    CHECKS[check](space, SMALL)


def test_what_goes_by_the_operations_comes_first_and_unchanged():
    space = Nas201(channels=4, cells=1)
    net = supernet_of(space, SMALL, seed=0, partial=2)
    cell = [operation for operation in net.graph.operations if operation.name.startswith("stage1.cell1.edge01")]
    assert {operation.shape[0] for operation in cell if operation.kind == "conv"} == {2}
    gates = net.gates(space.architecture([0] * 6))  # every operation is none
    x = torch.randn(6, *SMALL.shape, generator=torch.Generator().manual_seed(0))
    graph = replace(net.graph, output=net.graph.marks["stage1"])
    stem = next(place for place, operation in enumerate(graph.operations) if operation.name == "stem.norm")
    weights = dict(net.named_parameters())
    [found] = Program(graph).run(weights, x, gates=gates)
    [before] = Program(replace(graph, output=stem)).run(weights, x, gates=gates)
    # Of the three edges into the last node, that from the cell's input lets its channels 2 and 3 by, and puts them first; what the
    # others let by is nought, since it lay behind their sources' first two channels.
    assert torch.allclose(found[:, :2], before[:, 2:]) and not found[:, 2:].any()


def test_partial_channels_make_a_step_cheaper():
    task = replace(SMALL, shape=(3, 32, 32), classes=10)
    for space in (Nas201(channels=16, cells=1), Darts(channels=16, layers=3)):
        all_, some = (supernet_of(space, task, seed=0, partial=partial).graph for partial in (1, 4))
        assert some.work < 0.6 * all_.work and some.macs < 0.5 * all_.macs
        assert activations(space, task, 8, partial=4) < 0.6 * activations(space, task, 8)


@pytest.mark.parametrize("partial", [3, 5, 6])
def test_operations_may_see_an_odd_number_of_channels(partial):
    net = supernet_of(Darts(layers=3), replace(SMALL, shape=(3, 8, 8)), seed=0, channels=16, partial=partial)
    found = net(torch.zeros(2, 3, 8, 8), torch.full(net.gate_shape, 0.1))
    assert found.shape == (2, SMALL.classes)


def test_a_size_that_a_space_cannot_have_is_the_users_fault():
    with pytest.raises(UserError, match=r"no supernet of 'darts' with 7 channels and depth 0: .*even"):
        supernet_of(Darts(), SMALL, seed=0, channels=7)


def test_channels_are_not_parted_where_they_cannot_be():
    with pytest.raises(
        UserError, match="one of 4 channels and two at the least, but an edge has 4; lower partial, or raise channels"
    ):
        supernet_of(Nas201(), SMALL, seed=0, channels=4, partial=4)
    with pytest.raises(UserError, match="which this space does not know; leave it at 1"):
        supernet_of(catalogue.make("spaces", "nao-cell"), SMALL, seed=0, partial=2)


def test_the_expected_spaces_have_supernets():
    assert set(SETTINGS) == set(SHARED)


@pytest.mark.parametrize("space", [space for space in SPACES if IMAGE_CLASSIFICATION in kinds_of(space)], ids=repr)
def test_supernets_of_images_can_drop_paths_ever_deeper(space):
    depths = supernet_of(space, SMALL, seed=0).depths
    assert depths == tuple(sorted(depths)) and depths[-1] == 1 and depths[0] < depths[-1]


def test_the_search_network_of_darts_has_its_published_size():
    task = replace(SMALL, shape=(3, 32, 32), classes=10)
    graph = catalogue.make("spaces", "darts", channels=16, layers=8).supernet(task)
    assert graph.params == 1_930_618  # "1.9 M"


def test_a_path_with_a_node_of_nought_is_extracted():
    space = catalogue.make("spaces", "nas201", **SETTINGS["nas201"][0])
    net = supernet_of(space, SMALL, seed=0)
    architecture = space.architecture([0, 3, 3, 3, 3, 3])  # no edge leads to the first node
    x = torch.randn(6, *SMALL.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(net.extract(architecture)(x), net(x, net.gates(architecture)), atol=1e-5)


def test_a_space_without_one_is_told_of():
    with pytest.raises(UserError, match="'macro' has no supernet"):
        supernet_of(catalogue.make("spaces", "macro"), SMALL, seed=0)
    with pytest.raises(UserError, match="take one of its sub-spaces"):
        supernet_of(catalogue.make("spaces", "nas101"), SMALL, seed=0)


def test_a_supernet_may_be_smaller_than_its_space():
    net = supernet_of(catalogue.make("spaces", "darts"), SMALL, seed=0, channels=4, depth=3)
    assert isinstance(net, GraphSupernet) and (net.space.channels, net.space.layers) == (4, 3)
    net = supernet_of(catalogue.make("spaces", "rnn"), TOKENS, seed=0, channels=5, depth=3)
    assert net.get_parameter("node0.weight").shape == (10, 10)


def beside_a_plain_one() -> tuple[GraphSupernet, PlainSupernet]:
    """The supernet of NAS-Bench-201 and a list of modules with the same weights."""
    net, plain = supernet_of(catalogue.make("spaces", "nas201", channels=4, cells=1), SMALL, seed=0), PlainSupernet(4, 1, 4)
    assert isinstance(net, GraphSupernet) and not load(plain, net.state_dict())
    return net, plain


def noise(steps: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch of images and labels for each step, and the gates of a mixture."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(steps, 16, *SMALL.shape, generator=draw), torch.randint(4, (steps, 16), generator=draw)
    return x, y, torch.softmax(torch.randn(6, 5, generator=draw), 1)


def test_a_mixture_has_the_gradients_of_a_plain_implementation():
    [x], [y], gates = noise(1)
    gates = gates.double().requires_grad_()
    found = []
    nets = beside_a_plain_one()
    names = [name for name, _ in nets[0].named_parameters()]
    for net in nets:
        net.double()
        loss = F.cross_entropy(net(x.double(), gates), y)
        found.append(torch.autograd.grad(loss, [gates, *map(net.get_parameter, names)]))
    for name, one, other in zip(["gates", *names], *found, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12), name
        assert bool(one.any()), name


def test_a_mixture_learns_like_a_plain_implementation():
    x, y, gates = noise(3)
    losses = []
    for net in beside_a_plain_one():
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for images, labels in zip(x, y, strict=True):
            loss = F.cross_entropy(net(images, gates), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def kept(net: Supernet, x: torch.Tensor, gates: torch.Tensor) -> int:
    """The bytes that a backward pass would find again, the weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    seen: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            seen[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(x, gates)
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_the_memory_of_a_step_is_about_what_its_backward_pass_keeps(space):
    task = SMALL if IMAGE_CLASSIFICATION in kinds_of(space) else TOKENS
    net = supernet_of(space, task, seed=0)
    x = torch.zeros(16, *task.shape, dtype=torch.float32 if task is SMALL else torch.int64)
    gates = gating.softmax(torch.zeros(net.gate_shape), net.valid).requires_grad_()
    mixture, path = (activations(space, task, 16, path=path) for path in (False, True))
    assert 0.8 < mixture / kept(net, x, gates) < 2.2
    rng = generator(0, "paths")
    assert 0.8 * max(kept(net, x, net.gates(sample(space, rng))) for _ in range(4)) < path < mixture
