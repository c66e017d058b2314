"""The training of a supernet's weights with drop-path: what is dropped, and that nothing is where nobody asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.nn import gates as gating
from archscout.nn.dropping import factors
from archscout.nn.executor import Program, WeightBank
from archscout.nn.supernet import supernet_of
from archscout.nn.supernet_training import Schedule, Training
from archscout.spaces.nao_cell import NaoCell
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task

TASK = image_task((3, 8, 8), 3, 48)
SPACE = NaoCell(4, 1)
SHORT = Schedule(epochs=2, batch=8)


def training(space=SPACE, **settings) -> Training:
    return Training(supernet_of(space, TASK, seed=0), Problem(space, TASK), replace(SHORT, **settings), 0)


def mixture(net):
    return gating.softmax(torch.randn(net.gate_shape, generator=torch.Generator().manual_seed(1)), net.valid)


def gates_of(kind, net):
    return net.gates(SPACE.from_genotype("NAO_B")) if kind == "path" else mixture(net)


def trained(one: Training, steps, kind="path"):
    gates = gates_of(kind, one.net)
    return [one.learn(gates, one.batch(one.weighed, step), step) for step in steps]


def weights(one: Training) -> dict[str, bytes]:
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in one.weights.items()}


@pytest.mark.parametrize("kind", ["path", "mixture"])
def test_without_drop_path_a_step_is_the_plain_one_to_the_bit(kind):
    one, other = training(), training()
    losses = trained(one, range(2), kind)
    optimizer = torch.optim.SGD(other.net.parameters(), 0.025, 0.9, weight_decay=3e-4)
    for step, found in enumerate(losses):
        x, y = other.batch(other.weighed, step)
        optimizer.param_groups[0]["lr"] = other.rate(step)
        optimizer.zero_grad()
        loss = F.cross_entropy(other.net(x, gates_of(kind, other.net)), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(other.net.parameters(), 5.0)
        optimizer.step()
        assert float(loss.detach()) == found
    assert one.noise(1, 8) == {} and weights(one) == weights(other)


@pytest.mark.parametrize("kind", ["path", "mixture"])
def test_a_training_that_goes_on_drops_what_it_would_have_dropped(kind):
    whole, first, second = (training(drop_path=0.6) for _ in range(3))
    straight = trained(whole, range(4), kind)
    trained(first, range(2), kind)
    second.restore({name: np.asarray(value) for name, value in first.state().items()})
    assert trained(second, range(2, 4), kind) == straight[2:] and weights(second) == weights(whole)
    plain = trained(training(), range(4), kind)
    assert plain[0] == straight[0], "nothing is dropped at the start"
    assert plain[1:] != straight[1:]


def test_more_is_dropped_later_and_deeper_and_the_mean_is_kept():
    one = training(drop_path=0.4)
    half = one.steps // 2
    kept = one.noise(half, 4_000)["kept"]
    wanted = 0.4 * half / one.steps * torch.tensor(one.net.depths)
    assert kept.shape == (4_000, len(one.net.depths)) and len(set(one.net.depths)) == 5
    for depth in set(one.net.depths):
        columns = [column for column, found in enumerate(one.net.depths) if found == depth]
        assert float((kept[:, columns] == 0).float().mean()) == pytest.approx(float(wanted[columns[0]]), abs=0.004)
    assert float(kept.mean()) == pytest.approx(1, abs=0.002)
    assert bool((one.noise(0, 5)["kept"] == 1).all())
    assert torch.equal(kept, one.noise(half, 4_000)["kept"]) and not torch.equal(kept, one.noise(half + 1, 4_000)["kept"])


def test_the_mean_over_all_drops_is_the_mixture():
    """Of the two terms of a sum, every combination times its chance."""
    builder = GraphBuilder((2, 3, 3))
    x = builder.input
    with builder.scope("a"):
        normed = builder.droppable(builder.batch_norm(builder.conv(x, 2)))  # folded into the mixture
    pooled = builder.droppable(builder.max_pool(x, 3))
    mixed = builder.mix([(normed, (0, 0)), (pooled, (0, 1)), (x, (0, 2))])
    graph = builder.finish(mixed)
    names = [graph.operations[position].name for position in graph.paths]
    bank = {name: weight.double() for name, weight in WeightBank().draw(graph, 0).items()}
    draw = torch.Generator().manual_seed(0)
    images, gates = torch.randn(4, 2, 3, 3, generator=draw).double(), torch.tensor([[0.5, 0.2, 0.3]]).double()
    program, chance = Program(graph), 0.25
    [whole] = program.run(bank, images, gates=gates)
    total, without = torch.zeros_like(whole), None
    for first in (0, 1):
        for second in (0, 1):
            share = np.prod([1 - chance if kept else chance for kept in (first, second)])
            kept = torch.tensor([first, second]).double().expand(4, 2) / (1 - chance)
            [found] = program.run(bank, images, gates=gates, kept=dict(zip(names, kept.unbind(1), strict=True)))
            total += share * found
            without = found if not first and not second else without
    assert torch.allclose(total, whole, atol=1e-12)
    assert torch.allclose(without, 0.3 * images, atol=1e-12), "the identity stays"


def test_factors_of_nothing_to_drop_are_one():
    assert torch.equal(factors([0.0] * 5, 3, 0), torch.ones(3, 5))


class Rigid(Nas201):
    """A space whose supernet lets nothing be dropped."""

    def supernet(self, task):
        return replace(super().supernet(task), paths={})


def test_what_cannot_be_is_told_of():
    with pytest.raises(UserError, match="the supernet of 'nas201' has no paths that may be dropped; leave drop_path at 0"):
        training(Rigid(channels=2, cells=1), drop_path=0.1)
    with pytest.raises(ValueError, match=r"drop_path is at least 0 and less than 1, but 1\.0 came"):
        Schedule(drop_path=1.0)
