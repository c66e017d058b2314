"""NAS-Bench-101: all 423,624 cells, one test accuracy after 108 epochs on CIFAR-10 for every second of them.

Ying et al. 2019 (arXiv 1902.09635). Rows are in ascending order of the module hash, whose first 16 digits are kept (all differ). A
row is found by the signature of the space, so that isomorphic cells share one. Extras: `gennas500` (rows of the sample on which
GenNAS reports, arXiv 2108.01899).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from archscout.benchmarks.tables._recorded import RecordedTable, array
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.protocols import SignatureSpace, Space
from archscout.core.tables import Column, TableFacts

EDGES = 21
"""The bits of `edges`, in the order of the space's decisions."""
_FILE = "nas101.npz"
_KEY = re.compile(r"[0-9a-f]{32}")
_ONE_RUN = "one test run of three; as objective and report at once it flatters what a search finds"
_IMAGENET = Column(
    "imagenet_top1", "imagenet", "accuracy", "valid", 0,
    caveat="500 rows, both objective and report; the source does not say how they were trained and measured",
)  # fmt: skip
_CIFAR10 = Column("cifar10_test_108", "cifar10", "accuracy", "test", 108, caveat=_ONE_RUN)
_SECOND = Column(
    "cifar10_test_108_second", "cifar10", "accuracy", "test", 108,
    caveat="1,282 rows from a second source, taken to be one of the three runs drawn at random",
)  # fmt: skip
FACTS = TableFacts(
    space="nas101",
    rows=423_624,
    columns=(_CIFAR10, _IMAGENET),
    reports=(_CIFAR10, _SECOND, _IMAGENET),
    licence="benchmark Apache-2.0, accuracies MIT (ObfuNAS); the sample, second runs and ImageNet values carry no licence file",
    source="Tongzhou0101/ObfuNAS; architectures enumerated from the published definition; leeyeehoo/GenNAS (sample), "
    "leeyeehoo/GenNAS-Zero (second runs, ImageNet)",
    caveats=(
        "one test run of the three that were published, and no validation accuracy",
        "half of the rows (211,812) have an accuracy; the others cannot be judged",
        "accuracies are aligned with the hashes by counts of MACs, since the source carries no keys",
        "1,448 of the recorded rows are below 50 percent: runs that diverged",
    ),
    metrics=("params", "macs"),
    extras=("gennas500",),
)


@dataclass(frozen=True)
class Nas101(RecordedTable):
    """NAS-Bench-101."""

    @property
    def name(self) -> str:
        """nas101."""
        return "nas101"

    @property
    def facts(self) -> TableFacts:
        """One test run as objective and report."""
        return FACTS

    def row(self, space: Space, architecture: Architecture) -> int | None:
        """The row of the architecture's class of isomorphic cells."""
        return self.row_of_key(_key(space, architecture))  # type: ignore[arg-type]  # spaces are frozen dataclasses

    def row_of_key(self, key: str) -> int | None:
        """The row of a module hash of 32 hexadecimal digits; None where `key` is none."""
        if _KEY.fullmatch(key.strip().lower()) is None:
            return None
        keys, wanted = array(_FILE, "hash"), int(key.strip()[:16], 16)
        place = int(keys.searchsorted(keys.dtype.type(wanted)))
        return place if place < len(keys) and int(keys[place]) == wanted else None

    def architecture(self, space: Space, row: int) -> Architecture:
        """The cell of a row, as it was enumerated."""
        edges = int(array(_FILE, "edges")[row])
        operations = [int(operation) for operation in array(_FILE, "ops")[row]]
        return space.architecture([*(edges >> bit & 1 for bit in range(EDGES)), *operations])


@lru_cache(maxsize=1 << 14)  # hashing a cell takes a tenth of a millisecond
def _key(space: Space, architecture: Architecture) -> str:
    if not isinstance(space, SignatureSpace):
        raise UserError(
            f"rows of 'nas101' are found by module hash, but the space '{space.name}' gives none; use the space 'nas101'"
        )
    return space.signature(architecture)
