"""TransNAS-Bench-101, macro: 3,255 residual networks on four tasks of Taskonomy images.

Duan et al. 2021 (arXiv 2105.11871): object and scene classification (top-1 percent), autoencoding and surface normals (SSIM).
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.benchmarks.tables._recorded import RecordedTable
from archscout.benchmarks.tables._transnas import facts
from archscout.core.tables import TableFacts

FACTS = facts("transnas-macro", 3_255, "one of the 3,256 published architectures is missing")


@dataclass(frozen=True)
class TransnasMacro(RecordedTable):
    """TransNAS-Bench-101, macro."""

    @property
    def name(self) -> str:
        """transnas-macro."""
        return "transnas-macro"

    @property
    def facts(self) -> TableFacts:
        """One value per task, objective and report."""
        return FACTS
