"""Successive halving: judge many cheaply, keep the best part, judge those better, and so on.

Jamieson, Talwalkar (2016), arXiv 1502.07943, algorithm 1, with fidelities (for `train`: epochs) as the resource, as in Hyperband
(Li et al. 2018, arXiv 1603.06560).

Every rung is judged completely before the cut; values of different fidelities are never compared. Ties go to the earlier
candidate; failures drop out.

Deviations: the architectures may be given instead of drawn, and some of them can be kept through to the last rung, so that
hand-made baselines are trained at the same cost as the finalists. Those do not count in the part that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.evidence import Observation, best_of
from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import generator
from archscout.nn.measure import acceptance
from archscout.strategies._desk import Desk
from archscout.strategies._fresh import fresh


@dataclass(frozen=True)
class SuccessiveHalving:
    """Successive halving.

    candidates: architectures as text, in any spaces; empty to draw.
    count: how many are drawn (fewer where the space has fewer).
    rungs: the fidelities, rising.
    keep: one in so many goes on to the next rung (Hyperband's eta); at least one does.
    keep_always: architectures as text that go on whatever their value; added where `candidates` lacks them.
    """

    candidates: tuple[str, ...] = ()
    count: int = 27
    rungs: tuple[float, ...] = (1.0, 3.0, 9.0)
    keep: int = 3
    keep_always: tuple[str, ...] = ()

    BEATS_RANDOM: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.rungs or any(low >= high for low, high in pairwise((0, *self.rungs))):
            raise ValueError(f"rungs are rising positive fidelities, such as 1, 3, 9, but {self.rungs} came")
        if self.keep < 2 or self.count < 1:
            raise ValueError(f"keep is at least 2 and count at least 1, but {self.keep} and {self.count} came")

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """One pass over the rungs; the answer is the best of the deepest rung in which something could be judged."""
        always = {Architecture.parse(text) for text in self.keep_always}
        pool = list(dict.fromkeys([*self._start(problem, seed), *map(Architecture.parse, self.keep_always)]))
        desk = Desk()
        best: Architecture | None = None
        for rung in self.rungs:
            judged = yield from desk.judge_all(pool, fidelity=rung)
            top = best_of(judged)
            if top is None:
                break
            best = top.architecture
            yield Progress(best, {"fidelity": rung, "candidates": len(pool), "value": top.value})
            pool = self._cut(judged, always)
        return best

    def _start(self, problem: Problem, seed: int) -> list[Architecture]:
        if self.candidates:
            return [Architecture.parse(text) for text in self.candidates]
        drawn: dict[Architecture, None] = {}
        rng = generator(seed, "successive-halving")
        for architecture in islice(fresh(problem.space, rng, acceptance(problem), drawn), self.count):
            drawn[architecture] = None
        return list(drawn)

    def _cut(self, judged: list[Observation], always: set[Architecture]) -> list[Architecture]:
        """The survivors, in the order of the pool."""
        alive = [observation for observation in judged if observation.estimate]
        rivals = sorted((o for o in alive if o.architecture not in always), key=lambda o: -o.value)
        survivors = {o.architecture for o in rivals[: max(1, len(rivals) // self.keep)]} | always
        return [o.architecture for o in alive if o.architecture in survivors]
