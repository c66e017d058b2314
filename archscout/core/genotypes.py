"""Published texts of cells, read without running them.

`Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))`. Only literals are
evaluated, and `range(a, b)` of literals.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from operator import index

from archscout.core.errors import UserError
from archscout.core.topology import Edge, Topology

UNREADABLE = (SyntaxError, ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError)
"""What `arguments`, `edges` and `integers` raise for texts of another form."""
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_HEAD = "Genotype("
_LONGEST = 4000


def arguments(text: str, names: Sequence[str]) -> Mapping[str, ast.expr]:
    """The arguments of a `Genotype(...)`, unevaluated. Raises one of `UNREADABLE`."""
    if not text.startswith(_HEAD) or len(text) > _LONGEST:
        raise ValueError(text)
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or len(call.args) > len(names):
        raise ValueError(text)
    return dict(zip(names, call.args, strict=False)) | {str(word.arg): word.value for word in call.keywords}


def edges(node: ast.expr) -> list[Edge]:
    """A literal list of (operation, source)."""
    return [(str(operation), index(source)) for operation, source in ast.literal_eval(node)]


def integers(node: ast.expr) -> list[int]:
    """A literal list, or `range(a, b)` of literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and len(node.args) == 2:
        start, stop = (ast.literal_eval(bound) for bound in node.args)
        return list(range(max(start, 0), min(stop, 100)))
    return [index(number) for number in ast.literal_eval(node)]


def cells_of(text: str) -> dict[str, Topology] | None:
    """The normal and the reduction cell of any genotype of two edges per node; None where `text` does not begin as one.

    Raises UserError where it begins as one and cannot be read, or where its cells are none.
    """
    text = text.strip()
    if not text.startswith(_HEAD):
        return None
    try:
        values = arguments(text, FIELDS)
        found = {name: (edges(values[name]), integers(values[f"{name}_concat"])) for name in ("normal", "reduce")}
        cells = {name: _cell(name, flat, joined) for name, (flat, joined) in found.items()}
    except UNREADABLE as error:
        raise UserError(
            "a genotype reads Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], "
            f"reduce_concat=...), but this one does not ({type(error).__name__}); compare it with that"
        ) from error
    return cells


def written(cells: Mapping[str, Topology]) -> str:
    """The text of a normal and a reduction cell."""
    parts = []
    for name in ("normal", "reduce"):
        cell = cells[name]
        joined = list(cell.outputs)
        whole = joined == list(range(joined[0], joined[-1] + 1))
        parts.append(f"{name}={[edge for node in cell.nodes for edge in node]}")
        parts.append(f"{name}_concat={f'range({joined[0]}, {joined[-1] + 1})' if whole else joined}")
    return f"{_HEAD}{', '.join(parts)})"


def _cell(name: str, flat: Sequence[Edge], joined: Sequence[int]) -> Topology:
    if not flat or len(flat) % 2:
        raise UserError(f"a genotype has two edges per node, but the cell '{name}' has {len(flat)} edges; add or remove one")
    return Topology(tuple((flat[place], flat[place + 1]) for place in range(0, len(flat), 2)), tuple(joined))
