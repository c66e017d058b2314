"""The cells for few-shot tasks: genomes, published text, mutation, what a network consists of, and the supernet's weights."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.draw import crossover, mutate, sample, size
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, Task
from archscout.core.seeds import generator
from archscout.nn.network import Network
from archscout.nn.supernet import supernet_of
from archscout.spaces.few_shot import OPERATIONS, FewShot

SPACE = FewShot()
GREY = Task("glyphs", FEW_SHOT, (1, 28, 28), 5, "none")
TINY = Task("tiny", FEW_SHOT, (1, 8, 8), 5, "none")
# Found by MetaNAS on miniImageNet (Elsken et al. 2020).
NORMAL = "(conv_1x5_5x1,0)(conv_3x3,1) | (conv_3x3,0)(sep_conv_3x3,2) | (dil_conv_3x3,1)(conv_1x5_5x1,3)"
REDUCE = "(sep_conv_3x3,0)(conv_3x3,1) | (conv_3x3,0)(sep_conv_3x3,2) | (conv_3x3,0)(dil_conv_3x3,1)"
METANAS = f"{NORMAL} / {REDUCE}"
CHOICES = st.tuples(*(st.integers(0, len(decision.options) - 1) for decision in SPACE.decisions))


def branches(space, architecture):
    """(cell and node, operation and source) of all branches, read from the text."""
    cells = [cell.split("|") for cell in space.genotype(architecture).split("/")]
    nodes = {(c, n): node for c, cell in enumerate(cells) for n, node in enumerate(cell, 2)}
    return {(where, branch.strip(" ()")) for where, node in nodes.items() for branch in node.split(")(")}


def test_a_cell_has_180_times_7_to_the_8_genomes():
    assert len(SPACE.decisions) == 24
    for cell in (SPACE.decisions[:12], SPACE.decisions[12:]):
        assert prod(len(decision.options) for decision in cell) == 180 * 7**8 == 1_037_664_180
    assert size(SPACE) == (180 * 7**8) ** 2


@given(CHOICES)
@settings(max_examples=50, deadline=None)
def test_every_tuple_is_a_genome_of_its_own_with_two_sources_a_node(choices):
    architecture = SPACE.architecture(choices)
    assert architecture.choices == choices
    text = SPACE.genotype(architecture)
    assert SPACE.from_genotype(text) == architecture
    for (_, node), found in branches(SPACE, architecture):
        assert int(found.split(",")[1]) < node
    swapped = text.replace(")(", ")!(")
    for node in swapped.replace("/", "|").split("|"):
        first, second = node.strip().split("!")
        assert int(first[:-1].split(",")[1]) < int(second[:-1].split(",")[1])
        swapped = swapped.replace(node.strip(), f"{second}{first}")
    assert SPACE.from_genotype(swapped) == architecture


def test_the_published_cells_read_and_print():
    space = FewShot(nodes=3)
    found = space.from_genotype(METANAS)
    assert space.genotype(found) == METANAS
    assert space.from_genotype(METANAS.replace(" ", "").replace(",", ", ")) == found
    assert space.from_genotype(METANAS.replace("(conv_1x5_5x1,0)(conv_3x3,1)", "(conv_3x3,1)(conv_1x5_5x1,0)")) == found
    assert found != space.from_genotype(METANAS.replace("(conv_1x5_5x1,0)(conv_3x3,1)", "(conv_3x3,0)(conv_1x5_5x1,1)"))


@pytest.mark.parametrize(
    "text",
    ["", "/", "MetaNAS", NORMAL, f"{METANAS} / {REDUCE}", METANAS.replace("|", ""), METANAS.replace(",0", ",a"), METANAS + ")"],
)
def test_other_text_is_not_of_this_space(text):
    assert FewShot(nodes=3).from_genotype(text) is None


@pytest.mark.parametrize(
    ("space", "old", "new", "message"),
    [
        (FewShot(), "", "", r"has 4 nodes here, but the cell 'normal' has 3; give the space as many \(--set space.nodes=3\)"),
        (
            FewShot(nodes=3),
            "(conv_3x3,1) |",
            "(conv_3x3,0) |",
            "normal node 2 of few-shot reads two different states of 0 to 1, but",
        ),
        (FewShot(nodes=3), "(sep_conv_3x3,2)", "(sep_conv_3x3,3)", "normal node 3 .* of 0 to 2, but 0 and 3 came"),
        (FewShot(nodes=3), "sep_conv_3x3", "sep_conv_5x5", "has the operations max_pool_3x3, .* but 'sep_conv_5x5' came"),
    ],
)
def test_cells_that_the_space_does_not_hold_are_refused(space, old, new, message):
    with pytest.raises(UserError, match=message):
        space.from_genotype(METANAS.replace(old, new, 1))


def test_mutants_and_crosses_are_genomes_all_along():
    rng = generator(0, "mutants")
    one, other = SPACE.sample(rng), SPACE.sample(rng)
    for _ in range(2_000):
        child = mutate(SPACE, one, rng)
        assert child != one and SPACE.architecture(child.choices) == child
        one, other = crossover(SPACE, child, other, rng), child
        assert SPACE.architecture(one.choices) == one


def test_a_mutation_changes_genes_with_its_chance_and_at_least_one():
    rng = generator(0, "chance")
    changed = []
    for _ in range(300):
        parent = SPACE.sample(rng)
        changed.append(len(branches(SPACE, parent) - branches(SPACE, SPACE.mutate(parent, rng))))
    # Each of 16 operations and 12 sources (node 2 has no other) changes with a chance of 0.1, given that one does.
    assert min(changed) >= 1
    assert np.mean(changed) == pytest.approx((4 * 0.1 + 12 * 0.19) / (1 - 0.9**28), abs=0.25)
    rare, kinds = replace(SPACE, mutation=1e-4), set()
    for _ in range(30):
        parent = SPACE.sample(rng)
        child = rare.mutate(parent, rng)
        [(where, gone)], [(there, come)] = (branches(SPACE, a) - branches(SPACE, b) for a, b in ((parent, child), (child, parent)))
        differs = tuple(one != another for one, another in zip(gone.split(","), come.split(","), strict=True))
        assert where == there and sum(differs) == 1
        kinds.add(differs)
    assert len(kinds) == 2, "sources as well as operations should change"


@pytest.mark.parametrize(
    ("shape", "stem", "entry"),
    [
        ((1, 28, 28), "fitted", 14), ((3, 32, 32), "fitted", 16), ((3, 84, 84), "fitted", 21), ((3, 96, 224), "fitted", 24),
        ((1, 24, 24), "fitted", 24), ((3, 84, 84), "pooled", 21), ((1, 28, 28), "pooled", 7), ((1, 2, 2), "pooled", 1),
        ((1, 28, 28), "plain", 28),
    ],
)  # fmt: skip
def test_the_stem_gives_the_first_cell_a_map_that_it_can_afford(shape, stem, entry):
    space = FewShot(4, 2, 1, stem=stem)
    graph = space.operations(space.architecture((0,) * 6), replace(GREY, shape=shape))
    first = next(operation for operation in graph.operations if operation.name == "cell1.input1.conv")
    assert graph.input_shape(first)[:2] == (12, entry)
    stages = [graph.operations[graph.marks[name]].shape[1] for name in sorted(graph.marks)]
    assert stages[0] == shape[1] and stages == sorted(stages, reverse=True) and len(stages) >= 4


@pytest.mark.parametrize("doubling", [True, False])
@pytest.mark.parametrize(
    ("operation", "weights", "halving"),
    [
        ("max_pool_3x3", lambda c: 0, 0), ("avg_pool_3x3", lambda c: 0, 0), ("skip_connect", lambda c: 0, 1),
        ("conv_1x5_5x1", lambda c: 10 * c**2, 0), ("conv_3x3", lambda c: 9 * c**2, 0),
        ("sep_conv_3x3", lambda c: 2 * (9 * c + c**2), 0), ("dil_conv_3x3", lambda c: 9 * c + c**2, 0),
    ],
)  # fmt: skip
def test_parameters_by_hand(operation, weights, halving, doubling):
    """Two nodes with both sources: c channels, then d; the factorised reduction of a skip has d * d weights."""
    space, c, option = FewShot(6, 2, 2, doubling=doubling), 6, OPERATIONS.index(operation)
    d = 12 if doubling else 6
    graph = space.operations(space.architecture((0, option, option) * 4), GREY)
    stem = 9 * 9 + 2 * 9 + 9 * 9 * 18 + 2 * 18
    normal = 2 * 18 * c + 4 * weights(c)
    reduction = 18 * d + 2 * c * d + 4 * (weights(d) + halving * d**2)
    assert graph.params == stem + normal + reduction + 2 * d * 5 + 5
    scaled = {found.name.split(".")[0] for found in graph.operations if found.kind == "batch_norm" and found.affine}
    assert scaled == {"stem1", "stem2"}
    assert len(graph.paths) == (4 if operation == "skip_connect" else 8)
    assert set(graph.paths.values()) <= {0.5, 1.0}


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 33, 30), (1, 5, 9), (2, 1, 1)])
@pytest.mark.parametrize("cells", [1, 5])
def test_any_image_size(shape, cells):
    space = FewShot(4, cells, 3)
    task = Task("t", IMAGE_CLASSIFICATION, shape, 7, "none")
    network = space.build(sample(space, generator(cells, "sizes")), task).eval()
    assert network(torch.randn(2, *shape)).shape == (2, 7)


def test_a_network_alone_takes_the_weights_of_its_path_as_they_are():
    space = FewShot(4, 4, 2)
    net = supernet_of(space, TINY, seed=0)
    x = torch.randn(3, *TINY.shape, generator=torch.Generator().manual_seed(0))
    for number in range(3):
        architecture = sample(space, generator(number, "path"))
        child = Network(space.operations(architecture, TINY))
        assert {name for name, _ in child.named_parameters()} == set(net.active_parameters(architecture))
        child.load_state_dict(net.extract(architecture).state_dict())
        assert torch.allclose(child(x), net(x, net.gates(architecture)), atol=1e-3)


def test_cells_of_a_sort_share_the_genome_and_no_weights():
    space = FewShot(4, 4, 1)
    option = OPERATIONS.index("conv_3x3")
    active = supernet_of(space, TINY, seed=0).active_parameters(space.architecture((0, option, 0, 0, 0, 0)))
    edges = {name for name in active if "edge" in name}
    assert edges == {"cell1.edge0to2.conv_3x3.conv.weight", "cell3.edge0to2.conv_3x3.conv.weight"}


def test_a_normal_cell_alone_has_no_supernet():
    with pytest.raises(UserError, match="nothing depends on 14 of its 28 questions, such as 'reduce edge 0->2'; make it deeper"):
        supernet_of(FewShot(4, 1), TINY, seed=0)
    assert supernet_of(FewShot(4, 1), TINY, seed=0, depth=2).gate_shape == (28, 8)


def test_it_serves_data_sets_and_few_shot_tasks_alike():
    architecture = sample(SPACE, generator(0))
    for kind in (IMAGE_CLASSIFICATION, FEW_SHOT):
        task = replace(GREY, kind=kind)
        check_kind(task, SPACE, "the space")
        assert SPACE.operations(architecture, task) == SPACE.operations(architecture, GREY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 5}, "channels must be even, cells and nodes at least 1, but 5, 2 and 4 came"),
        ({"cells": 0}, "cells and nodes at least 1"),
        ({"nodes": 0}, "cells and nodes at least 1"),
        ({"stem": "deep"}, "stem must be one of fitted, pooled, plain, but 'deep' came"),
        ({"mutation": 0.0}, "above 0 and at most 1, but 0 came"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FewShot(**wrong)


def test_the_published_text_on_the_command_line(archscout, small_data):
    words = ("--estimator", "params", "--data", small_data, "--set", "space.nodes=3", "--json")
    [row] = archscout("score", METANAS, *words).json
    assert row["architecture"].startswith("few-shot:") and row["genotype"] == METANAS
