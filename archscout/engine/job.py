"""One search from its request to its outcome: plan, screen, compare, finish.

The job owns what the stages share. It is made from a request, opened data and a store; everything that it decides under a clock is
written into the store first, so that a resumed job decides nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.joint import JointSpace
from archscout.core.kinds import check_kind
from archscout.core.places import cache_folder
from archscout.core.problem import Problem, Task
from archscout.core.protocols import Estimator, LoopOwner, RefusingEstimator, SharedSpace, Space, Strategy
from archscout.core.seeds import generator
from archscout.core.vocabulary import Vocabulary
from archscout.engine.budget import parse_budget
from archscout.engine.cache import Cached
from archscout.engine.customs import Customs, customs_of
from archscout.engine.drive import Event
from archscout.engine.executors import Closing, Executor, Inline, OpenExecutor
from archscout.engine.machine import device_of
from archscout.engine.placement import Placement
from archscout.engine.request import Request, settings_of
from archscout.nn.batches import Augmentation, ImageSplit
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.tokens import TokenSplit
from archscout.store.runs import RunStore


class Opened(Protocol):
    """Data as the data room hands it over: the engine alone holds the test split."""

    @property
    def task(self) -> Task:
        """The task without its test split."""
        ...

    @property
    def test(self) -> ImageSplit | TokenSplit | EpisodeSplit | None:
        """The images or the text that only the finish opens."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the logits."""
        ...

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How a new image or text is prepared."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for the report."""
        ...

    @property
    def skipped(self) -> Sequence[tuple[str, str]]:
        """Files left out, with reasons."""
        ...

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Images by split and class, or tokens by split."""
        ...

    @property
    def augmentation(self) -> Augmentation:
        """What is varied in training images."""
        ...

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Of a text."""
        ...


Notify = Callable[[str, Event | None, str], None]
"""What the display is told: stage, event (None for a plain sentence), sentence."""


def silent(stage: str, event: Event | None, sentence: str) -> None:
    """No display."""


class Workers(Closing):
    """Those who judge the candidates of a job: made when a stage needs them, and kept for the next one."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pool: OpenExecutor | None = None

    def of(self, stage: str) -> Executor:
        """Workers for the candidates of a stage that judges some; where it is closed already none are needed."""
        if self._job.store.stage_finished(stage):
            return Inline()
        if self._pool is None:
            self._pool = self._job.pool()
        self._pool.cancel()
        return self._pool

    def close(self) -> None:
        """As `Executor.close`."""
        if self._pool is not None:
            self._pool.close()


@dataclass
class Job:
    """A search under way."""

    request: Request
    opened: Opened
    store: RunStore
    notify: Notify = silent
    verify_replay: bool = True
    space: Space = field(init=False)
    task: Task = field(init=False)
    """Without its test split."""

    def __post_init__(self) -> None:
        self.task = self.opened.task
        self.space = self._space()
        check_kind(self.task, self.space, f"the space '{self.space.name}'")
        self.strategy()
        if self.owns_loop:  # it trains by itself, so that the kind of the task matters to it
            check_kind(self.task, self.strategy(), f"the strategy '{self.strategy_name}'")
        if self.request.estimator != "auto":
            judge = self.estimator(self.request.estimator)  # wrong settings are to be told of before anything is spent
            check_kind(self.task, judge, f"the judge '{self.request.estimator}'")
            if isinstance(judge, RefusingEstimator):  # raises where it does not fit the space or the task at all
                judge.refusal(Problem(self.space, self.task), sample(self.space, generator(self.request.seed, "fits")))
        seconds, evaluations = parse_budget(self.request.budget)
        self.seconds: float | None = seconds
        self.evaluations: int | None = evaluations

    @property
    def customs(self) -> Customs:
        """What a search does differently for this kind of task."""
        return customs_of(self.opened.task.kind)

    def adopt(self, space: Mapping[str, Any], valid_items: int) -> None:
        """Take up what the plan chose: settings of the space, and how much of the validation split is used (0: all)."""
        if space:
            self.space = cast(Space, replace(cast(Any, self.space), **space))
            self.__dict__.pop("arena", None)
        valid = self.opened.task.splits["valid"]
        if valid_items and isinstance(valid, TokenSplit):
            self.task = replace(self.opened.task, splits={**self.opened.task.splits, "valid": valid.first(valid_items)})

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.store.folder

    @cached_property
    def device(self) -> str:
        """The device, with `auto` resolved."""
        return device_of(self.request.device)

    @cached_property
    def placement(self) -> Placement:
        """Where candidates are judged, by as many workers as asked for.

        Else by one per core (one on a GPU), or as many as a cluster had room for when the run began: the number is part of the run,
        wherever it goes on.
        """
        asked = self.request.placement
        if asked.workers:
            return asked
        if "workers" not in self.store.meta:
            alone = self.device != "cpu" and asked.executor == "local"
            self.store.meta["workers"] = 1 if alone else asked.crew()
        return replace(asked, workers=self.store.meta["workers"])

    @property
    def workers(self) -> int:
        """How many workers judge candidates."""
        return self.placement.workers

    @cached_property
    def handmade(self) -> Any:
        """The space of the hand-made baselines; they are trained with the dropouts of the searched space, where both have them."""
        made = catalogue.make("spaces", self.customs.handmade)
        names = [setting.name for setting in fields(made) if setting.name.startswith("dropout_")]
        return replace(made, **{name: getattr(self.space, name) for name in names if hasattr(self.space, name)})

    @cached_property
    def arena(self) -> JointSpace:
        """The searched space and the hand-made one, for stages that hold networks of both."""
        members = (self.space,) if self.space.name == self.handmade.name else (self.space, self.handmade)
        return JointSpace(members)

    def problem(self, limits: Mapping[str, float], space: Space | None = None) -> Problem:
        """The question for a stage."""
        return Problem(space or self.space, self.task, dict(limits), self.device)

    @property
    def strategy_name(self) -> str:
        """The screening's strategy: as asked for; else that of the task's kind, where the space has a supernet for it.

        Else evolution, but plain draws for the rough default judge (decision 004).
        """
        if self.request.strategy != "auto":
            return self.request.strategy
        folds = self.request.space == "auto" or isinstance(self.space, SharedSpace)
        if self.customs.strategy and self.request.estimator == "auto" and folds:
            return self.customs.strategy
        judged = self.request.estimator != "auto" or self.customs.screens_by_training
        steered = judged or any(name.startswith("strategy.") for name in self.request.settings)
        return "regularized-evolution" if steered else "random"

    def strategy(self, changes: Mapping[str, Any] | None = None) -> Strategy:
        """The screening's strategy, with the request's settings; `changes` are those of the plan."""
        made: Any = make(self.request, "strategy", "strategies", self.strategy_name)
        return cast(Strategy, replace(made, **changes) if changes else made)

    @cached_property
    def owns_loop(self) -> bool:
        """Whether the strategy learns by itself on a supernet, in place of asking a judge."""
        strategy = self.strategy()
        return isinstance(strategy, LoopOwner) and strategy.owns_loop

    def _space(self) -> Space:
        """The space: as asked for, else the customary one, for strategies that need a supernet too."""
        request, name = self.request, self.request.space
        if name == "auto":
            name = self.customs.loop_space if self.owns_loop else self.customs.space
            if self.owns_loop:
                request = replace(request, settings={**self.customs.loop_settings, **request.settings})
        made: Space = make(request, "space", "spaces", name)
        return made

    def estimator(self, name: str, owner: str = "estimator") -> Estimator:
        """A judge by name, or a learner that becomes one, with the settings that the request gives under `owner`."""
        made: Estimator = make(self.request, owner, catalogue.room_of_judge(name), name)
        return made

    def pool(self) -> OpenExecutor:
        """Workers for candidates."""
        pool = self.placement.pool()
        return Cached(pool, cache_folder(), self.placement.device) if self.request.cache else pool

    def say(self, stage: str, sentence: str) -> None:
        """Tell the display a sentence."""
        self.notify(stage, None, sentence)

    def progress(self, stage: str, sentence: str) -> None:
        """Tell the display how far something is that is no stage of proposals; it may leave most of these out."""
        event = Event("progress", 0, 0, 0, 0, self.store.spent_seconds, None, message=sentence)
        self.notify(stage, event, sentence)

    def events(self, stage: str) -> Callable[[Event], None]:
        """What the driver calls for a stage."""
        return lambda event: self.notify(stage, event, event.message)

    def left(self) -> float:
        """Seconds of the whole budget that are left; infinite for a budget in evaluations."""
        return float("inf") if self.seconds is None else self.seconds - self.store.spent_seconds


def make(request: Request, owner: str, room: str, name: str) -> Any:
    """A plug-in with the settings that the request gives under `owner`."""
    return catalogue.make(room, name, **settings_of(owner, request.settings, catalogue.plugin(room, name)))
