"""Cells found in operation graphs, and graphs laid out in layers."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sample_facts import mobile_graph

from archscout import catalogue
from archscout.core.operations import GraphBuilder
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.report.cells import cell_of, cells, unit
from archscout.report.drawing import blocks, draw_cell
from archscout.report.facts import Block
from archscout.report.layers import layout

TASK = Task("task", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "f")


def test_a_cell_of_nas201_is_its_edges() -> None:
    # Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; |nor_conv_3x3~0|+|skip~0|nor_conv_1x1~1|+|none~0|skip~1|avg_pool_3x3~2|.
    space = catalogue.make("spaces", "nas201")
    text = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|skip_connect~1|avg_pool_3x3~2|"
    [cell] = cells(space.operations(space.from_genotype(text), TASK))
    assert (cell.name, cell.times) == ("stage1.cell1", 15)
    edges = {(cell.nodes[i].name, node.name) for node in cell.nodes for i in node.inputs}
    assert edges == {
        ("from the part before", "conv 3×3"), ("from the part before", "+"), ("conv 3×3", "conv 1×1"), ("conv 1×1", "+"),
        ("+", "mean pool 3×3"), ("mean pool 3×3", "+"), ("conv 3×3", "+"), ("+", "output"),
    }  # fmt: skip


def test_repeated_blocks_are_one_and_their_parts_are_named() -> None:
    found = cells(mobile_graph())
    assert sum(cell.times for cell in found) <= 12 and found[0].name == "stage1.block1"
    repeated = next(cell for cell in found if cell.name == "stage1.block2")
    assert repeated.times == 6, "blocks 2 to 4 of the stages with kernel 3; stage 2 has kernel 5"
    assert [node.name for node in repeated.nodes] == [
        "from the part before", "conv 1×1", "depthwise 3×3", "conv 1×1", "+", "output",
    ]  # fmt: skip
    assert repeated.nodes[4].inputs == (0, 3) and repeated.nodes[1].params == 24 * 72 + 2 * 72
    assert repeated.nodes[-1].shape == (24, 28, 28)


def test_darts_cells_have_two_inputs_and_separable_convolutions() -> None:
    space = catalogue.make("spaces", "darts")
    found = cells(space.operations(space.from_genotype("DARTS_V2"), TASK))
    normal = max(found, key=lambda cell: cell.times)
    inputs = [node.name for node in normal.nodes if node.kind == "input" and node.name != "output"]
    assert inputs == ["from 2 parts before", "from the part before"]
    assert "separable 3×3, 2 times" in [node.name for node in normal.nodes]
    assert all(label.count("depthwise") == 0 for label in (node.name for node in normal.nodes))
    assert any("/2" in node.name for cell in found for node in cell.nodes), "reduction cells halve the map"


def test_what_only_a_zero_feeds_is_not_drawn() -> None:
    builder = GraphBuilder((3, 8, 8))
    with builder.scope("cell1"):
        nothing = builder.zero(builder.input)
        with builder.scope("edge1"):
            lost = builder.conv(nothing, 3)
        with builder.scope("edge2"):
            kept = builder.conv(builder.input, 3, 3)
        with builder.scope("edge3"):
            more = builder.max_pool(kept, 3)
        total = builder.add(lost, builder.add(kept, more))
    graph = builder.finish(builder.linear(builder.global_pool(total), 2))
    [cell] = cells(graph)
    assert "conv 1×1" not in [node.name for node in cell.nodes]
    assert [node.name for node in cell.nodes if node.name != "+"] == ["from the part before", "conv 3×3", "max pool 3×3", "output"]


def test_blocks_follow_the_units_of_the_space() -> None:
    graph = mobile_graph()
    assert unit(graph.operations[-1]) is None
    assert [block.name for block in blocks(graph)][2] == "stage1.block1"


@pytest.mark.parametrize("evil", ["<script>&\"'", "+"])
def test_a_drawing_escapes_and_tells_shapes(evil: str) -> None:
    nodes = (Block("input", "input", "", (3, 8, 8)), Block(evil, "conv", "", (4, 8, 8), 1200, (0,)))
    text = str(draw_cell(nodes, evil))
    assert "<script>" not in text and "3×8×8" in text
    assert ("4×8×8 · 1.2\u00a0k params" in text) == (evil != "+")
    assert len(re.findall("<rect", text)) == 2 and text.count('class="tip"') == 1


@settings(max_examples=60)
@given(some.data())
def test_every_edge_leads_down_and_nothing_overlaps(data: some.DataObject) -> None:
    count = data.draw(some.integers(1, 14))
    inputs = [
        sorted(data.draw(some.sets(some.integers(0, node - 1), max_size=3))) if node else [] for node in range(count)
    ]  # fmt: skip
    widths = data.draw(some.lists(some.floats(20, 200), min_size=count, max_size=count))
    found = layout(inputs, widths, gap=10)
    for target, sources in enumerate(inputs):
        for source in sources:
            assert found.layer[source] < found.layer[target]
            assert len(found.ways[source, target]) == found.layer[target] - found.layer[source] - 1
    for layer in set(found.layer):
        row = sorted((found.x[node], widths[node]) for node in range(count) if found.layer[node] == layer)
        for (left, wide), (right, wider) in pairwise(row):
            assert right - left >= (wide + wider) / 2 + 10 - 1e-6
    assert all(found.x[n] - widths[n] / 2 >= -1e-6 and found.x[n] + widths[n] / 2 <= found.width + 1e-6 for n in range(count))


def test_a_chain_is_drawn_straight() -> None:
    found = layout([[], [0], [1], [2]], [40.0, 100.0, 60.0, 80.0])
    assert found.x == pytest.approx((50.0,) * 4) and found.layer == (0, 1, 2, 3) and found.width == pytest.approx(100.0)


def test_recurrent_cells_are_told_by_their_spaces() -> None:
    space = catalogue.make("spaces", "rnn", nodes=3, ends="loose")
    told = space.cell(space.architecture((0, 0, 1, 1, 1, 3)))  # tanh of s_0, then ReLU and identity of s_1
    assert told == (
        ("token and last state", ()), ("tanh", (0,)), ("relu", (1,)), ("identity", (1,)), ("mean: new state", (2, 3)),
    )  # fmt: skip
    cell = cell_of(told, "c")
    assert [node.kind for node in cell.nodes] == ["input", "other", "other", "other", "input"]
    assert str(draw_cell(cell.nodes)).count('class="flow"') == 5
    benchmark = catalogue.make("spaces", "nlp-rnn")
    assert benchmark.cell(benchmark.smallest()) == (
        ("token", ()), ("previous state 0", ()), ("linear", (0, 1)), ("new states", (2,)),
    )  # fmt: skip
