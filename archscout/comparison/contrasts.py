"""By how much one group of runs is better than another, and what was paired.

Two single runs with the same test items are compared item by item; with other test items as independent samples. Groups of seeds
are compared by their means: seed by seed where each seed drew test items of its own and both groups have them, else unpaired
(Welch); a single run beside several is taken to vary from seed to seed as those do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from archscout.analysis.intervals import Difference, Discordance, mcnemar, mean_interval, welch
from archscout.comparison.entrants import Entrant, Group
from archscout.report.metric import error_of


@dataclass(frozen=True, eq=False)
class Contrast:
    """The second group less the first one (values as trainings give them). paired: "items", "seeds" or "" for not at all.

    basis: what was done and why, a sentence. discordant: of two single runs on the same images.
    """

    first: Group
    second: Group
    gain: Difference
    paired: str
    basis: str
    discordant: Discordance | None = None

    @property
    def verdict(self) -> str:
        """better, worse, or open."""
        return "open" if not self.gain.decided else "better" if self.gain.difference > 0 else "worse"

    def sentence(self) -> str:
        """The whole in plain words."""
        metric = self.first.runs[0].metric
        gap, span = metric.gap(self.gain.difference), f"{metric.gap(self.gain.low)} to {metric.gap(self.gain.high)}"
        said = {
            "better": f"{self.second.name} is better than {self.first.name}",
            "worse": f"{self.second.name} is worse than {self.first.name}",
            "open": f"{self.second.name} and {self.first.name} cannot be told apart",
        }[self.verdict]
        return f"{said}: {metric.name} {gap} (95 % interval {span})."

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        found = self.discordant
        return {
            "first": self.first.name, "second": self.second.name, "difference": self.gain.difference,
            "interval": [self.gain.low, self.gain.high], "verdict": self.verdict, "paired": self.paired or None,
            "basis": self.basis,
            "only_first": found.only_second if found else None, "only_second": found.only_first if found else None,
            "mcnemar_p": found.p if found else None,
        }  # fmt: skip


def contrast(first: Group, second: Group) -> Contrast | None:
    """The second less the first; None where a run has no test value."""
    if first.mean is None or second.mean is None:
        return None
    if len(first.runs) == len(second.runs) == 1:
        return _of_two(first, second)
    if _same_draws(first, second):
        gaps = [b - a for a, b in zip(_by_seed(first), _by_seed(second), strict=True)]
        gain = Difference(float(np.mean(gaps)), *mean_interval(gaps))
        basis = f"Paired seed by seed ({len(gaps)} seeds): every seed drew test items of its own, the same in both groups."
        return Contrast(first, second, gain, "seeds", basis)
    single = [group.name for group in (first, second) if len(group.runs) == 1]
    basis = f"Unpaired, over seeds ({len(second.runs)} and {len(first.runs)} runs): the interval holds what seeds change."
    if single:
        basis += f" '{single[0]}' is a single run and is taken to vary as the others do."
    return Contrast(first, second, welch(second.values, first.values), "", basis)


def _of_two(first: Group, second: Group) -> Contrast:
    [one], [other] = first.runs, second.runs
    metric = one.metric
    why = _unpaired(one, other)
    if not why:
        assert one.marks is not None and other.marks is not None
        items = f"the same {len(one.marks):,} test {metric.items}"
        basis = f"Paired, on {items}; the interval covers those, not other seeds."
        found = None
        if one.marks.dtype == other.marks.dtype == np.bool_:
            found = mcnemar(other.marks, one.marks)
            basis += (
                f" Only {second.name} is right on {found.only_first:,} of them, only {first.name} on {found.only_second:,} "
                f"(exact McNemar test: p = {found.p:.2g})."
            )
        return Contrast(first, second, metric.difference(other.marks, one.marks), "items", basis, found)
    gain = metric.of_estimates(_estimate(other), _estimate(one), _count(one, other))
    return Contrast(first, second, gain, "", f"Unpaired, since {why}; the interval covers test {metric.items}, not other seeds.")


def _unpaired(one: Entrant, other: Entrant) -> str:
    """Why two runs cannot be compared item by item; empty where they can."""
    if one.marks is None or other.marks is None:
        lacking = one if one.marks is None else other
        return f"'{lacking.folder.name}' does not tell how each test {one.metric.item} fared"
    if len(one.marks) != len(other.marks):
        return "their test splits are of different sizes"
    if one.fingerprint == other.fingerprint:
        return ""
    if one.test is None or other.test is None:
        older = (one if one.test is None else other).folder
        return f"'{older.name}' does not tell which test {one.metric.items} it had ('archscout resume {older}' writes it down)"
    return "" if one.test == other.test else f"their test {one.metric.items} differ (other seeds draw other ones)"


def _estimate(run: Entrant) -> tuple[float, dict[str, float]]:
    assert run.value is not None and run.facts.answer is not None
    return run.value, {"valid_error": error_of(run.facts.answer.test_interval or (run.value, run.value))}


def _count(one: Entrant, other: Entrant) -> int:
    """The test items of the smaller split."""
    return min(run.facts.answer.test_count for run in (one, other) if run.facts.answer is not None)


def _by_seed(group: Group) -> list[float]:
    return [run.value for run in sorted(group.runs, key=lambda run: run.seed) if run.value is not None]


def _same_draws(first: Group, second: Group) -> bool:
    """Whether both groups have the same seeds, each once, and each seed drew test items of its own, the same in both."""
    drawn = [{run.seed: run.test or run.fingerprint for run in group.runs} for group in (first, second)]
    once = all(len(found) == len(group.runs) > 1 for found, group in zip(drawn, (first, second), strict=True))
    return once and drawn[0] == drawn[1] and len(set(drawn[0].values())) == len(drawn[0])
