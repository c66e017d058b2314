"""The one loop: it talks with a strategy, has its proposals judged, keeps the record, minds the budget, and resumes by replay.

Results are delivered in proposal order: with w workers the answer to a proposal comes when fewer than w are in flight, so before
the answer to proposal k comes exactly the result of proposal k - w + 1. The same seed and number of workers give the same run.

A slow candidate holds back the answers to all behind it, and workers that have nothing else stand still: with 1,000 of them and the
durations of real trainings, two thirds of the time (`benchmarks/driver.py`). A look-ahead of a lets a times w be in flight, so that
they have something to do; the run is as reproducible as without, but a strategy knows less when it proposes. Or results are
delivered in the order in which they landed, which is that of the record: every run is another one, but a resumed one repeats it.

On resume a fresh generator is led through the recorded conversation without a single evaluation, and every move is compared with
the record; proposals that were in flight fly again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import inf
from time import monotonic
from typing import Any, Literal

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, LimitError, ReplayMismatch, StrategyError, UserError
from archscout.core.evidence import REFUSALS, Estimate, Failure, Observation
from archscout.core.joint import names_of
from archscout.core.moves import Move, Order, Progress, Propose, Wait
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, RefusingEstimator, Strategy
from archscout.core.seeds import derive
from archscout.engine.budget import Budget
from archscout.engine.executors import Executor, Job
from archscout.engine.limits import Gate
from archscout.store.log import Log

_HEARTBEAT_SECONDS = 5.0
_SAME_ERRORS = 3
_REFUSED_IN_A_ROW = 1000
_BROKEN = ("error", "oom", "timeout", "killed")


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show: counts over all sessions of the stage, `seconds` spent in it, and the best observation so far.

    workers: how those on other machines are getting on.
    """

    kind: Literal["replayed", "proposed", "landed", "progress", "mismatch", "stopped"]
    proposed: int
    landed: int
    failed: int
    evaluations: int
    seconds: float
    best: Observation | None
    observation: Observation | None = None
    progress: Progress | None = None
    message: str = ""
    workers: str = ""


Notify = Callable[[Event], None]
Refusal = Callable[[Problem, Architecture], str | None]


def drive(
    strategy: Strategy,
    judges: Mapping[str, Estimator],
    problem: Problem,
    *,
    seed: int,
    log: Log,
    executor: Executor,
    budget: Budget,
    notify: Notify | None = None,
    verify: bool = True,
    counted: bool = True,
    look_ahead: int = 1,
    order: Order = "proposed",
) -> Architecture | None:
    """Search until the strategy is done or the budget is spent; the answer, or None where nothing could be judged.

    The answer is what the strategy returned, else the best of its last progress, else the best observation of the first of
    `judges` (of "main", where there is one) at the highest fidelity. A finished log gives its answer at once. After any exception
    nothing is in flight and the log can be resumed. `verify=False` makes a warning event of a move that differs from the record.
    `counted=False` leaves counts that no limit needs out of the record: counting takes longer than a look into a table.
    look_ahead: proposals in flight for each worker. order: in which results are delivered; of one log always the same.

    Raises ReplayMismatch, StrategyError, LimitError, StorageError, and ArchscoutError where every candidate fails alike.
    """
    if log.finished:
        return log.answer
    run = _Run(strategy, judges, problem, seed, log, executor, budget, notify, verify, counted, look_ahead, order)
    try:
        answer, reason = run.converse()
    except BaseException:
        executor.cancel()
        raise
    log.finish(answer, reason)
    run.tell("stopped", message=reason)
    return answer


def at_fidelity(estimator: Estimator, fidelity: float | None) -> Estimator:
    """The judge at this fidelity: its field `epochs`, or the one its class names in FIDELITY, set to it; None leaves it alone."""
    if fidelity is None:
        return estimator
    name = getattr(type(estimator), "FIDELITY", "epochs")
    settings: Any = estimator
    if not is_dataclass(settings) or name not in {field.name for field in fields(settings)}:
        raise UserError(
            f"the judge '{type(estimator).__name__}' knows no fidelity; choose a strategy that asks for none, or 'train'"
        )
    whole = isinstance(getattr(settings, name), int) and float(fidelity).is_integer()
    change: Any = replace
    judge: Estimator = change(settings, **{name: int(fidelity) if whole else float(fidelity)})
    return judge


def failed_share(log: Log) -> float:
    """The share of failures among what landed, refused proposals left out; 0 where nothing landed."""
    judged = [seen for seen in log.results.values() if not seen.refused]
    return sum(seen.failure is not None for seen in judged) / len(judged) if judged else 0.0


class _TimeIsUp(Exception):
    pass


class _Run:
    def __init__(
        self,
        strategy: Strategy,
        judges: Mapping[str, Estimator],
        problem: Problem,
        seed: int,
        log: Log,
        executor: Executor,
        budget: Budget,
        notify: Notify | None,
        verify: bool,
        counted: bool,
        look_ahead: int,
        order: Order,
    ) -> None:
        self.judges, self.problem, self.seed = judges, problem, seed
        self.log, self.executor, self.budget, self.notify, self.verify = log, executor, budget, notify, verify
        self.window = executor.workers * look_ahead
        self.gate = Gate(problem, seed, log, counted=counted)
        self.main = "main" if "main" in judges else next(iter(judges))
        self.fidelities: dict[tuple[str, float | None], tuple[Estimator, Refusal | None]] = {}
        self.jobs: dict[Job, tuple[int, dict[str, float]]] = {}
        self.flying: dict[int, None] = {}
        self.landed = list(log.results) if order == "landed" else None
        self.marked = monotonic()
        self.past = len(log.moves)
        self.number, state = log.restart()
        self.proposed = self.evaluations = self.delivered = self.refused = 0
        self.streak: list[str] = []
        self.succeeded, self.charged = False, 0.0
        self.failed = sum(seen.failure is not None for seen in log.results.values())
        self.best = self._best()
        for number, entry in enumerate(log.moves):
            if isinstance(entry.move, Propose):
                self.proposed += 1
                landed = log.results.get(number)  # what had not landed counts when it flies again
                self.evaluations += landed is not None and not landed.refused and budget.counts(entry.move.judge)
        self.search = strategy.search(problem, seed=seed, state=state)
        self._skip(log.moves[self.number - 1].delivered if self.number else 0)

    def _skip(self, delivered: int) -> None:
        """Take over what was proposed before the snapshot that the strategy starts from."""
        proposals = {n: e.move for n, e in enumerate(self.log.moves[: self.number]) if isinstance(e.move, Propose)}
        self.flying = dict.fromkeys(proposals)
        for _ in range(delivered):
            self._deliver()
        for number in self.flying:
            self._fly(number, proposals[number])

    def converse(self) -> tuple[Architecture | None, str]:
        """The answer, and why the conversation ended."""
        try:
            answer, reason = self._talk()
        except _TimeIsUp:
            self.executor.cancel()
            answer, reason = None, "time"
        self.search.close()
        self._spend()
        if answer is None:
            last = next((e.move.best for e in reversed(self.log.moves) if isinstance(e.move, Progress) and e.move.best), None)
            best = self._best()
            answer = last or (best.architecture if best else None)
        return answer, reason

    def _talk(self) -> tuple[Architecture | None, str]:
        landed: Sequence[Observation] | None = None
        if self.past == self.number and self.past:
            self.tell("replayed", message=f"{self.past} moves")
        while True:
            try:
                # A generator that has not begun takes nothing but None.
                move = next(self.search) if landed is None else self.search.send(landed)
            except StopIteration as end:
                if self.number < self.past:
                    self._differs("comes to its end")
                self._drain()
                return end.value, "done"
            if self.number < self.past:
                move = self._replayed(move)
            else:
                reason = self._take(move)
                if reason is not None:
                    self._drain()
                    return None, reason
            self.number += 1
            landed = self._answer(move)

    def _replayed(self, move: Move) -> Move:
        logged = self.log.moves[self.number].move
        same = move == logged
        if isinstance(move, Progress) and isinstance(logged, Progress):
            same = move.best == logged.best
        if not same:
            self._differs(f"now makes {_words(move)}")
        if self.number + 1 == self.past:
            self.tell("replayed", message=f"{self.past} moves")
        return logged

    def _differs(self, what: str) -> None:
        logged = self.log.moves[self.number].move
        message = f"move {self.number}: the log has {_words(logged)}, the strategy {what}; settings or code changed since"
        if self.verify:
            raise ReplayMismatch(f"{message}; start a new run, or go on from the record with --no-verify")
        self.tell("mismatch", message=message)

    def _take(self, move: Move) -> str | None:
        """Record a new move; or, where the budget is spent, the reason to stop instead."""
        if isinstance(move, Progress):
            self.log.add_move(move, self.delivered)
            self._spend()
            self.tell("progress", progress=move)
            return "time" if self.budget.time_is_up(wall=self._wall(), charged=self.charged) else None
        if isinstance(move, Propose):
            if move.judge not in self.judges or move.architecture.space not in names_of(self.problem.space):
                raise StrategyError(
                    f"the strategy proposes {_words(move)}, but the run searches '{self.problem.space.name}' "
                    f"with the judges {', '.join(self.judges)}"
                )
            reason = self.budget.stop(wall=self._wall(), charged=self.charged, evaluations=self.evaluations)
            if reason is not None:
                return reason
            self.proposed += 1
        elif not isinstance(move, Wait):
            raise StrategyError(f"a strategy yields Propose, Wait or Progress, but {type(move).__name__} came")
        elif not self.flying:
            raise StrategyError("the strategy waits, but nothing is in flight; propose something first")
        self.log.add_move(move, self.delivered)
        return None

    def _answer(self, move: Move) -> list[Observation]:
        if isinstance(move, Propose):
            self.flying[self.number - 1] = None
            self._fly(self.number - 1, move, new=self.number > self.past)
        if self.number < self.past:
            due = self.log.moves[self.number].delivered - self.delivered
        elif isinstance(move, Propose):
            due = max(0, len(self.flying) - self.window + 1)
        else:
            due = int(isinstance(move, Wait) and bool(self.flying))
        return [self._land() for _ in range(due)]

    def _fly(self, number: int, move: Propose, new: bool = False) -> None:
        if number in self.log.results:
            return
        key = move.judge, move.fidelity
        if key not in self.fidelities:
            chosen = at_fidelity(self.judges[move.judge], move.fidelity)
            self.fidelities[key] = chosen, chosen.refusal if isinstance(chosen, RefusingEstimator) else None
        judge, refusal = self.fidelities[key]
        failure, facts = self.gate.check(move.architecture)
        if failure is None and refusal is not None:
            why = refusal(self.problem, move.architecture)
            failure = Failure("unrecorded", why) if why is not None else None
        refused = failure is not None and failure.kind in REFUSALS
        self.evaluations += not refused and self.budget.counts(move.judge)
        if new:
            self.refused = self.refused + 1 if refused else 0
            self.tell("proposed")
        if self.refused >= _REFUSED_IN_A_ROW:
            raise LimitError(
                f"{self.refused:,} proposals in a row were over the limits or without a record; raise the limits, or choose "
                "another strategy or table"
            )
        if failure is not None:
            self._record(number, failure, {}, 0.0)
            return
        seed = derive(self.seed, "estimate", move.architecture)
        job = self.executor.submit(judge, self.problem, move.architecture, seed)
        self.jobs[job] = number, facts

    def _land(self) -> Observation:
        while self._next() not in self.log.results:
            remaining = self.budget.remaining(self._wall())
            if remaining == 0.0:
                raise _TimeIsUp
            for job in self.executor.wait(_HEARTBEAT_SECONDS if remaining is None else min(_HEARTBEAT_SECONDS, remaining)):
                assert job.outcome is not None
                self._record(*self._of(job), job.seconds, job.place)
            self._spend()
        return self._deliver()

    def _of(self, job: Job) -> tuple[int, Estimate | Failure, dict[str, float]]:
        assert job.outcome is not None
        number, facts = self.jobs.pop(job)
        return number, job.outcome, facts

    def _record(self, number: int, outcome: Estimate | Failure, facts: dict[str, float], seconds: float, place: str = "") -> None:
        move = self.log.moves[number].move
        assert isinstance(move, Propose)
        estimate = failure = None
        if isinstance(outcome, Estimate):
            estimate = replace(outcome, metrics={**facts, **outcome.metrics}) if facts else outcome
        else:
            failure = outcome
            self.failed += 1
        seen = Observation(move.architecture, estimate, failure, move.judge, move.fidelity)
        self._spend()
        self.log.add_result(number, seen, seconds, place)
        if self.landed is not None:
            self.landed.append(number)
        if self._rank(seen) > self._rank(self.best):
            self.best = seen
        self.tell("landed", observation=seen)

    def _next(self) -> int | None:
        """The number of the proposal whose result is delivered next; None where that is not known yet."""
        if self.landed is None:
            return next(iter(self.flying))
        return self.landed[self.delivered] if self.delivered < len(self.landed) else None

    def _deliver(self) -> Observation:
        number = self._next()
        assert number is not None
        del self.flying[number]
        seen = self.log.results[number]
        self.delivered += 1
        if seen.estimate:
            self.succeeded = True
            self.charged += seen.estimate.cost_seconds
        elif seen.failure and not seen.refused:
            self.charged += self.log.charges[number]
            self.streak = [*self.streak, seen.failure.message if seen.failure.kind in _BROKEN else ""][-_SAME_ERRORS:]
        if not self.succeeded and len(self.streak) == _SAME_ERRORS and len(set(self.streak)) == 1 and self.streak[0]:
            raise ArchscoutError(
                f"the first {_SAME_ERRORS} candidates all failed alike ({self.streak[0]}); "
                f"the judge '{seen.judge}' does not work here: try 'archscout doctor', another judge, "
                "or more memory and time, in a new run"
            )
        return seen

    def _drain(self) -> None:
        while self.flying:
            self._land()

    def _wall(self) -> float:
        return self.log.seconds + monotonic() - self.marked

    def _spend(self) -> None:
        now = monotonic()
        self.log.spend(now - self.marked)
        self.marked = now

    def _rank(self, seen: Observation | None) -> tuple[bool, float, float]:
        """What counts as better: the main judge before others, higher fidelity before lower, then the value."""
        if seen is None or seen.estimate is None:
            return False, -inf, -inf
        return seen.judge == self.main, inf if seen.fidelity is None else seen.fidelity, seen.value

    def _best(self) -> Observation | None:
        judged = [self.log.results[number] for number in sorted(self.log.results)]
        return max((seen for seen in judged if seen.estimate), key=self._rank, default=None)

    def tell(
        self,
        kind: Literal["replayed", "proposed", "landed", "progress", "mismatch", "stopped"],
        observation: Observation | None = None,
        progress: Progress | None = None,
        message: str = "",
    ) -> None:
        """Let the face know."""
        if self.notify is not None:
            landed = len(self.log.results)
            counted = self.proposed, landed, self.failed, self.evaluations, self._wall(), self.best
            self.notify(Event(kind, *counted, observation, progress, message, self.executor.state))


def _words(move: Move) -> str:
    if isinstance(move, Propose):
        extra = "" if move.fidelity is None else f" at fidelity {move.fidelity:g}"
        return f"{move.architecture} for the judge '{move.judge}'{extra}"
    return "a wait" if isinstance(move, Wait) else f"a progress whose best is {move.best}"
