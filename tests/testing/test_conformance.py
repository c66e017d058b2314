"""The conformance suites find what is broken."""

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.encoding import TokenEncoding
from archscout.core.errors import CandidateError, UserError
from archscout.core.evidence import Estimate
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.nn.batches import one_batch
from archscout.spaces.nas201 import Nas201
from archscout.testing import estimators, spaces
from archscout.testing.tasks import image_task

TASK = image_task()


class OtherText(Nas201):
    def from_genotype(self, text):
        return self.at(0)


class NeverSettled(Nas201):
    def architecture(self, choices):
        return Architecture("nas201", tuple((choice + 1) % 5 for choice in choices))


class AnythingGoes(Nas201):
    def architecture(self, choices):
        return Architecture("nas201", tuple(choices))


class ForgetsAVertex(Nas201):
    def from_vertices(self, types):
        return super().from_vertices((*types[:6], 2, types[7]))


class DanglingVertex(Nas201):
    def vertex_encoding(self, graph):
        found = super().vertex_encoding(graph)
        return replace(found, edges=tuple(edge for edge in found.edges if edge != (6, 7)))


class NothingGoes(Nas201):
    def architecture(self, choices):
        raise UserError("no")

    def sample(self, rng):
        return Nas201().sample(rng)

    def smallest(self):
        return Nas201().at(0)


class AlwaysTheSame(Nas201):
    def sample(self, rng):
        return self.at(6111)


class WrongHead(Nas201):
    def build(self, architecture, task):
        return torch.nn.Sequential(super().build(architecture, task), torch.nn.Linear(task.classes, 2))


class ForgetsAnEdge(Nas201):
    encoding = TokenEncoding(6, ((1, 2, 3, 4, 5),) * 6)

    def tokens(self, architecture):
        return (*(1 + choice for choice in architecture.choices[:-1]), 1)

    def from_tokens(self, tokens):
        return self.architecture([token - 1 for token in tokens])


class SwapsWhatMatters(ForgetsAnEdge):
    encoding = TokenEncoding(6, ((1, 2, 3, 4, 5),) * 6, swaps=(((0, 1, 1),),))

    def tokens(self, architecture):
        return tuple(1 + choice for choice in architecture.choices)


class ReadsNoSkips(SwapsWhatMatters):
    encoding = ForgetsAnEdge.encoding

    def sample(self, rng):
        return self.architecture([0, *rng.integers(5, size=5).tolist()])

    def from_tokens(self, tokens):
        return None if tokens[0] == 2 else super().from_tokens(tokens)


class WithoutSeed(Nas201):
    def build(self, architecture, task):
        torch.random.seed()
        return super().build(architecture, task)


class OtherGraph(Nas201):
    def operations(self, architecture, task):
        builder = GraphBuilder(task.shape)
        return builder.finish(builder.linear(builder.global_pool(builder.input), task.classes))

    def build(self, architecture, task):
        return Nas201(4, 1).build(architecture, task)


@pytest.mark.parametrize(
    ("space", "check"),
    [
        (OtherText, spaces.round_trips_as_text),
        (NeverSettled, spaces.normalises_once),
        (NothingGoes, spaces.normalises_once),
        (AnythingGoes, spaces.refuses_illegal_choices),
        (AlwaysTheSame, spaces.mutates),
        (ForgetsAnEdge, spaces.writes_tokens),
        (SwapsWhatMatters, spaces.writes_tokens),
        (ReadsNoSkips, spaces.writes_tokens),
        (ForgetsAVertex, spaces.writes_vertices),
        (DanglingVertex, spaces.writes_vertices),
        (WrongHead, spaces.trains),
        (WithoutSeed, spaces.builds_by_seed),
        (OtherGraph, spaces.counts_what_it_builds),
    ],
)
def test_a_broken_space_is_found(space, check):
    check(Nas201(4, 1), TASK)
    with pytest.raises(AssertionError):
        check(space(4, 1), TASK)


@dataclass(frozen=True)
class Judge:
    kind: str = "sound"

    def estimate(self, problem, architecture, *, seed):
        match self.kind:
            case "global noise":
                return Estimate(float(torch.rand(())))
            case "moves numpy":
                np.random.rand()  # noqa: NPY002
            case "leaves gradients off":
                torch.set_grad_enabled(False)
            case "refuses":
                raise CandidateError("no")
            case "writes":
                problem.task.splits["train"].images[0] += 1
            case "remembers":
                object.__setattr__(self, "kind", "remembers more")
        return Estimate(seed + sum(architecture.choices))


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("global noise", estimators.repeats),
        ("global noise", estimators.leaves_randomness_alone),
        ("moves numpy", estimators.leaves_randomness_alone),
        ("leaves gradients off", estimators.leaves_randomness_alone),
        ("refuses", estimators.is_finite),
        ("writes", estimators.leaves_the_data_alone),
        ("remembers", estimators.pickles),
    ],
)
def test_a_broken_judge_is_found(kind, check):
    problem = Problem(Nas201(4, 1), image_task(seed=7))
    check(Judge(), problem)
    try:
        with pytest.raises(AssertionError):
            check(Judge(kind), problem)
    finally:
        torch.set_grad_enabled(True)


def test_the_image_task():
    task = image_task((3, 10, 12), classes=4, rows=40, seed=1)
    train, valid = task.splits["train"], task.splits["valid"]
    assert (len(train), len(valid)) == (40, 20)
    assert set(np.bincount(train.labels[train.rows])) == {10}
    assert not set(train.rows) & set(valid.rows)
    x, y = one_batch(task, "train", 40, seed=0)
    assert x.shape == (40, 3, 10, 12) and sorted(set(y.tolist())) == [0, 1, 2, 3]
    assert x.mean((0, 2, 3)).abs().max() < 1e-4 and (x.std((0, 2, 3)) - 1).abs().max() < 0.01
    assert task == image_task((3, 10, 12), classes=4, rows=40, seed=1) != image_task((3, 10, 12), classes=4, rows=40, seed=2)


def test_the_image_task_travels_by_reference():
    task = image_task((3, 32, 32), classes=4, rows=400)
    text = pickle.dumps(task)
    assert len(text) < 3000
    assert np.array_equal(pickle.loads(text).splits["valid"].images, task.splits["valid"].images)


def test_the_classes_of_the_image_task_can_be_told_apart():
    train, valid = (image_task((1, 12, 12), classes=3).splits[name] for name in ("train", "valid"))

    def rows(split):
        return split.images[split.rows].mean((2, 3)), split.labels[split.rows]

    (x, y), (x_valid, y_valid) = rows(train), rows(valid)
    centres = np.stack([x[y == label].mean(0) for label in range(3)])
    found = ((x_valid[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (found == y_valid).mean() > 0.95
