"""Shared by the strategies: what was proposed and is still out.

With several workers the answer to a proposal brings the results that are due: none, or those of earlier proposals. `Desk` matches
them to what was proposed, so that a strategy can say "judge these and give me the results".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence

from archscout.core.architecture import Architecture
from archscout.core.evidence import Observation
from archscout.core.moves import Move, Propose, Wait

Results = Generator[Move, Sequence[Observation], Sequence[Observation]]
_Key = tuple[Architecture, str, float | None]


class Desk:
    """Counts what was proposed and has not landed. out: what of the judge "main" was out when a snapshot was taken."""

    def __init__(self, out: Iterable[Architecture] = ()) -> None:
        self._out: Counter[_Key] = Counter((architecture, "main", None) for architecture in out)

    @property
    def in_flight(self) -> int:
        """Proposals without a result."""
        return self._out.total()

    @property
    def out(self) -> list[Architecture]:
        """Architectures without a result, in the order in which they were proposed."""
        return [architecture for (architecture, _, _), count in self._out.items() for _ in range(count)]

    def judge(self, architecture: Architecture, judge: str = "main", fidelity: float | None = None) -> Results:
        """Propose; gives what has landed, perhaps nothing."""
        self._out[architecture, judge, fidelity] += 1
        return self._noted((yield Propose(architecture, judge, fidelity)))

    def wait(self) -> Results:
        """Wait; gives what has landed."""
        return self._noted((yield Wait()))

    def settle(self) -> Generator[Move, Sequence[Observation], list[Observation]]:
        """Wait until nothing is in flight; gives all that landed."""
        landed: list[Observation] = []
        while self.in_flight:
            landed.extend((yield from self.wait()))
        return landed

    def judge_all(
        self, architectures: Iterable[Architecture], judge: str = "main", fidelity: float | None = None
    ) -> Generator[Move, Sequence[Observation], list[Observation]]:
        """The observations of these architectures, each proposed once, in their order; returns when all have landed."""
        wanted = list(dict.fromkeys(architectures))
        found: dict[Architecture, Observation] = {}
        landed: list[Observation] = []
        for architecture in wanted:
            landed.extend((yield from self.judge(architecture, judge, fidelity)))
        landed.extend((yield from self.settle()))
        for observation in landed:
            if (observation.judge, observation.fidelity) == (judge, fidelity):
                found[observation.architecture] = observation
        return [found[architecture] for architecture in wanted if architecture in found]

    def judge_some(
        self, architectures: Iterable[Architecture], out: int = 0
    ) -> Generator[Move, Sequence[Observation], list[Observation]]:
        """Propose these, each once, and wait until no more than `out` are without a result; gives what landed meanwhile."""
        landed: list[Observation] = []
        for architecture in dict.fromkeys(architectures):
            landed.extend((yield from self.judge(architecture)))
        while self.in_flight > out:
            landed.extend((yield from self.wait()))
        return landed

    def _noted(self, landed: Sequence[Observation]) -> Sequence[Observation]:
        for observation in landed:
            key = (observation.architecture, observation.judge, observation.fidelity)
            if self._out[key] > 1:
                self._out[key] -= 1
            else:
                del self._out[key]
        return landed
