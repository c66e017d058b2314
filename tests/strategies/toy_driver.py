"""A toy space and a driver of a few lines, so that the tests see every move."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.evidence import Estimate, Failure, Observation
from archscout.core.moves import Move, Progress, Propose, Wait
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.protocols import Strategy


@dataclass(frozen=True)
class ToySpace:
    """Some decisions with equally many options."""

    places: int = 4
    options: int = 3
    name: str = "toy"

    @property
    def decisions(self):
        return tuple(Decision(f"d{i}", tuple(map(str, range(self.options)))) for i in range(self.places))

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture, task):
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2 + 2 * sum(architecture.choices), bias=False))


def toy(places: int = 4, options: int = 3, **limits: float) -> Problem:
    return Problem(ToySpace(places, options), Task("toy", IMAGE_CLASSIFICATION, (1, 2, 2), 2, "toy"), limits)


@dataclass
class Played:
    moves: list[Move] = field(default_factory=list)
    landed: list[Observation] = field(default_factory=list)
    answer: Architecture | None = None
    ended: bool = False

    @property
    def proposed(self) -> list[Architecture]:
        return [move.architecture for move in self.moves if isinstance(move, Propose)]


def play(
    strategy: Strategy,
    problem: Problem,
    value: Callable[[Propose], float | None],
    *,
    seed: int = 0,
    moves: int = 100,
    workers: int = 1,
) -> Played:
    """Drive `strategy` for so many moves; `value` None is a failure. Results land in proposal order, `workers` - 1 behind."""
    out = Played()
    search = strategy.search(problem, seed=seed)
    flying: deque[Propose] = deque()
    answer: list[Observation] = []
    started = False
    while len(out.moves) < moves:
        try:
            move = search.send(answer) if started else next(search)
        except StopIteration as end:
            out.answer, out.ended = end.value, True
            break
        started = True
        out.moves.append(move)
        if isinstance(move, Propose):
            flying.append(move)
        assert flying or isinstance(move, Progress), "waits for nothing"
        answer = []
        if (isinstance(move, Propose) and len(flying) >= workers) or isinstance(move, Wait):
            due = flying.popleft()
            found = value(due)
            estimate = None if found is None else Estimate(found)
            failure = Failure("error", "made to fail") if found is None else None
            answer.append(Observation(due.architecture, estimate, failure, due.judge, due.fidelity))
        out.landed += answer
    search.close()
    return out
