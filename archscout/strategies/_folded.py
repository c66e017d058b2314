"""Shared by the strategies that own a supernet: the logits of its gates, and what architecture weights of gates speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.draw import Accept, neighbours, sample
from archscout.core.errors import UserError
from archscout.core.problem import Problem
from archscout.core.protocols import SharedSpace, Snapshot, Space, Strategy
from archscout.core.seeds import derive, generator
from archscout.nn import gates as gating
from archscout.nn.batches import Stream, halved
from archscout.nn.measure import acceptance
from archscout.nn.pace import steps_per_report
from archscout.nn.supernet import GraphSupernet, Supernet, activations, supernet_of
from archscout.nn.supernet_training import (
    Schedule,
    kept,
    kept_optimizer,
    put_back,
    put_back_optimizer,
)

_SKIPS, NOTHING = ("skip_connect", "identity", "skip"), "none"
"""What spaces call the operation that hands its input on, and none at all; the first word of an option."""
_REDUCTION = "reduc"
"""How rows of a reduction cell begin, where skip connections are no sign of a collapse."""
_START = 1e-3
_FADING = 0.1
"""What is left of the dropout of skip connections at the end of a search."""
_STARTS = 16
_LEAST = 1e-12
_FASTEST_RATE = 0.03


@dataclass(frozen=True)
class GateSearch(Schedule):
    """What the strategies share that learn logits of gates by gradient.

    gate_rate, gate_decay: learning rate and weight decay of Adam for the logits.
    warm_up: share of the steps before the logits move.
    skip_dropout: chance at the start with which a skip connection is shut for a batch.
    most_skips: at most so many skip connections in the normal cell of the answer; -1 for any.
    exclude_none: never answer with the option `none`, as published: its weight does no more than scale what the others give.
    channels, depth: of the supernet; 0 for those with which the space is usually searched.
    partial: operations see one of so many channels of an edge, and the others go by (4 in PC-DARTS); 1 for all.
    report: steps between two reports, each with a snapshot.
    """

    gate_rate: float = 3e-4
    gate_decay: float = 1e-3
    warm_up: float = 0.0
    skip_dropout: float = 0.0
    most_skips: int = -1
    exclude_none: bool = True
    channels: int = 0
    depth: int = 0
    partial: int = 1
    report: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.warm_up < 1 or not 0 <= self.skip_dropout < 1:
            raise ValueError(f"warm_up and skip_dropout lie between 0 and 1, but {self.warm_up} and {self.skip_dropout} came")
        check_least(self, gate_rate=0, gate_decay=0, channels=0, depth=0, partial=1, report=1)

    @property
    def owns_loop(self) -> bool:
        """Always."""
        return True

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """As many epochs as fit, a report every ten seconds, and logits that move as far as in the full search.

        Adam moves a logit by about its rate a step, whatever the gradient: in a search of a hundredth of the steps nothing would
        come of the published rate, so it grows as the steps become fewer, up to 0.03. That is ours.
        """
        short: Any = replace(self, report=1, warm_up=0.0, epochs=max(self.epochs, 1e3))
        each = seconds_per_report(short, problem, seed)
        weighed, _ = halved(problem.task.splits["train"], self.share, seed)
        a_pass = Stream(weighed, self.batch, seed=seed).per_pass
        asked = self.epochs * a_pass
        steps = max(1.0, min(asked, seconds / each))
        rate = max(self.gate_rate, min(_FASTEST_RATE, self.gate_rate * asked / steps))
        return {"epochs": float(f"{steps / a_pass:.4g}"), "gate_rate": float(f"{rate:.3g}"), "report": steps_per_report(self, each)}

    def memory(self, problem: Problem) -> int:
        """The results of one pass through the mixture, and of its backward pass where that is differentiated."""
        passes = 3 if getattr(self, "exact", False) else 1
        return passes * activations(problem.space, problem.task, self.batch, self.channels, self.depth, self.partial)

    def supernet(self, problem: Problem, seed: int) -> Supernet:
        """With fresh weights, where the problem is computed."""
        net = supernet_of(
            problem.space, problem.task, seed=derive(seed, "weights"),
            channels=self.channels, depth=self.depth, partial=self.partial,
        )  # fmt: skip
        return net.to(problem.device)

    def answers(self, problem: Problem, net: Supernet, seed: int) -> Answers:
        """How answers are derived."""
        most = None if self.most_skips < 0 else self.most_skips
        return Answers(problem, net, seed, without_nothing=self.exclude_none, most_skips=most)


@dataclass(frozen=True)
class Answers:
    """From weights of the gates to architectures that meet the limits of the problem.

    without_nothing: leave the option `none` out. most_skips: so many skip connections at the most, outside of reduction cells.
    Raises UserError where that is asked for and the space has none.
    """

    problem: Problem
    net: Supernet
    seed: int
    without_nothing: bool = False
    most_skips: int | None = None
    _accept: Accept | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_accept", acceptance(self.problem))
        if self.most_skips is not None and not bool(skip_places(self.net).any()):
            raise UserError(f"most_skips bounds skip connections, but '{self.problem.space.name}' has none; leave it out")

    def of(self, weights: Tensor) -> Architecture:
        """The best architecture under weights (G, O), not negative; a function of the weights and the seed alone.

        Best means derived by the space; where that breaks a rule or exceeds the limits, the best that a climb finds within them.
        Raises LimitError where no architecture meets the limits.
        """
        values = self._without_nothing(weights.detach().cpu().double().numpy())
        best = self._space.derived(values)
        fits = self._accept is None or self._accept(best)
        return best if fits and not self._faults(best) else self._within(np.maximum(values, _LEAST))

    def skips(self, architecture: Architecture) -> int:
        """How many skip connections an architecture has, outside of reduction cells."""
        return sum(self._is(gate, _SKIPS) for gate in self._counted(architecture))

    def collapsed(self, architecture: Architecture) -> bool:
        """The usual alarm: skip connections on more than a quarter of the edges that could have one (more than 2 of 8 in DARTS)."""
        return 4 * self.skips(architecture) > len(self._counted(architecture))

    @property
    def _space(self) -> SharedSpace:
        return self.net.space

    def _without_nothing(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        values = values.copy()
        for row, decision in enumerate(self._space.gates if self.without_nothing else ()):
            values[row, _places(decision.options, (NOTHING,))] = 0.0
        return values

    @cached_property
    def _watched(self) -> frozenset[int]:
        """The rows whose skip connections count."""
        rows = enumerate(self._space.gates)
        return frozenset(n for n, row in rows if not row.name.startswith(_REDUCTION) and _places(row.options, _SKIPS))

    def _counted(self, architecture: Architecture) -> list[tuple[int, int]]:
        return [gate for gate in self._space.opened(architecture) if gate[0] in self._watched]

    def _is(self, gate: tuple[int, int], names: tuple[str, ...]) -> bool:
        return self._space.gates[gate[0]].options[gate[1]].split()[0] in names

    def _faults(self, architecture: Architecture) -> int:
        """How often it breaks the rules."""
        found = 0
        if self.most_skips is not None:
            found += max(0, self.skips(architecture) - self.most_skips)
        if self.without_nothing:
            found += sum(self._is(gate, (NOTHING,)) for gate in self._space.opened(architecture))
        return found

    def _within(self, values: NDArray[np.float64]) -> Architecture:
        rng = generator(self.seed, "limits")
        space: Space = self.problem.space
        # What an architecture gives away in each row that it opens: rows that it leaves shut cost nothing and gain nothing.
        regret = np.log(values.max(1, keepdims=True)) - np.log(values)

        def worth(architecture: Architecture) -> tuple[int, float]:
            return -self._faults(architecture), -float(sum(regret[gate] for gate in self._space.opened(architecture)))

        best = max((sample(space, rng, self._accept) for _ in range(_STARTS)), key=worth)
        before = None
        while before != best:
            before = best
            for other in neighbours(space, best):
                if worth(other) > worth(best) and (self._accept is None or self._accept(other)):
                    best = other
        return best


def skip_places(net: Supernet) -> Tensor:
    """Where skip connections are, (G, O) of 0 and 1."""
    places = torch.zeros(net.gate_shape)
    for row, decision in enumerate(net.space.gates):
        places[row, _places(decision.options, _SKIPS)] = 1.0
    return places


def _places(options: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    return [place for place, option in enumerate(options) if option.split()[0] in names]


def seconds_per_report(strategy: Strategy, problem: Problem, seed: int, reports: int = 2) -> float:
    """What a report of this strategy costs here; the first, in which everything is set up, counts only where it is the only one."""
    search = strategy.search(problem, seed=seed)
    times = [monotonic()]
    for _ in zip(range(1 + reports), search, strict=False):
        times.append(monotonic())
    search.close()
    later = times[1:] if len(times) > 2 else times
    return (later[-1] - later[0]) / max(1, len(later) - 1)


class Logits:
    """The logits of the gates, and Adam for them."""

    def __init__(self, net: Supernet, settings: GateSearch, seed: int, device: str = "cpu") -> None:
        noise = torch.randn(net.valid.shape, generator=torch.Generator().manual_seed(seed))
        self.valid = net.valid.to(device)
        self.values = (_START * noise).to(device).requires_grad_()
        self.refused = 0
        self._optimizer = torch.optim.Adam(
            [self.values], settings.gate_rate, betas=(0.5, 0.999), weight_decay=settings.gate_decay
        )  # fmt: skip

    def gates(self) -> Tensor:
        """The softmax of every row, (G, O)."""
        return gating.softmax(self.values, self.valid)

    def entropy(self) -> float:
        """The mean over the rows, in nats."""
        return float(gating.entropy(self.gates().detach()).mean())

    def move(self, found: Tensor) -> None:
        """A step down a gradient (G, O); one that is not finite is refused and counted."""
        if not bool(found.isfinite().all()):
            self.refused += 1
            return
        self.values.grad = found
        self._optimizer.step()
        self.values.grad = None

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {**kept({"values": self.values}, "logits."), **kept_optimizer(self._optimizer, "adam."), "refused": self.refused}

    def restore(self, state: Snapshot) -> None:
        """Back from a snapshot."""
        put_back({"values": self.values}, state, "logits.")
        put_back_optimizer(self._optimizer, state, "adam.")
        self.refused = int(state["refused"])


class SkipDropout:
    """Shuts single skip connections for a batch, less and less often.

    chance: at the start; at the end of the search a tenth of it is left. Raises UserError where the space has no skip connection.
    """

    def __init__(self, net: Supernet, chance: float, seed: int, device: str = "cpu") -> None:
        places = skip_places(net)
        if isinstance(net, GraphSupernet):  # a skip that goes by all options alike, as in `proxyless`, has no gate
            for row, column in places.nonzero().tolist():
                places[row, column] = float((row, column) in net.graph.gates)
        self._skips = places.to(device)
        if chance and not bool(self._skips.any()):
            raise UserError("skip_dropout shuts skip connections behind gates, but this space has none; leave it out")
        self._chance, self._seed = chance, seed

    def factors(self, step: int, steps: int) -> Tensor:
        """Of the gates (G, O): 0 for a skip connection that is shut, more than 1 for the others, so that the mean is 1; else 1."""
        chance = self._chance * _FADING ** (step / steps)
        if not chance:
            return torch.ones_like(self._skips)
        draws = torch.rand(self._skips.shape, generator=torch.Generator().manual_seed(derive(self._seed, step)))
        open_ = (draws >= chance).to(self._skips)
        factors: Tensor = 1 - self._skips + self._skips * open_ / (1 - chance)
        return factors
