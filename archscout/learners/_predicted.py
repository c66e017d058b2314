"""The judge that `nao` makes: the predictions of trained controllers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

from safetensors.torch import load, save

from archscout.core.architecture import Architecture
from archscout.core.encoding import encoding_of
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.protocols import Space
from archscout.nn.controller import Controller, ControllerSettings, Fit, Trained, written


@dataclass(frozen=True)
class Predicted:
    """Predicts an architecture's worth, 0 to 1, by controllers that have learned from others.

    settings: of the controllers. weights: theirs, as bytes of safetensors, one per controller. fits: how their training went.
    """

    settings: ControllerSettings
    weights: tuple[bytes, ...]
    fits: tuple[Fit, ...]

    @classmethod
    def of(cls, trained: Trained, settings: ControllerSettings) -> Predicted:
        """The judge that trained controllers make."""
        return cls(settings, tuple(save(member.state_dict()) for member in trained.members), tuple(trained.fits))

    def trained(self, space: Space) -> Trained:
        """The controllers themselves, to climb with."""
        return _trained(self, space)  # type: ignore[arg-type]  # spaces are values

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The mean prediction."""
        start = perf_counter()
        [value] = self.trained(problem.space).predict(written(problem.space, [architecture]))
        return Estimate(float(value), perf_counter() - start)


@lru_cache(maxsize=2)
def _trained(predicted: Predicted, space: Space) -> Trained:
    members = []
    for weights in predicted.weights:
        member = Controller(encoding_of(space), predicted.settings).eval()
        member.load_state_dict(load(weights))
        members.append(member)
    return Trained(members, predicted.fits)
