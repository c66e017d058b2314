"""Strategies that say everything a strategy can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archscout.core.draw import mutate, sample
from archscout.core.evidence import Observation
from archscout.core.moves import Progress, Propose, Search, Wait
from archscout.core.problem import Problem
from archscout.core.seeds import generator


@dataclass(frozen=True)
class Evolution:
    """A small evolution."""

    population: int = 5

    def search(self, problem: Problem, *, seed: int, state: Mapping[str, Any] | None = None) -> Search:
        rng = generator(seed)
        alive: list[Observation] = []
        for _ in range(self.population):
            alive.extend(seen for seen in (yield Propose(sample(problem.space, rng))) if seen.estimate)
        while True:
            while not alive:
                alive.extend(seen for seen in (yield Propose(sample(problem.space, rng))) if seen.estimate)
            parent = max((alive[int(rng.integers(len(alive)))] for _ in range(3)), key=lambda seen: seen.value)
            alive.extend(seen for seen in (yield Propose(mutate(problem.space, parent.architecture, rng))) if seen.estimate)
            alive = alive[-self.population :]


@dataclass(frozen=True)
class Chaotic:
    """Proposes, waits, reports and changes judges and fidelities by what it has seen."""

    length: int = 60

    def search(self, problem: Problem, *, seed: int, state: Mapping[str, Any] | None = None) -> Search:
        rng = generator(seed)
        flying = 0
        seen: list[Observation] = []
        for _ in range(self.length):
            roll = rng.random() + (0.01 * len(seen) % 0.1)
            if roll < 0.15 and flying:
                landed = yield Wait()
                assert len(landed) == 1
            elif roll < 0.3:
                landed = yield Progress(max(seen, key=lambda o: o.value).architecture if seen else None, {"seen": len(seen)})
                assert not landed
            else:
                judge, fidelity = ("main", None) if roll < 0.8 else ("proxy", 3.0)
                flying += 1
                landed = yield Propose(sample(problem.space, rng), judge, fidelity)
            flying -= len(landed)
            seen.extend(landed)
        return None


@dataclass(frozen=True)
class Climbing:
    """Owns its loop and goes on from its snapshots."""

    steps: int = 12
    propose: bool = False

    def search(self, problem: Problem, *, seed: int, state: Mapping[str, Any] | None = None) -> Search:
        total = np.zeros(4) if state is None else state["total"]
        for step in range(0 if state is None else state["step"] + 1, self.steps):
            total = total + generator(seed, "step", step).normal(size=4)
            if self.propose:
                yield Propose(problem.space.architecture([step % 4] * 6))
            best = problem.space.architecture([int(np.argmax(total))] * 6)
            yield Progress(best, {"norm": float(np.abs(total).max())}, {"total": total, "step": step})
        return problem.space.architecture([int(np.argmax(total))] * 6)


@dataclass(frozen=True)
class Listed:
    """A given list."""

    moves: tuple[Any, ...]

    def search(self, problem: Problem, *, seed: int, state: Mapping[str, Any] | None = None) -> Search:
        for move in self.moves:
            _ = yield move
