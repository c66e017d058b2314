"""Refuses what is over the limits before anything is spent on it."""

from __future__ import annotations

from statistics import median

from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.evidence import Failure
from archscout.core.joint import JointSpace
from archscout.core.problem import COUNTED, Problem
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import derive, seeded
from archscout.nn.threads import torch_threads
from archscout.store.log import Log

_WORDS = {
    "params": "{:,.0f} parameters",
    "macs": "{:,.0f} MACs",
    "work": "work of {:,.0f} MACs a training step and image",
    "latency_ms": "{:.3g} ms",
}


class Gate:
    """What the limits of a problem say of architectures, each measured once; what a log already knows is not measured again.

    counted: count where counting is quick, also where no limit asks for it.
    """

    def __init__(self, problem: Problem, seed: int, log: Log, *, counted: bool = True) -> None:
        for name in problem.limits:
            if name not in _WORDS:
                raise UserError(f"there is no limit '{name}'; known: {', '.join(_WORDS)}")
        self._problem = problem
        self._seed = seed
        graphs = counted and isinstance(problem.space, GraphSpace | JointSpace)
        self._counts = graphs or any(name in problem.limits for name in COUNTED)
        self._known: dict[Architecture, tuple[Failure | None, dict[str, float]]] = {}
        for seen in log.results.values():
            if seen.failure and seen.failure.kind == "over_limit":
                self._known[seen.architecture] = seen.failure, {}
            elif seen.estimate and "latency_ms" in problem.limits and "latency_ms" in seen.estimate.metrics:
                self._known[seen.architecture] = (
                    None,
                    {"latency_ms": seen.estimate.metrics["latency_ms"], **self._counted(seen.architecture)},
                )

    def check(self, architecture: Architecture) -> tuple[Failure | None, dict[str, float]]:
        """The failure of an architecture over a limit (else None), and the facts measured on the way."""
        if not self._counts and not self._problem.limits:
            return None, {}
        if architecture not in self._known:
            self._known[architecture] = self._measure(architecture)
        return self._known[architecture]

    def _measure(self, architecture: Architecture) -> tuple[Failure | None, dict[str, float]]:
        facts = self._counted(architecture)
        failure = self._over(facts)
        if failure is None and "latency_ms" in self._problem.limits:
            try:
                facts["latency_ms"] = self._latency(architecture)
            except Exception as error:
                return Failure("error", f"{type(error).__name__}: {' '.join(str(error).split())}"), facts
            failure = self._over(facts)
        return failure, facts

    def _over(self, facts: dict[str, float]) -> Failure | None:
        for name, bound in self._problem.limits.items():
            if name in facts and facts[name] > bound:
                have, allowed = _WORDS[name].format(facts[name]), _WORDS[name].format(bound)
                return Failure("over_limit", f"it has {have}, above the limit of {allowed}")
        return None

    def _counted(self, architecture: Architecture) -> dict[str, float]:
        if not self._counts:
            return {}
        from archscout.nn.measure import counts

        try:
            return dict(counts(self._problem.space, architecture, self._problem.task))
        except Exception:  # what cannot be built is for the judge to fail on, with a reason of its own
            return {}

    def _latency(self, architecture: Architecture) -> float:
        from archscout.nn.measure import latency

        with seeded(derive(self._seed, "latency", architecture)):
            network = self._problem.space.build(architecture, self._problem.task)
        with torch_threads(1):  # as the report measures the network that is handed over
            return median(latency(network, self._problem.task, device=self._problem.device))
