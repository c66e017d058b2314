"""MDENAS: one categorical distribution per decision, moved by comparing how its options did for how often they were tried.

Zheng, Ji, Tang, Zhang, Liu and Tian 2019 (arXiv 1905.07529). Every decision has probabilities theta, how often each option was
tried (He) and how well it did (Ha). After every trial, for all pairs of options of all decisions,

    i was tried less and did better than j    theta_i gains alpha
    i was tried more and did worse than j     theta_i loses alpha

The premise is that whoever leads with less training leads at the end. The answer takes the most probable option of each decision.

Options that were never tried are compared with none.

Two forms of the rule: `paper`, as above, all pairs at once (theta is clipped at 0 and divided by its sum where that matters), and
`code`, found in later public code of the same group: pair after pair, ties in the number of trials move mass, too, and nobody can
lose more than it has, so that the sum stays 1 exactly and an option at 0 stays there.
What Ha holds (`bookkeeping`): the `last` value (published); the `mean` of all; or `detrended`, the mean of the values less their
moving average before, for a supernet, whose accuracy rises whatever is drawn.

Two ways to judge (`supernet`): by the run's judge, one proposal a trial (a table, a training); or by the method's own supernet, in
which one path at a time is trained for one pass over its half of the training images and then judged on images of the other half,
with the statistics of the batches.

Deviations: no search code of the authors is public; rule and warm-up follow later code of their group. `floor` (a share of uniform
draws) and `detrended` are ours. So is the latency term, value * (latency / target) ** -0.07: latency is the sum of what every
option adds to a path of first options, timed before the search; published latencies are measured afterwards only. A path whose
logits depend on no image (every way is cut) is judged like any other. Published batches have 512 images, here 64 by default. A
path opens one option in every row of gates, also in rows that no architecture opens together (in DARTS 14 edges, of which 8 stay).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.architecture import Architecture, Decision
from archscout.core.checks import check_least
from archscout.core.draw import legal, sample
from archscout.core.errors import UserError
from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.protocols import SharedSpace, Snapshot
from archscout.core.seeds import derive, generator
from archscout.nn import gates as gating
from archscout.nn.measure import acceptance, latency
from archscout.nn.network import Network
from archscout.nn.pace import seconds_of
from archscout.nn.paths import fair_path
from archscout.nn.supernet import GraphSupernet, Supernet, activations, even_paths, supernet_of
from archscout.nn.supernet_training import Schedule, Training
from archscout.strategies._desk import Desk
from archscout.strategies._folded import NOTHING, Answers, seconds_per_report

_MEMORY = 0.9
_TRIES = 1_000
_SCORED = 1024
"""Images that score a path."""
_TIMED_STEPS, _TIMED_TRIALS = 5, 6
_LATENCY_POWER, _LEAST_MS = -0.07, 1e-3


@dataclass(frozen=True)
class Mdenas(Schedule):
    """Multinomial distribution learning.

    rule: "code" or "paper". alpha: what a comparison moves. bookkeeping: "last", "mean" or "detrended".
    floor: share of uniform draws among the samples. supernet: judge by an own supernet, else by the run's judge.
    warm_up: rounds before the first trial in which every option of every decision is trained once, in random company.
    epochs, batch, ...: of the supernet; an epoch is a trial. channels, depth: of the supernet; 0 for those with
    which the space is usually searched.
    steps_per_trial: batches that a path is trained on; 0 for a whole pass.
    latency_target: milliseconds for one image that a network of the supernet's size should take; 0 leaves latency out.
    """

    BEATS_RANDOM: ClassVar[bool] = False

    epochs: float = 100.0
    rule: Literal["code", "paper"] = "code"
    alpha: float = 0.01
    bookkeeping: Literal["last", "mean", "detrended"] = "last"
    floor: float = 0.0
    supernet: bool = True
    warm_up: int = 0
    channels: int = 0
    depth: int = 0
    steps_per_trial: int = 0
    latency_target: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1 or not 0 <= self.floor <= 1:
            raise ValueError(f"alpha lies above 0 and at most at 1, floor between 0 and 1, but {self.alpha} and {self.floor} came")
        check_least(self, warm_up=0, steps_per_trial=0, channels=0, depth=0, latency_target=0)
        if self.latency_target and not self.supernet:
            raise ValueError("latency_target is for paths of the supernet; leave it out, or take supernet=true")

    @property
    def owns_loop(self) -> bool:
        """With a supernet of its own."""
        return self.supernet

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """As many trials as the settings say, of as many steps as fit; fewer trials where not even one step each fits.

        Paths become dearer as options that compute nothing are left behind: a trial is priced half way from those that are drawn
        first to the dearest.
        """
        few, more = (
            seconds_per_report(replace(self, steps_per_trial=steps, epochs=1e3, warm_up=0), problem, seed, reports=_TIMED_TRIALS)
            for steps in (1, 1 + _TIMED_STEPS)
        )
        step = max((more - few) / _TIMED_STEPS, 1e-6)
        dearer = max(1.0, (1 + self._dearest(problem, seed) / step) / 2)
        few, step = few * dearer, step * dearer
        rounds = self.warm_up * max(len(row.options) for row in _rows(problem))
        trials = max(1, min(round(self.epochs), int(seconds / few) - rounds))
        steps = max(1, int((seconds / (trials + rounds) - few) / step) + 1)
        return {
            "epochs": float(trials),
            "steps_per_trial": steps if self.steps_per_trial == 0 else min(steps, self.steps_per_trial),
        }

    def _dearest(self, problem: Problem, seed: int) -> float:
        """Seconds of a step of the path that computes most, of those that take one option everywhere; 0 where all cost the same."""
        training = self._training(problem, seed)
        net = training.net
        if not isinstance(net, GraphSupernet):
            return 0.0
        graph = net.graph
        path = max(even_paths(net.space), key=lambda gates: graph.opened(gates, plain=True).macs)
        gates = self._gates(np.array(path)[:, 1], net.gate_shape)
        return seconds_of(lambda number: training.learn(gates, training.batch(training.weighed, number), number))

    def memory(self, problem: Problem) -> int:
        """The results of the largest of the paths that take one option everywhere."""
        return activations(problem.space, problem.task, self.batch, self.channels, self.depth, path=True)

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """By the run's judge for ever, or by the supernet for `epochs` trials."""
        return self._shared(problem, seed, state) if self.supernet else self._judged(problem, seed)

    def _judged(self, problem: Problem, seed: int) -> Search:
        space, accept, rng, desk = problem.space, acceptance(problem), generator(seed, "mdenas"), Desk()
        learned = Multinomial([len(decision.options) for decision in space.decisions], self)
        failed: set[Architecture] = set()

        def drawn() -> Architecture:
            for _ in range(_TRIES):
                found = legal(space, learned.sample(rng))
                if found is not None and (accept is None or accept(found)):
                    return found
            return sample(space, rng, accept)

        while True:
            landed = yield from desk.judge(drawn())
            for seen in landed:
                if seen.estimate is None:
                    failed.add(seen.architecture)
                else:
                    learned.tell(seen.architecture.choices, seen.value)
            likeliest = legal(space, [int(theta.argmax()) for theta in learned.theta])
            fits = likeliest is not None and likeliest not in failed and (accept is None or accept(likeliest))
            if landed and fits and learned.told:
                yield Progress(likeliest, {"entropy": learned.entropy()})

    def _shared(self, problem: Problem, seed: int, state: Snapshot | None) -> Search:
        training = self._training(problem, seed)
        net = training.net
        answers = Answers(problem, net, seed)
        options = [len(row.options) for row in net.space.gates]
        learned, times = Multinomial(options, self), np.zeros(net.gate_shape)
        first = 0
        if state is not None:
            first = int(state["step"])
            training.restore(state)
            learned.restore(state)
            times = np.asarray(state["times"])
        elif self.latency_target:
            times = timed_options(net, problem)
            # What a clock said cannot be said again, so it is kept before anything follows from it.
            yield Progress(None, {}, {"step": 0, "times": times, **training.state(), **learned.state()})
        each = self.steps_per_trial or training.weighed.per_pass
        rounds = self.warm_up * max(options)
        training.steps = (rounds + max(1, round(self.epochs))) * each
        path: NDArray[np.int64] = np.zeros(len(options), np.int64)
        for step in range(first, training.steps):
            trial = step // each
            if step == first or step % each == 0:
                rng = generator(seed, "path", trial)
                path = fair_path(options, seed, trial) if trial < rounds else np.array(learned.sample(rng))
            loss = training.learn(self._gates(path, net.gate_shape), training.batch(training.weighed, step), step)
            if (step + 1) % each:
                continue
            metrics = {"loss": loss, "share": (step + 1) / training.steps}
            if trial >= rounds:
                value = training.score(self._gates(path, net.gate_shape), _SCORED)
                metrics |= {"accuracy": value}
                if self.latency_target:
                    taken = max(_LEAST_MS, float(times[np.arange(len(path)), path].sum()))
                    value *= (taken / self.latency_target) ** _LATENCY_POWER
                    metrics |= {"latency_ms": taken}
                learned.tell(path.tolist(), value)
                metrics |= {"entropy": learned.entropy()}
            best = answers.of(self._weights(learned, net.gate_shape))
            yield Progress(best, metrics, {"step": step + 1, "times": times, **training.state(), **learned.state()})
        return answers.of(self._weights(learned, net.gate_shape))

    def _training(self, problem: Problem, seed: int) -> Training:
        weights = derive(seed, "weights")
        net = supernet_of(problem.space, problem.task, seed=weights, channels=self.channels, depth=self.depth)
        return Training(net.to(problem.device), problem, self, seed)

    @staticmethod
    def _gates(path: NDArray[np.int64], shape: tuple[int, int]) -> Tensor:
        return gating.one_hot(torch.from_numpy(np.asarray(path, np.int64)), shape[1])

    @staticmethod
    def _weights(learned: Multinomial, shape: tuple[int, int]) -> Tensor:
        weights = torch.zeros(shape)
        for row, theta in enumerate(learned.theta):
            weights[row, : len(theta)] = torch.from_numpy(theta)
        return weights


class Multinomial:
    """The distributions of all decisions, and what is known of their options.

    options: how many each decision has. rules: `rule`, `alpha`, `bookkeeping` and `floor`.
    """

    def __init__(self, options: Sequence[int], rules: Mdenas) -> None:
        self.theta = [np.full(count, 1 / count) for count in options]
        self.trials = [np.zeros(count, np.int64) for count in options]
        self.values = [np.zeros(count) for count in options]
        self._rules = rules
        self._trend: float | None = None

    @property
    def told(self) -> int:
        """How many trials there were."""
        return int(self.trials[0].sum())

    def sample(self, rng: np.random.Generator) -> list[int]:
        """An option of every decision."""
        return [int(rng.choice(len(theta), p=self._chances(theta))) for theta in self.theta]

    def tell(self, choices: Sequence[int], value: float) -> None:
        """How a trial went, higher is better; all distributions move."""
        known = value - (value if self._trend is None else self._trend) if self._rules.bookkeeping == "detrended" else value
        self._trend = value if self._trend is None else _MEMORY * self._trend + (1 - _MEMORY) * value
        for place, choice in enumerate(choices):
            self.trials[place][choice] += 1
            before, count = self.values[place][choice], self.trials[place][choice]
            self.values[place][choice] = known if self._rules.bookkeeping == "last" else before + (known - before) / count
        move = moved_in_turn if self._rules.rule == "code" else moved_at_once
        self.theta = [
            move(theta, trials, values, self._rules.alpha)
            for theta, trials, values in zip(self.theta, self.trials, self.values, strict=True)
        ]

    def entropy(self) -> float:
        """The mean over the decisions, in nats."""
        return float(np.mean([-(theta[theta > 0] * np.log(theta[theta > 0])).sum() for theta in self.theta]))

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        parts = {"theta": self.theta, "trials": self.trials, "values": self.values}
        found: dict[str, Any] = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        return found | ({} if self._trend is None else {"trend": self._trend})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        cuts = np.cumsum([len(theta) for theta in self.theta])[:-1]
        self.theta = [part.astype(np.float64) for part in np.split(np.asarray(state["theta"]), cuts)]
        self.trials = [part.astype(np.int64) for part in np.split(np.asarray(state["trials"]), cuts)]
        self.values = [part.astype(np.float64) for part in np.split(np.asarray(state["values"]), cuts)]
        self._trend = float(state["trend"]) if "trend" in state else None

    def _chances(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        mixed = (1 - self._rules.floor) * theta + self._rules.floor / len(theta)
        return np.asarray(mixed / mixed.sum())


def moved_at_once(
    theta: NDArray[np.float64], trials: NDArray[np.int64], values: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """The paper's rule for one decision (K,): all pairs together; the sum stays, before and after clipping."""
    fewer = (trials[:, None] < trials[None, :]) & (trials[:, None] > 0)
    better = values[:, None] > values[None, :]
    gained = (fewer & better).sum(1) - (fewer.T & better.T).sum(1)
    found: NDArray[np.float64] = np.clip(theta + alpha * gained, 0.0, None)
    return np.asarray(found / found.sum()) if (found == 0).any() else found


def moved_in_turn(
    theta: NDArray[np.float64], trials: NDArray[np.int64], values: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """The rule of the code for one decision (K,): pair after pair, nobody loses more than it has."""
    found: NDArray[np.float64] = theta.copy()
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            if not trials[i] or not trials[j]:
                continue
            if trials[i] >= trials[j] and values[i] < values[j]:
                loser, winner = i, j
            elif trials[i] <= trials[j] and values[i] > values[j]:
                loser, winner = j, i
            else:
                continue
            mass = min(alpha, found[loser])
            found[loser] -= mass
            found[winner] += mass
    return found


def _rows(problem: Problem) -> Sequence[Decision]:
    return problem.space.gates if isinstance(problem.space, SharedSpace) else problem.space.decisions


def timed_options(net: Supernet, problem: Problem) -> NDArray[np.float64]:
    """(G, O) milliseconds: what every option adds to a path of other rows' first options, which is in the first row; one image.

    An option `none` is passed over for the first one, so that the path leads through all rows. Raises UserError where the space has
    no operation graphs, or a row that the path does not lead through.
    """
    if not isinstance(net, GraphSupernet):
        raise UserError(f"latencies are timed on operation graphs, but '{problem.space.name}' has none; leave latency_target at 0")
    rows, columns = net.gate_shape
    path = [int(row.options[0] == NOTHING) for row in net.space.gates]

    def median(choices: Sequence[int]) -> float:
        times = latency(Network(net.graph.opened(set(enumerate(choices)), plain=True)), problem.task, device=problem.device)
        return times[len(times) // 2]

    base = median(path)
    found = np.zeros((rows, columns))
    for row, column in net.valid.nonzero().tolist():
        choices = [*path[:row], column, *path[row + 1 :]]
        if (row, column) in net.graph.gates - net.graph.opened(set(enumerate(choices))).gates:
            raise UserError(
                f"latency_target times an option beside the first ones of all other questions, but there "
                f"'{net.space.gates[row].name}' of '{problem.space.name}' leads to no output; leave it at 0"
            )
        if column != path[row]:
            found[row, column] = median(choices) - base
    found[0] += base
    return found
