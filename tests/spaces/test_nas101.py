"""NAS-Bench-101 against the published facts."""

import json
from hashlib import md5
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.draw import crossover, legal, mutate, neighbours, sample
from archscout.core.encoding import architecture_of, encoding_of, tokens_of
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.nn.measure import acceptance, smallest_count
from archscout.spaces._nas101_cell import OPERATIONS, Cell, isomorphism_classes
from archscout.spaces.nas101 import DECISIONS, EDGES, Nas101

SPACE = Nas101()
SMALL = Nas101(8, 3, 1)
CONV3, CONV1, POOL = range(3)
seeds = st.integers(0, 2**32)


def task(classes=10, shape=(3, 32, 32)):
    return Task("t", IMAGE_CLASSIFICATION, shape, classes, "none")


def cell(rows, *operations):
    return Cell(tuple(tuple(map(int, row)) for row in rows.split()), operations)


def drawn(seed):
    return SPACE.sample(np.random.default_rng(seed))


INCEPTION = cell("0111010 0000001 0000001 0000100 0000001 0000001 0000000", CONV1, CONV3, CONV3, CONV3, POOL)
DIRECT = cell("01 00")
ONE = cell("010 001 000", CONV3)
RESIDUAL = cell("0101 0010 0001 0000", CONV3, CONV3)
# cell, parameters and MACs for CIFAR-10, module hash
FACTS = [
    (INCEPTION, 2_694_282, 402_002_944, "28cfc7874f6d200472e1a9dcd8650aa0"),
    (DIRECT, 882_570, 137_761_792, "043721b9c7fe8c5fad811d47d83132ec"),
    (ONE, 10_177_674, 1_496_716_288, "b49ac8c578b4561d79ac7087988f1c61"),
    (RESIDUAL, 20_346_506, 2_989_888_512, "b5fb4f6193360330b6ff6a52cbf0cad7"),
]
# vertices, cells, md5 of their hashes in ascending order (of the recorded benchmark)
CLASSES = [
    (2, 1, "51760bd766983ea93029967cd932e860"),
    (3, 6, "5cb19ac376018bcdd9daa0c4b3f521dc"),
    (4, 84, "994057be609817474a58d7450d7ad0ec"),
    (5, 2_441, "4c5b0eaaa408f21ceb0b5c751941b904"),
]


@pytest.mark.parametrize(("asked", "params", "macs", "key"), FACTS)
def test_published_counts_and_hashes(asked, params, macs, key):
    architecture = SPACE.of_cell(asked)
    graph = SPACE.operations(architecture, task())
    assert (graph.params, graph.macs) == (params, macs)
    assert SPACE.signature(architecture) == key
    with torch.device("meta"):
        network = SPACE.build(architecture, task())
    assert sum(parameter.numel() for parameter in network.parameters()) == params


@pytest.mark.parametrize(("vertices", "count", "digest"), CLASSES)
def test_the_smaller_cells_are_those_of_the_benchmark(vertices, count, digest):
    hashes = [found.hash() for found in isomorphism_classes(vertices)]
    assert len(set(hashes)) == len(hashes) == count
    assert md5("".join(sorted(hashes)).encode()).hexdigest() == digest


def test_there_are_423624_cells():
    assert sum(1 for vertices in range(2, 8) for _ in isomorphism_classes(vertices)) == 423_624


def test_every_class_is_an_architecture_as_it_stands():
    for vertices in range(2, 8):
        for found in islice(isomorphism_classes(vertices), 0, None, 1 + 10 ** (vertices - 3) if vertices > 4 else 1):
            assert SPACE.cell(SPACE.of_cell(found)) == found
    assert [len(SPACE.cell(a).operations) for a in islice(SPACE.classes(), 10)] == [0, *[1] * 6, 2, 2, 2]


def test_pruning_moves_what_is_left_to_the_front():
    # 1 leads nowhere, 2 comes from nowhere, 3 and 5 are in use, 4 is cut off
    untidy = cell("0101000 0000000 0000001 0000011 0000000 0000001 0000000", CONV1, CONV1, POOL, CONV1, CONV1)
    tidy = cell("0100 0011 0001 0000", POOL, CONV1)
    assert untidy.pruned() == tidy.pruned() == tidy
    architecture = SPACE.of_cell(untidy)
    assert architecture == SPACE.of_cell(tidy)
    present = [edge for edge, choice in zip(EDGES, architecture.choices, strict=False) if choice]
    assert present == [(0, 1), (1, 2), (1, 6), (2, 6)]
    assert architecture.choices[21:] == (POOL, CONV1, 0, 0, 0)
    assert SPACE.cell(architecture) == tidy


def test_without_a_path_there_is_no_cell():
    assert cell("0100 0000 0001 0000", CONV3, CONV3).pruned() is None
    for choices in ([0] * 26, [int(edge in {(0, 1), (2, 6)}) for edge in EDGES] + [0] * 5):
        with pytest.raises(UserError, match="needs a path"):
            SPACE.architecture(choices)


def test_nine_edges_are_counted_after_pruning():
    with pytest.raises(UserError, match=r"at most 9 edges .* 21 came"):
        SPACE.architecture([1] * 21 + [0] * 5)
    dangling = [int(target < 6 or source == 0) for source, target in EDGES]  # fifteen edges that lead nowhere
    assert SPACE.architecture([*dangling, 1, 1, 1, 1, 1]) == SPACE.of_cell(DIRECT)


@given(seeds)
def test_pruning_keeps_exactly_the_vertices_on_paths(seed):
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.integers(0, 2, (7, 7)), 1)
    paths = np.linalg.matrix_power(np.eye(7, dtype=int) + matrix, 6)
    kept = [v for v in range(7) if paths[0, v] and paths[v, 6]]
    operations = tuple(map(int, rng.integers(3, size=5)))
    pruned = Cell(tuple(map(tuple, matrix.tolist())), operations).pruned()
    if not kept:
        assert pruned is None
        return
    assert pruned.matrix == tuple(map(tuple, matrix[np.ix_(kept, kept)].tolist()))
    assert pruned.operations == tuple(operations[v - 1] for v in kept[1:-1])
    assert pruned.pruned() == pruned


@given(seeds)
def test_the_hash_does_not_depend_on_the_order_of_the_vertices(seed):
    rng = np.random.default_rng(seed)
    one = SPACE.cell(drawn(seed))
    order = [0]
    while len(order) < len(one.matrix):  # a random order in which every edge leads forwards
        ready = [v for v in range(len(one.matrix)) if v not in order]
        ready = [v for v in ready if all(u in order for u in range(v) if one.matrix[u][v])]
        order.append(int(rng.choice(ready)))
    matrix = tuple(tuple(one.matrix[x][y] for y in order) for x in order)
    other = Cell(matrix, tuple(one.operations[v - 1] for v in order[1:-1]))
    assert other.hash() == one.hash()


def test_different_labels_have_different_hashes():
    assert len({cell("0100 0010 0001 0000", a, b).hash() for a in range(3) for b in range(3)}) == 9


@given(seeds, st.integers(4, 600))
def test_channels_add_up_and_never_grow(seed, total):
    found = SPACE.cell(drawn(seed))
    last, widths = len(found.matrix) - 1, found.channels(total)
    assert len(widths) == last - 1
    shares = [width for vertex, width in enumerate(widths, start=1) if found.matrix[vertex][last]]
    assert sum(shares) == (total if last > 1 and shares else 0)
    for source in range(1, last):
        for target in range(source + 1, last):
            if found.matrix[source][target]:
                assert 0 <= widths[source - 1] - widths[target - 1] <= 1


def test_shares_that_do_not_come_out_even():
    # three vertices share 128 channels; the vertex before them is as wide as the widest
    shared = cell("010000 001110 000001 000001 000001 000000", CONV3, CONV3, CONV1, POOL)
    assert shared.channels(128) == (43, 43, 43, 42)
    graph = Nas101(128, 1, 1).operations(SPACE.of_cell(shared), task())
    assert [(op.name, op.shape[0]) for op in graph.operations if op.kind == "narrow"] == [("stage1.cell1.vertex4.narrow", 42)]


def test_a_cell_is_wired_as_published():
    graph = Nas101(8, 1, 1).operations(SPACE.of_cell(RESIDUAL), task())
    kinds = {operation.name: operation.kind for operation in graph.operations if operation.name.startswith("stage1.")}
    assert list(kinds.items()) == [
        ("stage1.cell1.vertex1.projection.conv", "conv"),
        ("stage1.cell1.vertex1.projection.norm", "batch_norm"),
        ("stage1.cell1.vertex1.projection.relu", "relu"),
        ("stage1.cell1.vertex1.conv", "conv"),
        ("stage1.cell1.vertex1.norm", "batch_norm"),
        ("stage1.cell1.vertex1.relu", "relu"),
        ("stage1.cell1.vertex2.conv", "conv"),
        ("stage1.cell1.vertex2.norm", "batch_norm"),
        ("stage1.cell1.vertex2.relu", "relu"),
        ("stage1.cell1.output.projection.conv", "conv"),
        ("stage1.cell1.output.projection.norm", "batch_norm"),
        ("stage1.cell1.output.projection.relu", "relu"),
        ("stage1.cell1.output.add", "add"),
    ]


def test_stages_are_marked():
    graph = SPACE.operations(SPACE.of_cell(INCEPTION), task())
    assert {name: graph.operations[place].shape for name, place in graph.marks.items()} == {
        "stage1": (128, 32, 32), "stage2": (256, 16, 16), "stage3": (512, 8, 8),
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 28, 28), (3, 33, 31), (1, 3, 3)])
def test_any_image_size(shape):
    network = SMALL.build(SMALL.of_cell(INCEPTION), task(7, shape))
    assert network(torch.zeros(2, *shape)).shape == (2, 7)


@given(seeds)
def test_specifications_round_trip(seed):
    architecture = drawn(seed)
    assert SPACE.from_genotype(SPACE.genotype(architecture)) == architecture


def specification(asked):
    return json.dumps({"matrix": asked.matrix, "ops": ["input", *(OPERATIONS[o] for o in asked.operations), "output"]})


def test_a_specification_need_not_be_pruned():
    untidy = cell("00010 00001 00001 00001 00000", CONV1, CONV1, POOL)
    assert SPACE.from_genotype(f" {specification(untidy)}\n") == SPACE.of_cell(cell("010 001 000", POOL))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "28cfc7874f6d200472e1a9dcd8650aa0", "[[0, 1], [0, 0]]", '{"matrix": [[0, 1], [0, 0]]}',
        '{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"], "more": 1}', '{"matrix": ' + "[" * 1_900,
        specification(DIRECT) + " " * 3_000 + "}", "{'matrix': [[0, 1], [0, 0]], 'ops': ['input', 'output']}",
    ],
)  # fmt: skip
def test_other_text_is_not_of_this_space(text):
    assert SPACE.from_genotype(text) is None


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        ([[0]], ["input"], "2 to 7 rows"),
        ([[0] * 8] * 8, ["input", *["maxpool3x3"] * 6, "output"], "2 to 7 rows"),
        ([[0, 1], [0]], ["input", "output"], "2 to 7 rows"),
        ([[0, 2], [0, 0]], ["input", "output"], "0 or 1"),
        ([[0, True], [0, 0]], ["input", "output"], "0 or 1"),
        ([[0, 1], [1, 0]], ["input", "output"], "below the diagonal"),
        ("matrix", ["input", "output"], "2 to 7 rows"),
        ([[0, 1], [0, 0]], ["input"], "name its 2 vertices"),
        ([[0, 1], [0, 0]], ["output", "input"], "name its 2 vertices"),
        ([[0, 1], [0, 0]], 7, "name its 2 vertices"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", "conv5x5", "output"], "'conv5x5' came"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", ["conv"], "output"], "came"),
        ([[0, 0], [0, 0]], ["input", "output"], "needs a path"),
    ],
)
def test_wrong_specifications_are_named(matrix, names, message):
    with pytest.raises(UserError, match=message):
        SPACE.from_genotype(json.dumps({"matrix": matrix, "ops": names}))


def test_wrong_settings_are_refused():
    for wrong in ({"stem": 3}, {"cells": 0}, {"stacks": 0}, {"mutation_rate": 0}, {"mutation_rate": 6}, {"subspace": 4}):
        with pytest.raises(ValueError, match="must be"):
            Nas101(**wrong)


def test_decisions_are_the_edges_and_the_operations():
    names = [decision.name for decision in DECISIONS]
    assert names[:6] == ["edge 0->1", "edge 0->2", "edge 1->2", "edge 0->3", "edge 1->3", "edge 2->3"]
    assert names[20:] == ["edge 5->6", *(f"operation {vertex}" for vertex in range(1, 6))]
    assert DECISIONS[0].options == ("absent", "present")
    assert DECISIONS[-1].options == ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")


def test_samples_are_random_tuples_of_which_the_illegal_are_drawn_again():
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(50):
        found = SPACE.sample(rng)
        expected = None
        while expected is None:
            expected = legal(SPACE, [*map(int, twin.integers(2, size=21)), *map(int, twin.integers(3, size=5))])
        assert found == expected


def test_mutations_flip_three_edges_and_change_one_operation_in_the_mean():
    # a chain of seven vertices, where every operation counts and a flip rarely passes unseen
    parent = SPACE.of_cell(cell("0100000 0010000 0001000 0000100 0000010 0000001 0000000", *[CONV3] * 5))
    rng = np.random.default_rng(0)
    children = [mutate(SPACE, parent, rng) for _ in range(500)]
    assert parent not in children
    assert all(SPACE.architecture(child.choices) == child for child in children)
    rare = Nas101(mutation_rate=0.05)
    one_step = [mutate(rare, parent, rng) for _ in range(200)]
    around = set(neighbours(SPACE, parent))
    assert sum(child in around for child in one_step) > 150 > sum(child in around for child in children)


@settings(max_examples=30)
@given(seeds)
def test_children_and_neighbours_are_legal(seed):
    rng = np.random.default_rng(seed)
    one, other = sample(SPACE, rng), sample(SPACE, rng)
    child = crossover(SPACE, one, other, rng)
    assert SPACE.architecture(child.choices) == child
    around = neighbours(SPACE, one)
    assert one not in around and all(SPACE.architecture(found.choices) == found for found in around)


def test_the_smallest_cell_is_the_benchmarks():
    problem = Problem(SPACE, task())
    assert smallest_count(problem, "params") == 227_274
    assert smallest_count(problem, "macs") == 37_098_496
    limited = Problem(SPACE, task(), {"params": 300_000})
    architecture = sample(SPACE, np.random.default_rng(0), acceptance(limited))
    assert SPACE.operations(architecture, task()).params <= 300_000


def flat(columns):
    return tuple(map(int, columns.replace(" ", "")))


@pytest.mark.parametrize(
    ("known", "columns"),
    [
        (INCEPTION, "23 214 2114 11124 211115 1221226"),
        (DIRECT, "14 114 1114 11114 111114 2111116"),
        (ONE, "24 114 1114 11114 111114 1211116"),
    ],
)
def test_tokens_of_known_cells(known, columns):
    assert tokens_of(SPACE, SPACE.of_cell(known)) == flat(columns)
    assert architecture_of(SPACE, flat(columns)) == SPACE.of_cell(known)


def test_tokens_are_read_as_published():
    allowed = encoding_of(SPACE).allowed
    assert [position for position, tokens in enumerate(allowed) if tokens != (1, 2)] == [1, 4, 8, 13, 19, 26]
    assert {allowed[position] for position in (1, 4, 8, 13, 19)} == {(3, 4, 5)} and allowed[26] == (6,)
    # vertex 2 leads nowhere and goes; vertex 3 takes its place
    assert architecture_of(SPACE, flat("23 215 1213 11114 111114 1112116")) == SPACE.of_cell(
        cell("0100 0010 0001 0000", CONV1, CONV1)
    )


def test_tokens_of_what_is_no_cell():
    assert architecture_of(SPACE, flat("14 114 1114 11114 111114 1111116")) is None, "without any path"
    assert architecture_of(SPACE, flat("24 224 2224 22224 111114 1111126")) is None, "vertex 5 has no edge into it"
    assert architecture_of(SPACE, flat("24 224 2224 22224 111114 1111216")) is None, "11 edges"
    assert architecture_of(SPACE, flat("24 224 2224 11214 111114 1111216")) is not None, "8 edges"
    assert architecture_of(Nas101(subspace=1), flat("24 114 1114 11114 111114 1211116")) is None, "not of the sub-space"
