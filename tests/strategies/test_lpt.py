"""The derivatives of learning by passing tests, against differentiating through the unrolled trainings and against differences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from archscout.core.errors import NotFinite
from archscout.core.problem import Problem
from archscout.nn.bilevel import stepped, unrolled
from archscout.nn.supernet import supernet_of
from archscout.nn.supernet_training import Schedule, Training
from archscout.spaces.nas201 import Nas201
from archscout.strategies import lpt
from archscout.strategies._folded import Logits
from archscout.strategies.darts import Darts
from archscout.strategies.lpt import Lesson, Losses, Lpt, Moves, encoder
from archscout.testing.tasks import image_task

KIND = torch.float64


class Small:
    """A learner with gates, a tester and a creator of a few weights, with smooth activations."""

    def __init__(self, seed=0, **rules):
        draw = torch.Generator().manual_seed(seed)

        def random(*shape):
            return torch.randn(*shape, generator=draw, dtype=KIND)

        self.gates = random(2, 3).requires_grad_()
        self.learner = {"w": random(4, 3), "v": random(3, 4)}
        self.tester = {"e": random(4, 3), "x": random(3, 4)}
        self.creator = {"c": random(2, 4).requires_grad_()}
        self.batches = {name: (random(6, 3), torch.randint(3, (6,), generator=draw)) for name in ("train", "valid", "bank")}
        self.rules = SimpleNamespace(
            **{"order": 2, "meaning": 0.7, "practice": 1.3, "exact": True, "learner_in_creator": "unrolled", **rules}
        )
        buffers = [{name: random(*w.shape) for name, w in weights.items()} for weights in (self.learner, self.tester)]
        self.moves = Moves(0.2, 0.15, 0.9, 0.01, *buffers)

    def learn(self, weights, batch):
        x, y = self.batches[batch]
        mix = torch.softmax(self.gates, 1)
        hidden = (
            mix[0, 0] * torch.tanh(x @ weights["w"].T) + mix[0, 1] * torch.sigmoid(x @ weights["w"].T) + mix[1, 2] * x.sum(1, True)
        )
        return F.cross_entropy(hidden @ weights["v"].T, y, reduction="none")

    def encode(self, weights, batch):
        return torch.tanh(self.batches[batch][0] @ weights["e"].T)

    def examine(self, weights, batch):
        return F.cross_entropy(self.encode(weights, batch) @ weights["x"].T, self.batches[batch][1], reduction="none")

    def test(self, weights, creator):
        return torch.softmax(self.encode(weights, "bank") @ creator["c"].T, 1)[:, 1]

    def losses(self):
        return Losses(
            learner=lambda w: self.learn(w, "train").mean(), learner_tested=lambda w: self.learn(w, "bank"),
            tester=lambda w: self.examine(w, "train").mean(), tester_valid=lambda w: self.examine(w, "valid").mean(),
            tested=lambda w, creator: (self.test(w, creator), self.examine(w, "bank")),
        )  # fmt: skip

    def lesson(self):
        return Lesson(self.losses(), self.learner, self.tester, self.creator, self.moves, self.rules)

    def objectives(self):
        """O_A and O_C with everything retrained, differentiable."""
        losses = self.losses()

        def after(weights, loss, rate, buffers):
            at = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
            found = torch.autograd.grad(loss(at), list(at.values()), create_graph=True)
            return stepped(at, dict(zip(at, found, strict=True)), rate, momentum=0.9, buffers=buffers, decay=0.01)

        def study(w):
            return losses.tester(w) + self.rules.practice * (self.test(w, self.creator) * self.examine(w, "bank")).mean()

        learner = after(self.learner, losses.learner, 0.2, self.moves.learner_buffers)
        tester = after(self.tester, study, 0.15, self.moves.tester_buffers)
        test = self.test(tester, self.creator)
        by_gates = (test.detach() * losses.learner_tested(learner)).sum() / test.detach().sum()
        tested = self.learner if self.rules.learner_in_creator == "current" else learner
        by_creator = -(test * losses.learner_tested(tested).detach()).sum() / test.sum() + self.rules.meaning * losses.tester_valid(
            tester
        )
        return by_gates, by_creator


@pytest.mark.parametrize("learner", ["unrolled", "current"])
@pytest.mark.parametrize(("exact", "allowed"), [(True, 1e-9), (False, 1e-3)])
def test_both_derivatives_are_those_through_the_unrolled_trainings(exact, allowed, learner):
    small = Small(exact=exact, learner_in_creator=learner)
    by_gates, by_creator = small.objectives()
    [gates] = torch.autograd.grad(by_gates, [small.gates], retain_graph=True)
    [creator] = torch.autograd.grad(by_creator, [small.creator["c"]])
    lesson = small.lesson()
    [found] = lesson.by_gates([small.gates])
    assert float((found - gates).norm() / gates.norm()) < allowed
    [found] = lesson.by_creator(small.creator)
    assert float((found - creator).norm() / creator.norm()) < allowed


@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
def test_both_derivatives_agree_with_differences_of_the_retrained_objectives(place):
    small = Small()
    lesson = small.lesson()
    by_gates, by_creator = lesson.by_gates([small.gates]), lesson.by_creator(small.creator)
    for tensor, number, found in ((small.gates, 0, by_gates), (small.creator["c"], 1, by_creator)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor[place] += sign * 1e-6
            values.append(float(small.objectives()[number].detach()))
            with torch.no_grad():
                tensor[place] -= sign * 1e-6
        assert float(found[0][place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_without_practice_only_the_direct_term_is_left():
    small = Small(practice=0.0)
    lesson = small.lesson()
    tester = {name: weight.detach() for name, weight in lesson.tester_studied().items()}
    hard = small.losses().learner_tested(lesson.learner_studied()).detach()
    test = small.test(tester, small.creator)
    [direct] = torch.autograd.grad(-(test * hard).sum() / test.sum(), [small.creator["c"]])
    [found] = lesson.by_creator(small.creator)
    assert torch.allclose(found, direct, rtol=0, atol=1e-14)


def test_in_first_order_meaning_is_without_effect():
    """As in the released first-order variants: the loss on validation images does not contain the creator."""
    found = [Small(order=1, meaning=meaning) for meaning in (0.0, 5.0)]
    one, other = (small.lesson().by_creator(small.creator)[0] for small in found)
    assert torch.equal(one, other)


def test_in_first_order_the_creator_climbs_the_loss_per_test_alone():
    small = Small(order=1, meaning=0.0)
    test, hard = small.test(small.tester, small.creator), small.learn(small.learner, "bank").detach()
    [wanted] = torch.autograd.grad(-(test * hard).sum() / test.sum(), [small.creator["c"]])
    [found] = small.lesson().by_creator(small.creator)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-14)


def test_at_rates_of_nought_the_second_order_is_the_first_to_the_bit():
    first, second = Small(order=1), Small(order=2)
    second.moves = second.moves._replace(learner_rate=0.0, tester_rate=0.0)
    for one, other in (
        (first.lesson().by_gates([first.gates]), second.lesson().by_gates([second.gates])),
        (first.lesson().by_creator(first.creator), second.lesson().by_creator(second.creator)),
    ):
        assert torch.equal(one[0], other[0]) and bool(one[0].any())


def test_an_even_test_makes_the_gates_step_that_of_darts_on_the_bank():
    small = Small()
    with torch.no_grad():
        small.creator["c"].zero_()
    lesson = small.lesson()
    learner, loss = lesson.learner_studied(), small.losses().learner
    [wanted] = unrolled(lambda w: small.learn(w, "bank").mean(), loss, small.learner, learner, [small.gates], 0.2, exact=True)
    [found] = lesson.by_gates([small.gates])
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_test_is_a_weighted_mean_whose_size_does_not_matter():
    hard, test = torch.rand(2, 6, dtype=KIND, generator=torch.Generator().manual_seed(0))
    wanted = pytest.approx(np.average(hard, weights=test))
    assert float(Lesson._per_test(hard, test)) == wanted
    assert float(Lesson._per_test(hard, 0.3 * test)) == wanted
    assert float(Lesson._per_test(hard, torch.zeros_like(test))) == 0, "an empty test is no division by nought"


def test_steps_have_the_right_signs():
    """A step of the creator without meaning makes the test harder, one of the gates easier, in the mean over 20 problems."""
    harder, easier = [], []
    for seed in range(20):
        small = Small(seed, meaning=0.0, order=1)
        lesson = small.lesson()

        def difficulty(small=small):
            test = small.test(small.tester, small.creator)
            return float(((test * small.learn(small.learner, "bank")).sum() / test.sum()).detach())

        before = difficulty()
        [gates], [creator] = lesson.by_gates([small.gates]), lesson.by_creator(small.creator)
        with torch.no_grad():
            small.creator["c"] -= 0.01 * creator / creator.norm()
        harder.append(difficulty() - before)
        with torch.no_grad():
            small.creator["c"] += 0.01 * creator / creator.norm()
            small.gates -= 0.01 * gates / gates.norm()
        easier.append(difficulty() - before)
    assert sum(harder) > 0 > sum(easier)


def test_a_step_leaves_no_gradients_behind():
    task = image_task((3, 8, 8), 3, 48)
    rules, problem = Lpt(batch=8, tester_channels=2), Problem(Nas201(channels=2, cells=1), task)
    training = Training(supernet_of(problem.space, task, seed=0), problem, rules, 0)
    logits, tester = Logits(training.net, rules, 0), lpt.Tester(problem, rules, 0)
    everything = [*training.weights.values(), *tester.weights.values(), *tester.creator.values(), logits.values]
    before = [tensor.detach().clone() for tensor in everything]
    batches = tuple(training.batch(training.weighed, step) for step in range(3))
    lesson = rules._lesson(training, logits, tester, torch.ones(training.net.gate_shape), batches, 0)
    [gates], creator = lesson.by_gates([logits.values]), lesson.by_creator(tester.creator)
    assert bool(gates.any()) and all(bool(part.any()) for part in creator)
    assert all(tensor.grad is None for tensor in everything)
    assert all(torch.equal(a, b) for a, b in zip(before, everything, strict=True)), "derivatives should move nothing"
    tester.learn(lesson, 0.0)
    assert all(tensor.grad is None for tensor in everything)
    old = dict(zip(tester.weights, before[len(training.weights) :], strict=False))
    moved = {name for name, weight in tester.weights.items() if not torch.equal(old[name], weight)}
    assert moved == set(tester.weights), "E and X should move, and nothing else"


def test_learner_and_tester_study_by_their_next_step():
    """With momentum, decay, drop-path and a rate that falls."""
    task = image_task((3, 8, 8), 3, 48)
    rules = Lpt(batch=8, tester_channels=2, epochs=2, clip=0, weight_decay=0.1, drop_path=0.3)
    problem = Problem(Nas201(channels=2, cells=1), task)
    training = Training(supernet_of(problem.space, task, seed=0), problem, rules, 0)
    logits, tester = Logits(training.net, rules, 0), lpt.Tester(problem, rules, 0)
    ones = torch.ones(training.net.gate_shape)
    for step in range(2):
        batches = tuple(training.batch(stream, step) for stream in (training.weighed, training.judged, training.judged))
        lesson = rules._lesson(training, logits, tester, ones, batches, step)
        sides = ((lesson.learner_studied(), training.weights), (lesson.tester_studied(), tester.weights))
        before = [{name: weight.detach().clone() for name, weight in own.items()} for _, own in sides]
        tester.learn(lesson, step / training.steps)
        training.learn(logits.gates(), batches[0], step, "all")
    for (studied, own), old in zip(sides, before, strict=True):
        for name, weight in own.items():
            assert torch.allclose(studied[name], weight, rtol=0, atol=1e-6) and not torch.equal(old[name], weight), name


def test_lpt_takes_the_step_of_darts_where_the_test_is_even_and_the_bank_is_the_validation_batch():
    task = image_task((3, 8, 8), 3, 48)
    rules, problem = Lpt(batch=8, tester_channels=2), Problem(Nas201(channels=2, cells=1), task)
    training = Training(supernet_of(problem.space, task, seed=0), problem, rules, 0)
    logits, tester = Logits(training.net, rules, 0), lpt.Tester(problem, rules, 0)
    with torch.no_grad():
        for tensor in tester.creator.values():
            tensor.zero_()
    train, bank = (training.batch(training.weighed, step) for step in range(2))
    ones = torch.ones(training.net.gate_shape)
    [found] = rules._lesson(training, logits, tester, ones, (train, bank, bank), 0).by_gates([logits.values])
    wanted = Darts(order=2, batch=8).gate_gradient(training, logits, train, bank, ones, 0)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-7)


def test_the_encoder_is_a_resnet_18():
    task = image_task((3, 32, 32), 10, 20)
    graph, features = encoder(task, 64)
    convolutions = [operation for operation in graph.operations if operation.kind == "conv"]
    assert features == 512 and len(convolutions) == 17 + 3
    assert graph.params == 11_168_832  # ResNet-18 for CIFAR has 11,173,962 with its classifier of 5,130


def test_settings_are_checked():
    with pytest.raises(ValueError, match="order is 1 or 2"):
        Lpt(order=3)
    with pytest.raises(ValueError, match="share between 0 and 1"):
        Schedule(share=1.0)


def test_a_tester_that_diverges_ends_the_search():
    problem = Problem(Nas201(channels=2, cells=1), image_task((3, 8, 8), 3, 64))
    rules = Lpt(batch=8, epochs=40, tester_rate=1e6, tester_channels=2, order=1)
    with pytest.raises(NotFinite, match=r"the tester's loss was nan after \d+% of the search; a smaller tester_rate than 1000"):
        list(rules.search(problem, seed=0))


def test_the_memory_of_the_tester_counts():
    problem = Problem(Nas201(), image_task((3, 32, 32), 10, 64))
    darts, lpt, wide = (strategy.memory(problem) for strategy in (Darts(), Lpt(), Lpt(tester_channels=64)))
    assert 1.2 * darts < lpt < wide and wide - darts == 4 * (lpt - darts)
