"""DARTS against the published facts."""

import numpy as np
import pytest
import torch

from archscout.core.draw import sample, size
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.spaces._genotypes import OPERATIONS
from archscout.spaces.darts import DECISIONS, Darts

CIFAR = Task("cifar", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "none")
IMAGENET = Task("imagenet", IMAGE_CLASSIFICATION, (3, 224, 224), 1000, "none")
V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
    "('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


@pytest.mark.parametrize(
    ("name", "settings", "params", "macs"),
    [
        ("DARTS_V1", (36, 20, False), 3_169_414, 500.988),
        ("DARTS_V2", (36, 20, False), 3_349_342, 528.359),
        ("DARTS_V1", (16, 8, False), 232_890, 41.356),
        ("DARTS_V2", (16, 8, False), 246_106, 43.445),
        ("DARTS_V1", (48, 14, True), 4_510_432, 505.865),
        ("DARTS_V2", (48, 14, True), 4_718_752, 529.912),
    ],
)
def test_published_counts(name, settings, params, macs):
    space = Darts(*settings)
    graph = space.operations(space.from_genotype(name), IMAGENET if settings[2] else CIFAR)
    assert graph.params == params
    assert round(graph.macs / 1e6, 3) == macs


@pytest.mark.parametrize(
    ("name", "settings", "params"),
    [
        ("DARTS_V1", (36, 20, False), 3_645_840),
        ("DARTS_V2", (36, 20, False), 3_825_768),
        ("DARTS_V1", (16, 8, False), 668_356),
        ("DARTS_V2", (16, 8, False), 681_572),
        ("DARTS_V1", (48, 14, True), 5_771_208),
        ("DARTS_V2", (48, 14, True), 5_979_528),
    ],
)
def test_counts_with_the_auxiliary_head(name, settings, params):
    space, task = Darts(*settings), IMAGENET if settings[2] else CIFAR
    architecture = space.from_genotype(name)
    whole, plain = space.with_auxiliary(architecture, task), space.operations(architecture, task)
    assert whole.params == params
    assert whole.without_auxiliary() == plain and plain.without_auxiliary() is plain
    assert whole.live().params == plain.params


@pytest.mark.parametrize(("settings", "least"), [((4, 3), 29), ((4, 3, True), 193)])  # odd maps are halved upwards
def test_small_images_leave_no_map_for_the_auxiliary_head(settings, least):
    space = Darts(*settings)
    architecture = space.from_genotype("DARTS_V1")
    space.with_auxiliary(architecture, Task("t", IMAGE_CLASSIFICATION, (3, least, 400), 10, "none"))
    with pytest.raises(UserError, match=rf"auxiliary head of 'darts' needs .* images of {least - 1} x 400 leave"):
        space.with_auxiliary(architecture, Task("t", IMAGE_CLASSIFICATION, (3, least - 1, 400), 10, "none"))


def test_every_operation_on_an_edge_but_the_identity_may_be_dropped():
    graph = Darts().operations(Darts().from_genotype("DARTS_V1"), CIFAR)
    assert len(graph.paths) == 18 * 5 + 2 * 5  # three skips in either cell
    for place in graph.paths:
        operation = graph.operations[place]
        assert ".edge" in operation.name and operation.kind in ("batch_norm", "max_pool", "avg_pool")
    skips = Darts().architecture([0, OPERATIONS.index("skip_connect"), OPERATIONS.index("skip_connect")] * 8)
    assert len(Darts(4, 3).operations(skips, CIFAR).paths) == 2 * 8, "a skip that halves the map is no identity"


def test_the_module_has_the_published_parameters():
    network = Darts().build(Darts().from_genotype("DARTS_V2"), CIFAR)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_349_342


def test_the_familiar_text_reads_in_all_its_forms():
    space = Darts()
    known = space.from_genotype("DARTS_V2")
    assert space.from_genotype(V2) == known
    assert space.from_genotype(V2.replace("[2, 3, 4, 5]", "range(2, 6)")) == known
    assert space.from_genotype(f"\n {V2} ") == known
    assert space.from_genotype("darts_v2") == known
    positional = V2
    for field in ("normal=", "normal_concat=", "reduce=", "reduce_concat="):
        positional = positional.replace(f", {field}", ", ").replace(f"({field}", "(")
    assert "=" not in positional
    assert space.from_genotype(positional) == known


def test_the_order_of_a_nodes_edges_does_not_matter():
    one = "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0)"
    other = "('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0)"
    assert one in V2
    assert Darts().from_genotype(V2.replace(one, other)) == Darts().from_genotype(V2)


def test_swapped_operations_do_matter():
    swapped = V2.replace("('skip_connect', 0), ('dil_conv_3x3', 2)", "('dil_conv_3x3', 0), ('skip_connect', 2)")
    assert Darts().from_genotype(swapped) != Darts().from_genotype(V2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[('sep_conv_3x3', 0), ", "[('sep_conv_3x3', 1), ", "two different nodes"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "two different nodes"),
        ("'dil_conv_3x3'", "'none'", "operations"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=[4, 5]", "another space"),
        (", ('dil_conv_3x3', 2)", "", "another space"),
    ],
)
def test_a_genotype_of_another_space_is_refused(old, new, message):
    assert old in V2
    with pytest.raises(UserError, match=message):
        Darts().from_genotype(V2.replace(old, new))


@pytest.mark.parametrize(
    "text",
    [
        "", "DARTS_V3", "|none~0|", "Genotype(", "Genotype()", "Genotype(normal=1, normal_concat=2, reduce=3, reduce_concat=4)",
        V2.replace("('dil_conv_3x3', 2)", "__import__('os').getcwd()"),
        V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=range(-10**12, 6)"),
        "Genotype(" + "(" * 3000, "Genotype(" + "-" * 3900 + "1)",
    ],
)  # fmt: skip
def test_other_text_is_not_of_this_space_and_nothing_is_evaluated(text):
    assert Darts().from_genotype(text) is None


def test_every_tuple_is_a_genotype_with_two_sources_per_node():
    space, rng = Darts(), np.random.default_rng(0)
    assert size(space) == (180 * 7**8) ** 2
    assert [len(decision.options) for decision in DECISIONS[::3]] == [1, 3, 6, 10] * 2
    for _ in range(200):
        architecture = sample(space, rng)
        assert space.from_genotype(space.genotype(architecture)) == architecture


@pytest.mark.parametrize("imagenet", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 30), (3, 64, 64)])
def test_any_image_size(shape, imagenet):
    space = Darts(4, 4, imagenet)
    network = space.build(sample(space, np.random.default_rng(1)), Task("t", IMAGE_CLASSIFICATION, shape, 7, "none"))
    assert network(torch.randn(4, *shape)).shape == (4, 7)


def test_reductions_lie_at_a_third_and_two_thirds():
    graph = Darts(16, 8).operations(Darts().from_genotype("DARTS_V1"), CIFAR)
    shapes = {name: (place, graph.operations[place].shape) for name, place in graph.marks.items()}
    assert [shapes[f"stage{stage}"][1] for stage in (1, 2, 3)] == [(64, 32, 32), (128, 16, 16), (256, 8, 8)]
    assert graph.operations[shapes["stage1"][0]].name.startswith("cell2.")
    assert graph.operations[shapes["stage2"][0]].name.startswith("cell5.")


def test_factorised_reduction_equals_the_published_slice():
    space = Darts(4, 3)
    graph = space.operations(space.from_genotype("DARTS_V1"), CIFAR)
    x = torch.randn(2, 3, 8, 8)
    shifted = torch.nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
    assert torch.equal(shifted[:, :, ::2, ::2], x[:, :, 1:, 1:][:, :, ::2, ::2])
    assert sum(operation.kind == "shift" for operation in graph.operations) == 1  # no skip has stride 2 here; cell 3 follows cell 2


def test_wrong_settings_are_refused():
    for settings in ({"channels": 5}, {"channels": 0}, {"layers": 0}):
        with pytest.raises(ValueError, match="channels must be even"):
            Darts(**settings)
