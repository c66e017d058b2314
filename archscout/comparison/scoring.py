"""Has many architectures judged, each once, by one or several judges; a kill loses nothing that was judged.

Every judgement is appended to a part file beside the result (`store.lines`); the same question asked again goes on from there and
gives the same scores. Loops run over architectures outside and judges inside, so that judges that share a pass over the network
find it fresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import inf
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from archscout.catalogue import plain_record
from archscout.comparison.telling import Countdown, say
from archscout.core.architecture import Architecture
from archscout.core.errors import Interrupted, UserError
from archscout.core.evidence import Estimate, Failure, FailureKind
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.core.scores import ScoreTable, make_scores, pack, read_scores
from archscout.core.seeds import derive
from archscout.engine.executors import Executor, Job
from archscout.engine.machine import versions
from archscout.engine.placement import HERE, Placement
from archscout.store.files import write_atomic
from archscout.store.lines import LineFile

_ALL_FAILED = 20
"""After so many architectures without a single score the judges are taken to be broken."""


class Judgement(NamedTuple):
    """What one judge said: a value, or the kind of its failure and why; and the seconds it took."""

    value: float | None
    kind: FailureKind | None
    message: str
    seconds: float


Row = tuple[Judgement, ...]


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be judged, by whom, in which order. The seed of each judgement is named by its architecture, as in a search.

    members: of an architecture that is judged for several, all of them (itself too).
    """

    problem: Problem
    judges: Mapping[str, Estimator]
    architectures: Sequence[Architecture]
    seed: int = 0
    members: Mapping[Architecture, Sequence[Architecture]] = field(default_factory=dict)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the scores belong to, as JSON takes it."""
        order = blake2b("\n".join(map(str, self.architectures)).encode(), digest_size=16).hexdigest()
        return {
            "space": plain_record(self.problem.space),
            "judges": {name: plain_record(judge) for name, judge in self.judges.items()},
            "data": self.problem.task.fingerprint,
            "task": [self.problem.task.name, list(self.problem.task.shape), self.problem.task.classes],
            "seed": self.seed,
            "architectures": [len(self.architectures), order],
            "per_class": bool(self.members),
            "archscout": versions()["archscout"],
        }

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the question."""
        return blake2b(repr(self.record).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Together:
    """Several judges as one, each value a metric; those that fail are left out."""

    judges: tuple[tuple[str, Estimator], ...]

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The values as the metrics `name`, their seconds as `name seconds`."""
        metrics: dict[str, float] = {}
        for name, judge in self.judges:
            start = perf_counter()
            try:
                value = judge.estimate(problem, architecture, seed=seed).value
            except Exception:  # it is judged again alone, which types the failure
                continue
            metrics |= {name: value, f"{name} seconds": perf_counter() - start}
        return Estimate(0.0, metrics=metrics)


class _Desk:
    """Hands architectures to an executor and puts together what the judges say of each."""

    def __init__(self, question: Question, executor: Executor) -> None:
        self._question, self._executor = question, executor
        self._jobs: dict[Job, tuple[int, str | None]] = {}
        self._said: dict[int, dict[str, Judgement]] = {}
        self._together = Together(tuple(question.judges.items()))

    def __len__(self) -> int:
        return len(self._said)

    def submit(self, number: int) -> None:
        """Hand in the architecture of this number."""
        self._said[number] = {}
        names = list(self._question.judges)
        self._fly(number, names[0] if len(names) == 1 else None)

    def landed(self) -> Iterator[tuple[int, Row]]:
        """The architectures that all judges have judged since the last call; waits a moment for one."""
        for job in self._executor.wait(1.0):
            assert job.outcome is not None
            number, name = self._jobs.pop(job)
            said = self._said[number]
            if name is not None:
                said[name] = _judgement(job.outcome, job.seconds)
            else:
                found = job.outcome.metrics if isinstance(job.outcome, Estimate) else {}
                for each in self._question.judges:
                    if each in found:
                        said[each] = Judgement(found[each], None, "", found[f"{each} seconds"])
                    else:
                        self._fly(number, each)
            if len(said) == len(self._question.judges):
                del self._said[number]
                yield number, tuple(said[each] for each in self._question.judges)

    def _fly(self, number: int, name: str | None) -> None:
        question = self._question
        architecture = question.architectures[number]
        judge = self._together if name is None else question.judges[name]
        seed = derive(question.seed, "estimate", architecture)
        self._jobs[self._executor.submit(judge, question.problem, architecture, seed)] = number, name


def _judgement(outcome: Estimate | Failure, seconds: float) -> Judgement:
    if isinstance(outcome, Estimate):
        return Judgement(outcome.value, None, "", seconds)
    return Judgement(None, outcome.kind, outcome.message, seconds)


def scores_of(
    question: Question, out: Path | None, *, what: str, placement: Placement = HERE, minutes: float | None = None,
    folder: Path = Path("runs"),
) -> ScoreTable:  # fmt: skip
    """The scores of a question, in its order; those that there was time for where `minutes` are given.

    out: the score file, written at the end; its part file `out.part` stays until all is judged. Without it the part file lies in
    `folder` and goes when all is judged. A file that answers the question already is read.
    Raises UserError where `out` holds something else, or no architecture could be judged.
    """
    if not question.architectures:
        raise UserError("there is no architecture to judge; choose another table or space")
    if out is not None and (there := _answered(question, out)) is not None:
        say(f"{what}: all scores are in '{out}' already")
        return there
    part = Path(f"{out}.part") if out is not None else folder / f"scores-{question.digest}.part"
    lines = LineFile(part, question.record)
    rows = {number: tuple(Judgement(*judgement) for judgement in row) for number, row in lines.entries}
    served = False
    try:
        if rows:
            say(f"{what}: going on after {len(rows):,} of {len(question.architectures):,} from '{part}'")
        with placement.quickest() as executor:
            _judge(question, executor, rows, lines, inf if minutes is None else monotonic() + 60 * minutes, what)
        _check_any(question, list(rows.values()))
        table = _table(question, rows)
        if out is not None:
            write_atomic(out, pack(table))
        served = bool(table.facts["complete"])
    except Interrupted as stop:
        stop.hint = "Go on with the same command."
        raise
    finally:
        lines.close(remove=served or not rows)
    return table


def _judge(question: Question, executor: Executor, rows: dict[int, Row], lines: LineFile, deadline: float, what: str) -> None:
    total, desk = len(question.architectures), _Desk(question, executor)
    waiting = iter([number for number in range(total) if number not in rows])
    countdown, hopeful = Countdown(what, total, len(rows)), False
    while True:
        while len(desk) < 2 * executor.workers and monotonic() < deadline and (number := next(waiting, None)) is not None:
            desk.submit(number)
        if not len(desk):
            break
        for number, row in desk.landed():
            rows[number] = row
            lines.add([number, row])
        if not hopeful and len(rows) >= _ALL_FAILED:
            _check_any(question, list(rows.values()))
            hopeful = True
        countdown.at(len(rows), executor.state and f" ({executor.state})")
    countdown.close()


def _check_any(question: Question, rows: Sequence[Row]) -> None:
    """Raises UserError where no judge has judged any architecture."""
    if rows and all(judgement.value is None for row in rows for judgement in row):
        first = rows[0][0]
        hint = "" if question.problem.task.splits else ", or give it images with --data"
        raise UserError(
            f"{' and '.join(question.judges)} could judge none of {len(rows)} architectures ({first.kind}: {first.message}); "
            f"choose another judge{hint}"
        )


def _answered(question: Question, out: Path) -> ScoreTable | None:
    """The scores in `out` where they answer the question; None where there is no such file, or it holds a part of them."""
    if not out.exists():
        return None
    table = read_scores(out)
    there, asked = table.facts.get("question", {}), question.record
    if there != asked:
        other = [name for name in asked if there.get(name) != asked[name]]
        raise UserError(
            f"'{out}' holds the scores of another question ({', '.join(other)} differs); remove it, or choose another with --out"
        )
    return table if table.facts["complete"] else None


def _table(question: Question, rows: Mapping[int, Row]) -> ScoreTable:
    numbers = sorted(rows)
    if not numbers:
        raise UserError("the time was up before the first architecture was judged; give more --minutes")
    seconds = {
        name: sum(rows[number][place].seconds for number in numbers) / len(numbers) for place, name in enumerate(question.judges)
    }
    facts = {
        "question": question.record, "complete": len(rows) == len(question.architectures), "judged": len(rows),
        "seconds": seconds, "versions": versions(),
    }  # fmt: skip
    found = [
        (member, [_outcome(judgement) for judgement in rows[number]])
        for number in numbers
        for member in question.members.get(question.architectures[number], (question.architectures[number],))
    ]
    return make_scores([member for member, _ in found], list(question.judges), [outcomes for _, outcomes in found], facts)


def _outcome(judgement: Judgement) -> float | FailureKind:
    if judgement.value is not None:
        return judgement.value
    assert judgement.kind is not None
    return judgement.kind
