"""NAS-Bench-Macro: 6,561 chains of eight layers on CIFAR-10, three training runs each.

Su et al. 2021 (arXiv 2103.11922). Rows are in ascending order of the published digits.
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.benchmarks.tables._recorded import RecordedTable
from archscout.core.tables import Column, TableFacts

_FIRST = Column(
    "cifar10_test_run0", "cifar10", "accuracy", "test", 0,
    caveat="the first of three test runs; as objective and report at once it flatters what a search finds",
)  # fmt: skip
FACTS = TableFacts(
    space="macro",
    rows=6_561,
    columns=(_FIRST,),
    reports=(
        _FIRST,
        Column("cifar10_test_run1", "cifar10", "accuracy", "test", 0, caveat="the second of three test runs"),
        Column("cifar10_test_run2", "cifar10", "accuracy", "test", 0, caveat="the third of three test runs"),
        Column("cifar10_test_mean", "cifar10", "accuracy", "test", 0, caveat="the mean of the three test runs"),
    ),
    licence="Apache-2.0",
    source="xiusu/NAS-Bench-Macro",
    caveats=("three test runs and no validation accuracy; the first run is objective and report",),
    metrics=("params", "macs"),
)


@dataclass(frozen=True)
class Macro(RecordedTable):
    """NAS-Bench-Macro."""

    @property
    def name(self) -> str:
        """macro."""
        return "macro"

    @property
    def facts(self) -> TableFacts:
        """The first test run as objective and report; the others and their mean in the verdict."""
        return FACTS
