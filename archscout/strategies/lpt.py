"""LPT: learning by passing tests. A tester makes up tests that are hard for the learner and useful for itself.

Du, Zhang and Xie 2021 (arXiv 2011.15102), on top of DARTS (`strategies/darts.py`). Three levels, with the learner's weights W and
gate logits A, the tester's encoder E and head X, and the test creator C, which gives every image d of a test bank the weight
f(d) = softmax(C(E(d)))[1]. The test loss of a model is T(m; f) = sum_d f(d) ce(m(d), y_d), and |test| = sum_d f(d).

    W*(A)        = argmin L(A, W; train)                                             the learner studies
    E*(C), X*(C) = argmin L(E, X; train) + gamma T(X o E; f)                         the tester studies, its own test included
    max_C min_A    T(A, W*(A); f) / |test|  -  lambda L(E*(C), X*(C); valid)         the test is passed, and kept meaningful

Each minimum is one step of SGD (W', E', X'), and the derivatives go through it as in DARTS:

    g_A = d/dA O_A - xi_W H_{A,W}[d/dW' O_A],      O_A = T(A, W'; f) / |test|, f constant
    g_C = d/dC O_C - xi_E gamma H_{C,E}[v_E] - xi_X gamma H_{C,X}[v_X],   O_C = -T(A, W'; f) / |test| + lambda L(E', X'; valid)

with v_E, v_X the derivatives of O_C by E' and X', and H the mixed second derivatives of T(X o E; f). Per batch: a step of A, one of
C with the new A, one of E and X, one of W.

Deviations: the released code leaves out the division by |test| (then f = 1 for all is best), takes the learner as it is in C's step
(`learner_in_creator = "current"`), and lets gradients of one step leak into the next; here all gradients are fresh. As there, the
train images serve learner and tester, the others are test bank and validation, in independent batches. W' is computed once, before
A's step, and tested under the new A in C's step. The two products by E are one, by linearity. A gradient that is not finite is left
out. In T as the tester trains on it, the mean over the batch takes the place of the sum. The tester is a ResNet-18
for small images (a 3 x 3 stem) of `tester_channels`, where the paper's has 64; normalisations use the statistics of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.core.checks import check_least
from archscout.core.errors import NotFinite
from archscout.core.moves import Progress, Search
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.core.problem import Problem, Task
from archscout.core.protocols import Snapshot
from archscout.core.seeds import derive
from archscout.nn.batches import Stream
from archscout.nn.bilevel import Loss, Tensors, gradient, leaves, stepped, unrolled
from archscout.nn.executor import Program, WeightBank
from archscout.nn.supernet import bytes_of_results
from archscout.nn.supernet_training import Batch, Training, kept, kept_optimizer, put_back, put_back_optimizer
from archscout.strategies._folded import GateSearch, Logits, SkipDropout

_LEAST_SHARE = 1e-6
"""Of the batch, that a test counts for at the least."""


@dataclass(frozen=True)
class Lpt(GateSearch):
    """Learning by passing tests; settings not named here are those of DARTS.

    order: 2, through a step of all trainings, or 1, at the weights as they are (then `meaning` has no effect).
    meaning, practice: lambda and gamma. learner_in_creator: which learner the creator tests, "unrolled" (W') or "current" (W).
    exact: mixed second derivatives by differentiating twice, in place of differences.
    tester_channels: of the tester's first stage. tester_rate: learning rate of E and X, falling like the learner's.
    creator_rate, creator_decay: of Adam for C.
    """

    order: Literal[1, 2] = 2
    meaning: float = 1.0
    practice: float = 1.0
    learner_in_creator: Literal["unrolled", "current"] = "unrolled"
    exact: bool = False
    tester_channels: int = 16
    tester_rate: float = 0.025
    creator_rate: float = 3e-4
    creator_decay: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise ValueError(f"order is 1 or 2, but {self.order} came")
        check_least(self, meaning=0, practice=0, tester_channels=1, tester_rate=0, creator_rate=0, creator_decay=0)

    def memory(self, problem: Problem) -> int:
        """The learner's, and the results of the two passes through the tester that a step of it keeps."""
        tester, _ = encoder(problem.task, self.tester_channels)
        return super().memory(problem) + 2 * bytes_of_results(tester, self.batch)

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Learn for `epochs`, with a report every few steps."""
        net = self.supernet(problem, seed)
        training = Training(net, problem, self, seed)
        logits = Logits(net, self, derive(seed, "logits"), problem.device)
        answers = self.answers(problem, net, seed)
        dropout = SkipDropout(net, self.skip_dropout, derive(seed, "skips"), problem.device)
        tester = Tester(problem, self, derive(seed, "tester"))
        bank = Stream(training.judged_data, self.batch, seed=derive(seed, "bank"), augment=self.augment)
        first = 0
        if state is not None:
            first = int(state["step"])
            for part in (training, logits, tester):
                part.restore(state)
        loss = 0.0
        for step in range(first, training.steps):
            train, valid = training.batch(training.weighed, step), training.batch(training.judged, step)
            drop = dropout.factors(step, training.steps)
            lesson = self._lesson(training, logits, tester, drop, (train, valid, training.batch(bank, step)), step)
            if step >= self.warm_up * training.steps:
                [found] = lesson.by_gates([logits.values])
                logits.move(found)
                tester.move_creator(lesson.by_creator(tester.creator))
            tester.learn(lesson, step / training.steps)
            loss = training.learn(logits.gates() * drop, train, step, "all")
            if (step + 1) % self.report == 0 or step + 1 == training.steps:
                best = answers.of(logits.gates())
                test = lesson.test()
                metrics = {
                    "loss": loss, "entropy": logits.entropy(), "skips": float(answers.skips(best)),
                    "collapsed": float(answers.collapsed(best)), "refused": float(logits.refused), "test_mean": float(test.mean()),
                    "test_size": float(test.sum().square() / test.square().sum() / len(test)),
                    "share": (step + 1) / training.steps,
                }  # fmt: skip
                yield Progress(best, metrics, {"step": step + 1, **training.state(), **logits.state(), **tester.state()})
        return answers.of(logits.gates())

    def _lesson(
        self, training: Training, logits: Logits, tester: Tester, drop: Tensor, batches: tuple[Batch, Batch, Batch], step: int
    ) -> Lesson:
        train, valid, bank = batches

        def learner(weights: Tensors, batch: Batch) -> Tensor:
            found: Tensor = training.net(batch[0], logits.gates() * drop, weights=weights, execute="all")
            return found

        share = step / training.steps
        return Lesson(
            Losses(
                learner=lambda weights: training.loss(weights, logits.gates() * drop, train, "all", step),
                learner_tested=lambda weights: F.cross_entropy(learner(weights, bank), bank[1], reduction="none"),
                tester=lambda weights: tester.loss(weights, train),
                tested=lambda weights, creator: tester.tested(weights, creator, bank),
                tester_valid=lambda weights: tester.loss(weights, valid),
            ),
            learner={name: weight.detach() for name, weight in training.weights.items()},
            tester={name: weight.detach() for name, weight in tester.weights.items()},
            creator=tester.creator,
            moves=Moves(
                learner_rate=training.rate(step), tester_rate=self.tester_rate * self.rate(share) / self.learning_rate,
                momentum=self.momentum, decay=self.weight_decay,
                learner_buffers=training.buffers(), tester_buffers=tester.buffers(),
            ),
            rules=self,
        )  # fmt: skip


class Losses(NamedTuple):
    """The losses of a batch as functions of named weights; those of the learner also depend on the gates, by closure.

    learner, tester: on the training batch. tester_valid: on the validation batch. learner_tested: (N,) one per image of the test
    bank. tested: f (N,), the weights of the test, of the tester's weights and the creator's; and the tester's losses there (N,).
    """

    learner: Callable[[Tensors], Tensor]
    learner_tested: Callable[[Tensors], Tensor]
    tester: Callable[[Tensors], Tensor]
    tested: Callable[[Tensors, Tensors], tuple[Tensor, Tensor]]
    tester_valid: Callable[[Tensors], Tensor]


class Moves(NamedTuple):
    """How the learner and the tester would take a step of SGD."""

    learner_rate: float
    tester_rate: float
    momentum: float = 0.0
    decay: float = 0.0
    learner_buffers: Tensors | None = None
    tester_buffers: Tensors | None = None


class Lesson:
    """The derivatives of one batch by gates and creator. rules: `order`, `meaning`, `practice`, `exact`, `learner_in_creator`.

    Learner and tester are studied once; what does not change between the steps of a batch is not computed again.
    """

    def __init__(self, losses: Losses, learner: Tensors, tester: Tensors, creator: Tensors, moves: Moves, rules: Any) -> None:
        self._losses, self._learner, self._tester, self._creator = losses, learner, tester, creator
        self._moves, self._rules = moves, rules
        self._rates = (moves.learner_rate, moves.tester_rate) if rules.order == 2 else (0.0, 0.0)
        self._learner_after: dict[str, Tensor] | None = None
        self._tester_after: dict[str, Tensor] | None = None

    def test(self) -> Tensor:
        """f (N,): the weights of the test as the tester that studied for it gives them, without a gradient."""
        tester = self.tester_studied()
        with torch.no_grad():
            return self._losses.tested(tester, self._creator)[0]

    def by_gates(self, gates: Sequence[Tensor]) -> list[Tensor]:
        """g_A, for every tensor of gate logits."""
        test = self.test()
        return unrolled(
            lambda weights: self._per_test(self._losses.learner_tested(weights), test), self._losses.learner,
            self._learner, self.learner_studied(), gates, self._rates[0], exact=self._rules.exact,
        )  # fmt: skip

    def by_creator(self, creator: Tensors) -> list[Tensor]:
        """g_C, for every tensor of the creator."""
        outer = list(creator.values())
        weights = self._learner if self._rules.learner_in_creator == "current" else self.learner_studied()
        with torch.no_grad():
            learner = self._losses.learner_tested(weights)

        def objective(weights: Tensors) -> Tensor:
            hard = self._per_test(learner, self._losses.tested(weights, creator)[0])
            meaning: float = self._rules.meaning
            return meaning * self._losses.tester_valid(weights) - hard

        return unrolled(
            objective, lambda weights: self._practice(weights, creator),
            self._tester, self.tester_studied(), outer, self._rates[1], exact=self._rules.exact,
        )  # fmt: skip

    def study(self, weights: Tensors) -> Tensor:
        """J: what the tester minimises, as a function of its weights."""
        return self._losses.tester(weights) + self._practice(weights, self._creator)

    def tester_studied(self) -> dict[str, Tensor]:
        """E' and X', for the creator as it was at first; the weights as they are in first order."""
        if self._tester_after is None:
            moves = self._moves
            self._tester_after = self._after(self._tester, self.study, self._rates[1], moves.tester_buffers)
        return self._tester_after

    def learner_studied(self) -> dict[str, Tensor]:
        """W', for the gates as they were at first; the weights as they are in first order."""
        if self._learner_after is None:
            moves = self._moves
            self._learner_after = self._after(self._learner, self._losses.learner, self._rates[0], moves.learner_buffers)
        return self._learner_after

    def _after(self, weights: Tensors, loss: Loss, rate: float, buffers: Tensors | None) -> dict[str, Tensor]:
        if not rate:
            return dict(weights)
        at = leaves(weights)
        moves = self._moves
        return stepped(weights, gradient(loss(at), at), rate, momentum=moves.momentum, buffers=buffers, decay=moves.decay)

    def _practice(self, weights: Tensors, creator: Tensors) -> Tensor:
        test, losses = self._losses.tested(weights, creator)
        practice: float = self._rules.practice
        return practice * (test * losses).mean()

    @staticmethod
    def _per_test(losses: Tensor, test: Tensor) -> Tensor:
        return (test * losses).sum() / test.sum().clamp_min(_LEAST_SHARE * len(losses))


class Tester:
    """The tester (E and X) and the test creator (C), with their optimizers."""

    def __init__(self, problem: Problem, rules: Lpt, seed: int) -> None:
        graph, features = encoder(problem.task, rules.tester_channels)
        self._program = Program(graph)
        drawn = dict(WeightBank().draw(graph, seed))
        self._rules, device = rules, problem.device
        noise, bound = torch.Generator().manual_seed(derive(seed, "heads")), features**-0.5
        for name, rows in (("head", problem.task.classes), ("creator", 2)):
            drawn[f"{name}.weight"] = torch.empty(rows, features).uniform_(-bound, bound, generator=noise)
            drawn[f"{name}.bias"] = torch.empty(rows).uniform_(-bound, bound, generator=noise)
        placed = {name: tensor.clone().to(device).requires_grad_() for name, tensor in drawn.items()}
        self.weights = {name: tensor for name, tensor in placed.items() if not name.startswith("creator.")}
        self.creator = {name: tensor for name, tensor in placed.items() if name.startswith("creator.")}
        self._optimizer = torch.optim.SGD(
            self.weights.values(), rules.tester_rate, rules.momentum, weight_decay=rules.weight_decay
        )  # fmt: skip
        self._creator_optimizer = torch.optim.Adam(
            self.creator.values(), rules.creator_rate, betas=(0.5, 0.999), weight_decay=rules.creator_decay
        )  # fmt: skip

    def encode(self, weights: Tensors, x: Tensor) -> Tensor:
        """E: images (B, C, H, W) -> features (B, F)."""
        [found] = self._program.run(weights, x)
        return found

    def loss(self, weights: Tensors, batch: Batch) -> Tensor:
        """The mean cross-entropy."""
        return self._losses(weights, self.encode(weights, batch[0]), batch[1]).mean()

    def tested(self, weights: Tensors, creator: Tensors, batch: Batch) -> tuple[Tensor, Tensor]:
        """f, how much every image of the bank belongs to the test (B,), 0..1; and the cross-entropy of every image (B,)."""
        features = self.encode(weights, batch[0])
        logits = F.linear(features, creator["creator.weight"], creator["creator.bias"])
        return torch.softmax(logits, 1)[:, 1], self._losses(weights, features, batch[1])

    @staticmethod
    def _losses(weights: Tensors, features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(features, weights["head.weight"], weights["head.bias"]), labels, reduction="none")

    def move_creator(self, found: Sequence[Tensor]) -> None:
        """A step of C down a gradient; one that is not finite is left out."""
        if not all(bool(part.isfinite().all()) for part in found):
            return
        for tensor, part in zip(self.creator.values(), found, strict=True):
            tensor.grad = part
        self._creator_optimizer.step()
        self._creator_optimizer.zero_grad(set_to_none=True)

    def learn(self, lesson: Lesson, share: float) -> None:
        """A step of E and X down J when `share` of the search is done. Raises NotFinite."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rules.tester_rate * self._rules.rate(share) / self._rules.learning_rate
        loss = lesson.study(self.weights)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFinite(
                f"the tester's loss was {value} after {share:.0%} of the search; a smaller tester_rate than "
                f"{self._rules.tester_rate} may help"
            )
        found = gradient(loss, self.weights)
        for name, weight in self.weights.items():
            weight.grad = found[name]
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def buffers(self) -> dict[str, Tensor]:
        """The momentum of every weight that has moved."""
        state = self._optimizer.state
        return {name: state[weight]["momentum_buffer"] for name, weight in self.weights.items() if weight in state}

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            **kept(self.weights, "tester."), **kept(self.creator, "tester."),
            **kept_optimizer(self._optimizer, "tester_sgd."), **kept_optimizer(self._creator_optimizer, "creator_adam."),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        put_back(self.weights, state, "tester.")
        put_back(self.creator, state, "tester.")
        put_back_optimizer(self._optimizer, state, "tester_sgd.")
        put_back_optimizer(self._creator_optimizer, state, "creator_adam.")


def encoder(task: Task, channels: int) -> tuple[OperationGraph, int]:
    """A ResNet-18 without classifier for small images, and how many features it gives: four stages of two blocks."""
    builder = GraphBuilder(task.shape)
    with builder.scope("stem"):
        x = builder.relu(builder.batch_norm(builder.conv(builder.input, channels, 3)))
    for stage in range(4):
        for block in range(2):
            with builder.scope(f"stage{stage + 1}.block{block + 1}"):
                x = _block(builder, x, channels << stage, 2 if stage and not block else 1)
    return builder.finish(builder.global_pool(x)), channels << 3


def _block(builder: GraphBuilder, x: int, channels: int, stride: int) -> int:
    with builder.scope("first"):
        inner = builder.relu(builder.batch_norm(builder.conv(x, channels, 3, stride=stride)))
    with builder.scope("second"):
        inner = builder.batch_norm(builder.conv(inner, channels, 3))
    if builder.shape(x) != builder.shape(inner):
        with builder.scope("shortcut"):
            x = builder.batch_norm(builder.conv(x, channels, 1, stride=stride))
    return builder.relu(builder.add(inner, x))
