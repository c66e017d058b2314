"""TransNAS-Bench-101, cells: 4,096 cells on four tasks of Taskonomy images.

Duan et al. 2021 (arXiv 2105.11871): object and scene classification (top-1 percent), autoencoding and surface normals (SSIM).
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.benchmarks.tables._recorded import RecordedTable
from archscout.benchmarks.tables._transnas import facts
from archscout.core.tables import TableFacts

FACTS = facts("transnas-cell", 4_096)


@dataclass(frozen=True)
class TransnasCell(RecordedTable):
    """TransNAS-Bench-101, cells."""

    @property
    def name(self) -> str:
        """transnas-cell."""
        return "transnas-cell"

    @property
    def facts(self) -> TableFacts:
        """One value per task, objective and report."""
        return FACTS
