"""NASI: search at initialisation, by one step up the expected trace of the neural tangent kernel; nothing is trained.

Shu, Cai, Dai, Ooi and Low 2022 (arXiv 2109.00817). The trace norm of the kernel says how well a network can be trained; it is
approximated by the squared norm of the gradient of one batch's mean loss with respect to all weights theta at their initialisation,

    s(A) = || grad_theta L(batch; A) ||^2                                     R(A) = s(A) - mu max(0, s(A) - nu)

with a bound nu, above which training at a useful learning rate would not be stable, and a penalty mu. Architectures A are drawn by
Gumbel-softmax with straight-through one-hot gates from logits alpha = 0, always the same. With G_t = grad_alpha R(A_t),

    answer = argmax_A p(A; alpha = xi / T sum_t G_t / max(||G_1||, ..., ||G_t||))

The size of the step, xi, has no influence on the argmax and is left out.

The bound nu is fixed, or follows the traces seen so far: their running mean, started by the given value (`running-mean`), an
exponential mean (`ema`), or a quantile (`quantile`). Label-agnostic: labels drawn uniformly. Data-agnostic: images of standard
normal noise, and such labels.

A trace needs depth: among random paths of NAS-Bench-201 (16 channels, 64 images) its rank correlation with test accuracy is about
nought with one or two cells a stage, where all have much the same trace, and about 0.3 with five, where traces differ fiftyfold
(`benchmarks/supernets.py --parts trace-depth`). So supernets are deeper here than those of strategies that train theirs. Gradients
of the trace differ a thousandfold: the answer hangs on a few steps, and differs between seeds whatever the rule of the limit (part
`nasi-limits`).

Deviations: how the paper adapts nu stands in an appendix that we did not have; `running-mean` is our reading. Temperature, number
of steps and size of the supernet on NAS-Bench-201 are not published: ours. Weights are drawn from N(0, 2 / fan-in). A step whose
gradient is not finite or nought (every path is cut) adds nothing. No reference code is public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.core.checks import check_least
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind
from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.protocols import SharedSpace, Snapshot
from archscout.core.seeds import derive, generator
from archscout.nn import gates as gating
from archscout.nn.batches import Stream
from archscout.nn.bilevel import full_precision
from archscout.nn.executor import Init
from archscout.nn.supernet import Supernet, activations, supernet_of
from archscout.strategies._folded import Answers, seconds_per_report

_DECAY = 0.9
_DEEP = 5


@dataclass(frozen=True)
class Nasi:
    """Search at initialisation.

    steps: batches (T). batch: images each. penalty: mu; 1 for small spaces, 2 for DARTS.
    limit: nu, or its start. limit_rule: how it goes on; `quantile` takes the `quantile` of the traces seen so far.
    temperature: of the Gumbel-softmax. estimator: "full" runs every operation and sees how the trace would change with each;
    "single-path" runs the drawn ones only.
    images: "true", or "noise" (with random labels). labels: "true" or "random".
    exclude_none: never answer with the option `none`.
    channels, depth: of the supernet; 0 for those with which the space is usually searched, but for five cells a stage where that
        is one. init: of its weights.
    """

    steps: int = 100
    batch: int = 64
    penalty: float = 1.0
    limit: float = 1000.0
    limit_rule: Literal["running-mean", "fixed", "ema", "quantile"] = "running-mean"
    quantile: float = 0.5
    temperature: float = 1.0
    estimator: Literal["full", "single-path"] = "single-path"
    images: Literal["true", "noise"] = "true"
    labels: Literal["true", "random"] = "true"
    exclude_none: bool = False
    channels: int = 0
    depth: int = 0
    init: Init = "kaiming-normal"

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 <= self.quantile <= 1:
            raise ValueError(
                f"the temperature is above 0 and the quantile between 0 and 1, but {self.temperature} and {self.quantile} came"
            )
        check_least(self, steps=1, batch=2, penalty=0, limit=0, channels=0, depth=0)

    @property
    def owns_loop(self) -> bool:
        """Always."""
        return True

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """As many steps as fit, and no more than `steps`."""
        each = seconds_per_report(self, problem, seed) if self.steps > 2 else 0.0
        return {"steps": max(1, min(self.steps, int(seconds / each))) if each else self.steps}

    def memory(self, problem: Problem) -> int:
        """The results of a pass, of its backward pass, and of the pass backward through that."""
        path = self.estimator == "single-path"
        return 3 * activations(problem.space, problem.task, self.batch, self.channels, self._depth(problem), path=path)

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Take the steps, with a report after each; the answer is the argmax."""
        check_kind(problem.task, None, "the strategy 'nasi'")
        net = supernet_of(
            problem.space,
            problem.task,
            seed=derive(seed, "weights"),
            init=self.init,
            channels=self.channels,
            depth=self._depth(problem),
        ).to(problem.device)
        answers = Answers(problem, net, seed, without_nothing=self.exclude_none)
        stream = Stream(problem.task.splits["train"], self.batch, seed=derive(seed, "batches"))
        ascent, traces = _Ascent(net.gate_shape), _Traces(self.limit, self.limit_rule, self.quantile)
        first = 0
        if state is not None:
            first = int(state["step"])
            ascent.restore(state)
            traces.restore(state)
        for step in range(first, self.steps):
            x, y = self._batch(stream, problem, seed, step)
            noise = torch.Generator().manual_seed(derive(seed, "gumbel", step))
            limit = traces.limit
            trace, gradient = self._gradient(net, x.to(problem.device), y.to(problem.device), noise, limit)
            traces.add(trace)
            norm = ascent.add(gradient)
            best = answers.of(gating.softmax(ascent.mean, net.valid)) if ascent.peak else None
            metrics = {
                "trace": trace,
                "limit": limit,
                "gradient": norm,
                "over": float(trace > limit),
                "skipped": float(ascent.skipped),
            }
            yield Progress(best, metrics, {"step": step + 1, **ascent.state(), **traces.state()})
        if not ascent.peak:
            raise UserError(
                f"none of {self.steps} steps had a gradient to follow: {ascent.skipped} were not finite, and where a trace is "
                "above the limit a penalty of 1 leaves nothing of it; give a larger limit, or another penalty"
            )
        return answers.of(gating.softmax(ascent.mean, net.valid))

    def _depth(self, problem: Problem) -> int:
        space = problem.space
        shallow = isinstance(space, SharedSpace) and space.sized(self.channels) == space.sized(self.channels, 1)
        return self.depth or (_DEEP if shallow else 0)

    def _batch(self, stream: Stream, problem: Problem, seed: int, step: int) -> tuple[Tensor, Tensor]:
        x, y = stream.at(step)
        if self.images == "noise":
            x = torch.randn(x.shape, generator=torch.Generator().manual_seed(derive(seed, "noise", step)))
        if self.images == "noise" or self.labels == "random":
            y = torch.from_numpy(generator(seed, "labels", step).integers(problem.task.classes, size=len(y)))
        return x, y

    def _gradient(self, net: Supernet, x: Tensor, y: Tensor, noise: torch.Generator, limit: float) -> tuple[float, Tensor]:
        """The trace of a drawn architecture, and the gradient of R with respect to the logits (G, O), on the CPU."""
        logits = torch.zeros(net.gate_shape, requires_grad=True)
        soft = gating.gumbel_softmax(logits, net.valid, gating.gumbel_noise(net.valid, noise), self.temperature)
        gates = gating.straight_through(soft).to(x.device)
        with full_precision():
            trace = trace_of(net, x, y, gates, execute_all=self.estimator == "full")
            worth = trace - self.penalty * torch.relu(trace - limit)
            found = torch.autograd.grad(worth, logits, allow_unused=True)[0] if worth.requires_grad else None
        return float(trace.detach()), torch.zeros_like(logits) if found is None else found.detach()


def trace_of(net: Supernet, x: Tensor, y: Tensor, gates: Tensor, *, execute_all: bool) -> Tensor:
    """s: the squared norm of the gradient of the batch's mean cross-entropy over all weights, differentiable by the gates."""
    loss = F.cross_entropy(net(x, gates, execute="all" if execute_all else "selected"), y)
    found = torch.autograd.grad(loss, list(net.parameters()), create_graph=True, allow_unused=True)
    return torch.stack([gradient.square().sum() for gradient in found if gradient is not None]).sum()


class _Ascent:
    """The sum of the gradients, each divided by the largest norm so far."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.total = torch.zeros(shape)
        self.peak = 0.0
        self.taken = self.skipped = 0

    @property
    def mean(self) -> Tensor:
        """The logits that the ascent leads to, with xi = 1."""
        return self.total / max(1, self.taken)

    def add(self, gradient: Tensor) -> float:
        """The norm of this one; those that are not finite are left out and counted."""
        norm = float(gradient.norm())
        if not isfinite(norm):
            self.skipped += 1
            return 0.0
        self.peak, self.taken = max(self.peak, norm), self.taken + 1
        if self.peak > 0:
            self.total += gradient / self.peak
        return norm

    def state(self) -> dict[str, Any]:
        return {"total": self.total.numpy().copy(), "peak": self.peak, "taken": self.taken, "skipped": self.skipped}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.total = torch.as_tensor(np.asarray(state["total"])).clone()
        self.peak, self.taken, self.skipped = float(state["peak"]), int(state["taken"]), int(state["skipped"])


class _Traces:
    """The bound nu, and how it follows the traces."""

    def __init__(self, start: float, rule: str, quantile: float = 0.5) -> None:
        self._start, self._rule, self._quantile = start, rule, quantile
        self._seen: list[float] = []

    @property
    def limit(self) -> float:
        """For the next trace."""
        seen = [self._start, *self._seen]
        match self._rule:
            case "running-mean":
                return float(np.mean(seen))
            case "quantile":
                return float(np.quantile(seen, self._quantile))
            case "ema":
                limit = self._start
                for trace in self._seen:
                    limit = _DECAY * limit + (1 - _DECAY) * trace
                return limit
            case _:
                return self._start

    def add(self, trace: float) -> None:
        """One that was seen; those that are not finite are left out."""
        if isfinite(trace):
            self._seen.append(trace)

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"traces": np.array(self._seen, np.float64)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        self._seen = [float(trace) for trace in np.asarray(state["traces"])]
