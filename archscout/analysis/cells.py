"""What is to be said of a cell: how wide and deep it is, how unusual that is, and how else its operations could be connected.

Definitions in `core.topology`. Variants of a cell (Shu, Wang and Cai 2020, arXiv 1909.09569): the same operations, connected as
wide or as narrow as the space can, or at random; and, to see how much operations matter, the same connections with random ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.protocols import CellSpace, Space
from archscout.core.seeds import generator
from archscout.core.topology import Topology
from archscout.core.wiring import Patterns, Sources, Wiring, different

SAMPLED = 2_000
"""Cells that are drawn where they cannot all be counted."""
Cells = Mapping[str, Topology]
Concat = Literal["keep", "all"]


@dataclass(frozen=True)
class Variant:
    """Cells that differ from others in connections or operations. architecture: None where they belong to no space of ours."""

    name: str
    cells: Cells
    architecture: Architecture | None = None


@dataclass(frozen=True)
class Explained:
    """Cells, and what they are compared with. space, architecture: None for published cells of a space that is not ours."""

    cells: Cells
    wiring: Wiring
    patterns: Patterns
    space: Space | None = None
    architecture: Architecture | None = None

    def record(self) -> dict[str, dict[str, Any]]:
        """What `archscout explain --json` says of each cell."""
        return {name: described(cell, self.patterns) for name, cell in self.cells.items()}

    def variants(self, random: int = 2, *, seed: int = 0, concat: Concat = "keep") -> list[Variant]:
        """The widest and the narrowest, so many at random, and one with random operations; those that the space does not hold are
        left out, and those whose connections are those of the cells themselves.

        concat: what the output of cells that belong to no space joins: what it joined, or all nodes.
        """
        found: list[Variant] = []
        for name, widest in (("widest", True), ("narrowest", False)):
            cells = {
                part: self.wiring.extreme(cell, widest=widest, accept=self._accepts(part)) for part, cell in self.cells.items()
            }
            self._add(found, name, cells, concat)
        number = 0
        for draw in range(4 * random):
            rng = generator(seed, "connections", draw)
            cells = {part: different(self.wiring, cell, rng, self._accepts(part)) for part, cell in self.cells.items()}
            number += self._add(found, f"random {number + 1}", cells, concat)
            if number == random:
                break
        rng = generator(seed, "operations")
        self._add(found, "random operations", {part: self.wiring.reworked(cell, rng) for part, cell in self.cells.items()}, concat)
        return found

    def _accepts(self, part: str) -> Any:
        """Whether the space holds the cells with this one in the place of its own."""

        def accepts(cell: Topology) -> bool:
            try:
                return self.space is None or bool(_in(self.space, {**self.cells, part: cell}))
            except UserError:
                return False

        return accepts

    def _add(self, found: list[Variant], name: str, cells: Mapping[str, Topology | None], concat: Concat) -> bool:
        """Whether there are such cells, and none like them before."""
        known = {part: cell for part, cell in cells.items() if cell is not None}
        if len(known) < len(cells):
            return False
        if self.space is not None:
            architecture = _in(self.space, known)
            assert isinstance(self.space, CellSpace)
            made = Variant(name, self.space.topologies(architecture), architecture)
        else:
            every = {
                part: replace(cell, outputs=tuple(range(cell.inputs, cell.inputs + len(cell.nodes))))
                for part, cell in known.items()
            }
            made = Variant(name, every if concat == "all" else known)
        if made.cells == self.cells or any(made.cells == other.cells for other in found):
            return False
        found.append(made)
        return True


def explained(space: Space, architecture: Architecture) -> Explained:
    """The cells of an architecture. Raises UserError where its networks have none."""
    if not isinstance(space, CellSpace):
        raise UserError(
            f"the networks of '{space.name}' have no cells, so there is no width and depth of a cell to tell; for their loss "
            "landscape and the noise of their gradients give --landscape 9"
        )
    return Explained(space.topologies(architecture), space.wiring, patterns_of(space), space, architecture)


def explained_cells(cells: Cells) -> Explained:
    """Cells of two inputs and two edges a node, compared with all of so many nodes; sources repeat where they do in these."""
    sizes = {len(cell.nodes) for cell in cells.values()}
    if len(sizes) > 1:
        raise UserError(
            f"both cells should have as many nodes, but {' and '.join(map(str, sorted(sizes)))} came; give one of them twice"
        )
    distinct = all(len({source for _, source in node}) == len(node) for cell in cells.values() for node in cell.nodes)
    operations = sorted({operation for cell in cells.values() for operation, _, _ in cell.edges})
    wiring = Sources(tuple(operations), sizes.pop(), distinct=distinct)
    return Explained(cells, wiring, wiring.patterns())


def patterns_of(space: CellSpace) -> Patterns:
    """How often which width and depth occur among the random cells of a space: of all, or of a sample."""
    assert isinstance(space, Space)
    counted = space.wiring.patterns()
    if counted is not None:
        return counted
    rng = generator(0, "patterns", space.name)
    drawn = [next(iter(space.topologies(sample(space, rng)).values())) for _ in range(SAMPLED)]
    counts, common = Counter((cell.width, cell.depth) for cell in drawn), sum(cell.is_common_pattern for cell in drawn)
    return Patterns(counts, common, "cells, drawn at random", exact=False)


def described(cell: Topology, patterns: Patterns) -> dict[str, Any]:
    """The numbers of a cell; widths in multiples of a node's channels, the percentile among random cells (of the rank by width,
    then by shallowness), `top_share` of those that rank at least as high.
    """
    edges = cell.edges
    return {
        "nodes": len(cell.nodes),
        "width": float(cell.width),
        "depth": cell.depth,
        "level": list(cell.levels),
        "f": [float(share) for share in cell.shares],
        "dead": list(cell.dead),
        "percentile": round(patterns.percentile(cell), 4),
        "top_share": round(patterns.top_share(cell), 6),
        "compared_with": {"cells": patterns.total, "what": patterns.what, "exact": patterns.exact},
        "effective_width": float(cell.effective_width),
        "effective_depth": cell.effective_depth,
        "operative_depth": cell.operative_depth,
        "skip_edges": sum(cell.is_skip(operation) for operation, _, _ in edges),
        "param_free_share": sum(cell.is_free(operation) for operation, _, _ in edges) / len(edges) if edges else 0.0,
        "longest_path": list(cell.longest_path),
        "is_common_pattern": cell.is_common_pattern,
        "edges": [[operation, source, node] for operation, source, node in edges],
        "outputs": list(cell.outputs),
    }


def sentence(name: str, cell: Topology, patterns: Patterns) -> str:
    """The same for a person."""
    where = f"{patterns.total:,} {patterns.what}"
    top = patterns.top_share(cell)
    said = f"{name}: width {multiple(cell.width)}, depth {cell.depth}: in the top {_percent(top)} of {where}"
    if cell.is_common_pattern:
        said += "; the common pattern, wide and shallow"
    if cell.dead:
        said += (
            f"; node{'s' if len(cell.dead) > 1 else ''} {', '.join(map(str, cell.dead))} dead, so that effectively width "
            f"{multiple(cell.effective_width)}, depth {cell.effective_depth}"
        )
    return said


def multiple(width: Fraction) -> str:
    """3.5c."""
    return f"{float(width):.4g}c"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.2g} %"


def _in(space: Space, cells: Cells) -> Architecture:
    assert isinstance(space, CellSpace)
    return space.of_topologies(cells)
