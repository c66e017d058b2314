"""NAO's controller as a judge: it predicts what an architecture is worth from those that were judged.

Luo, Tian, Qin, Chen and Liu 2018 (arXiv 1808.07233). An encoder (LSTM) reads the tokens of an architecture; its states h_1 .. h_S,
each brought to length 1, are the memory, and their mean, of length 1, is the embedding e. A predictor, f(e) = sigmoid(MLP(e)),
tells the worth; a decoder (LSTM that starts from e and attends to the memory) writes the tokens again. All learn together from
architectures with values v:

    L = a * mean (f(e) - y)^2 + (1 - a) * mean -log P(token | tokens before it, memory),      a = 0.8

where y is v brought to 0..1. Tokens, and the symmetries by which they are varied, are of `core.encoding`; `strategies/nao.py`
climbs the gradient of f and reads what the decoder makes of it.

Published sizes: CNN with shared weights, embedding 48, hidden 96, layers 3 of width 200 (the defaults here); language cells, 4
layers; training of 1,000 epochs at a rate of 0.001.

Deviations: y is the rank of v (`targets` "min-max" is published, without the clipping of the lowest hundredth). e, and the
attention's scores, are multiplied by the root of H, since entries of vectors of length 1 are small; with that, 60 epochs at twice
the rate do. A fifth of the architectures at the most make a step. What is held out for the early end is never
trained on (the reference validates on what it trains on), and illegal tokens have no probability at all (there, a logit of 0).
`ranking` and `members` are ours; `pseudo` is of SemiNAS (Luo, Tan, Wang, Qin, Chen and Liu 2020, arXiv 2002.10389).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from archscout.benchmarks._open import open_table
from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.errors import UserError
from archscout.core.evidence import Observation
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.core.protocols import Estimator
from archscout.core.seeds import generator
from archscout.learners._predicted import Predicted
from archscout.nn.controller import ControllerSettings, learned
from archscout.nn.threads import torch_threads


@dataclass(frozen=True)
class Nao(ControllerSettings):
    """The encoder, predictor and decoder of NAO, trained on judged architectures.

    table, dataset, labelled: where there are no judged ones, so many random architectures of a table, as recorded for a data set.
    """

    table: str = ""
    dataset: str = "cifar10"
    labelled: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, labelled=2)

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All: only architectures are looked at."""
        return tuple(TASK_KINDS.values())

    def fit(self, problem: Problem, history: Sequence[Observation] = (), *, seed: int) -> Estimator:
        """A judge whose values are predicted worths, 0 to 1. Failures in the history are left out.

        Raises UserError where fewer than two architectures have a value.
        """
        known = {seen.architecture: seen.estimate.value for seen in history if seen.estimate}
        if not known and self.table:
            known = self._recorded(problem, seed)
        if len(known) < 2:
            raise UserError(
                f"'nao' learns from two judged architectures or more, but {len(known)} came; name a table that has them "
                "(--set estimator.table=nas201), or search with the strategy 'nao', which judges some first"
            )
        with torch_threads(1):
            trained = learned(problem.space, list(known), list(known.values()), self, seed)
        return Predicted.of(trained, self)

    def _recorded(self, problem: Problem, seed: int) -> dict[Architecture, float]:
        """Random rows of the table. Raises UserError for a table of another space, UnknownName."""
        table = open_table(self.table)
        if table.facts.space != problem.space.name:
            raise UserError(
                f"the table '{self.table}' holds architectures of the space '{table.facts.space}', but '{problem.space.name}' is "
                "searched; search that space, or choose another table"
            )
        scores = table.objective(self.dataset).scores
        known: dict[Architecture, float] = {}
        for row in generator(seed, "labelled").permutation(np.flatnonzero(np.isfinite(scores))):
            if len(known) == self.labelled:
                break
            with suppress(UserError):  # a row that lies outside of a part of the space
                known[table.architecture(problem.space, int(row))] = float(scores[row])
        return known
