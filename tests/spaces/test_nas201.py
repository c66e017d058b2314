"""NAS-Bench-201 against the published facts."""

from collections import Counter
from time import perf_counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archscout.core.draw import enumerate_space, mutate, size
from archscout.core.errors import UserError
from archscout.core.operations import OperationGraph
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.vertices import of_vertices, vertex_encoding_of, vertices_of
from archscout.spaces.nas201 import DECISIONS, Nas201

SPACE = Nas201()


def task(classes=10, shape=(3, 32, 32)):
    return Task("t", IMAGE_CLASSIFICATION, shape, classes, "none")


# number, choices, parameters for 10, 100 and 120 classes, million MACs at 32 and at 16 pixels
FACTS = [
    (1651, (0, 0, 0, 0, 0, 0), (73_306, 79_156, 80_456), 7.783, 1.953),
    (1835, (1, 1, 1, 1, 1, 1), (73_306, 79_156, 80_456), 7.783, 1.953),
    (4317, (2, 2, 2, 2, 2, 2), (241_306, 247_156, 248_456), 31.376, 7.852),
    (1462, (3, 3, 3, 3, 3, 3), (1_531_546, 1_537_396, 1_538_696), 220.120, 55.037),
    (11472, (3, 0, 3, 1, 0, 1), (559_386, 565_236, 566_536), 78.562, 19.648),
    (6111, (3, 3, 3, 1, 3, 2), (1_073_466, 1_079_316, 1_080_616), 153.273, 38.326),
    (9930, (3, 3, 3, 1, 3, 3), (1_288_506, 1_294_356, 1_295_656), 184.730, 46.190),
]


@pytest.mark.parametrize(("number", "choices", "params", "macs32", "macs16"), FACTS)
def test_published_counts(number, choices, params, macs32, macs16):
    architecture = SPACE.architecture(choices)
    assert SPACE.at(number) == architecture
    assert SPACE.index(architecture) == number
    assert tuple(SPACE.operations(architecture, task(classes)).params for classes in (10, 100, 120)) == params
    assert round(SPACE.operations(architecture, task()).macs / 1e6, 3) == macs32
    assert round(SPACE.operations(architecture, task(120, (3, 16, 16))).macs / 1e6, 3) == macs16
    network = SPACE.build(architecture, task())
    assert sum(parameter.numel() for parameter in network.parameters()) == params[0]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (1, "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"),
        (9, "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"),
        (123, "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"),
        (10676, "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"),
    ],
)
def test_published_numbers(number, text):
    assert SPACE.genotype(SPACE.at(number)) == text
    assert SPACE.from_genotype(f"  {text}\n") == SPACE.at(number)


def test_the_whole_space():
    every = list(enumerate_space(SPACE))
    assert len(every) == size(SPACE) == 15_625
    assert sorted(SPACE.index(architecture) for architecture in every) == list(range(15_625))
    assert all(SPACE.from_genotype(SPACE.genotype(architecture)) == architecture for architecture in every)
    assert len({SPACE.signature(architecture) for architecture in every}) == 6_466


def test_isomorphic_cells_share_a_signature():
    # 0->3 directly, and 0->1 as a skip followed by the same operation
    one = SPACE.from_genotype("|skip_connect~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_1x1~1|none~2|")
    other = SPACE.from_genotype("|skip_connect~0|+|none~0|none~1|+|nor_conv_1x1~0|nor_conv_3x3~1|none~2|")
    assert one != other
    assert SPACE.signature(one) == SPACE.signature(other)


@pytest.mark.parametrize(
    "text",
    [
        "", "|none~0|", "|none~0|+|none~0|none~1|+|none~0|none~1|none~1|", "|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|x", "DARTS_V2",
    ],
)  # fmt: skip
def test_other_text_is_not_of_this_space(text):
    assert SPACE.from_genotype(text) is None


@pytest.mark.parametrize("number", [-1, 15_625])
def test_numbers_outside_are_refused(number):
    with pytest.raises(UserError, match="0 to 15,624"):
        SPACE.at(number)


def test_wrong_settings_are_refused():
    for settings in ({"channels": 0}, {"cells": 0}, {"mutation": "edges"}):
        with pytest.raises(ValueError, match="must be"):
            Nas201(**settings)


def test_decisions_are_the_edges_in_published_order():
    assert [decision.name for decision in DECISIONS] == [
        f"edge {edge}" for edge in ("0->1", "0->2", "1->2", "0->3", "1->3", "2->3")
    ]
    assert DECISIONS[0].options == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.mark.parametrize(
    ("mutation", "expected"),
    [("node-then-edge", (1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9)), ("uniform", (1 / 6,) * 6)],
)
def test_where_mutations_fall(mutation, expected):
    space, rng = Nas201(mutation=mutation), np.random.default_rng(0)
    parent = space.at(11472)
    places, new = Counter(), Counter()
    for _ in range(6000):
        child = mutate(space, parent, rng)
        [place] = [place for place in range(6) if child.choices[place] != parent.choices[place]]
        places[place] += 1
        if place == 0:
            new[child.choices[0]] += 1
    assert [places[place] / 6000 for place in range(6)] == pytest.approx(expected, abs=0.025)
    assert set(new) == {0, 1, 2, 4}


def test_samples_are_uniform_over_operations():
    rng = np.random.default_rng(0)
    drawn = Counter(choice for _ in range(2000) for choice in SPACE.sample(rng).choices)
    assert [drawn[choice] / 12_000 for choice in range(5)] == pytest.approx([0.2] * 5, abs=0.02)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 28, 28), (3, 33, 31), (3, 256, 256)])
def test_any_image_size(shape):
    space = Nas201(4, 1)
    network = space.build(space.architecture([3, 4, 2, 1, 0, 3]), task(7, shape))
    assert network(torch.zeros(2, *shape)).shape == (2, 7)


def test_stages_are_marked():
    graph = SPACE.operations(SPACE.at(1462), task())
    assert {name: graph.operations[place].shape for name, place in graph.marks.items()} == {
        "stage1": (16, 32, 32), "stage2": (32, 16, 16), "stage3": (64, 8, 8),
    }  # fmt: skip


def test_the_residual_block_has_no_norm_in_its_shortcut_and_edges_are_relu_conv_norm():
    graph = SPACE.operations(SPACE.at(1462), task())
    kinds = {operation.name: operation.kind for operation in graph.operations}
    shortcut = [name for name in kinds if name.startswith("stage2.reduction.shortcut.")]
    assert [kinds[name] for name in shortcut] == ["avg_pool", "conv"]
    assert [kind for name, kind in kinds.items() if name.startswith("stage1.cell1.edge23.")] == ["relu", "conv", "batch_norm"]
    assert [kind for name, kind in kinds.items() if name.startswith("stem.")] == ["conv", "batch_norm"]


def test_a_none_edge_gives_nothing_and_a_skip_gives_its_source():
    def logits(text):
        space = Nas201(4, 1)
        graph: OperationGraph = space.operations(space.from_genotype(text), task())
        return [operation.kind for operation in graph.operations if operation.name.startswith("stage1.cell1")]

    assert logits("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|") == ["zero", "zero"]
    assert logits("|skip_connect~0|+|skip_connect~0|none~1|+|skip_connect~0|none~1|skip_connect~2|") == ["add"]


def test_a_graph_is_quick():
    architecture = SPACE.at(1462)
    SPACE.operations(architecture, task())
    best = min(_timed(architecture) for _ in range(10))
    assert best < 0.010, f"{best * 1000:.1f} ms"  # about 3 ms when the machine is free


def _timed(architecture):
    start = perf_counter()
    SPACE.operations(architecture, task())
    return perf_counter() - start


def test_all_cells_are_graphs_of_eight_vertices_that_lead_back():
    for index in range(15_625):
        cell = SPACE.at(index)
        types = vertices_of(SPACE, cell)
        assert of_vertices(SPACE, types) == cell == SPACE.from_genotype(SPACE.genotype(cell))
        assert len(types) == 8 and types[0] == 0 and types[-1] == 1 and all(2 <= kind <= 6 for kind in types[1:-1])


def test_vertices_are_joined_as_published_or_as_data_flows():
    """Edges of the published database (read from it by the specification), and where one edge of the cell leads on from another."""
    reference, dataflow = (vertex_encoding_of(SPACE, graph) for graph in ("reference", "dataflow"))
    assert (reference.types, reference.count) == (7, 8)
    chain = {(vertex, vertex + 1) for vertex in range(7)}
    assert set(reference.edges) == chain | {(1, 3), (1, 5), (2, 6), (3, 6)} and len(reference.edges) == 11
    flows = {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}
    assert set(dataflow.edges) == flows and len(dataflow.edges) == 10
    with pytest.raises(ValueError, match="dataflow or reference"):
        vertex_encoding_of(SPACE, "chain")


@given(st.lists(st.integers(-1, 8), min_size=6, max_size=10))
def test_types_that_are_not_legal_stand_for_nothing(types):
    legal = len(types) == 8 and types[0] == 0 and types[-1] == 1 and all(2 <= kind <= 6 for kind in types[1:-1])
    assert (of_vertices(SPACE, types) is not None) == legal
