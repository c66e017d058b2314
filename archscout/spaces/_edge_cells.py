"""Cells whose nodes sum their incoming edges, each with an operation or `none`, as topologies and back."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.core.topology import Topology

_Edges = Sequence[tuple[int, int]]


def topology_of(edges: _Edges, operations: Sequence[str]) -> Topology:
    """The cell without edges that are `none` or lie on no path from node 0 to the last node."""
    last = max(node for _, node in edges)
    kept = {edge: operation for edge, operation in zip(edges, operations, strict=True) if operation != "none"}
    reached, useful = {0}, {last}
    for source, node in sorted(kept, key=lambda edge: edge[1]):
        if source in reached:
            reached.add(node)
    for source, node in sorted(kept, reverse=True):
        if node in useful:
            useful.add(source)
    live = reached & useful
    nodes = tuple(
        tuple((operation, source) for (source, target), operation in kept.items() if target == node and {source, node} <= live)
        for node in range(1, last + 1)
    )
    return Topology(nodes, (last,), inputs=1, joined=False)


def operations_of(edges: _Edges, cell: Topology) -> list[str]:
    """The operation of every possible edge; `none` where the cell has none."""
    found = {(source, node): operation for operation, source, node in cell.edges}
    return [found.get(edge, "none") for edge in edges]
