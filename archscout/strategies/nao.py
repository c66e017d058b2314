"""NAO: architectures made continuous; climb a prediction's gradient from the best known ones and read what is there.

Luo, Tian, Qin, Chen and Liu 2018 (arXiv 1808.07233). Random architectures are judged. A controller (`learners/nao.py`) learns to
encode, predict and decode them. From the encodings h of the best known ones it steps along the gradient of the prediction f,

    h' = normalised(h + step * df/dh),        step = increment, 2 increment, ...

and decodes; what is new is judged, and the controller learns again from all that is known.

Published: 600 random architectures, then 2 rounds of 200 from the 100 best; no scoring of what was decoded; targets "min-max".

Deviations: beside what the gradient leads to, mutations of the best stand for choice (`moves` "both"; "gradient" is published);
with them it finds far better cells in NAS-Bench-101 (`benchmarks/nao.py`). Rounds are smaller and more, since judges here are cheap
or budgets small. Decoded candidates are encoded again, and those of the best prediction are kept (`rescore`). Steps are measured in
rows of the mean gradient (`relative`), whose own length differs from one training to the next. Controllers learn the rank of a
value (`targets`). Where tokens are options of decisions the predictor reads all states of a memory in place of their mean
(`reads`): so it orders unknown cells of NAS-Bench-201 far better. Those of NAS-Bench-101 have tokens of their own, and the mean.
Steps grow until enough is found, `furthest` times at the most, however many tokens they change; row norms are not logged. Where
climbing finds too few new architectures, random ones fill the round. Architectures that could not be judged teach nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.encoding import encoding_of
from archscout.core.evidence import Observation
from archscout.core.moves import Progress, Search
from archscout.core.problem import Problem
from archscout.core.protocols import Snapshot
from archscout.core.seeds import derive, generator
from archscout.nn.controller import Controller, Fit, Trained, learned, ordered_pairs, restored, written
from archscout.nn.measure import acceptance
from archscout.nn.supernet_training import back, kept
from archscout.nn.threads import torch_threads
from archscout.strategies._climbing import ClimbSettings, climbed
from archscout.strategies._desk import Desk
from archscout.strategies._fresh import Known, architectures_of, texts_of, unmet

_SHOWN = ("epochs", "reconstructed", "pairs", "held_out_pairs")


@dataclass(frozen=True)
class Nao(ClimbSettings):
    """Neural architecture optimization.

    initial: random architectures that are judged first. new: architectures of a round.
    refresh: epochs of the controller's training after the first round, from the weights it has and with nothing held out; 0 trains
    a new one every time.
    overlap: so many architectures may be without a result when the next round begins, so that many workers never stand still.
    """

    initial: int = 50
    new: int = 25
    refresh: int = 30
    overlap: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, initial=2, new=1, refresh=0, overlap=0)
        if self.overlap > self.initial - 2:
            raise ValueError(f"two of {self.initial} initial architectures must land before a round, but overlap is {self.overlap}")

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """Climb until the budget is spent or nothing new is found; the best observation is the answer."""
        pool = _Pool(problem) if state is None else _Pool.restored(problem, state)
        trained = None if state is None else _restored(problem, self, state)
        turn = 0 if state is None else int(state["turn"])
        members: Sequence[Controller] = ()
        foretold = float("nan")
        told: dict[Architecture, float] = {} if state is None else pool.told(state)
        desk = Desk(told)
        while len(pool.values) < 2:
            wanted = self.initial - len(pool.values) - desk.in_flight
            drawn = list(islice(pool.random(generator(seed, "start", len(pool.met))), wanted))
            if not drawn and not desk.in_flight:
                return None
            pool.extend((yield from desk.judge_some(drawn, self.overlap if drawn else 0)))
        while True:
            if trained is None:
                # What went into the weights before can no longer be held out: `pairs foretold` then says what the controller knows.
                again = replace(self, epochs=self.refresh, held_out=0.0) if members else self
                with torch_threads(1):
                    trained = pool.learned(again, derive(seed, "controller", turn), members)
                metrics = {"turn": turn, **_metrics(trained.fits), **_finite({"pairs foretold": foretold})}
                yield Progress(None, metrics, {"turn": turn, **pool.state(desk.out, told), **_kept(trained)})
            with torch_threads(1):
                found = pool.climbed(trained, self, derive(seed, "climb", turn))
                found += islice(pool.random(generator(seed, "turn", turn)), self.new - len(found))
                if not found:
                    return None
                told |= zip(found, trained.predict(written(problem.space, found)), strict=True)
            landed = yield from desk.judge_some(found, self.overlap)
            pool.extend(landed)
            judged = [seen for seen in landed if seen.estimate and np.isfinite(told.get(seen.architecture, np.nan))]
            foretold = ordered_pairs(
                np.array([told[seen.architecture] for seen in judged]), np.array([seen.value for seen in judged])
            )
            members = trained.members if self.refresh else ()
            trained, turn = None, turn + 1


class _Pool:
    """What was proposed, and what came of it."""

    def __init__(self, problem: Problem) -> None:
        self.space, self.accept, self.known = problem.space, acceptance(problem), Known(problem.space)
        self.met: dict[Architecture, float] = {}

    @property
    def values(self) -> dict[Architecture, float]:
        """Of those that could be judged."""
        return {architecture: value for architecture, value in self.met.items() if np.isfinite(value)}

    def random(self, rng: np.random.Generator) -> Iterator[Architecture]:
        """Random architectures that are new; each counts as met."""
        return unmet(self.space, rng, self.accept, self.known, self.met)

    def best(self, count: int) -> list[Architecture]:
        """Those of the highest values, best first."""
        values = self.values
        return sorted(values, key=lambda architecture: -values[architecture])[:count]

    def learned(self, settings: Nao, seed: int, start: Sequence[Controller]) -> Trained:
        """Controllers that have learned all of it."""
        values = self.values
        return learned(self.space, list(values), list(values.values()), settings, seed, start=start)

    def climbed(self, trained: Trained, settings: Nao, seed: int) -> list[Architecture]:
        """New architectures from the best ones; each counts as met."""
        best = self.best(settings.seeds)
        found = climbed(self.space, trained, best, settings.new, self.known, self.accept, settings, seed)
        return [architecture for architecture in found if self.known.is_new(architecture)]

    def extend(self, landed: Sequence[Observation]) -> None:
        """Take in what landed; a failure is only met."""
        for seen in landed:
            self.met[seen.architecture] = seen.estimate.value if seen.estimate else float("nan")
            self.known.is_new(seen.architecture)

    def state(self, out: Sequence[Architecture], told: Mapping[Architecture, float]) -> dict[str, Any]:
        """For a snapshot. out: what has no result yet. told: the predictions, as far as there are any."""
        found: dict[str, Any] = {"architectures": texts_of(self.met), "values": np.array(list(self.met.values()))}
        if out:
            found |= {"out": texts_of(out), "told": np.array([told.get(architecture, np.nan) for architecture in out])}
        return found

    def told(self, state: Snapshot) -> dict[Architecture, float]:
        """What had no result when the snapshot was taken, and the predictions; it counts as met."""
        out = architectures_of(self.space, state.get("out", ""))
        for architecture in out:
            self.known.is_new(architecture)
        return dict(zip(out, np.asarray(state.get("told", ())).tolist(), strict=True))

    @classmethod
    def restored(cls, problem: Problem, state: Snapshot) -> _Pool:
        """Back from a snapshot."""
        pool = cls(problem)
        architectures = architectures_of(problem.space, state["architectures"])
        pool.met = dict(zip(architectures, np.asarray(state["values"]).tolist(), strict=True))
        pool.known = Known(problem.space, architectures)
        return pool


def _metrics(fits: Sequence[Fit]) -> dict[str, float]:
    """Means over the controllers, without what was not measured."""
    return _finite({name.replace("_", " "): float(np.mean([getattr(fit, name) for fit in fits])) for name in _SHOWN})


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _kept(trained: Trained) -> dict[str, Any]:
    return {
        name: part
        for number, member in enumerate(trained.members)
        for name, part in kept(member.state_dict(), f"{number}.").items()
    }


def _restored(problem: Problem, settings: Nao, state: Snapshot) -> Trained:
    """The controllers of a snapshot; how their training went is not in it."""
    encoding = encoding_of(problem.space)
    return Trained([restored(encoding, settings, back(state, f"{number}.")) for number in range(settings.members)], ())
