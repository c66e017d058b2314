"""An operation graph as JSON: with it a run folder rebuilds its network without the space that drew it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args

from archscout.core.errors import RunError
from archscout.core.operations import Kind, Operation, OperationGraph

_DEFAULTS = {field.name: field.default for field in fields(Operation) if field.default is not MISSING}
_REQUIRED = ("name", "kind", "inputs", "shape")
_KINDS = get_args(Kind)


def to_record(graph: OperationGraph) -> dict[str, Any]:
    """The graph as plain JSON values; fields at their default are left out."""
    operations = []
    for operation in graph.operations:
        record = {name: getattr(operation, name) for name in _REQUIRED}
        record |= {name: getattr(operation, name) for name, default in _DEFAULTS.items() if getattr(operation, name) != default}
        operations.append({name: list(value) if isinstance(value, tuple) else value for name, value in record.items()})
    return {"operations": operations, "output": graph.output, "marks": dict(graph.marks)}


def from_record(record: Mapping[str, Any]) -> OperationGraph:
    """The graph of a record. Raises RunError where it is none."""
    try:
        operations = tuple(_operation(entry, position) for position, entry in enumerate(record["operations"]))
        output = int(record["output"])
        marks = {str(name): int(position) for name, position in record.get("marks", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"the network in architecture.json cannot be read: {type(error).__name__}: {error}") from error
    if not all(0 <= position < len(operations) for position in (output, *marks.values())):
        raise RunError(f"the network in architecture.json names a position outside its {len(operations)} operations")
    return OperationGraph(operations, output, marks)


def _operation(entry: Mapping[str, Any], position: int) -> Operation:
    values: dict[str, Any] = {name: tuple(map(int, value)) if isinstance(value, list) else value for name, value in entry.items()}
    operation = Operation(**values)
    if operation.kind not in _KINDS:
        raise ValueError(f"operation {position} is of the unknown kind '{operation.kind}'")
    if not isinstance(operation.name, str) or not all(part.isidentifier() or part.isdigit() for part in operation.name.split(".")):
        raise ValueError(f"operation {position} has the name {operation.name!r}")
    if (operation.kind == "input") != (position == 0) or not all(0 <= i < position for i in operation.inputs):
        raise ValueError(f"operation {position} ('{operation.name}') reads an operation that does not come before it")
    return operation
