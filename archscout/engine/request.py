"""What a user asked for: the frozen, JSON-able form of a search's command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.moves import Order
from archscout.core.problem import FEW_SHOT, LIMITS, TASK_KINDS
from archscout.core.signals import pinned
from archscout.engine.placement import Placement

FORMATS = ("safetensors", "pt2", "onnx")
SETTING_OWNERS = ("space", "strategy", "estimator", "proxy", "data", "recipe")
VOCABULARIES = ("auto", "word", "byte")
_OF_EPISODES = {"ways": 5, "shots": 1, "queries": 0}
IN_MEMORY = "arrays"
"""What `Request.data` says of data that were handed over in Python."""
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


@dataclass(frozen=True)
class Request:
    """One search. Every field has its command-line option; `settings` holds `--set room.name=value` as given."""

    data: str
    data_dir: str | None = None
    labels: str | None = None
    image_size: str = "auto"
    channels: str = "auto"
    augment: str = "auto"
    task: str = "auto"
    vocabulary: str = "auto"
    ways: int = 5
    shots: int = 1
    queries: int = 0
    space: str = "auto"
    strategy: str = "auto"
    estimator: str = "auto"
    budget: str = "10m"
    limits: Mapping[str, float] = field(default_factory=dict)
    workers: int = 0
    executor: str = "local"
    address: str = "auto"
    cpus_per_candidate: float = 1.0
    gpus_per_candidate: float = 0.0
    look_ahead: int = 1
    order: Order = "proposed"
    epochs: float = 0.0
    candidate_timeout: float = 0.0
    candidate_memory: float = 0.0
    device: str = "auto"
    seed: int = 0
    verify: bool = False
    screen_only: bool = False
    cache: bool = False
    allowed_failures: float = 0.5
    formats: str = "pt2,onnx"
    settings: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Raises UserError, UnknownName or LimitError where something is wrong that can be seen without torch and data."""
        from archscout import catalogue
        from archscout.engine.budget import parse_budget

        parse_budget(self.budget)
        if self.space != "auto":
            catalogue.check("spaces", self.space)
        if self.strategy != "auto":
            catalogue.check("strategies", self.strategy)
        if self.estimator != "auto":
            catalogue.check(catalogue.room_of_judge(self.estimator), self.estimator)
        for name, bound in self.limits.items():
            if name not in LIMITS:
                raise UnknownName(f"there is no limit '{name}'; {suggestion(name, LIMITS)}")
            if not bound > 0:
                raise UserError(f"the limit on {name} must be more than 0, but {bound:g} came")
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device) is None:
            raise UserError(f"--device takes auto, cpu, cuda or cuda:1, but '{self.device}' came")
        if self.task not in ("auto", *TASK_KINDS):
            raise UnknownName(f"there is no task '{self.task}'; {suggestion(self.task, ('auto', *TASK_KINDS))}")
        changed = [name for name, usual in _OF_EPISODES.items() if getattr(self, name) != usual]
        if changed and self.task != FEW_SHOT.name:
            raise UserError(f"--{changed[0]} is of few-shot episodes; give --task {FEW_SHOT.name} with it, or leave it out")
        if self.vocabulary not in VOCABULARIES:
            raise UnknownName(f"there is no vocabulary '{self.vocabulary}'; {suggestion(self.vocabulary, VOCABULARIES)}")
        if self.channels not in ("auto", "1", "3"):
            raise UserError(f"--channels takes 1, 3 or auto, but '{self.channels}' came")
        for format in self.format_names():
            if format not in FORMATS:
                raise UnknownName(f"networks are not exported as '{format}'; {suggestion(format, FORMATS)}")
        if self.order not in get_args(Order):
            raise UnknownName(f"results are not delivered in the order '{self.order}'; {suggestion(self.order, get_args(Order))}")
        if self.look_ahead < 1:
            raise UserError(f"--look-ahead is a number of proposals for each worker, at least 1, but {self.look_ahead} came")
        if not 0 <= self.allowed_failures <= 1:
            raise UserError(f"the allowed share of failures lies between 0 and 1, but {self.allowed_failures:g} came")
        for name in self.settings:
            check_owner(name, SETTING_OWNERS)
            if name.startswith("estimator.") and self.estimator == "auto":
                raise UserError(f"--set {name} needs to know of which estimator; name it with --estimator")

    @property
    def placement(self) -> Placement:
        """Where candidates are judged."""
        return Placement(**{field.name: getattr(self, field.name) for field in fields(Placement)})

    def format_names(self) -> tuple[str, ...]:
        """The formats that are written; the weights always are."""
        return tuple(dict.fromkeys(["safetensors", *filter(None, (part.strip() for part in self.formats.split(",")))]))

    def anchored(self) -> Request:
        """The same with absolute paths for the data and for plug-in files, and with the text of a file of signals.

        So a run can go on from any folder, and whatever becomes of the file.
        """
        plugins = [_anchored(text) if text.endswith(".py") else text for text in (self.space, self.strategy, self.estimator)]
        settings = dict(self.settings)
        if self.estimator == "signal-regression" and "estimator.signals" in settings:
            settings["estimator.signals"] = pinned(settings["estimator.signals"])
        return replace(
            self, data=_anchored(self.data), space=plugins[0], strategy=plugins[1], estimator=plugins[2], settings=settings
        )

    def as_dict(self) -> dict[str, Any]:
        """For the store."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Request:
        """From the store; fields of later versions are refused by the store's schema number before this is reached."""
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})


def _anchored(text: str) -> str:
    """With an absolute path, where the text names one, perhaps with classes behind it (./images:cat)."""
    base, colon, classes = text.rpartition(":")
    for path, rest in ((Path(text).expanduser(), ""), (Path(base).expanduser(), f":{classes}")):
        if path.exists() and (colon or not rest):
            return f"{path.resolve()}{rest}"
    return text


def parse_count(text: str, option: str) -> float:
    """`500k`, `50M`, `300000` -> a number. Raises UserError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgb]?)", text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise UserError(f"{option} takes a positive number such as 300000, 500k or 50M, but '{text}' came")
    return float(match[1]) * _SCALES[match[2]]


def parse_milliseconds(text: str, option: str = "--max-latency") -> float:
    """`5ms`, `0.2s`, `5` (milliseconds) -> milliseconds. Raises UserError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|)", text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise UserError(f"{option} takes a time such as 5ms or 0.2s, but '{text}' came")
    return float(match[1]) * (1000 if match[2] == "s" else 1)


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """`["strategy.population=50"]` -> {"strategy.population": "50"}. Raises UserError."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or "." not in name:
            raise UserError(f"--set takes room.setting=value such as strategy.population=50, but '{pair}' came")
        settings[name.strip()] = value.strip()
    return settings


def check_owner(name: str, owners: Sequence[str]) -> None:
    """Raises UnknownName for a setting of something that the command does not have."""
    owner = name.partition(".")[0]
    if owner not in owners:
        raise UnknownName(f"--set knows no '{name}'; {suggestion(owner, owners)}")


def settings_of(room: str, settings: Mapping[str, str], made: type[Any]) -> dict[str, Any]:
    """The settings of one room, converted to the types of the plug-in's fields. Raises UserError, UnknownName."""
    from archscout.catalogue import typed

    own = {name.partition(".")[2]: value for name, value in settings.items() if name.partition(".")[0] == room}
    return typed(made, own, room)
