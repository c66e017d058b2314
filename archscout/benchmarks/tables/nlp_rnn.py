"""NAS-Bench-NLP: 7,161 recurrent cells trained on Penn Treebank for up to 50 epochs, losses in nats per word.

Klyuchnikov et al. 2020 (arXiv 2006.07116). Every second recipe of the benchmark; a row keeps its published JSON text. The data set
`ptb` is the loss after so many epochs, `ptb-best` the lowest loss of 50 epochs. Extras: `recipe_id`, `status` (why a run ended) and
`best_epoch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archscout.benchmarks._columns import first_of
from archscout.benchmarks.tables._recorded import RecordedTable, array
from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.protocols import PublishedSpace, Space
from archscout.core.tables import Column, TableFacts

EPOCHS = (50, 25, 10, 5, 1)
_FILE = "nlp_rnn.npz"
_BEST = "the lowest validation loss of a finished run"
FACTS = TableFacts(
    space="nlp-rnn",
    rows=7_161,
    columns=(
        *(Column(f"ptb_valid_{epochs}", "ptb", "log-loss", "valid", epochs, higher_is_better=False) for epochs in EPOCHS),
        Column("ptb_valid_best", "ptb-best", "log-loss", "valid", 50, higher_is_better=False, caveat=_BEST),
    ),
    reports=(
        Column("ptb_test_50", "ptb", "log-loss", "test", 50, higher_is_better=False),
        Column(
            "ptb_test_best", "ptb-best", "log-loss", "test", 50, higher_is_better=False,
            caveat="of a finished run, at the epoch of the lowest validation loss",
        ),
    ),
    licence="benchmark Apache-2.0; the copy carries no licence file",
    source="leeyeehoo/GenNAS (history), data of fmsnew/nas-bench-nlp-release",
    caveats=(
        "every second recipe: 7,161 of 14,322",
        "one training run each; 5,766 finished, the others have losses only for the epochs that they reached",
        "862 recipes are isomorphic to one of a lower row: a search sees the value of the lowest",
    ),
    metrics=("params",),
    extras=("recipe_id", "status", "best_epoch"),
)  # fmt: skip


@dataclass(frozen=True)
class NlpRnn(RecordedTable):
    """NAS-Bench-NLP."""

    @property
    def name(self) -> str:
        """nlp-rnn."""
        return "nlp-rnn"

    @property
    def facts(self) -> TableFacts:
        """Validation losses as objectives; test losses in the verdict."""
        return FACTS

    def architecture(self, space: Space, row: int) -> Architecture:
        """The cell of the recorded recipe."""
        found = space.from_genotype(self.recipe(row)) if isinstance(space, PublishedSpace) else None
        if found is None:
            raise UserError(f"the space '{space.name}' does not read the recipes of 'nlp-rnn'; use the space 'nlp-rnn'")
        return found

    def recipe(self, row: int) -> str:
        """The published JSON text of a row."""
        start, end = (int(offset) for offset in array(_FILE, "recipe_offsets")[row : row + 2])
        return array(_FILE, "recipes")[start:end].tobytes().decode()

    def _seconds(self, column: Column) -> NDArray[np.float64]:
        """The wall-clock seconds of a run, in proportion to the epochs."""
        run = np.maximum(array(_FILE, "epochs_run"), 1)
        return first_of([array(_FILE, "wall_seconds").astype(np.float64) * np.minimum(column.epochs, run) / run])
