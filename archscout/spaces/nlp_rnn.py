"""NAS-Bench-NLP: recurrent cells for language modelling, as graphs of linear, blending, elementwise and activation nodes.

Klyuchnikov et al. 2020 (arXiv 2006.07116). A cell ("recipe") reads the input x and one to three previous hidden states; some of
its nodes become the new hidden states, of which h_new_0 is also the output of the layer. `blend` of a, b, c is a b + (1 - a) c;
`linear` is a sum of matrices times inputs and one bias. The network is a language model with tied embedding (`nn.recurrent`).

Choices: per node its operation and up to three inputs, then which nodes are the new hidden states. Nodes without effect become
absent, inputs that an operation does not take become none, gaps close, and the nodes are put into an order that isomorphic cells
share, so that equal cells are equal architectures. Most tuples are no cell.

Deviations: two rules of the published generator that its own GRU breaks hold for draws but not for all cells (linear operations
read no results of elementwise ones, new hidden states no previous ones). Dropout on weights is left to the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.problem import LANGUAGE_MODELLING, Task, TaskKind
from archscout.core.seeds import generator
from archscout.spaces._recipe_draws import drawn, mutated
from archscout.spaces._recipes import (
    ARITY,
    FIRST_NODE,
    MOST_NODES,
    OPERATIONS,
    SOURCES,
    STATES,
    Node,
    Recipe,
    parse,
    recipe,
    written,
)

if TYPE_CHECKING:
    from torch import nn

_INPUTS = 3
_DRAWN = 15
"""Cells of which the middle one says how large networks are."""
_PER_NODE = 1 + _INPUTS


def _node_decisions(node: int) -> tuple[Decision, ...]:
    sources = ("none", *SOURCES, *(f"node {earlier}" for earlier in range(node)))
    inputs = (Decision(f"node {node} input {place}", sources) for place in range(1, _INPUTS + 1))
    return Decision(f"node {node} operation", ("absent", *OPERATIONS)), *inputs


DECISIONS = (
    *(decision for node in range(MOST_NODES) for decision in _node_decisions(node)),
    *(Decision(f"h_new_{state}", ("none", *(f"node {node}" for node in range(MOST_NODES)))) for state in range(STATES)),
)


@dataclass(frozen=True)
class NlpRnn:
    """The recurrent cells of NAS-Bench-NLP.

    embedding, hidden, layers: the network; the last layer's hidden size is the embedding's.
    dropout_input, dropout_hidden, dropout_output: behind the embedding, between the layers, before the decoder; the same units for
    all steps. The benchmark trains with 0.4, 0.25 and 0.1.
    """

    embedding: int = 400
    hidden: int = 600
    layers: int = 3
    dropout_input: float = 0.0
    dropout_hidden: float = 0.0
    dropout_output: float = 0.0

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.layers) < 1:
            raise ValueError(f"sizes are at least 1, but {self.embedding}, {self.hidden} and {self.layers} came")
        if not all(0 <= share < 1 for share in (self.dropout_input, self.dropout_hidden, self.dropout_output)):
            raise ValueError("the shares of dropout lie between 0 and 1")

    @property
    def name(self) -> str:
        """nlp-rnn."""
        return "nlp-rnn"

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Language modelling."""
        return (LANGUAGE_MODELLING,)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Operation and inputs of 25 nodes, each from the nodes before it; then the nodes of h_new_0, h_new_1 and h_new_2."""
        return DECISIONS

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The cell with these choices, in canonical order. Raises UserError where they are no cell."""
        return self._named(_decoded(checked(self.name, DECISIONS, tuple(choices)).choices))

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """A freshly initialised language model: tokens (B, L) -> logits (B, L, V)."""
        from archscout.nn.recurrent import LanguageModel

        cell = _decoded(architecture.choices)
        unused = STATES - len(cell.hidden)
        nodes = [(op, tuple(i - unused if i >= FIRST_NODE else i for i in inputs)) for op, inputs in cell.nodes]
        dropouts = (self.dropout_input, self.dropout_hidden, self.dropout_output)
        return LanguageModel(nodes, cell.hidden, task.classes, self._sizes(), dropouts)

    def counts(self, architecture: Architecture, task: Task) -> Mapping[str, int]:
        """The parameters, and the MACs of one window of L tokens."""
        linear = [inputs for operation, inputs in _decoded(architecture.choices).nodes if operation == "linear"]
        weights = task.classes * self.embedding
        biases = task.classes
        for inputs, size in self._sizes():
            weights += size * sum(inputs if source == 0 else size for sources in linear for source in sources)
            biases += size * len(linear)
        return {"params": weights + biases, "macs": weights * task.shape[0]}

    def fitted(self, task: Task, limits: Mapping[str, float]) -> NlpRnn:
        """The same space, embedding and hidden states smaller in one proportion, so that a middling cell keeps to the limits."""
        from archscout.nn.measure import largest

        rng = generator(0, "fitted")
        drawn = [self.sample(rng) for _ in range(_DRAWN)]

        def scaled(percent: int) -> NlpRnn:
            sizes = (max(1, size * percent // 100) for size in (self.embedding, self.hidden))
            return replace(self, **dict(zip(("embedding", "hidden"), sizes, strict=True)))

        def count(percent: int) -> Mapping[str, float]:
            found = [scaled(percent).counts(architecture, task) for architecture in drawn]
            return {name: median(each[name] for each in found) for name in ("params", "macs")}

        return scaled(largest(100, count, limits))

    def _sizes(self) -> list[tuple[int, int]]:
        """The input size and the hidden size of each layer."""
        widths = (self.embedding, *[self.hidden] * (self.layers - 1), self.embedding)
        return list(pairwise(widths))

    def genotype(self, architecture: Architecture) -> str:
        """The published JSON text of the recipe."""
        return written(_decoded(architecture.choices))

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture of a recipe in JSON; None where `text` is none. Raises UserError for a recipe that is no cell."""
        found = parse(text)
        return None if found is None else self._named(found)

    def cell(self, architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The token and the previous states, the operations, and the new states, of which the first is the output."""
        found = _decoded(architecture.choices)
        given = 1 + len(found.hidden)
        words = {0: "token", **{1 + state: f"previous state {state}" for state in range(len(found.hidden))}}
        nodes: list[tuple[str, tuple[int, ...]]] = [(words[source], ()) for source in range(given)]
        nodes += [(name, tuple(i if i < FIRST_NODE else i - FIRST_NODE + given for i in inputs)) for name, inputs in found.nodes]
        return (*nodes, ("new states", tuple(given + node for node in found.hidden)))

    def sample(self, rng: Any) -> Architecture:
        """As the benchmark's generator: one to three states and 7, 14 or 21 further nodes, of which those without effect go."""
        return self._named(drawn(rng))

    def smallest(self) -> Architecture:
        """A linear node of x and one hidden state, which is the new one."""
        return self._named(recipe([("linear", (0, 1))], [0]))

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """One thing changes: a node's operation, an input, a hidden state's node, or a new node comes in front of an input."""
        return self._named(mutated(_decoded(architecture.choices), rng))

    def _named(self, cell: Recipe) -> Architecture:
        choices: list[int] = []
        for operation, inputs in cell.nodes:
            choices += [1 + OPERATIONS.index(operation), *(1 + i for i in inputs), *[0] * (_INPUTS - len(inputs))]
        choices += [0] * (_PER_NODE * (MOST_NODES - len(cell.nodes)))
        states = [1 + node for node in cell.hidden]
        return Architecture(self.name, (*choices, *states, *[0] * (STATES - len(states))))


def _decoded(choices: tuple[int, ...]) -> Recipe:
    nodes: list[Node | None] = []
    for first in range(0, _PER_NODE * MOST_NODES, _PER_NODE):
        chosen, *inputs = choices[first : first + _PER_NODE]
        if not chosen:
            nodes.append(None)
            continue
        operation = OPERATIONS[chosen - 1]
        nodes.append((operation, tuple(i - 1 for i in inputs if i)[: ARITY[operation][-1]]))
    return recipe(nodes, [state - 1 for state in choices[-STATES:] if state])
