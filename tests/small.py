"""Every strategy and every method that learns across tasks, as small as tests want them; what is not named is taken as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.evidence import Episode
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.testing import meta
from archscout.testing.databases import MadeUp
from archscout.testing.strategies import owns_loop
from archscout.testing.tasks import episode_task, image_task

SHORT = {"batch": 8, "channels": 2, "depth": 1}
"""Of strategies on supernets, those of these settings that they have."""
STRATEGIES: Mapping[str, list[dict[str, Any]]] = {
    "at-nas": [
        {
            "method": method,
            "evolve": method != "fomaml",
            "iterations": 3,
            "every": 1,
            "warm_up": 0.4,
            "population": 3,
            "parents": 1,
            "crossed": 1,
            "mutated": 1,
            "paths": 2,
            "batch": 3,
            "tasks": 2,
            "final_tasks": 2,
            "report": 1,
            "channels": 0,
        }
        for method in ("anil", "fomaml")
    ],
    "darts": [{"epochs": 1, "report": 1}, {"epochs": 0.5, "report": 1, "order": 2, "skip_dropout": 0.3, "most_skips": 1}],
    "fuse": [{"epochs": 0.5, "turns": 2, "rounds": 2, "items": 16, "report": 1, "neighbours": 0}],
    "lpt": [{"epochs": 0.5, "report": 1, "tester_channels": 2}],
    "mdenas": [{"epochs": 3}, {"epochs": 2, "steps_per_trial": 2, "warm_up": 1, "bookkeeping": "detrended"}],
    "metad2a": [{"generate": 20, "keep": 5, "draws": 2}],
    # With its own settings it would take minutes, and learn only after 50 evaluations.
    "nao": [{"embedding": 8, "hidden": 24, "layers": 1, "width": 24, "epochs": 8, "refresh": 4, "initial": 20, "new": 20}],
    "nao-ws": [{"epochs": 2, "pool": 6, "new": 3, "rounds": 2, "fits": 3, "items": 16, "report": 2}],
    "nasi": [
        {"steps": 4, "estimator": "full"},
        {"steps": 4, "estimator": "single-path", "images": "noise", "limit": 1000.0, "limit_rule": "quantile"},
    ],
}
META: Mapping[str, dict[str, Any]] = {
    "at-nas": {
        "method": "anil",
        "iterations": 6,
        "every": 2,
        "warm_up": 0.3,
        "population": 4,
        "parents": 2,
        "crossed": 1,
        "mutated": 1,
        "paths": 2,
        "batch": 2,
        "tasks": 2,
        "final_tasks": 2,
        "report": 1,
    },
    "signal-tasks": {"population": 5, "steps": 6, "tournament": 3},
    "metad2a": {"code": 8, "hidden": 16, "per_class": 3, "epochs": 6, "batch": 6, "rate": 0.004},
}
BRIEF: Mapping[str, dict[str, Any]] = {"metad2a": {"epochs": 2}}
"""What need not have learned much takes few lessons."""

MADE = MadeUp(catalogue.make("spaces", "nas201"), width=4, images=6, hidden=1)
FEW_LESSONS = meta.Lessons(MADE, tasks=15, records=5)
EPISODES = meta.EpisodeLessons(Problem(catalogue.make("spaces", "few-shot", channels=2, nodes=2), episode_task()))


def strategies() -> list[tuple[str, dict[str, Any]]]:
    """The name of every strategy, with settings; some come several times."""
    found = []
    for name in catalogue.names("strategies"):
        known = {field.name for field in fields(catalogue.plugin("strategies", name))}
        loop = owns_loop(catalogue.make("strategies", name))
        short = {field: value for field, value in SHORT.items() if loop and field in known}
        found += [(name, {**short, **settings}) for settings in STRATEGIES.get(name, [{}])]
    return found


def brief(name: str) -> Any:
    """The method that learns across tasks, which need not learn much."""
    made: Any = catalogue.make("meta", name, **META.get(name, {}))
    return replace(made, **BRIEF.get(name, {}))


def labelled() -> list[Episode]:
    """Six architectures with labels, on images."""
    space = catalogue.make("spaces", "nas201", channels=4, cells=1)
    rng = generator(0, "episodes")
    architectures = [sample(space, rng) for _ in range(6)]
    return [Episode(Problem(space, image_task()), architectures, [float(number) for number in range(6)])]
