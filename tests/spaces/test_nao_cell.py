"""The cells of NAO: published text, normal form, loose ends, and what the supernet joins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.draw import sample, size
from archscout.core.encoding import architecture_of, encoding_of, tokens_of
from archscout.core.errors import UserError
from archscout.core.operations import AUXILIARY, GraphBuilder
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.seeds import generator
from archscout.nn.network import Network
from archscout.nn.supernet import supernet_of
from archscout.spaces.nao_cell import NaoCell, _pooling

CIFAR = Task("cifar", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "none")
SMALL, FULL = NaoCell(4, 1), NaoCell(4, 1, operation_set="full")
B = "0 1 0 2 0 1 2 2 1 3 0 2 4 0 1 3 2 1 0 3 | 1 1 1 0 2 1 2 4 1 0 2 3 3 1 2 2 0 2 0 2"
CHOICES = st.tuples(*(st.integers(0, len(decision.options) - 1) for decision in SMALL.decisions))


def task(side: int) -> Task:
    return Task("t", IMAGE_CLASSIFICATION, (3, side, side), 5, "none")


@given(CHOICES)
@settings(max_examples=50, deadline=None)
def test_the_normal_form_is_reached_at_once_and_forgets_the_order_of_branches(choices):
    architecture = SMALL.architecture(choices)
    assert SMALL.architecture(architecture.choices) == architecture
    swapped = [choices[start + place] for start in range(0, 40, 4) for place in (2, 3, 0, 1)]
    assert SMALL.architecture(swapped) == architecture
    assert SMALL.from_genotype(SMALL.genotype(architecture)) == architecture
    nodes = [sorted((choices[s : s + 2], choices[s + 2 : s + 4])) for s in range(0, 40, 4)]
    assert nodes == [[architecture.choices[s : s + 2], architecture.choices[s + 2 : s + 4]] for s in range(0, 40, 4)]


@pytest.mark.parametrize(("space", "name"), [(SMALL, "NAO_B"), (FULL, "NAO_A")])
def test_a_known_cell_is_printed_with_its_branches_in_order(space, name):
    known = space.from_genotype(name)
    assert space.from_genotype(space.genotype(known)) == known == space.from_genotype(f" {name.lower()}\n")
    printed = {
        "NAO_B": "0 1 0 2 0 1 2 2 0 2 1 3 1 3 4 0 0 3 2 1 | 1 0 1 1 2 1 2 4 1 0 2 3 2 2 3 1 0 2 0 2",
        "NAO_A": "0 7 1 15 1 7 2 8 0 6 1 7 0 8 4 7 0 7 1 5 | 0 7 1 13 0 6 0 14 0 9 1 10 0 14 2 6 0 7 1 11",
    }
    assert space.genotype(known) == printed[name]


def test_the_numbers_of_a_cell_read_with_any_spaces():
    assert SMALL.from_genotype(B.replace(" | ", "|").replace("0 3|", "0  3|")) == SMALL.from_genotype("NAO_B")


@pytest.mark.parametrize(
    "text", ["", "NAO_C", "0 1 0 2", B.replace("|", " "), B.replace("| 1", "|"), B + " 0", B.replace("0 3", "a 3")]
)
def test_other_text_is_not_of_this_space(text):
    assert SMALL.from_genotype(text) is None


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (SMALL, "NAO_A", "'small' numbers its operations 0 to 4, but 7 came"),
        (FULL, "NAO_B", "'full' numbers its operations 5 to 15, but 1 came"),
        (SMALL, B.replace("0 1 0 2", "2 1 0 2", 1), "'normal node 2 first source' of 'nao-cell' takes 0 to 1"),
    ],
)
def test_a_cell_that_the_space_does_not_hold_is_refused(space, text, message):
    with pytest.raises(UserError, match=message):
        space.from_genotype(text)


# Measured by us. The authors' README says 2.5 M for cell B, but not of how many cells; five in each stack have that.
@pytest.mark.parametrize(
    ("settings", "name", "params", "macs"),
    [
        ((36, 5, "small"), "NAO_B", 2_492_902, 395.426),
        ((36, 6, "small"), "NAO_B", 2_921_302, 462.002),
        ((36, 6, "full"), "NAO_A", 11_463_670, 1673.814),
    ],
)
def test_counts_of_the_known_cells(settings, name, params, macs):
    space = NaoCell(*settings)
    graph = space.operations(space.from_genotype(name), CIFAR)
    assert graph.params == params
    assert round(graph.macs / 1e6, 3) == macs


def test_counts_of_a_network_by_hand():
    """Every node sums the identity of both inputs, so that all five are loose ends."""
    c = 4
    architecture = SMALL.architecture([0, 4, 1, 4] * 10)
    cells = []
    widths = [3 * c, 3 * c]
    for channels, reduces in ((c, False), (2 * c, True), (2 * c, False), (4 * c, True), (4 * c, False)):
        inputs = sum(widths[-2:]) * channels + 2 * 2 * channels
        cells.append(inputs + 10 * (channels**2 + 2 * channels) * reduces)
        widths.append(5 * channels)
    stem, head = 27 * 3 * c + 2 * 3 * c, (widths[-1] + 1) * 10
    assert SMALL.operations(architecture, CIFAR).params == stem + sum(cells) + head


# The head reads every channel of the second reduction cell, and the paths lie in 20 cells.
@pytest.mark.parametrize(("name", "operation_set"), [("NAO_A", "full"), ("NAO_B", "small")])
def test_counts_with_the_auxiliary_head(name, operation_set):
    space = NaoCell(36, 6, operation_set)
    architecture = space.from_genotype(name)
    plain, graph = space.operations(architecture, CIFAR), space.with_auxiliary(architecture, CIFAR)
    loose = len(set(range(7)) - set(architecture.choices[20::2]))
    head = 128 * loose * 144 + 2 * 128 + 768 * 128 * 4 + 2 * 768 + 768 * 10 + 10
    assert graph.params == plain.params + head
    assert graph.without_auxiliary() == plain
    assert set(graph.paths.values()) == {cell / 20 for cell in range(1, 21)}
    by_name = {graph.operations[position].name.split(".")[0]: depth for position, depth in graph.paths.items()}
    assert by_name["cell1"] == 0.05 and by_name["cell14"] == 0.7 and by_name["cell20"] == 1


def test_small_images_leave_no_map_for_the_auxiliary_head():
    architecture = SMALL.from_genotype("NAO_B")
    with pytest.raises(UserError, match="auxiliary head of 'nao-cell' needs 8 x 8 pixels after the second reduction, but images"):
        SMALL.with_auxiliary(architecture, task(28))
    assert AUXILIARY in SMALL.with_auxiliary(architecture, task(29)).marks


def test_the_size_of_the_space():
    pairs = 1
    for node in (2, 3, 4, 5, 6):
        pairs *= (5 * node) ** 2
    assert size(SMALL) == pairs**2
    assert len(SMALL.decisions) == 40


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 32, 32), (3, 64, 64), (3, 33, 30)])
@pytest.mark.parametrize("space", [SMALL, FULL, NaoCell(4, 1, join="conv")], ids=["small", "full", "conv"])
def test_any_image_size(space, shape):
    architecture = sample(space, generator(0, "sizes"))
    wanted = Task("t", IMAGE_CLASSIFICATION, shape, 7, "none")
    assert space.build(architecture, wanted)(torch.randn(2, *shape)).shape == (2, 7)


@given(CHOICES)
@settings(max_examples=25, deadline=None)
def test_the_last_node_is_always_loose_and_a_loose_state_is_joined(choices):
    architecture = SMALL.architecture(choices)
    graph = SMALL.operations(architecture, task(8))
    widths = []
    for cell in (architecture.choices[:20], architecture.choices[20:]):
        loose = set(range(7)) - set(cell[::2])
        assert 6 in loose
        widths.append(len(loose))
    shapes = [graph.operations[graph.marks[f"stage{stage}"]].shape for stage in (1, 2, 3)]
    assert shapes == [(4 * widths[0], 8, 8), (8 * widths[0], 4, 4), (16 * widths[0], 2, 2)]
    first = next(operation for operation in graph.operations if operation.name == "cell3.input1.conv")
    assert graph.input_shape(first) == (8 * widths[1], 4, 4)


def test_the_joint_of_the_supernet_is_a_convolution_of_the_joined_channels():
    """The sum of the loose ends' convolutions is one convolution of their concatenation."""
    space = NaoCell(4, 1, join="conv")
    architecture = space.from_genotype("NAO_B")
    graph = space.operations(architecture, task(8))
    network = Network(graph).double()
    parts = [
        f"cell1.end{state}.joined.conv" for state in range(7) if f"cell1.end{state}.joined.conv.weight" in network.state_dict()
    ]
    found: dict[str, torch.Tensor] = {}
    modules = dict(network.named_modules())
    for name in parts:
        modules[name].register_forward_hook(lambda _, inputs, output, name=name: found.update({name: inputs[0]}))
    modules["cell1.norm"].register_forward_hook(lambda _, inputs, output: found.update(joined=inputs[0]))
    network(torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert len(parts) == 3  # states 3, 5 and 6
    weight = torch.cat([modules[name].weight for name in parts], 1)
    whole = torch.nn.functional.conv2d(torch.cat([found[name] for name in parts], 1), weight)
    assert torch.allclose(found["joined"], whole)


def test_networks_of_their_own_differ_from_paths_in_the_joint_alone():
    own, like = NaoCell(4, 1), NaoCell(4, 1, join="conv")
    architecture = own.from_genotype("NAO_B")
    assert own.supernet(task(8)) == like.supernet(task(8))
    path = supernet_of(own, task(8), seed=0).path(architecture)
    assert path.params == like.operations(architecture, task(8)).params
    wide = own.operations(architecture, task(8))
    nodes = [[op.kind for op in graph.operations if ".node" in op.name] for graph in (wide, like.operations(architecture, task(8)))]
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize(
    ("kind", "stride", "wanted"),
    [
        ("max", 1, [[4.0, 5, 5], [7, 8, 8], [7, 8, 8]]),
        ("avg", 1, [[2.0, 3, 3.5], [5, 6, 6.5], [6.5, 7.5, 8]]),
        ("max", 2, [[0.0, 2], [6, 8]]),
        ("avg", 2, [[0.0, 1.5], [4.5, 6]]),
    ],
)
def test_a_pooling_of_two_pixels_keeps_or_halves_the_extent(kind, stride, wanted):
    builder = GraphBuilder((1, 3, 3))
    network = Network(builder.finish(_pooling(builder, builder.input, kind, 2, stride)))
    assert network(torch.arange(9.0).view(1, 1, 3, 3))[0, 0].tolist() == wanted


def test_every_operation_but_the_identity_may_be_dropped():
    space = NaoCell(4, 1)
    graph = space.operations(space.from_genotype("NAO_B"), task(8))
    assert len(graph.paths) == 3 * 10 + 2 * 9  # the reduction cell has one identity on state 2
    assert all(".node" in graph.operations[place].name for place in graph.paths)


def test_wrong_settings_are_refused():
    for wrong, message in (
        ({"channels": 5}, "channels must be even"),
        ({"layers": 0}, "layers at least 1"),
        ({"operation_set": "large"}, "must be 'small' or 'full'"),
        ({"join": "add"}, "must be 'concat' or 'conv'"),
    ):
        with pytest.raises(ValueError, match=message):
            NaoCell(**wrong)


# Per node both branches in the published numbers, in order.
NAO_A_TOKENS = """
 1 9 16  2 11 17   2 9 16  3 9 19   1 9 14  2 9 16   1 9 19  5 9 16   1 9 16  2 7 14
 1 9 16  2 11 15   1 9 14  1 11 16  1 9 20  2 12 15  1 11 16 3 9 14   1 9 16  2 12 16"""
NAO_B_TOKENS = """
 1 8  1 9   1 8  3 9   1 9  2 10  2 10 5 7   1 10 3 8
 2 7  2 8   3 8  3 11  2 7  3 10  3 9  4 8   1 9  1 9"""


@pytest.mark.parametrize(("space", "name", "text"), [(FULL, "NAO_A", NAO_A_TOKENS), (SMALL, "NAO_B", NAO_B_TOKENS)])
def test_known_cells_have_the_published_tokens(space, name, text):
    tokens, known = tuple(map(int, text.split())), space.from_genotype(name)
    assert tokens_of(space, known) == tokens
    assert architecture_of(space, tokens) == known


def test_the_published_sequence_is_read_in_its_own_order():
    numbers = [int(number) for number in B.replace("|", " ").split()]
    published = [number + (7 if place % 2 else 1) for place, number in enumerate(numbers)]
    assert architecture_of(SMALL, published) == SMALL.from_genotype("NAO_B")


@pytest.mark.parametrize("space", [SMALL, FULL])
def test_the_branches_of_one_node_of_each_cell_change_places(space):
    encoding = encoding_of(space)
    rng = generator(0)
    rows = np.array([tokens_of(space, sample(space, rng)) for _ in range(300)])
    changed = (rows != encoding.swapped(rows, rng)).reshape(300, 2, 5, -1).any(-1).sum(-1)
    assert set(changed.ravel().tolist()) == {0, 1}
    # a half of the draws changes nothing, and so do nodes of equal branches
    assert 0.4 < changed.mean() <= 0.5


def test_an_operation_has_a_kernel_of_its_own_kind():
    encoding = encoding_of(FULL)
    assert encoding.follows == {7: (14,), 9: (14, 16, 19, 20), 11: (15, 16, 17), 12: (15, 16, 17)}
    after = encoding.transitions()
    assert after[7].nonzero()[0].tolist() == [14] and after[16].all() and after[1].all()
    tokens = list(tokens_of(FULL, FULL.from_genotype("NAO_A")))
    assert encoding.is_legal(tokens)
    assert not encoding.is_legal([*tokens[:2], 15, *tokens[3:]]), "there is no convolution of 2 x 2"
    assert not encoding.is_legal([tokens[0], 16, *tokens[2:]]), "a kernel in place of a kind"
