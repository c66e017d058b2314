"""Contours by linear interpolation, and that pictures show what they are given."""

from __future__ import annotations

import re

import numpy as np
import pytest

from archscout.analysis.cells import explained
from archscout.analysis.published_cells import published_cells
from archscout.core.topology import Topology
from archscout.engine.resolve import resolve
from archscout.explaining.pictures import cell_picture, contour_picture, heat_picture, histograms, lines_at, pattern_picture


def test_the_contour_of_a_plane_is_a_line() -> None:
    axis = np.linspace(-1, 1, 9).tolist()
    a, b = np.meshgrid(axis, axis, indexing="ij")
    found = lines_at(axis, 2 * a + b, 0.3)
    assert found and all(2 * x + y == pytest.approx(0.3) for piece in found for x, y in piece)
    length = sum(np.hypot(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in found)
    assert length == pytest.approx(np.hypot(2, 1))  # from (-0.35, 1) to (0.65, -1)


def test_the_contour_of_a_bowl_is_a_circle() -> None:
    axis = np.linspace(-1, 1, 81).tolist()
    a, b = np.meshgrid(axis, axis, indexing="ij")
    found = lines_at(axis, a**2 + b**2, 0.5)
    radii = [np.hypot(x, y) for piece in found for x, y in piece]
    assert np.allclose(radii, np.sqrt(0.5), atol=1e-3)
    assert sum(np.hypot(p[0] - q[0], p[1] - q[1]) for p, q in found) == pytest.approx(2 * np.pi * np.sqrt(0.5), rel=2e-3)


@pytest.mark.parametrize(("middle", "together"), [(1.0, {(0, 1)}), (-1.0, {(0, 0)})])
def test_a_saddle_is_cut_as_its_middle_says(middle: float, together: set[tuple[int, int]]) -> None:
    """Corners above at (0, 0) and (1, 1); where the middle is above too, these are joined: the lines cut off the other two."""
    pieces = lines_at([0.0, 1.0], np.array([[1.0, -1.0], [-1.0, 1.0]]) + 0.2 * middle, 0.0)
    assert len(pieces) == 2
    corners = {tuple(round(float(np.mean([p[k] for p in piece])) + 0.0) for k in (0, 1)) for piece in pieces}
    assert together <= corners


def test_a_cell_shows_its_nodes_and_operations() -> None:
    cells = published_cells("AmoebaNet")
    assert cells is not None
    picture = str(cell_picture(cells["normal"], "normal"))
    assert picture.count("<circle") == 2 + 5 + 1 and "width 4, depth 4" in picture
    assert len(re.findall(r"<text[^>]*>(?:mean 3|max 3|sep 3|sep 5|skip)</text>", picture)) == 10
    dead = Topology(cells["normal"].nodes, (6,))
    assert (
        str(cell_picture(dead, "dead")).count("opacity:.35")
        > 0
        == str(cell_picture(Topology(dead.nodes[:1], (2,)), "one")).count("opacity:.35")
    )


def test_names_are_escaped() -> None:
    cell = Topology(((("<b>", 0), ("x", 1)),), (2,))
    assert "<b>" not in str(cell_picture(cell, '"><script>')) and "<script>" not in str(cell_picture(cell, '"><script>'))


def test_patterns_show_every_width_and_depth() -> None:
    found = explained(*resolve("DARTS_V2"))
    picture = str(pattern_picture(found.patterns, found.cells))
    assert picture.count('class="dot random"') == 12 and "18" not in re.findall(r"depth (\d+)", picture)
    assert "width 4, depth 2: 0.56% of random cells" in picture and picture.count("<title>normal</title>") == 1
    assert str(histograms("width", found.patterns.shares(0), {3.5: 1.0})).count("<rect") == 2 * 6


def test_surfaces_with_holes_are_drawn() -> None:
    surface = [[1.0, None, 3.0], [2.0, 1.0, 2.0], [9.0, 2.0, 3.0]]
    for picture in (contour_picture([-1, 0, 1], surface, "net"), heat_picture([-1, 0, 1], surface, "net", "variance")):
        assert str(picture).count('<rect class="cell"') == 9 and "nan" not in str(picture)
