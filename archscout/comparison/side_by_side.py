"""What `archscout compare` finds, as JSON and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archscout.comparison.contrasts import Contrast, contrast
from archscout.comparison.entrants import Entrant, Group, entrants, grouped, varied
from archscout.report.facts import ReportFacts
from archscout.report.metric import Metric
from archscout.report.words import duration, short

_HELPED = {True: "yes", False: "no", None: "undecided"}


@dataclass(frozen=True, eq=False)
class Compared:
    """Groups of runs, and each other group against the first."""

    groups: tuple[Group, ...]

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """Of the groups that have test values."""
        found = [contrast(self.groups[0], group) for group in self.groups[1:]]
        return tuple(one for one in found if one is not None)

    @property
    def runs(self) -> list[Entrant]:
        """Of all groups, in their order."""
        return [run for group in self.groups for run in group.runs]

    @property
    def metric(self) -> Metric:
        """What the values stand for."""
        return self.groups[0].runs[0].metric

    @property
    def data(self) -> str:
        """The name of the data."""
        return self.groups[0].runs[0].facts.data.name

    @cached_property
    def apart(self) -> list[str]:
        """The settings in which the groups differ."""
        return varied([group.runs[0] for group in self.groups])


def compare(folders: Sequence[Path]) -> Compared:
    """The comparison of these runs. Raises UserError where they cannot be compared."""
    return Compared(tuple(grouped(entrants(folders))))


def record(found: Compared) -> dict[str, Any]:
    """The keys that `archscout compare --json` prints."""
    metric = found.metric
    return {
        "data": found.data,
        "metric": metric.name,
        "varied": found.apart,
        "groups": [
            {
                "name": group.name,
                "runs": [str(run.folder) for run in group.runs],
                "mean": None if group.mean is None else metric.number(group.mean),
                "interval": None if group.interval is None else metric.numbers(group.interval),
            }
            for group in found.groups
        ],
        "runs": [_run(run, group) for group in found.groups for run in group.runs],
        "differences": [one.record() | {"sentence": one.sentence()} for one in found.contrasts],
    }


def _run(run: Entrant, group: Group) -> dict[str, Any]:
    facts, answer = run.facts, run.facts.answer
    assert answer is not None
    return {
        "run": str(run.folder), "group": group.name, "seed": run.seed, "settings": run.settings,
        "architecture": answer.architecture, "role": answer.role, "params": answer.params, "macs": answer.macs,
        "latency_ms": answer.latency_ms,
        "test_value": None if run.value is None else run.metric.number(run.value),
        "test_interval": None if answer.test_interval is None else run.metric.numbers(answer.test_interval),
        "test_count": answer.test_count, "judged": judged_by(facts), "seconds": facts.seconds,
        "stages": {stage.name: stage.seconds for stage in facts.stages},
        "search_won": facts.comparison.search_won if facts.comparison else None,
    }  # fmt: skip


def judged_by(facts: ReportFacts) -> int:
    """How many judgements a run made."""
    return sum(stage.evaluations for stage in facts.stages)


def lines(found: Compared) -> list[str]:
    """The comparison for a terminal."""
    metric = found.metric
    wide = max(16, *(len(run.folder.name) + 2 for run in found.runs), *(len(group.name) + 2 for group in found.groups))
    text = [f"{len(found.runs)} runs of {found.data}, test {metric.name} with 95 % intervals"]
    sizes = f"{'params':>9}{'MACs':>9}{'judged':>8}{'time':>15}"
    text.append(f"{'':{wide}}{'seed':>6}  {metric.name:>10}  {'interval':20}{sizes}  did search help")
    for group in found.groups:
        for run in group.runs:
            text.append(f"{run.folder.name:{wide}}{_line(run)}")
        if len(group.runs) > 1 and group.mean is not None and group.interval is not None:
            mean = f"{metric.shown(group.mean):>10}  {metric.span(group.interval):20}"
            text.append(f"{group.name:{wide}}{'mean':>6}  {mean}over {len(group.runs)} runs")
    text += [f"{one.sentence()} {one.basis}" for one in found.contrasts]
    text += [f"{heading}: {sentence}" for heading, sentence in notes_of(found) if heading == NO_TEST]
    return [line.replace("\u00a0", " ").rstrip() for line in text]


def _line(run: Entrant) -> str:
    facts, answer, metric = run.facts, run.facts.answer, run.metric
    assert answer is not None
    value = "–" if run.value is None else metric.shown(run.value)
    span = metric.span(answer.test_interval) if answer.test_interval else ""
    sizes = f"{short(answer.params):>9}{short(answer.macs):>9}{judged_by(facts):>8,}{duration(facts.seconds):>15}"
    return f"{run.seed:>6}  {value:>10}  {span:20}{sizes}  {helped(facts)}"


def helped(facts: ReportFacts) -> str:
    """Whether search helped, as the run itself says."""
    return _HELPED[facts.comparison.search_won] if facts.comparison and facts.comparison.difference is not None else "not compared"


NO_TEST = "Some runs have no test value"


def notes_of(found: Compared) -> list[tuple[str, str]]:
    """(heading, sentence): what a comparison does not say."""
    metric = found.metric
    notes = []
    lacking = [run.folder.name for run in found.runs if run.value is None]
    if lacking:
        notes.append(
            (NO_TEST, f"{', '.join(lacking)}: nothing was trained, or there is no test split. Sizes and costs can be compared.")
        )
    singles = [group.name for group in found.groups if len(group.runs) == 1]
    if singles:
        notes.append(
            (
                "One seed tells of one run",
                f"{', '.join(singles)}: another seed is another search and another training. To compare methods rather than two "
                "networks, give several seeds of each.",
            )
        )
    elif any(len(group.runs) < 5 for group in found.groups):
        notes.append(("Few seeds", "Intervals over so few runs are wide, and rest on the means being about normal."))
    if len(found.contrasts) > 1:
        notes.append(
            (
                "Several comparisons",
                "Each interval is at 95 % by itself; of many, some miss by chance. Look at the largest gaps last.",
            )
        )
    budgets = {run.facts.budget for run in found.runs}
    if len(budgets) > 1:
        notes.append(("The budgets differ", f"{', '.join(sorted(budgets))}: part of a difference is that of the time."))
    notes.append(("It is about these data", f"Which search is better is another question for {metric.elsewhere}."))
    return notes
