"""Screen and compare: which network deserves the final training.

*Screen* lets the strategy judge hundreds of architectures without training them. *Compare* trains the best of them, two
hand-made networks and a random one for the same short time, and again longer those that did well; the hand-made and the random
one always go on, so that the last rung holds all of them at equal cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, cast

from archscout import catalogue
from archscout.core import fitting
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.errors import ArchscoutError, LimitError, UserError
from archscout.core.evidence import Observation
from archscout.core.moves import Progress
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, Learner
from archscout.core.seeds import derive, generator
from archscout.engine.budget import Budget
from archscout.engine.drive import at_fidelity, drive
from archscout.engine.executors import Inline
from archscout.engine.job import Job, Workers
from archscout.engine.limits import Gate
from archscout.engine.plan import RUNG_FACTOR, Plan
from archscout.nn.measure import acceptance, counts

SEARCHED, RANDOM = "searched", "random architecture"
_LEARNING, _LEAST_SCREEN = 0.7, 5.0
"""The share of the screening that a judge may learn, and the seconds that it has at the least to judge."""
_LEAST_DISTANCE = 3
"""Finalists differ from one another in at least so many decisions, where there are enough of them."""
_DEFAULT_TERMS = "log(params) + log(macs) + 2*log(work)"
"""The default judge: much capacity for what a training step costs. docs/decisions/004-screening.md says why."""


@dataclass(frozen=True)
class Contestant:
    """One network of the comparison. role: `searched`, `random architecture`, or the name of a hand-made baseline."""

    role: str
    architecture: Architecture


@dataclass(frozen=True)
class Contest:
    """What the comparison found: `judged` on the rung that decides, and `last` on the highest rung that each one reached."""

    contestants: tuple[Contestant, ...]
    fidelity: float | None
    judged: dict[Architecture, Observation]
    last: dict[Architecture, Observation]

    def value(self, contestant: Contestant) -> float | None:
        """The value on the validation split on the rung that decides."""
        found = self.judged.get(contestant.architecture)
        return found.value if found is not None and found.estimate else None

    def best(self, role: str | None = None) -> Contestant | None:
        """The best contestant on the deciding rung, of one role or of all; the first of equals."""
        judged = [c for c in self.contestants if (role is None or c.role == role) and self.value(c) is not None]
        return max(judged, key=lambda c: self.value(c) or 0.0, default=None)


@dataclass(frozen=True)
class Screened:
    """What the screening found. ranked: architectures, the best first. judged: the observations of the judge `main`, in that order.

    A strategy that owns its loop asks no judge: then `judged` is empty, and its answer comes first, before earlier ones.
    """

    ranked: tuple[Architecture, ...]
    judged: tuple[Observation, ...] = ()


def screen(job: Job, plan: Plan, workers: Workers) -> Screened:
    """Judge many architectures without training, or let the strategy learn on a supernet."""
    problem = job.problem(plan.limits)
    begun = monotonic()
    main = fitted(job, plan, screening_judge(job, plan), problem)
    seconds = None if plan.screen_seconds is None else max(_LEAST_SCREEN, plan.screen_seconds - (monotonic() - begun))
    judges = {"main": main}
    if job.strategy_name == "assisted-evolution":
        judges["proxy"] = job.estimator("naswot", "proxy")
    log = job.store.stage("screen")
    # The default judge only counts: that is done here before a worker has started.
    counted = job.request.estimator == "auto" and not job.customs.screens_by_training
    executor = Inline() if counted or job.owns_loop else workers.of("screen")
    budget = Budget(seconds, plan.screen_evaluations, judges=("main",))
    drive(
        job.strategy(plan.strategy), judges, problem, seed=derive(job.request.seed, "screen"), log=log, executor=executor,
        budget=budget, notify=job.events("screen"), verify=job.verify_replay, look_ahead=job.request.look_ahead,
        order=job.request.order,
    )  # fmt: skip
    if job.owns_loop:
        answers = [entry.move.best for entry in reversed(log.moves) if isinstance(entry.move, Progress) and entry.move.best]
        ranked = tuple(dict.fromkeys([*filter(None, [log.answer]), *answers]))
        if not ranked:
            raise UserError(f"--budget {job.request.budget} was up before '{job.strategy_name}' had an answer; give a longer one")
        gate = Gate(problem, job.request.seed, log)  # what was counted is met; latency is measured here
        failures = [gate.check(architecture)[0] for architecture in ranked]
        within = tuple(a for a, failure in zip(ranked, failures, strict=True) if failure is None)
        if not within:
            raise LimitError(f"no answer of '{job.strategy_name}' meets the limits: {failures[0].message if failures[0] else ''}")
        return Screened(within)
    judged: dict[Architecture, Observation] = {}
    # Of several fidelities the highest counts, also in the order: values of different ones cannot be compared.
    for observation in sorted(log.observations, key=_fidelity):
        if observation.estimate and observation.judge == "main":
            judged[observation.architecture] = observation
    if not judged:
        reasons = {o.failure.message for o in log.observations if o.failure}
        if not log.observations and not counted and job.request.estimator == "auto":
            job.say("screen", "Not one short training was done in time; random networks go on to the comparison.")
            return Screened(_unjudged(job, plan, problem))
        if not log.observations:
            raise UserError(f"--budget {job.request.budget} was up before the first architecture was judged; give a longer one")
        if all(o.failure and o.failure.kind == "over_limit" for o in log.observations):
            raise LimitError(
                f"none of the {len(log.observations)} architectures drawn meets the limits: {'; '.join(sorted(reasons)[:1])}"
            )
        raise ArchscoutError(
            f"no architecture could be judged in the screening; the reasons: {'; '.join(sorted(reasons)[:3]) or 'none came'}"
        )
    best_first = tuple(sorted(judged.values(), key=lambda o: (-_fidelity(o), -o.value)))
    return Screened(tuple(o.architecture for o in best_first), best_first)


def _unjudged(job: Job, plan: Plan, problem: Problem) -> tuple[Architecture, ...]:
    """Finalists of a screening that judged none: random ones."""
    rng, accept = generator(job.request.seed, "unjudged"), acceptance(problem)
    return tuple(dict.fromkeys(sample(job.space, rng, accept) for _ in range(plan.finalists)))


def _fidelity(observation: Observation) -> float:
    return observation.fidelity or 0.0


def screening_judge(job: Job, plan: Plan) -> Estimator:
    """The judge that the request names, or the default: a formula of counts, or a training of a third of the first rung."""
    if job.request.estimator != "auto":
        return job.estimator(job.request.estimator)
    if job.customs.screens_by_training and not job.owns_loop:
        least = min(plan.rungs[0], job.customs.least_screened / len(job.task.splits["train"]))
        shortest = round(max(plan.rungs[0] / RUNG_FACTOR, least), 5)
        return cast(Estimator, catalogue.make(
            "estimators", "train", epochs=shortest, recipe=dict(plan.recipe), work=plan.limits["work"]
        ))  # fmt: skip
    judge: Estimator = catalogue.make("estimators", "blend", terms=_DEFAULT_TERMS)
    return judge


def fitted(job: Job, plan: Plan, judge: Estimator, problem: Problem) -> Estimator:
    """The judge; one that must learn first learns for most of the screening's time, or as long as its settings say."""
    learner: Any = judge
    if plan.screen_seconds is not None and isinstance(judge, Learner) and getattr(learner, "minutes", None) == 0:
        learner = replace(learner, minutes=float(f"{_LEARNING * plan.screen_seconds / 60:.3g}"))

    def tell(done: int, total: int) -> None:
        job.progress("screen", f"'{job.request.estimator}' learns: {done:,} of {total:,} steps")

    return fitting.fitted(learner, problem, seed=derive(job.request.seed, "learn"), tell=tell)


def contestants(job: Job, plan: Plan, screened: Screened) -> tuple[Contestant, ...]:
    """The finalists of the screening, the hand-made baselines at the same limits, and a random architecture."""
    rough = bool(screened.judged) and job.request.estimator == "auto" and not job.customs.screens_by_training
    found = [Contestant(SEARCHED, a) for a in _spread(screened.ranked, plan.finalists, rough=rough)]
    problem = job.problem(plan.limits)
    try:
        drawn = sample(job.space, generator(job.request.seed, "random architecture"), acceptance(problem))
        found.append(Contestant(RANDOM, drawn))
    except LimitError:
        job.say("compare", "No random architecture met the limits; the comparison goes without.")
    for name, architecture in job.handmade.baselines(job.problem(_of_rivals(job, plan, found), job.handmade)):
        found.append(Contestant(name, architecture))
    return tuple(found)


def _of_rivals(job: Job, plan: Plan, found: Sequence[Contestant]) -> dict[str, float]:
    """The limits of the hand-made networks: the plan's, and where that is the custom, no more parameters than the best finalist."""
    limits = dict(plan.limits)
    if job.customs.equal_parameters and found:
        limits["params"] = min(limits.get("params", inf), counts(job.space, found[0].architecture, job.task)["params"])
    return limits


def _spread(ranked: Sequence[Architecture], count: int, *, rough: bool) -> list[Architecture]:
    """The first `count` that are unlike one another; then, if too few, simply the first.

    rough: take them from the whole range of the better third instead. A rough judge tells good from bad, not best from good: its
    very first are its own extremes.
    """
    third = ranked[: max(count, len(ranked) // 3)]
    evenly = [third[k * (len(third) - 1) // max(1, count - 1)] for k in range(count if third else 0)]
    chosen: list[Architecture] = []
    for pool, least in ((evenly if rough else ranked, _LEAST_DISTANCE), (third, _LEAST_DISTANCE), (ranked, 1)):
        for architecture in pool:
            if len(chosen) < count and all(_distance(architecture, other) >= least for other in chosen):
                chosen.append(architecture)
    return chosen


def _distance(one: Architecture, other: Architecture) -> int:
    return sum(a != b for a, b in zip(one.choices, other.choices, strict=True))


def weights_folder(job: Job) -> Path:
    """Where short trainings leave their weights: the report compares them image by image on the validation split."""
    return job.folder / "weights"


def trainer(job: Job, plan: Plan) -> Any:
    """The judge of the comparison: trainings of equal cost, whose weights are kept."""
    return catalogue.make(
        "estimators", "train", epochs=plan.rungs[-1], recipe=dict(plan.recipe), keep=str(weights_folder(job)),
        work=plan.limits["work"],
    )  # fmt: skip


def kept_weights(job: Job, plan: Plan, architecture: Architecture, fidelity: float | None) -> Path | None:
    """Where the comparison left the weights of a contestant; None where its deciding training is not known."""
    if fidelity is None:
        return None
    judge: Any = at_fidelity(trainer(job, plan), fidelity)
    seed = derive(derive(job.request.seed, "compare"), "estimate", architecture)
    path: Path = judge.kept(arena_problem(job), architecture, seed)
    return path


def arena_problem(job: Job) -> Problem:
    """The question of the comparison: the networks were chosen within the limits on size; latency is measured."""
    latency = {name: bound for name, bound in job.request.limits.items() if name == "latency_ms"}
    return job.problem(latency, job.arena)


def compare(job: Job, plan: Plan, screened: Screened, workers: Workers) -> Contest:
    """Train the contestants shortly, rung by rung."""
    everyone = contestants(job, plan, screened)
    always = tuple(str(c.architecture) for c in everyone if c.role != SEARCHED)
    strategy = catalogue.make(
        "strategies", "successive-halving", candidates=tuple(dict.fromkeys(str(c.architecture) for c in everyone)),
        rungs=plan.rungs, keep=RUNG_FACTOR, keep_always=tuple(dict.fromkeys(always)),
    )  # fmt: skip
    judge = trainer(job, plan)
    log = job.store.stage("compare")
    drive(
        strategy, {"main": judge}, arena_problem(job), seed=derive(job.request.seed, "compare"), log=log,
        executor=workers.of("compare"), budget=Budget(_seconds(job, plan)), notify=job.events("compare"),
        verify=job.verify_replay, look_ahead=job.request.look_ahead, order=job.request.order,
    )  # fmt: skip
    return decide(everyone, log.observations, plan.rungs)


def _seconds(job: Job, plan: Plan) -> float | None:
    """What the comparison may take at the most: its share, and half of what the finish was to get."""
    if plan.compare_seconds is None or plan.finish_seconds is None:
        return None
    return plan.compare_seconds + 0.5 * plan.finish_seconds


def decide(everyone: tuple[Contestant, ...], observations: Sequence[Observation], rungs: Sequence[float]) -> Contest:
    """The contest as the highest rung shows it on which a searched network and all that always go on have landed.

    Who failed on a lower rung went no further, and nobody waits for it.
    """
    last = {o.architecture: o for o in sorted(observations, key=_fidelity)}
    always = [c for c in everyone if c.role != SEARCHED and not (c.architecture in last and last[c.architecture].failure)]
    for rung in reversed(rungs):
        judged = {o.architecture: o for o in observations if o.fidelity == rung}
        searched = [c for c in everyone if c.role == SEARCHED and c.architecture in judged and judged[c.architecture].estimate]
        if searched and all(c.architecture in judged for c in always):
            return Contest(everyone, rung, judged, last)
    contest = Contest(everyone, None, last, last)
    if contest.best() is None:
        reasons = sorted({o.failure.message for o in observations if o.failure})
        raise ArchscoutError(
            "no network could be trained in the comparison; "
            + ("; ".join(reasons[:3]) or "the time was up before the first was done")
        )
    return contest
