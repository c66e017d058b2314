"""The picture of a matrix of distances."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from archscout.report.plots import heat


def test_cells_numbers_frames_and_what_is_not_known():
    names = ["<a>", "b", "a very long name of a task that goes on"]
    matrix = np.array([[0.0, 0.25, np.nan], [0.5, 0.0, np.nan], [1.0, 0.75, 0.0]])
    picture = str(heat(names, matrix, matrix / 10, [(0, 1)]))
    root = ElementTree.fromstring(picture)
    cells = [element for element in root.iter() if element.tag.endswith("rect")]
    assert len(cells) == 7, "what is not finite stays empty"
    assert [cell.get("class") for cell in cells].count("cell framed") == 1
    shades = {cell[0].text: float(cell.get("fill-opacity", "")) for cell in cells}
    assert shades["from b to <a>: 0.500"] < shades[f"from {names[2]} to <a>: 1.000"] == 1.0
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "0.250" in texts and "±0.025" in texts and "<a>" in texts and max(len(text) for text in texts) <= 20


def test_large_matrices_have_no_numbers_and_empty_ones_are_drawn():
    count = 12
    assert "count" not in re.sub("aria-label[^>]*", "", str(heat([f"t{n}" for n in range(count)], np.ones((count, count)))))
    assert "<rect" not in str(heat(["a", "b"], np.full((2, 2), np.nan)))
