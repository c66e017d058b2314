"""Published cells of spaces that are not among ours, by name.

As Shu, Wang and Cai (2020, arXiv 1909.09569) publish them, after the papers on NASNet (Zoph et al. 2018, arXiv 1707.07012),
AmoebaNet (Real et al. 2019, arXiv 1802.01548), ENAS (Pham et al. 2018, arXiv 1802.03268) and SNAS with a mild constraint (Xie et
al. 2019, arXiv 1812.09926). A cell is written node by node as operations with their sources, then what its output joins.
"""

from __future__ import annotations

from collections.abc import Mapping

from archscout.core.topology import Edge, Topology

_OPERATIONS = {
    "sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "sep7": "sep_conv_7x7", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
    "max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect", "conv7": "conv_7x1_1x7",
}  # fmt: skip
_CELLS = {
    "nasnet": (
        "sep5.1 sep3.0, sep5.0 sep3.0, avg.1 skip.0, avg.0 avg.0, sep3.1 skip.1 > 2 3 4 5 6",
        "sep5.1 sep7.0, max.1 sep7.0, avg.1 sep5.0, skip.3 avg.2, sep3.2 max.1 > 4 5 6",
    ),
    "amoebanet": (
        "avg.0 max.1, sep3.0 sep5.2, sep3.0 avg.3, sep3.1 skip.1, skip.0 avg.1 > 4 5 6",
        "avg.0 sep3.1, max.0 sep7.2, sep7.0 avg.1, max.0 max.1, conv7.0 sep3.5 > 3 4 6",
    ),
    "enas": (
        "sep3.1 skip.1, sep5.1 skip.0, avg.0 sep3.1, sep3.0 avg.1, sep5.1 avg.0 > 2 3 4 5 6",
        "sep5.0 avg.1, sep3.1 avg.1, sep3.1 avg.1, sep5.4 avg.1, sep3.5 sep5.0 > 2 3 6",
    ),
    "snas_mild": (
        "sep3.0 sep3.1, skip.0 dil3.1, skip.0 skip.1, skip.0 sep3.1 > 2 3 4 5",
        "max.0 max.1, skip.2 max.1, max.1 skip.2, dil5.2 max.0 > 2 3 4 5",
    ),
}
NAMES = {"nasnet": "NASNet", "amoebanet": "AmoebaNet", "enas": "ENAS", "snas_mild": "SNAS_MILD"}


def published_cells(name: str) -> Mapping[str, Topology] | None:
    """The normal and the reduction cell of a published architecture; None where there is none of that name."""
    found = _CELLS.get(name.strip().lower())
    return None if found is None else dict(zip(("normal", "reduce"), map(_cell, found), strict=True))


def _cell(text: str) -> Topology:
    nodes, _, outputs = text.partition(" > ")
    return Topology(
        tuple(tuple(_edge(edge) for edge in node.split()) for node in nodes.split(", ")),
        tuple(int(node) for node in outputs.split()),
    )


def _edge(text: str) -> Edge:
    operation, _, source = text.partition(".")
    return _OPERATIONS[operation], int(source)
