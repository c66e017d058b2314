"""The published text form of DARTS cells: `Genotype(normal=[('sep_conv_3x3', 0), ...], ...)` or a known name."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import combinations

from archscout.core.errors import UserError

OPERATIONS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)
Edges = list[tuple[str, int]]
PAIRS = {node: tuple(combinations(range(node), 2)) for node in NODES}
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
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
    if not text.startswith("Genotype(") or len(text) > 4000:
        return None
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call):
            return None
        values = dict(zip(_FIELDS, call.args, strict=False)) | {str(word.arg): word.value for word in call.keywords}
        normal, reduce = (ast.literal_eval(values[name]) for name in CELLS)
        concats = [_integers(values[f"{name}_concat"]) for name in CELLS]
        found = [[(str(operation), int(source)) for operation, source in edges] for edges in (normal, reduce)]
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return None
    if concats != [list(NODES)] * 2 or [len(edges) for edges in found] != [8, 8]:
        raise UserError("a DARTS genotype has eight edges per cell and joins the nodes 2 to 5; this one is of another space")
    return found[0], found[1]


def _integers(node: ast.expr) -> list[int]:
    """A literal list, or `range(a, b)` of literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and len(node.args) == 2:
        start, stop = (ast.literal_eval(bound) for bound in node.args)
        return list(range(max(start, 0), min(stop, 100)))
    return list(ast.literal_eval(node))
