"""NAS-Bench-Macro against recorded rows of the benchmark."""

from collections import Counter

import pytest
import torch

from archscout.core.draw import enumerate_space, size
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.spaces.macro import DECISIONS, Macro

SPACE = Macro()
# digits, parameters and FLOPs (multiply-accumulates) as recorded
FACTS = [
    ("00000000", 387_882, 7_713_280),
    ("00000001", 791_594, 14_115_328),
    ("00000010", 791_594, 14_115_328),
    ("11111111", 1_588_874, 53_246_464),
    ("22222222", 2_932_586, 105_660_928),
    ("22212202", 1_985_514, 85_164_544),
    ("01201201", 1_283_434, 46_109_184),
    ("20000000", 409_834, 17_854_976),
    ("12102202", 1_822_922, 67_703_296),
]


def task(classes=10, shape=(3, 32, 32)):
    return Task("t", IMAGE_CLASSIFICATION, shape, classes, "none")


@pytest.mark.parametrize(("digits", "params", "flops"), FACTS)
def test_recorded_counts(digits, params, flops):
    architecture = SPACE.from_genotype(digits)
    graph = SPACE.operations(architecture, task())
    assert (graph.params, graph.macs) == (params, flops)
    assert SPACE.genotype(architecture) == digits
    assert sum(parameter.numel() for parameter in SPACE.build(architecture, task()).parameters()) == params


def test_the_whole_space():
    every = list(enumerate_space(SPACE))
    assert len(every) == size(SPACE) == 6_561
    assert all(SPACE.from_genotype(SPACE.genotype(architecture)) == architecture for architecture in every)
    assert len({SPACE.signature(architecture) for architecture in every}) == 3_969


def test_networks_of_one_signature_are_the_same():
    one, other = SPACE.from_genotype("12102202"), SPACE.from_genotype("12120220")
    assert SPACE.signature(one) == SPACE.signature(other) == "12120220"
    shapes = [
        Counter((op.kind, op.kernel, op.groups, op.shape) for op in SPACE.operations(architecture, task()).operations)
        for architecture in (one, other)
    ]
    assert shapes[0] == shapes[1]
    assert SPACE.signature(SPACE.from_genotype("01020102")) == "01020120"


@pytest.mark.parametrize("text", ["", "2221220", "222122020", "22212203", "nas 22212202", "-2221220", "²2212202", "DARTS_V2"])
def test_other_text_is_not_of_this_space(text):
    assert SPACE.from_genotype(text) is None


def test_space_around_the_digits_is_allowed():
    assert SPACE.from_genotype(" 22212202\n") == SPACE.architecture([2, 2, 2, 1, 2, 2, 0, 2])


def test_decisions_are_the_layers():
    assert [decision.name for decision in DECISIONS] == [f"layer {layer}" for layer in range(1, 9)]
    assert {decision.options for decision in DECISIONS} == {("identity", "mb3_k3", "mb6_k5")}


def test_wrong_settings_are_refused():
    for settings in ({"channels": 0}, {"head": 0}):
        with pytest.raises(ValueError, match="must be"):
            Macro(**settings)


def test_stages_are_marked():
    graph = SPACE.operations(SPACE.from_genotype("22212202"), task())
    assert {name: graph.operations[place].shape for name, place in graph.marks.items()} == {
        "stage1": (64, 16, 16), "stage2": (128, 8, 8), "stage3": (256, 4, 4),
    }  # fmt: skip


def test_identities_and_blocks():
    graph = SPACE.operations(SPACE.from_genotype("01000000"), task())
    kinds = [operation.kind for operation in graph.operations if operation.name.startswith("stage1")]
    assert kinds == ["conv", "batch_norm", "conv", "batch_norm", "relu", "conv", "batch_norm", "relu", "conv", "batch_norm", "add"]
    widths = [operation.shape[0] for operation in graph.operations if operation.name.startswith("stage1.layer2.depthwise")]
    assert widths == [192] * 3
    assert [op.kind for op in graph.operations if op.name.startswith("stage2")] == ["conv", "batch_norm"]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 28, 28), (3, 33, 31), (1, 3, 3)])
def test_any_image_size(shape):
    space = Macro(4, 16)
    assert space.build(space.from_genotype("21012021"), task(7, shape))(torch.zeros(2, *shape)).shape == (2, 7)
