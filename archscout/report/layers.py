"""Where the nodes of a graph stand when it is drawn in layers, every edge leading down (after Sugiyama, Tagawa and Toda 1981).

A node stands one layer below the lowest of those that it reads; a long edge gets a waypoint on each layer that it crosses; nodes of
a layer are ordered by the mean place of their neighbours, and then stand as near to them as the widths allow: the least squares
under gaps, which is an isotonic regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_SWEEPS = 12
_WAYPOINT = 14.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """x: of the middle of each node. layer: of each node, 0 on top. ways: by edge (from, to) the x of its waypoints, from top to
    bottom. width: of all."""

    x: tuple[float, ...]
    layer: tuple[int, ...]
    ways: dict[tuple[int, int], tuple[float, ...]]
    width: float


def layout(inputs: Sequence[Sequence[int]], widths: Sequence[float], gap: float = 26.0) -> Layout:
    """The layout of nodes with these inputs (positions of earlier nodes) and widths in pixels."""
    count = len(inputs)
    layer: list[int] = []
    for sources in inputs:
        layer.append(max((layer[i] + 1 for i in sources), default=0))
    size = list(widths)
    row = list(layer)
    links: list[tuple[int, int]] = []
    chains: dict[tuple[int, int], list[int]] = {}
    for target, sources in enumerate(inputs):
        for source in sources:
            way = [source]
            for between in range(layer[source] + 1, layer[target]):
                way.append(len(size))
                size.append(_WAYPOINT)
                row.append(between)
            chains[source, target] = way[1:]
            links += list(zip(way, [*way[1:], target], strict=True))
    rows = [[node for node in range(len(size)) if row[node] == number] for number in range(max(row, default=0) + 1)]
    above: list[list[int]] = [[] for _ in size]
    below: list[list[int]] = [[] for _ in size]
    for source, target in links:
        above[target].append(source)
        below[source].append(target)
    x = np.zeros(len(size))
    for nodes in rows:
        _stand(nodes, x, np.arange(len(nodes), dtype=np.float64), size, gap)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        near = above if down else below
        for nodes in rows if down else reversed(rows):
            wanted = np.array([np.mean(x[near[node]]) if near[node] else x[node] for node in nodes])
            order = np.argsort(wanted, kind="stable")
            nodes[:] = [nodes[place] for place in order]
            _stand(nodes, x, wanted[order], size, gap)
    for nodes in rows:  # at last between both neighbourhoods, in the order found
        both = [above[node] + below[node] for node in nodes]
        wanted = np.array([np.mean(x[near]) if near else x[node] for node, near in zip(nodes, both, strict=True)])
        _stand(nodes, x, wanted, size, gap)
    half = np.array(size) / 2
    left = float((x - half).min()) if len(size) else 0.0
    x -= left
    ways = {edge: tuple(float(x[node]) for node in chain) for edge, chain in chains.items()}
    return Layout(tuple(x[:count].tolist()), tuple(layer), ways, float((x + half).max()) if len(size) else 0.0)


def _stand(nodes: Sequence[int], x: Floats, wanted: Floats, size: Sequence[float], gap: float) -> None:
    """Put nodes of one layer, in this order, as near as possible to where they are wanted."""
    from scipy.optimize import isotonic_regression

    if not nodes:
        return
    steps = [0.0] + [(size[a] + size[b]) / 2 + gap for a, b in pairwise(nodes)]
    shift = np.cumsum(steps)
    x[list(nodes)] = isotonic_regression(wanted - shift).x + shift
