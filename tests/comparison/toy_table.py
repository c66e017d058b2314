"""A tiny recorded benchmark on a space with a known optimum, and judges of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite, UnknownName
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import derive
from archscout.core.tables import Column, Recorded, TableFacts
from archscout.testing.problems import TASK, CountingSpace, right_share

SPACE = CountingSpace(4, 3)
PROBLEM = Problem(SPACE, TASK)
ROWS = list(product(range(3), repeat=4))
VALID = Column("toy_valid_9", "toy", "accuracy", "valid", 9)
EARLY = Column("toy_valid_1", "toy", "accuracy", "valid", 1)
TEST = Column("toy_test_9", "toy", "accuracy", "test", 9, caveat="one run")


@lru_cache
def _recorded() -> dict[str, np.ndarray]:
    share = np.array([right_share(PROBLEM, SPACE.architecture(row)) for row in ROWS])
    rng = np.random.default_rng(0)
    found = {c.name: 100 * share + noise * rng.normal(size=81) for c, noise in ((VALID, 3.0), (EARLY, 12.0), (TEST, 3.0))}
    for values in found.values():
        values[::20] = np.nan
    return found


@dataclass(frozen=True)
class ToyTable:
    """All 81 architectures of `SPACE`; every twentieth row has no values."""

    seconds: bool = False

    @property
    def name(self) -> str:
        return "toy"

    @property
    def facts(self) -> TableFacts:
        return TableFacts("counting", 81, (VALID, EARLY), (TEST,), "none", "made up")

    def objective(self, dataset: str, epochs: int | None = None) -> Recorded:
        for column in self.facts.columns:
            if column.dataset == dataset and epochs in (None, column.epochs):
                return Recorded(column, _recorded()[column.name])
        raise UnknownName(f"there is no '{dataset}' after {epochs} epochs")

    def row(self, space: Any, architecture: Architecture) -> int | None:
        return ROWS.index(architecture.choices) if architecture.choices in ROWS else None

    def architecture(self, space: Any, row: int) -> Architecture:
        return space.architecture(ROWS[row])

    def metrics(self, row: int) -> Mapping[str, float]:
        return {"params": float(sum(ROWS[row])), **({"seconds": 60.0} if self.seconds else {})}


TABLE = ToyTable()
REPORT = Recorded(TEST, _recorded()[TEST.name])


@dataclass(frozen=True)
class LookUp:
    """Reads `TABLE`; refuses rows without a value."""

    epochs: int = 9
    cost: float = 1.0

    def refusal(self, problem: Problem, architecture: Architecture) -> str | None:
        return None if np.isfinite(self._value(architecture)) else "it has no value"

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        return Estimate(self._value(architecture), self.cost)

    def _value(self, architecture: Architecture) -> float:
        return float(TABLE.objective("toy", self.epochs).values[ROWS.index(architecture.choices)])


@dataclass(frozen=True)
class Fickle:
    """The share of right choices with noise that follows from the seed; NaN on some; a line in `trace` for each call."""

    trace: str = ""
    every: int = 7

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        if self.trace:
            with Path(self.trace).open("a") as file:
                file.write(f"{architecture}\n")
        if derive(0, architecture) % self.every == 0:
            raise NotFinite(f"{architecture} has no score")
        return Estimate(right_share(problem, architecture) + derive(seed) / 2**65, 1.0)
