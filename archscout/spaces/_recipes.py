"""Recipes of NAS-Bench-NLP: recurrent cells as graphs, their published JSON form, and the one order that isomorphic ones share."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archscout.core.errors import UserError

ARITY = {
    "linear": (2, 3),
    "blend": (3,),
    "elementwise_prod": (2,),
    "elementwise_sum": (2,),
    "activation_tanh": (1,),
    "activation_sigm": (1,),
    "activation_leaky_relu": (1,),
}
"""How many inputs an operation may have."""
OPERATIONS = tuple(ARITY)
STATES = 3
SOURCES = ("x", *(f"h_prev_{state}" for state in range(STATES)))
"""What a cell is given; the numbers 0 to 3 of inputs. Node k has the number 4 + k."""
FIRST_NODE = len(SOURCES)
MOST_NODES = 25
LONGEST_TEXT = 20_000
Node = tuple[str, tuple[int, ...]]
"""An operation, and the numbers of its inputs."""
_EXAMPLE = '{"op": "linear", "input": ["x", "h_prev_0"]}'
_NEW_STATE = re.compile(r"h_new_([0-9])")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A cell. hidden: the positions of the nodes that become the hidden states h_new_0, h_new_1, ...; made by `recipe`."""

    nodes: tuple[Node, ...]
    hidden: tuple[int, ...]


def recipe(nodes: Sequence[Node | None], hidden: Sequence[int]) -> Recipe:
    """The cell with these nodes (None where there is none; inputs come first), in canonical order, without what has no effect.

    Raises UserError where it is no cell: every node has the right number of different inputs, `x` goes into linear operations only,
    the hidden states are different nodes, and the cell reads x and each previous hidden state.
    """
    if not 1 <= len(set(hidden)) == len(hidden) <= STATES:
        raise UserError(f"a recipe has 1 to {STATES} new hidden states, each a node of its own; change which nodes they are")
    kept = _reached(nodes, hidden)
    found = [_checked(node, nodes[node]) for node in kept]
    if len(found) > MOST_NODES:
        raise UserError(f"a recipe has at most {MOST_NODES} nodes, but {len(found)} came; give a smaller one")
    wanted, read = set(range(1 + len(hidden))), {i for _, inputs in found for i in inputs if i < FIRST_NODE}
    if read != wanted:
        listed = [", ".join(SOURCES[i] for i in sorted(numbers)) or "none of them" for numbers in (wanted, read)]
        raise UserError(f"a recipe with {len(hidden)} hidden states reads {listed[0]}, but {listed[1]} came; change its inputs")
    return _reordered(found, kept, hidden)


def _reached(nodes: Sequence[Node | None], hidden: Sequence[int]) -> list[int]:
    """The nodes that a new hidden state depends on, ascending."""
    waiting, reached = list(hidden), set(hidden)
    while waiting:
        node = nodes[place := waiting.pop()]
        if node is None:
            raise UserError(f"node {place} of the recipe is used, but absent; give it an operation, or use another node")
        for i in node[1]:
            if i >= FIRST_NODE and i - FIRST_NODE not in reached:
                reached.add(i - FIRST_NODE)
                waiting.append(i - FIRST_NODE)
    return sorted(reached)


def _checked(place: int, node: Node | None) -> Node:
    assert node is not None
    operation, inputs = node
    if len(inputs) not in ARITY[operation] or len(set(inputs)) < len(inputs):
        wanted = " or ".join(map(str, ARITY[operation]))
        raise UserError(f"'{operation}' takes {wanted} different inputs, but at node {place} others came; change its inputs")
    if 0 in inputs and operation != "linear":
        raise UserError(f"x goes into linear operations only, but node {place} is '{operation}'; give it another input")
    return node


def _reordered(nodes: Sequence[Node], places: Sequence[int], hidden: Sequence[int]) -> Recipe:
    """The cell in canonical order. places: the numbers by which inputs and hidden states call the nodes."""
    position = {place: i for i, place in enumerate(places)}
    local = [(op, tuple(i if i < FIRST_NODE else FIRST_NODE + position[i - FIRST_NODE] for i in inputs)) for op, inputs in nodes]
    order = _canonical(local, [position[node] for node in hidden])
    number = {FIRST_NODE + old: FIRST_NODE + new for new, old in enumerate(order)}
    renamed = []
    for old in order:
        operation, inputs = local[old]
        moved = [number.get(i, i) for i in inputs]
        renamed.append((operation, tuple(moved if operation == "blend" else sorted(moved))))
    return Recipe(tuple(renamed), tuple(number[FIRST_NODE + position[node]] - FIRST_NODE for node in hidden))


def _canonical(nodes: Sequence[Node], hidden: Sequence[int]) -> list[int]:
    """The positions of the nodes in an order that isomorphic cells share, inputs first.

    Colours are refined by those of inputs and consumers until nothing more is told apart (Weisfeiler and Leman); of nodes that are
    still alike the first stands out, and so on. A cell in this order keeps it, whatever the colours cannot tell apart.
    """
    consumers: list[list[tuple[int, int]]] = [[] for _ in nodes]
    depth: list[int] = []
    for position, (operation, inputs) in enumerate(nodes):
        depth.append(1 + max((depth[i - FIRST_NODE] for i in inputs if i >= FIRST_NODE), default=0))
        for place, i in enumerate(inputs):
            if i >= FIRST_NODE:
                consumers[i - FIRST_NODE].append((position, place if operation == "blend" else 0))
    state = {node: number for number, node in enumerate(hidden, start=1)}
    colours = _ranks([(depth[i], OPERATIONS.index(op), state.get(i, 0)) for i, (op, _) in enumerate(nodes)])
    while True:
        colours = _refined(nodes, consumers, colours)
        alike = [colour for colour in colours if colours.count(colour) > 1]
        if not alike:
            return sorted(range(len(nodes)), key=colours.__getitem__)
        first = colours.index(min(alike))
        colours = _ranks([(colour, colour == min(alike) and i != first) for i, colour in enumerate(colours)])


def _refined(nodes: Sequence[Node], consumers: list[list[tuple[int, int]]], colours: list[int]) -> list[int]:
    while True:
        keys = []
        for i, (operation, inputs) in enumerate(nodes):
            seen = [j if j < FIRST_NODE else FIRST_NODE + colours[j - FIRST_NODE] for j in inputs]
            users = sorted((colours[user], place) for user, place in consumers[i])
            keys.append((colours[i], seen if operation == "blend" else sorted(seen), users))
        finer = _ranks(keys)
        if max(finer) == max(colours):
            return finer
        colours = finer


def _ranks(keys: Sequence[tuple[Any, ...]]) -> list[int]:
    """The keys as whole numbers in their order, equal ones alike."""
    order: list[tuple[Any, ...]] = []
    for key in sorted(keys):
        if not order or order[-1] != key:
            order.append(key)
    return [order.index(key) for key in keys]


def written(cell: Recipe) -> str:
    """The published JSON text: name of a node -> its operation and the names of its inputs."""
    names = [f"node_{position}" for position in range(len(cell.nodes))]
    for state, position in enumerate(cell.hidden):
        names[position] = f"h_new_{state}"
    called = (*SOURCES, *names)
    graph = {name: {"op": op, "input": [called[i] for i in inputs]} for name, (op, inputs) in zip(names, cell.nodes, strict=True)}
    return json.dumps(graph)


def parse(text: str) -> Recipe | None:
    """The cell of a published JSON text; None where `text` is none. Raises UserError for a text of this form that is no cell."""
    if not text.lstrip().startswith("{"):
        return None
    if len(text) > LONGEST_TEXT:
        raise UserError(f"a recipe has at most {LONGEST_TEXT:,} characters, but {len(text):,} came; give a smaller one")
    try:
        pairs: object = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    graph = _graph(pairs)
    order = _sorted(graph)
    number = {name: i for i, name in enumerate(SOURCES)} | {name: FIRST_NODE + i for i, name in enumerate(order)}
    states = {int(match[1]): i for i, name in enumerate(order) if (match := _NEW_STATE.fullmatch(name))}
    if sorted(states) != list(range(len(states))):
        raise UserError(f"the new hidden states of a recipe are h_new_0, h_new_1, ..., but {sorted(states)} came; rename them")
    nodes = [(graph[name][0], tuple(number[i] for i in graph[name][1])) for name in order]
    return recipe(nodes, [states[state] for state in range(len(states))])


def _graph(pairs: object) -> dict[str, tuple[str, list[str]]]:
    """Name -> operation and names of inputs, from JSON whose objects are lists of pairs."""
    graph: dict[str, tuple[str, list[str]]] = {}
    for name, entry in pairs if isinstance(pairs, list) else ():
        fields = dict(entry) if _is_entry(entry) else {}
        operation, inputs = fields.get("op", ""), fields.get("input", "")
        readable = isinstance(operation, str) and isinstance(inputs, list) and all(isinstance(i, str) for i in inputs)
        if not readable or operation not in ARITY:
            raise UserError(f"a node of a recipe reads like {_EXAMPLE}, but '{name[:60]}' does not; known: {', '.join(OPERATIONS)}")
        if name in graph or name in SOURCES:
            raise UserError(f"a recipe names each node once, and not like what it reads, but '{name[:60]}' came; rename it")
        graph[name] = operation, inputs
    return graph


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(pair, tuple) for pair in entry)


def _sorted(graph: dict[str, tuple[str, list[str]]]) -> list[str]:
    """The names in an order in which inputs come first."""
    order: list[str] = []
    left = dict(graph)
    done = set(SOURCES)
    while left:
        ready = [name for name, (_, inputs) in left.items() if done.issuperset(inputs)]
        if not ready:
            waiting = ", ".join(left)[:200]
            raise UserError(f"a recipe has no cycles and no unknown inputs, but these nodes wait for such: {waiting}; mend them")
        for name in ready:
            order.append(name)
            done.add(name)
            del left[name]
    return order
