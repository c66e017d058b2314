"""What a search does differently for each kind of task, in one place: default spaces, rivals, how trainings are sized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Task, TaskKind
from archscout.nn.course import AnyRecipe
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.recipe import Recipe
from archscout.nn.text_recipe import TextRecipe

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Customs:
    """The customs of one kind.

    space, loop_space: where nothing else is asked for, and for strategies that learn on a supernet; loop_settings: of the latter.
    strategy: where nothing else is asked for, and no judge; empty for that of decision 004.
    handmade: the space of the hand-made rivals; rivals: how a sentence calls two of them. recipe: the class of recipes. precisions:
    that are tried. screens_by_training: whether the default judge of the screening is a short training; else it only counts.
    rate: work on items per second that a training is assumed to do where nothing is timed.
    enough, least: items that the first rung of the comparison shows each network if it can, and at the least. least_screened: those
    of a training of the screening.
    valid_share: validation items for each training item of that rung, at the most, where evaluations are dear; 0 for all.
    equal_parameters: whether hand-made rivals have as many parameters as the best finalist.
    """

    space: str
    loop_space: str
    handmade: str
    recipe: type[AnyRecipe]
    rivals: str
    items: str
    loop_settings: Mapping[str, str] = field(default_factory=dict)
    precisions: tuple[Precision, ...] = ("fp32",)
    strategy: str = ""
    screens_by_training: bool = False
    equal_parameters: bool = False
    rate: float = 30e9
    enough: float = 6_000.0
    least: float = 512.0
    least_screened: float = 0.0
    valid_share: float = 0.0

    def bound_on_work(self, task: Task, total: float) -> float:
        """The work per item and step that a network may cost, where the final training can do `total` work in all.

        It grows with the square root of the total, so that a longer budget buys larger networks and more passes alike, and with the
        side of the images. The constant for images fits what trained best in 30 to 480 CPU seconds at 28 and 32 pixels (decision
        004), that for texts what did in 45 to 120 (decision 014); it is an upper bound, and the comparison at equal cost finds what
        is best below it.
        """
        if task.kind == LANGUAGE_MODELLING:
            return float(_TEXT_WORK * (total * task.shape[0]) ** 0.5)
        if task.kind == FEW_SHOT:
            return float(_EPISODE_WORK * (total * pixels(task) / 1024) ** 0.5)
        return float(_IMAGE_WORK * (total * pixels(task) / 1024) ** 0.5)

    def most_epochs(self, task: Task, count: int) -> float:
        """Past this many passes over `count` items a longer training stops paying."""
        if task.kind == LANGUAGE_MODELLING:
            return float(min(200.0, max(20.0, 100_000.0 / count)))
        if task.kind == FEW_SHOT:
            return float(max(30.0, 600_000.0 / count))
        return float(min(200.0, max(30.0, 600_000.0 / count)))  # 30 of a large set, up to 200 of a small one

    def about(self, task: Task, count: int) -> str:
        """The training data in words."""
        if task.kind == LANGUAGE_MODELLING:
            return f"{count:,} training windows of {task.shape[0]} tokens, a vocabulary of {task.classes:,}"
        if task.kind == FEW_SHOT:
            data: EpisodeSplit = task.splits["train"]
            size = "x".join(map(str, task.shape))
            return f"{task.classes}-way {data.shots}-shot episodes of {data.classes:,} classes, images of {size}"
        return f"{count:,} training images of {'x'.join(map(str, task.shape))}, {task.classes} classes"


_IMAGE_WORK, _TEXT_WORK, _EPISODE_WORK = 7.0, 12.0, 60.0
IMAGES = Customs("mobile", "nas201", "handmade", Recipe, "two hand-made networks", "images", {"space.cells": "1"}, ("fp32", "bf16"))
TEXTS = Customs(
    "rnn", "rnn", "handmade-rnn", TextRecipe, "an LSTM and a GRU", "tokens", screens_by_training=True, equal_parameters=True,
    enough=2_000.0, least=320.0, least_screened=240.0, valid_share=0.6,
)  # fmt: skip
EPISODES = Customs(
    "few-shot", "few-shot", "handmade-few-shot", EpisodeRecipe, "two networks of MAML's", "episodes", strategy="at-nas",
    rate=1e8, enough=1_000.0, least=160.0,
)  # fmt: skip
_OF_KIND = {IMAGE_CLASSIFICATION: IMAGES, LANGUAGE_MODELLING: TEXTS, FEW_SHOT: EPISODES}


def customs_of(kind: TaskKind) -> Customs:
    """The customs of a kind of task."""
    return _OF_KIND[kind]


def pixels(task: Task) -> float:
    """Pixels of an image, at least those of 32 x 32 and at most those of 64 x 64, where networks halve what is larger."""
    return float(np.clip(task.shape[-1] * task.shape[-2], 1024, 64 * 64))
