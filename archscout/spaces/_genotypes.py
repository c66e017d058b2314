"""The published text forms of DARTS cells: `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)` or a known name.

Recurrent cells read `Genotype(recurrent=[('sigmoid', 0), ...], concat=range(1, 9))`. Those of NAO were published as integers, of
which 2 and 3 mean identity and sigmoid to the one of its programs and the reverse to the other: hence names here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from archscout.core.errors import UserError
from archscout.core.genotypes import FIELDS, UNREADABLE, arguments, edges, integers

OPERATIONS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)
Edges = list[tuple[str, int]]
PAIRS = {node: tuple(combinations(range(node), 2)) for node in NODES}
_KNOWN = {
    "DARTS_V1": (
        [("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 0), ("sep_conv_3x3", 1),
         ("skip_connect", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 2)],
        [("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 0),
         ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("avg_pool_3x3", 0)],
    ),
    "DARTS_V2": (
        [("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
         ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2)],
        [("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
         ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1)],
    ),
}  # fmt: skip
_KNOWN_RECURRENT = {
    "NAO": [
        ("relu", 0), ("relu", 0), ("relu", 1), ("tanh", 3), ("relu", 4), ("relu", 4),
        ("relu", 5), ("relu", 1), ("relu", 7), ("relu", 1), ("identity", 1),
    ],
    "NAO_WS": [
        ("relu", 0), ("relu", 1), ("sigmoid", 2), ("sigmoid", 1), ("relu", 4), ("relu", 4),
        ("relu", 4), ("relu", 7), ("sigmoid", 8), ("tanh", 1), ("relu", 4),
    ],
}  # fmt: skip


def edges_of(choices: Sequence[int]) -> tuple[Edges, Edges]:
    """The eight (operation, source) edges of the normal and of the reduction cell; edges 2i and 2i + 1 end in node i + 2."""
    rest = iter(choices)
    found: list[Edges] = []
    for _ in CELLS:
        edges: Edges = []
        for node in NODES:
            pair = PAIRS[node][next(rest)]
            edges += [(OPERATIONS[next(rest)], source) for source in pair]
        found.append(edges)
    return found[0], found[1]


def choices_of(edges: Edges) -> list[int]:
    """The twelve choices of a cell. Raises UserError where the space does not hold it."""
    choices: list[int] = []
    for node, start in zip(NODES, range(0, 8, 2), strict=True):
        (low, first), (high, second) = sorted((source, operation) for operation, source in edges[start : start + 2])
        if (low, high) not in PAIRS[node]:
            raise UserError(f"node {node} of a DARTS cell reads two different nodes before it, but {low} and {high} came")
        for operation in (first, second):
            if operation not in OPERATIONS:
                raise UserError(f"a DARTS cell has the operations {', '.join(OPERATIONS)}, but '{operation}' came")
        choices += [PAIRS[node].index((low, high)), OPERATIONS.index(first), OPERATIONS.index(second)]
    return choices


def written(normal: Edges, reduce: Edges) -> str:
    """The published text."""
    return f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduce}, reduce_concat=range(2, 6))"


def parse(text: str) -> tuple[Edges, Edges] | None:
    """The edges of both cells of a genotype or known name; None where `text` is neither. Evaluates literals only."""
    text = text.strip()
    if text.upper() in _KNOWN:
        return _KNOWN[text.upper()]
    try:
        values = arguments(text, FIELDS)
        concats = [integers(values[f"{name}_concat"]) for name in CELLS]
        found = [edges(values[name]) for name in CELLS]
    except UNREADABLE:
        return None
    if concats != [list(NODES)] * 2 or [len(edges) for edges in found] != [8, 8]:
        raise UserError("a DARTS genotype has eight edges per cell and joins the nodes 2 to 5; this one is of another space")
    return found[0], found[1]


def written_recurrent(edges: Edges, outputs: Sequence[int]) -> str:
    """The published text of a recurrent cell. outputs: the nodes whose mean is its output."""
    every = list(outputs) == list(range(1, len(edges) + 1))
    return f"Genotype(recurrent={edges}, concat={f'range(1, {len(edges) + 1})' if every else list(outputs)})"


def parse_recurrent(text: str) -> tuple[Edges, list[int] | None] | None:
    """(activation, predecessor) of each node, and the outputs; None where `text` is neither a genotype nor a known name.

    The outputs are None for a known name, which leaves them open. Evaluates literals only.
    """
    text = text.strip()
    if text.upper() in _KNOWN_RECURRENT:
        return _KNOWN_RECURRENT[text.upper()], None
    try:
        values = arguments(text, ("recurrent", "concat"))
        return edges(values["recurrent"]), integers(values["concat"])
    except UNREADABLE:
        return None
