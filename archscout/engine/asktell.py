"""Drive a strategy by hand: ask for an architecture, judge it however you like, tell the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate, Failure, Observation, best_of
from archscout.core.moves import Progress, Propose
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.protocols import Space, Strategy

ANY_TASK = Task("any", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "none")


class AskTell:
    """A strategy under your control. `strategy` and `space` are plug-ins or their names; `task` matters for limits only.

        search = AskTell("regularized-evolution", "nas201")
        architecture = search.ask()
        search.tell(architecture, 0.91)

    Values: higher is better; NaN counts as a failed candidate.
    """

    def __init__(
        self,
        strategy: Strategy | str,
        space: Space | str,
        task: Task | None = None,
        limits: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        made: Strategy = catalogue.make("strategies", strategy) if isinstance(strategy, str) else strategy
        where: Space = catalogue.make("spaces", space) if isinstance(space, str) else space
        self.problem = Problem(where, task or ANY_TASK, dict(limits or {}))
        self.observations: list[Observation] = []
        self._search = made.search(self.problem, seed=seed)
        self._pending: Propose | None = None
        self._landed: Sequence[Observation] | None = None

    def ask(self) -> Architecture:
        """What to judge next; the same until it was told. Raises UserError where the strategy has come to its end."""
        while self._pending is None:
            try:
                move = next(self._search) if self._landed is None else self._search.send(self._landed)
            except StopIteration:
                raise UserError("the strategy has come to its end; `best` holds the best architecture told") from None
            self._landed = ()
            if isinstance(move, Propose):
                self._pending = move
            elif not isinstance(move, Progress):
                raise UserError("this strategy waits for results that were all told; it cannot be driven by hand")
        return self._pending.architecture

    def tell(self, architecture: Architecture, value: float) -> None:
        """The value of the architecture that was asked for. Raises UserError for another one."""
        if self._pending is None or architecture != self._pending.architecture:
            wanted = "nothing was asked" if self._pending is None else f"'{self._pending.architecture}' was asked for"
            raise UserError(f"{wanted}, but a value for '{architecture}' came; call ask() first and tell its answer")
        estimate = Estimate(float(value)) if isfinite(value) else None
        failure = None if estimate else Failure("nan", f"the value is {value}")
        seen = Observation(architecture, estimate, failure, self._pending.judge, self._pending.fidelity)
        self.observations.append(seen)
        self._pending, self._landed = None, (seen,)

    @property
    def best(self) -> Observation | None:
        """The best told so far."""
        return best_of(self.observations)
