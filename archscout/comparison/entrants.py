"""Runs as `archscout compare` takes them: read, checked to be of the same data, and grouped where only the seed differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

from archscout.analysis.intervals import mean_interval
from archscout.core.errors import RunError, UserError
from archscout.engine.finish import unpacked
from archscout.engine.request import Request
from archscout.nn.course import Marks
from archscout.report.facts import ReportFacts, from_json
from archscout.report.metric import METRICS, Metric
from archscout.store.runs import RunStore

SAME = (
    "data", "data_dir", "seed", "formats", "cache", "workers", "labels", "executor", "address", "cpus_per_candidate",
)  # fmt: skip
"""Of a request, what makes no other settings: the data are one and the same, and the rest changes no result but by the clock."""


@dataclass(frozen=True, eq=False)
class Entrant:
    """A finished run. marks: how each test item fared, None without a test. test: the digest of the test items, None where the run
    does not tell. fingerprint: of the data and its split."""

    folder: Path
    facts: ReportFacts
    request: Mapping[str, Any]
    seed: int
    fingerprint: str
    marks: Marks | None
    test: str | None

    @property
    def value(self) -> float | None:
        """The test value, as trainings give it."""
        return self.facts.answer.test_value if self.facts.answer else None

    @property
    def metric(self) -> Metric:
        """What a value stands for."""
        return METRICS[self.facts.metric]

    @property
    def settings(self) -> dict[str, str]:
        """What was asked for, by name, in words."""
        found = {name: str(value) for name, value in self.request.items() if name not in (*SAME, "limits", "settings")}
        found |= {f"at most ({name})": f"{bound:g}" for name, bound in self.request["limits"].items()}
        return found | dict(self.request["settings"])


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of the same settings. name: as the comparison calls it."""

    name: str
    runs: tuple[Entrant, ...]

    @property
    def values(self) -> list[float]:
        """The test values there are."""
        return [run.value for run in self.runs if run.value is not None]

    @property
    def mean(self) -> float | None:
        """Of the test values; None where a run has none."""
        values = self.values
        return sum(values) / len(values) if values and len(values) == len(self.runs) else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of several runs that of the mean over seeds, of a single one that of its test items."""
        if self.mean is None:
            return None
        if len(self.runs) > 1:
            low, high = mean_interval(self.values)
            return (max(0.0, low), min(1.0, high)) if self.runs[0].metric.share else (low, high)
        answer = self.runs[0].facts.answer
        return answer.test_interval if answer else None


def entrants(folders: Sequence[Path]) -> list[Entrant]:
    """The runs in these folders. Raises UserError where there are fewer than two or they cannot be compared; RunError too."""
    once = list(dict.fromkeys(folder.expanduser().resolve() for folder in folders))
    if len(once) < 2:
        raise UserError(f"a comparison takes two runs or more, but {len(once)} came; name another run folder")
    found = [_read(folder) for folder in once]
    for other in found[1:]:
        _same_question(found[0], other)
    return found


def _read(folder: Path) -> Entrant:
    with RunStore.read(folder) as store:
        try:
            facts = from_json((folder / "report.json").read_text("utf8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the run '{folder}' is not done; end it with: archscout resume {folder}") from error
        if facts.answer is None:
            raise RunError(f"the run '{folder}' found no network, so there is nothing to compare; leave it out")
        known = {f.name: f.default for f in fields(Request) if isinstance(f.default, str | int | float | bool) or f.default is None}
        request = {**known, "limits": {}, "settings": {}, **store.request}  # a field of a later version had its default before
        trained = store.meta.get(f"trained {facts.answer.architecture}")
        marks = unpacked(trained["test_correct"]) if trained and facts.answer.test_value is not None else None
        return Entrant(
            folder, facts, request, store.seed, facts.data.fingerprint, marks, store.meta.get("test", {}).get("digest")
        )  # fmt: skip


def _same_question(one: Entrant, other: Entrant) -> None:
    """Raises UserError where two runs had different data or tasks."""
    if one.fingerprint == other.fingerprint or (one.test is not None and one.test == other.test):
        return
    episodes = [(run.request["ways"], run.request["shots"], run.request["queries"]) for run in (one, other)]
    alike = one.facts.metric == other.facts.metric and one.facts.data.name == other.facts.data.name
    if alike and _totals(one.facts) == _totals(other.facts) and episodes[0] == episodes[1]:
        return
    raise UserError(
        f"only runs of the same data can be compared, but '{one.folder.name}' is of {_described(one.facts)} and "
        f"'{other.folder.name}' of {_described(other.facts)}; name runs of one data set"
    )


def _totals(facts: ReportFacts) -> Counter[str]:
    """Images by class, or tokens by kind, over all splits."""
    total: Counter[str] = Counter()
    for counts in facts.data.counts.values():
        total.update(counts)
    return total


def _described(facts: ReportFacts) -> str:
    totals = _totals(facts)
    what = (
        f"{len(totals)} classes, {sum(totals.values()):,} images"
        if METRICS[facts.metric].share
        else f"{sum(totals.values()):,} tokens"
    )
    return f"'{facts.data.name}' ({facts.metric}, {what})"


def grouped(runs: Sequence[Entrant]) -> list[Group]:
    """Runs of the same settings together, in the order in which they came; named by what their folders' names have in common.

    Where they have nothing in common, or two groups the same, by the settings that set them apart.
    """
    found: dict[str, list[Entrant]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    shared = [_shared_name([run.folder.name for run in members]) for members in found.values()]
    names = list(shared)
    apart = varied([members[0] for members in found.values()])
    for number, members in enumerate(found.values()):
        if not shared[number] or shared.count(shared[number]) > 1:
            words = [f"{name} {members[0].settings.get(name, 'auto')}" for name in apart]
            names[number] = ", ".join(words) or "all runs"
    counted = Counter(names)
    taken: Counter[str] = Counter()
    groups = []
    for name, members in zip(names, found.values(), strict=True):
        taken[name] += 1
        groups.append(Group(name if counted[name] == 1 else f"{name} ({taken[name]})", tuple(members)))
    return groups


def _shared_name(names: Sequence[str]) -> str:
    """The name of a single folder; of several what they begin with, without a separator or a number cut in two."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-_. 0123456789")


def varied(runs: Sequence[Entrant]) -> list[str]:
    """The settings in which runs differ, in their usual order."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
