"""What the judges share that read one pass of the loss (`nn.probes.loss_pass`): their settings, and one pass for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.nn.executor import Precision
from archscout.nn.probes import LossPass, check_settings, loss_pass


@dataclass(frozen=True)
class LossScore:
    """A score of the weights and gradients of an untrained network.

    batch: images (fewer where the split is smaller). split: where they come from.
    precision: "fp32", or "bf16": faster on processors with matrix units for it, at slightly different values.
    """

    batch: int = 64
    split: str = "train"
    precision: Precision = "fp32"
    needs_fisher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self.batch, self.precision)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score. Raises NotFinite where a gradient is not finite."""
        start = perf_counter()
        found = loss_pass(
            problem, architecture, seed=seed, batch=self.batch, split=self.split, fisher=self.needs_fisher, precision=self.precision
        )
        return Estimate(self.score(found), perf_counter() - start)

    def score(self, found: LossPass) -> float:
        """The score of a pass."""
        raise NotImplementedError
