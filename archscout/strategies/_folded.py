"""Shared by the strategies that own a supernet: the logits of its gates, and what architecture weights of gates speak for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, neighbours, sample
from archscout.core.problem import Problem
from archscout.core.protocols import SharedSpace, Space, Strategy
from archscout.core.seeds import derive, generator
from archscout.nn import gates as gating
from archscout.nn.measure import acceptance
from archscout.nn.supernet import Supernet
from archscout.nn.supernet_training import kept, kept_optimizer, put_back, put_back_optimizer

SKIPS = ("skip_connect", "identity", "skip")
"""What spaces call the operation that hands its input on."""
_NOTHING = "none"
_START = 1e-3
_FADING = 0.1
"""What is left of the dropout of skip connections at the end of a search."""
_STARTS = 16
_LEAST = 1e-12


def pick(decision_options: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    """The places of the options that have one of these names."""
    return [place for place, option in enumerate(decision_options) if option in names]


@dataclass(frozen=True)
class Answers:
    """From weights of the gates to architectures that meet the limits of the problem.

    without_nothing: leave the option `none` out. most_skips: so many skip connections at the most, counted over all rows of gates
    that the architecture opens; where more are derived, the weakest are shut one after another.
    """

    problem: Problem
    net: Supernet
    seed: int
    without_nothing: bool = False
    most_skips: int | None = None
    _accept: Accept | None = field(init=False)
    _known: dict[Architecture, Architecture] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_accept", acceptance(self.problem))

    def of(self, weights: Tensor) -> Architecture:
        """The best architecture under weights (G, O), not negative.

        Best means derived by the space; where that exceeds the limits, the one of largest product of weights that a climb from
        several random ones finds within them. Raises LimitError where no architecture meets the limits.
        """
        values = weights.detach().cpu().double().numpy().copy()
        if self.without_nothing:
            for row, decision in enumerate(self._space.gates):
                values[row, pick(decision.options, (_NOTHING,))] = 0.0
        best = self._space.derived(values)
        while self.most_skips is not None and len(shut := self._skips(best)) > self.most_skips:
            row, column = min(shut, key=lambda gate: values[gate])
            if values[row, column] < 0:
                break
            values[row, column] = -1.0
            best = self._space.derived(values)
        if self._accept is None or self._accept(best):
            return best
        # The weights move little between two reports: what was found for the same wish still stands.
        if best not in self._known:
            self._known[best] = self._within(np.maximum(values, _LEAST))
        return self._known[best]

    def skips(self, architecture: Architecture) -> int:
        """How many skip connections an architecture opens, counted over the rows of gates."""
        return len(self._skips(architecture))

    def collapsed(self, architecture: Architecture) -> bool:
        """The usual alarm: skip connections on more than a quarter of the edges of the cells (more than 2 of 8 in DARTS)."""
        return 4 * self.skips(architecture) > len(self._space.opened(architecture))

    @property
    def _space(self) -> SharedSpace:
        return self.net.space

    def _skips(self, architecture: Architecture) -> list[tuple[int, int]]:
        rows = self._space.gates
        return [(row, column) for row, column in self._space.opened(architecture) if rows[row].options[column] in SKIPS]

    def _within(self, values: NDArray[np.float64]) -> Architecture:
        rng = generator(self.seed, "limits")
        space: Space = self.problem.space
        logs = np.log(values)

        def worth(architecture: Architecture) -> float:
            return float(sum(logs[gate] for gate in self._space.opened(architecture)))

        starts = [sample(space, rng, self._accept) for _ in range(_STARTS)]
        best = max(starts, key=worth)
        value = -inf
        while worth(best) > value:
            value = worth(best)
            for other in neighbours(space, best):
                if worth(other) > worth(best) and (self._accept is None or self._accept(other)):
                    best = other
        return best


def seconds_per_report(strategy: Strategy, problem: Problem, seed: int, reports: int = 2) -> float:
    """What a report of this strategy costs here; the first, in which everything is set up, counts only where it is the only one."""
    search = strategy.search(problem, seed=seed)
    times = [monotonic()]
    for _ in zip(range(1 + reports), search, strict=False):
        times.append(monotonic())
    search.close()
    later = times[1:] if len(times) > 2 else times
    return (later[-1] - later[0]) / max(1, len(later) - 1)


def paced_epochs(strategy: Any, problem: Problem, seconds: float, seed: int) -> Mapping[str, Any]:
    """As many epochs of a training of a supernet (`Schedule`) as fit into the time, and no more than it was to have."""
    each = seconds_per_report(replace(strategy, report=1, warm_up=0.0), problem, seed)
    images = strategy.share * len(problem.task.splits["train"])
    fitting = seconds / each * strategy.batch / images
    return {"epochs": min(strategy.epochs, float(f"{fitting:.4g}"))}


class Logits:
    """The logits of the gates, and Adam for them."""

    def __init__(self, valid: Tensor, seed: int, rate: float, decay: float, device: str = "cpu") -> None:
        noise = torch.randn(valid.shape, generator=torch.Generator().manual_seed(seed))
        self.valid = valid.to(device)
        self.values = (_START * noise).to(device).requires_grad_()
        self._optimizer = torch.optim.Adam([self.values], rate, betas=(0.5, 0.999), weight_decay=decay)

    def gates(self) -> Tensor:
        """The softmax of every row, (G, O)."""
        return gating.softmax(self.values, self.valid)

    def entropy(self) -> float:
        """The mean over the rows, in nats."""
        return float(gating.entropy(self.gates().detach()).mean())

    def move(self, found: Tensor) -> None:
        """A step down a gradient (G, O)."""
        self.values.grad = found
        self._optimizer.step()
        self.values.grad = None

    def state(self) -> dict[str, Any]:
        """For a snapshot."""
        return {**kept({"values": self.values}, "logits."), **kept_optimizer(self._optimizer, "adam.")}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from a snapshot."""
        put_back({"values": self.values}, state, "logits.")
        put_back_optimizer(self._optimizer, state, "adam.")


class SkipDropout:
    """Shuts single skip connections for a batch, less and less often.

    chance: at the start; at the end of the search a tenth of it is left.
    """

    def __init__(self, net: Supernet, chance: float, seed: int, device: str = "cpu") -> None:
        self._skips = torch.zeros(net.gate_shape, device=device)
        for row, decision in enumerate(net.space.gates):
            self._skips[row, pick(decision.options, SKIPS)] = 1.0
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
