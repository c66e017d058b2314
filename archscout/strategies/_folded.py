"""Shared by the strategies that own a supernet: what answer weights of gates speak for, and what a snapshot of a training holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.draw import Accept, neighbours, sample
from archscout.core.problem import Problem
from archscout.core.protocols import SharedSpace, Space
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance
from archscout.nn.recipe import restore
from archscout.nn.supernet import Supernet

SKIPS = ("skip_connect", "identity", "skip")
"""What spaces call the operation that hands its input on."""
_NOTHING = "none"
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


def kept(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, NDArray[Any]]:
    """Tensors for a snapshot."""
    return {f"{prefix}{name}": tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def kept_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, NDArray[Any]]:
    """What an optimizer remembers, for a snapshot."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}{number}.{name}": value.detach().cpu().numpy().copy()
        for number, parts in state.items()
        for name, value in parts.items()
        if isinstance(value, Tensor)
    }


def back(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The tensors of a snapshot under a prefix."""
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return {name: torch.as_tensor(np.asarray(value)) for name, value in found.items()}


def put_back(parameters: Mapping[str, Tensor], state: Mapping[str, Any], prefix: str) -> None:
    """Give parameters the values of a snapshot, in their own memory layout."""
    found = back(state, prefix)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(found[name])


def put_back_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], prefix: str) -> None:
    """Give an optimizer the memory of a snapshot."""
    restore(optimizer, back(state, prefix))
