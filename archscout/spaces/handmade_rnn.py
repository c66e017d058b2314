"""Hand-made language models as a space: an LSTM or a GRU of one layer with tied embedding, what a recurrent search has to beat.

Hochreiter and Schmidhuber 1997; Cho et al. 2014 (arXiv 1406.1078); embedding and decoder tied as in Press and Wolf 2017
(arXiv 1608.05859). The layers are PyTorch's own, with its two vectors of biases. Any number of units can be had, so that one is
found with about as many parameters as a searched network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task, TaskKind
from archscout.nn.measure import largest

if TYPE_CHECKING:
    from torch import nn

_FAMILIES = (("lstm", "LSTM", 4), ("gru", "GRU", 3))
_MOST = 2000
_DECISIONS = (
    Decision("family", tuple(family for family, _, _ in _FAMILIES)),
    Decision("size", tuple(str(size) for size in range(1, _MOST + 1))),
)


@dataclass(frozen=True)
class HandmadeRnn:
    """LSTM and GRU language models of any size.

    dropout_embedding, dropout_input, dropout_output: on the embedded tokens, once more on these where the layer reads them, before
    the decoder; the same units for all steps. The share of recurrent weights that is dropped belongs to the training
    (`recipe.weight_drop`).
    """

    dropout_embedding: float = 0.0
    dropout_input: float = 0.0
    dropout_output: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= share < 1 for share in (self.dropout_embedding, self.dropout_input, self.dropout_output)):
            raise ValueError("the shares of dropout lie between 0 and 1")

    @property
    def name(self) -> str:
        """handmade-rnn."""
        return "handmade-rnn"

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Language modelling."""
        return (LANGUAGE_MODELLING,)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Family, and units of the embedding and the layer."""
        return _DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with these choices. Every pair is legal."""
        return checked(self.name, _DECISIONS, tuple(choices))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """A freshly initialised language model: tokens (B, L) -> logits (B, L, V)."""
        from archscout.nn.gated import Family, GatedModel

        family, size = architecture.choices
        names: tuple[Family, ...] = ("lstm", "gru")
        first = self.dropout_embedding + self.dropout_input - self.dropout_embedding * self.dropout_input  # two masks are one
        return GatedModel(names[family], task.classes, size + 1, (first, self.dropout_output))

    def counts(self, architecture: Architecture, task: Task) -> Mapping[str, int]:
        """The parameters, and the MACs of one window of L tokens."""
        family, size = architecture.choices
        return _counts(_FAMILIES[family][2], size + 1, task)

    def baselines(self, problem: Problem) -> tuple[tuple[str, Architecture], ...]:
        """An LSTM and a GRU, each with as many parameters as the limits of the problem allow.

        The bound on `params` is that of the networks to be compared with. Where not even one unit keeps to the user's limits, the
        family is left out.
        """
        bounds = {name: bound for name, bound in problem.limits.items() if name in ("params", "macs")}
        found = []
        for family, (_, name, gates) in enumerate(_FAMILIES):
            size = largest(_MOST, lambda size, gates=gates: _counts(gates, size, problem.task), bounds)  # type: ignore[misc]
            counted = _counts(gates, size, problem.task)
            if all(counted[limit] <= bound for limit, bound in bounds.items()):
                found.append((name, self.architecture((family, size - 1))))
        return tuple(found)


def _counts(gates: int, size: int, task: Task) -> Mapping[str, int]:
    matrices = task.classes * size + 2 * gates * size**2
    return {"params": matrices + task.classes + 2 * gates * size, "macs": task.shape[0] * matrices}
