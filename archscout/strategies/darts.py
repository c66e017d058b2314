"""DARTS: gates of a supernet and its weights learn in turn by gradient descent.

Liu, Simonyan and Yang 2019 (arXiv 1806.09055). Every edge is the mixture of all operations under the softmax of its logits alpha;
the weights w learn on one half of the training images, the logits on the other:

    min_alpha L_valid(w*(alpha), alpha),     w*(alpha) = argmin_w L_train(w, alpha)

with one step in place of the inner minimum, w' = w - xi d/dw L_train(w, alpha) (with the momentum and decay of the optimizer):

    first order    xi = 0: the derivative of L_valid at the weights as they are
    second order   d/dalpha L_valid(w', alpha) - xi * (d/dalpha L_train(w+, alpha) - d/dalpha L_train(w-, alpha)) / (2 eps),
                   w+- = w +- eps d/dw' L_valid(w', alpha),   eps = 0.01 / || d/dw' L_valid(w', alpha) ||

and xi the learning rate of the weights. The answer takes the strongest operations (`derived` of the space).

Against the known collapse, in which skip connections win: the remedies of P-DARTS (Chen, Xie, Wu and Tian 2019, arXiv 1904.12760),
dropout on skip connections that fades during the search, and a bound on the skip connections of the answer; and that of PC-DARTS
(Xu et al. 2020, arXiv 1907.05737): operations see a part of the channels (`partial`), so that those without weights have less of an
advantage, and a step costs less.

Deviations: dropout shuts a skip connection for a whole batch, where P-DARTS drops single values behind it; P-DARTS also searches in
stages of growing depth, which is not done here. PC-DARTS shuffles channels behind an edge; here those that went by come first, so
that the next edge's operations see them. Its weights of whole edges are left out. `warm_up` (no logits move in the first steps) is
an option from P- and PC-DARTS. Only the weights' gradients are clipped, as published. A gradient of the logits that is not finite
is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import derive
from archscout.nn.bilevel import gradient, leaves, stepped, unrolled
from archscout.nn.supernet_training import Batch, Training
from archscout.strategies._folded import GateSearch, Logits, SkipDropout


@dataclass(frozen=True)
class Darts(GateSearch):
    """Differentiable search; the settings of the weights' training are those of the CIFAR-10 search.

    epochs: over the half of the training images that the weights learn on. order: 1 (xi = 0) or 2.
    exact: the mixed second derivative by differentiating twice in place of differences; slower.
    gate_rate, warm_up, skip_dropout, ...: see `GateSearch`.
    """

    order: Literal[1, 2] = 1
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise ValueError(f"order is 1 or 2, but {self.order} came")

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Learn for `epochs`, with a report every few steps."""
        net = self.supernet(problem, seed)
        training = Training(net, problem, self, seed)
        logits = Logits(net, self, derive(seed, "logits"), problem.device)
        answers = self.answers(problem, net, seed)
        dropout = SkipDropout(net, self.skip_dropout, derive(seed, "skips"), problem.device)
        first = 0
        if state is not None:
            first = int(state["step"])
            training.restore(state)
            logits.restore(state)
        loss = 0.0
        for step in range(first, training.steps):
            train = training.batch(training.weighed, step)
            drop = dropout.factors(step, training.steps)
            if step >= self.warm_up * training.steps:
                judged = training.batch(training.judged, step)
                logits.move(self.gate_gradient(training, logits, train, judged, drop, step))
            loss = training.learn(logits.gates() * drop, train, step, "all")
            if (step + 1) % self.report == 0 or step + 1 == training.steps:
                best = answers.of(logits.gates())
                metrics = {
                    "loss": loss, "entropy": logits.entropy(), "skips": float(answers.skips(best)),
                    "collapsed": float(answers.collapsed(best)), "refused": float(logits.refused),
                    "share": (step + 1) / training.steps,
                }  # fmt: skip
                yield Progress(best, metrics, {"step": step + 1, **training.state(), **logits.state()})
        return answers.of(logits.gates())

    def gate_gradient(
        self, training: Training, logits: Logits, train: Batch, judged: Batch, drop: Tensor, step: int
    ) -> Tensor:  # fmt: skip
        """The derivative of the validation loss with respect to the logits (G, O), direct or through a step of training."""
        fixed = {name: weight.detach() for name, weight in training.weights.items()}
        if self.order == 1:
            [found] = torch.autograd.grad(training.loss(fixed, logits.gates() * drop, judged, "all"), [logits.values])
            return found
        rate, at = training.rate(step), leaves(fixed)
        inner = gradient(training.loss(at, (logits.gates() * drop).detach(), train, "all", step), at)
        trained = stepped(fixed, inner, rate, momentum=self.momentum, buffers=training.buffers(), decay=self.weight_decay)
        [found] = unrolled(
            lambda weights: training.loss(weights, logits.gates() * drop, judged, "all"),
            lambda weights: training.loss(weights, logits.gates() * drop, train, "all", step),
            fixed, trained, [logits.values], rate, exact=self.exact,
        )  # fmt: skip
        return found
