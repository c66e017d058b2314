"""From "these images and ten minutes" to a plan: how large the networks may be, and what each stage gets.

Under a clock the plan times a few training steps of a hand-made network first, and from that says what the minutes buy: the finish
is to be a real training, so the networks may be as large as lets it see enough images. For a budget in evaluations nothing is
timed, so that every machine makes the same plan. A plan is stored once and never made again for the same run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median
from time import monotonic
from typing import Any, cast

import torch
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.errors import LimitError, UserError
from archscout.core.problem import Task
from archscout.core.protocols import Learner, LoopOwner, ScaledSpace, Space
from archscout.core.seeds import derive, generator, seeded
from archscout.engine.customs import Customs, pixels
from archscout.engine.job import Job
from archscout.engine.machine import cores, free_memory, threads_within
from archscout.engine.request import settings_of
from archscout.export.folder import seconds_to_save
from archscout.nn.course import AnyRecipe
from archscout.nn.measure import acceptance, counts, latency, smallest_by, smallest_count
from archscout.nn.recipe import new_network
from archscout.nn.threads import torch_threads
from archscout.nn.train import lanes_of, step_seconds

FEWEST_EVALUATIONS = 6
FIXED_CONTESTANTS = 3
"""The two hand-made baselines and the random architecture."""
RUNG_FACTOR = 3
"""Each rung of the comparison trains this many times longer than the one before."""
_CLOSING_SECONDS, _CLOSING_FACTOR = 2.0, 1.5
"""What is kept back for the report, and how many times the expected seconds for the export: other processes may slow it down."""
_LEAST_USABLE = 10.0
_SHARE_SCREEN, _SHARE_CHOSEN_SCREEN, _SHARE_COMPARE = 0.05, 0.2, 0.42
"""Of the time; the default judge takes a millisecond, one that the user chose may take seconds."""
_SHARE_LOOP, _SHARE_LOOP_COMPARE = 0.4, 0.25
"""Of a strategy that learns on a supernet of its own; it leaves few networks to be compared."""
_PACED_TO = 0.9
"""Of its time, what such a strategy is made to need."""
_LEAST_VALID = 200
"""Validation items that are used at the least, where not all are."""
_TRIED_RATES = (0.5e9, 8e9)
"""Work per second for which the small and the large network are sized that are timed."""
_LEAST_ADDED, _MOST_ADDED = 1e9, 3.0
"""Work per second that any core adds, and times the large network's rate at which it may seem to be added: timings are noisy."""
_TYPICAL, _ROOM = 15, 1.2
"""How many networks say what is typical for a size, and how many times their median work others may cost."""
_ASSUMED_SECONDS = 240
"""Of the final training, where nothing is timed."""


@dataclass(frozen=True)
class Plan:
    """What will be done. Seconds are None under a budget in evaluations; `limits` include the size that the plan chose."""

    limits: Mapping[str, float]
    screen_seconds: float | None
    screen_evaluations: int | None
    finalists: int
    rungs: tuple[float, ...]
    compare_seconds: float | None
    finish_seconds: float | None
    finish_epochs: float
    recipe: Mapping[str, Any]
    lanes: int
    threads: int
    sentences: tuple[str, ...]
    strategy: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the strategy that the plan chose, so that it ends in time."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the space that the plan chose, so that its networks can be trained in time."""
    valid_items: int = 0
    """How much of the validation split the search uses; 0 for all."""

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Plan:
        """From the store."""
        return cls(**{**record, "rungs": tuple(record["rungs"]), "sentences": tuple(record["sentences"])})


def plan_of(job: Job) -> Plan:
    """The stored plan of this run, or a new one, stored."""
    if "plan" in job.store.meta:
        plan = Plan.from_dict(job.store.meta["plan"])
        job.adopt(plan.space, plan.valid_items)
        return plan
    check_limits(job)
    if job.request.screen_only:
        plan = _screened(job)
    else:
        plan = _timed(job) if job.seconds is not None else _counted(job)
    job.store.meta["plan"] = plan.as_dict()
    job.adopt(plan.space, plan.valid_items)
    return plan


def check_limits(job: Job) -> None:
    """Raises LimitError, naming the smallest possible, where nothing in the space meets the limits."""
    problem = job.problem(job.request.limits)
    if _scalable(job):  # the plan will choose a size that meets them, if one does
        space, _ = _sized(job, job.request.limits)
        problem = job.problem(job.request.limits, space)
    acceptance(problem)
    if "latency_ms" in problem.limits:
        lightest, _ = smallest_by(problem, "work")
        with torch_threads(1), seeded(0):
            times = latency(problem.space.build(lightest, job.task), job.task, device=job.device)
        # The lightest network is not always the quickest and timing is noisy, so a bound near what it takes is let through.
        if times[0] > 2 * problem.limits["latency_ms"]:
            raise LimitError(
                f"--max-latency {problem.limits['latency_ms']:g}ms cannot be met: the smallest network of '{job.space.name}' "
                f"for this task takes {times[0]:.3g} ms here"
            )


def _screened(job: Job) -> Plan:
    """A plan without trainings: the strategy and its judge get everything, within the limits asked for and no others."""
    recipe = wanted_recipe(job)
    what = f"{job.evaluations} evaluations" if job.seconds is None else f"{job.seconds:.0f} s"
    limits = dict(job.request.limits)
    if job.customs.screens_by_training and job.request.estimator == "auto" and not job.owns_loop:
        raise UserError(
            f"--screen-only trains nothing, but tasks of {job.task.kind.name} are screened by training; name an --estimator"
        )
    pace = _pace(job, limits, None if job.seconds is None else job.seconds - job.store.spent_seconds)
    sentences = (f"Screen for {what} with '{job.strategy_name}'; nothing is trained at the end.", *_paced_sentence(pace))
    seconds = job.left() if job.owns_loop and job.seconds is not None else job.seconds
    return Plan(
        limits, seconds, job.evaluations, 0, (), None, None, 0.0, asdict(recipe),
        *computing(recipe, job.task, job.device), sentences, pace,
    )  # fmt: skip


def _pace(job: Job, limits: Mapping[str, float], seconds: float | None) -> Mapping[str, Any]:
    """The settings with which a strategy that owns its loop ends in time; none for others, and where no clock runs."""
    strategy = job.strategy()
    if not isinstance(strategy, LoopOwner) or not strategy.owns_loop:
        return {}
    need = strategy.memory(job.problem(limits))
    if need:
        job.say("plan", f"A step of the supernet takes about {need / 2**30:.1f} GiB of memory.")
    free = free_memory(job.device)
    if need > free:
        raise LimitError(
            f"a step of '{job.strategy_name}' takes about {need / 2**30:.1f} GiB of memory, but {free / 2**30:.1f} GiB are free; "
            "make it smaller with --set strategy.batch=..., strategy.channels=... or strategy.depth=..."
        )
    if seconds is None:
        return {}
    return strategy.paced(job.problem(limits), _PACED_TO * seconds, seed=derive(job.request.seed, "pace"))


def _paced_sentence(pace: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"So that it ends in time: {', '.join(f'{name} = {value:g}' for name, value in pace.items())}.",) if pace else ()


def _timed(job: Job) -> Plan:
    total = job.seconds
    assert total is not None
    recipe, rate, sized = _measured_rate(job)
    count = len(job.task.splits["train"])
    spent, closing = job.store.spent_seconds, closing_seconds(job, _drawn_network(job))
    usable = total - spent - closing
    if usable < _LEAST_USABLE:
        raise UserError(
            f"--budget {job.request.budget} is too short: opening the data and timing a training took {spent:.0f} s, export and "
            f"report will take about {closing:.0f} s; give at least {10 * math.ceil((spent + closing + _LEAST_USABLE) / 10)}s"
        )
    chosen = job.request.estimator != "auto"
    slow = chosen or job.customs.screens_by_training
    share, compared = _SHARE_CHOSEN_SCREEN if slow else _SHARE_SCREEN, _SHARE_COMPARE
    if job.owns_loop or (chosen and isinstance(job.estimator(job.request.estimator), Learner)):
        share, compared = _SHARE_LOOP, _SHARE_LOOP_COMPARE
    screen, compare = max(5.0, share * usable), compared * usable
    finish = usable - screen - compare
    limits, sized, size_sentence = _limited(job, job.customs.bound_on_work(job.task, rate * finish), sized)
    # In the comparison every worker trains with one thread; together they do about as much as one training with all threads.
    share = min(1.0, job.workers / cores()) if job.device == "cpu" else 1.0
    affordable = 0.8 * share * rate * compare / limits["work"]
    finalists, first = _contest(job.customs, affordable, count)
    valid_items = _valid_items(job, first)
    rungs = tuple(round(first * RUNG_FACTOR**n / count, 4) for n in range(2))
    epochs = job.request.epochs
    begun = monotonic()
    pace = _pace(job, limits, screen)
    screen -= min(0.5 * screen, monotonic() - begun)  # what trying out took is time of the strategy
    judge = "by short trainings" if job.customs.screens_by_training and not chosen else "without training"
    search = f"Learn for {screen:.0f} s with '{job.strategy_name}'" if pace else f"Screen up to {screen:.0f} s {judge}"
    where = f"{cores()} cores" if job.device == "cpu" else job.device
    sentences = (
        f"{job.customs.about(job.task, count)}; "
        f"training here does {rate / 1e6:,.0f} million multiply-accumulates a second ({recipe.precision}, {where}).",
        size_sentence,
        f"{search}; compare {finalists} finalists, {job.customs.rivals} and a random one in "
        f"about {compare:.0f} s ({' then '.join(f'{rung:.2g}' for rung in rungs)} epochs, one third of the finalists going on); "
        f"train the best for about {finish:.0f} s" + (f" or {epochs:g} epochs." if epochs else "."),
        *_paced_sentence(pace),
        *_valid_sentence(job, valid_items),
    )
    most = None if slow else 500  # what the default judge leaves of its time goes to the comparison and the finish
    return Plan(
        limits, screen, most, finalists, rungs, compare, finish, epochs, asdict(recipe),
        *computing(recipe, job.task, job.device), sentences, pace, sized, valid_items,
    )  # fmt: skip


def closing_seconds(job: Job, network: nn.Module) -> float:
    """What is kept back for all that follows the training of `network` and its evaluation."""
    return _CLOSING_SECONDS + _CLOSING_FACTOR * seconds_to_save(network, job.request.format_names())


def _drawn_network(job: Job) -> nn.Module:
    """Some network of the space, without memory for its weights: how deep they are."""
    architecture = sample(job.space, generator(job.request.seed, "depth"))
    with torch.device("meta"):
        return new_network(job.space, architecture, job.task, seed=0)


def _counted(job: Job) -> Plan:
    total = job.evaluations
    assert total is not None
    if total < FEWEST_EVALUATIONS:
        raise UserError(
            f"--budget {total} is too small: at least {FEWEST_EVALUATIONS} evaluations are needed; or use --screen-only"
        )
    count = len(job.task.splits["train"])
    total_work = job.customs.rate * _ASSUMED_SECONDS
    limits, sized, size_sentence = _limited(job, job.customs.bound_on_work(job.task, total_work))
    epochs = job.request.epochs or min(job.customs.most_epochs(job.task, count), total_work / limits["work"] / count)
    finalists = 1
    rungs: tuple[float, ...] = (epochs / RUNG_FACTOR,)
    if total >= 2 * FEWEST_EVALUATIONS:
        finalists = min(9, max(2, total // 6))
        rungs = (epochs / RUNG_FACTOR**2, epochs / RUNG_FACTOR)
    spent = finalists + FIXED_CONTESTANTS + (len(rungs) - 1) * (_going_on(finalists) + FIXED_CONTESTANTS)
    screen = total - spent
    valid_items = _valid_items(job, rungs[0] * count)
    recipe = wanted_recipe(job)
    _pace(job, limits, None)  # says what memory a supernet takes
    sentences = (
        f"{job.customs.about(job.task, count)}.",
        size_sentence,
        f"{_searching(job, screen)}, {spent} short trainings ({finalists} finalists, two hand-made, one random; "
        f"{' then '.join(f'{rung:.2g}' for rung in rungs)} epochs); then {epochs:.3g} epochs of the best.",
        *_valid_sentence(job, valid_items),
    )
    return Plan(
        limits, None, screen, finalists, rungs, None, None, epochs, asdict(recipe),
        *computing(recipe, job.task, job.device), sentences, {}, sized, valid_items,
    )  # fmt: skip


def _searching(job: Job, evaluations: int) -> str:
    if job.owns_loop:
        return f"'{job.strategy_name}' at the length of its own settings (a budget in time would choose it)"
    if job.customs.screens_by_training and job.request.estimator == "auto":
        return f"{evaluations} evaluations by short training"
    return f"{evaluations} evaluations without training"


def _going_on(finalists: int) -> int:
    """How many finalists reach the second rung (`strategies/successive_halving.py`)."""
    return max(1, finalists // RUNG_FACTOR)


def _contest(customs: Customs, affordable: float, count: int) -> tuple[int, float]:
    """How many finalists, and how many items the first rung shows each, for so many item trainings in all."""
    for finalists in (9, 6, 4, 3, 2):
        in_first, in_second = finalists + FIXED_CONTESTANTS, _going_on(finalists) + FIXED_CONTESTANTS
        first = affordable / (in_first + RUNG_FACTOR * in_second)
        if first >= min(customs.enough, 3.0 * count):
            break
    return finalists, max(first, customs.least)


def _valid_items(job: Job, first: float) -> int:
    """How much of the validation split is used, where the first rung shows each network `first` items; 0 for all."""
    share, count = job.customs.valid_share, len(job.task.splits["valid"])
    items = max(_LEAST_VALID, round(share * first))
    return items if share and items < count else 0


def _valid_sentence(job: Job, items: int) -> tuple[str, ...]:
    if not items:
        return ()
    count, kind = len(job.task.splits["valid"]), job.task.kind
    return (f"Validation takes the first {items:,} of {count:,} validation {kind.item}s, so that it costs little beside training.",)


def _measured_rate(job: Job) -> tuple[AnyRecipe, float, Mapping[str, Any]]:
    """The recipe in the faster precision, and work (`OperationGraph.work`) per second of training with all cores.

    The last value: where networks of the searched space itself were timed, the settings that gave them their size.
    """
    if _scalable(job) or job.customs.equal_parameters:
        return _measured_in_space(job)
    reference = _reference(job)
    work = counts(job.handmade, reference, job.task)["work"]
    best: tuple[float, AnyRecipe] | None = None
    precisions = job.customs.precisions
    if "recipe.precision" in job.request.settings:
        precisions = (wanted_recipe(job).precision,)
    lanes, threads = computing(wanted_recipe(job), job.task, job.device)
    with torch_threads(threads):
        for precision in precisions:
            recipe = replace(wanted_recipe(job), precision=precision)
            network = new_network(job.handmade, reference, job.task, seed=0).to(job.device)
            batch = recipe.batch_for(len(job.task.splits["train"]))
            rate = work * batch / step_seconds(network, job.task, recipe, steps=6, lanes=lanes)
            # Half precision must pay clearly: it is measured noisily and costs a little accuracy.
            if best is None or rate > 1.2 * best[0]:
                best = (rate, recipe)
    assert best is not None
    return best[1], best[0], {}


def _measured_in_space(job: Job) -> tuple[AnyRecipe, float, Mapping[str, Any]]:
    """The rate of networks of the searched space, whose steps cost more than those of hand-made layers.

    Where the plan chooses their size, a small and a large one are timed: what a step costs besides its multiplications hardly grows
    with the network, so the size follows from the rate at which work is added, and the rate at that size from both.
    """
    recipe = wanted_recipe(job)
    lanes, threads = computing(recipe, job.task, job.device)
    batch = recipe.batch_for(len(job.task.splits["train"]))

    def timed(space: Space) -> tuple[float, float]:
        architecture = sample(space, generator(job.request.seed, "depth"))
        with torch_threads(threads):
            network = new_network(space, architecture, job.task, seed=0).to(job.device)
            seconds = step_seconds(network, job.task, recipe, steps=4, lanes=lanes)
        return float(counts(space, architecture, job.task)["work"]) * batch, seconds

    if not _scalable(job):
        work, seconds = timed(job.space)
        return recipe, work / seconds, {}
    assert job.seconds is not None
    finish = (1 - _SHARE_CHOSEN_SCREEN - _SHARE_COMPARE) * job.seconds

    def sized(rate: float) -> tuple[Space, dict[str, Any]]:
        return _sized(job, {**job.request.limits, "work": job.customs.bound_on_work(job.task, rate * finish)})

    (small, quick), (large, slow) = (timed(sized(rate)[0]) for rate in _TRIED_RATES)
    added = max((large - small) / max(slow - quick, 1e-9), large / slow) if large > small else large / slow
    space, settings = sized(max(_LEAST_ADDED, min(added, _MOST_ADDED * large / slow)))
    work = float(counts(space, sample(space, generator(job.request.seed, "depth")), job.task)["work"]) * batch
    between = (work - small) / (large - small) if large > small else 1.0
    return recipe, work / max(0.5 * quick, quick + between * (slow - quick)), settings


def _scalable(job: Job) -> bool:
    """Whether the plan chooses the size of the space's networks: the space can be sized, and the user did not do it."""
    sizes = ("size", "hidden", "embedding", "layers")
    return isinstance(job.space, ScaledSpace) and not any(f"space.{name}" in job.request.settings for name in sizes)


def _sized(job: Job, limits: Mapping[str, float]) -> tuple[Space, dict[str, Any]]:
    """The space with networks as large as these limits allow, and the settings that it takes."""
    assert isinstance(job.space, ScaledSpace)
    made: Any = job.space.fitted(job.task, limits)
    before: Any = job.space
    return made, {f.name: getattr(made, f.name) for f in fields(made) if getattr(made, f.name) != getattr(before, f.name)}


def computing(recipe: AnyRecipe, task: Task, device: str) -> tuple[int, int]:
    """How many lanes a full training has, and how many threads an operation in each."""
    lanes = 1 if device != "cpu" else lanes_of(recipe, len(task.splits["train"]), cores())
    return lanes, threads_within(lanes)


def wanted_recipe(job: Job) -> AnyRecipe:
    """The recipe with the request's `--set recipe.NAME=VALUE`. Raises UserError for one that hand-made networks cannot have."""
    made = job.customs.recipe
    recipe: AnyRecipe = made(**settings_of("recipe", job.request.settings, made))
    for name in ("auxiliary", "drop_path"):
        if getattr(recipe, name, 0):
            raise UserError(
                f"a search trains hand-made networks beside its own, and those cannot have recipe.{name}; leave it out here, and "
                "train what the search found once more with archscout train"
            )
    return recipe


def recipe_of(job: Job, plan: Plan) -> AnyRecipe:
    """The recipe that a plan recorded."""
    return job.customs.recipe(**plan.recipe)


def _reference(job: Job) -> Architecture:
    """The hand-made network whose steps are timed: of middle size."""
    (_, architecture), *_ = job.handmade.baselines(job.problem({"work": 20e6 * pixels(job.task) / 1024}, job.handmade))
    assert isinstance(architecture, Architecture)
    return architecture


def _limited(job: Job, work: float, sized: Mapping[str, Any] | None = None) -> tuple[dict[str, float], Mapping[str, Any], str]:
    """The user's limits, with the work that the finish can train as a further bound; and a sentence about it.

    Between them: the settings that give the networks their size, where the plan chooses it. sized: it did already.
    """
    limits = dict(job.request.limits)
    if isinstance(job.space, ScaledSpace):  # whose networks all have one size, so that this says what they cost
        if not sized and _scalable(job):
            _, sized = _sized(job, {**limits, "work": work})
        sized = sized or {}
        space: Any = replace(cast(Any, job.space), **sized)
        rng = generator(job.request.seed, "typical")
        drawn = [counts(space, sample(space, rng), job.task) for _ in range(_TYPICAL)]
        typical = {name: int(median(each[name] for each in drawn)) for name in ("params", "work")}
        limits["work"] = float(f"{_ROOM * typical['work']:.3g}")
        chosen = ", ".join(f"{name} {value}" for name, value in sized.items())
        why = f"({chosen}) with about {typical['params']:,} parameters, so that the final training sees enough text"
        if not chosen:
            why = f"of the size asked for, about {typical['params']:,} parameters"
        return (
            limits,
            sized,
            f"Networks of '{space.name}' {why}.",
        )
    smallest = smallest_count(job.problem({}), "work")
    limits["work"] = float(f"{max(work, 2.0 * smallest):.3g}")
    extra = " and within the limits asked for," if job.request.limits else ""
    return (
        limits,
        {},
        (
            f"Networks whose training step costs at most as much as {limits['work'] / 1e6:.1f} million multiply-accumulates per "
            f"{job.task.kind.input},{extra} so that the final training sees enough {job.customs.items}."
        ),
    )
