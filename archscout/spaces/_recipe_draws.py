"""How recipes of NAS-Bench-NLP are drawn (as published) and varied."""

from __future__ import annotations

from typing import Any

from archscout.core.errors import UserError
from archscout.spaces._recipes import ARITY, FIRST_NODE, MOST_NODES, OPERATIONS, Node, Recipe, recipe

ACTIVATIONS = OPERATIONS[-3:]
_MAIN = OPERATIONS[:4]
_MAIN_CHANCES = (0.5, 1 / 6, 1 / 6, 1 / 6)
_THREE_INPUTS = 0.2
"""The chance that a linear operation has three inputs, not two."""
_STATES = (1, 2, 3)
_VERTICES = (7, 14, 21)
"""How many nodes are drawn beside the hidden states, before those without effect go."""
_FORMS = tuple((operation, count) for operation, counts in ARITY.items() for count in counts)


def drawn(rng: Any) -> Recipe:
    """A random cell of the published generator, of a size drawn from those of the release."""
    states, vertices = int(rng.choice(_STATES)), int(rng.choice(_VERTICES))
    while True:
        nodes = _drawn_nodes(states, states + vertices, rng)
        hidden = [int(position) for position in rng.choice(len(nodes), states, replace=False)]
        if any(1 <= i <= states for position in hidden for i in nodes[position][1]):
            continue  # a new hidden state may not read an old one directly
        try:
            return recipe(nodes, hidden)
        except UserError:
            continue


def _drawn_nodes(states: int, count: int, rng: Any) -> list[Node]:
    nodes: list[Node] = []
    given: list[int] = list(range(1 + states))
    activated: list[int] = []
    while len(nodes) < count:
        operation = _MAIN[int(rng.choice(len(_MAIN), p=_MAIN_CHANCES))]
        if operation == "linear":
            sources = given + activated
            wanted = 3 if rng.random() < _THREE_INPUTS else 2
            nodes.append((operation, _some(sources, min(wanted, len(sources)), rng)))
            nodes.append((ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))], (FIRST_NODE + len(nodes) - 1,)))
            activated.append(FIRST_NODE + len(nodes) - 1)
        else:
            sources = given[1:] + [FIRST_NODE + position for position in range(len(nodes))]
            [wanted] = ARITY[operation]
            if wanted <= len(sources):
                nodes.append((operation, _some(sources, wanted, rng)))
    return nodes


def _some(sources: list[int], count: int, rng: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in rng.choice(sources, count, replace=False))


def mutated(cell: Recipe, rng: Any) -> Recipe:
    """A legal cell that differs in one thing: a node's operation, an input, a hidden state, or a new node in front of an input.

    An operation that takes more inputs than the one before gets the missing ones at random; one that takes fewer keeps the first.
    """
    changes = (_other_operation, _other_input, _other_state, _new_node)
    while True:
        nodes, hidden = list(cell.nodes), list(cell.hidden)
        changes[int(rng.integers(len(changes)))](nodes, hidden, rng)
        try:
            child = recipe(nodes, hidden)
        except UserError:
            continue
        if child != cell:
            return child


def _other_operation(nodes: list[Node], hidden: list[int], rng: Any) -> None:
    position = int(rng.integers(len(nodes)))
    nodes[position] = _drawn_node(nodes[position][1], position, hidden, rng)


def _other_input(nodes: list[Node], hidden: list[int], rng: Any) -> None:
    position = int(rng.integers(len(nodes)))
    operation, inputs = nodes[position]
    place = int(rng.integers(len(inputs)))
    nodes[position] = operation, (*inputs[:place], _source(position, hidden, rng), *inputs[place + 1 :])


def _other_state(nodes: list[Node], hidden: list[int], rng: Any) -> None:
    hidden[int(rng.integers(len(hidden)))] = int(rng.integers(len(nodes)))


def _new_node(nodes: list[Node], hidden: list[int], rng: Any) -> None:
    if len(nodes) == MOST_NODES:
        return
    position = int(rng.integers(len(nodes)))
    _, inputs = nodes[position]
    place = int(rng.integers(len(inputs)))
    added = _drawn_node((inputs[place],), position, hidden, rng)
    new = FIRST_NODE + position
    for later in range(position, len(nodes)):
        operation, sources = nodes[later]
        nodes[later] = operation, tuple(i + 1 if i >= new else i for i in sources)
    operation, sources = nodes[position]
    nodes[position] = operation, (*sources[:place], new, *sources[place + 1 :])
    nodes.insert(position, added)
    hidden[:] = [node + 1 if node >= position else node for node in hidden]


def _drawn_node(inputs: tuple[int, ...], position: int, hidden: list[int], rng: Any) -> Node:
    """An operation at this position that reads as many of the inputs as it takes, and other sources where it takes more."""
    operation, count = _FORMS[int(rng.integers(len(_FORMS)))]
    missing = count - len(inputs)
    return operation, (*inputs[:count], *(_source(position, hidden, rng) for _ in range(missing)))


def _source(position: int, hidden: list[int], rng: Any) -> int:
    """x, a previous hidden state that the cell has, or an earlier node."""
    number = int(rng.integers(1 + len(hidden) + position))
    return number if number <= len(hidden) else FIRST_NODE + number - 1 - len(hidden)
