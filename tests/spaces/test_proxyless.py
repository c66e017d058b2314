"""Proxyless networks: genes, sizes, blocks that are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.draw import sample, size
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.seeds import generator
from archscout.nn.supernet import supernet_of
from archscout.spaces.proxyless import BLOCKS, SKIP, Proxyless

IMAGENET = Task("imagenet", IMAGE_CLASSIFICATION, (3, 224, 224), 1000, "none")
GPU, CPU, SMALL = Proxyless("gpu"), Proxyless("cpu"), Proxyless(channels=4, depth=3, skip=True)
MDENAS = "(7,6)(5,6)(7,3)(3,6)(5,6)(3,1)(7,3)(7,6)(3,3)(3,6)(7,3)(3,3)(3,3)(5,6)"
PROXYLESS_GPU = "(3,1)(5,3)(7,3)(3,3)(7,6)(5,3)(5,6)(3,3)(5,3)(7,6)(7,6)(7,6)(5,6)(7,6)"
PROXYLESS_CPU = "(3,1)(3,6)(3,3)(3,3)(3,3)(3,6)(3,3)(3,3)(5,3)(3,6)(3,3)(5,6)(3,3)(3,3)(3,3)(5,6)(5,3)(5,3)(3,3)(5,6)"
LEFT_OUT = len(BLOCKS)
CHOICES = st.tuples(*(st.integers(0, len(decision.options) - 1) for decision in SMALL.decisions))


def task(side: int, channels: int = 3) -> Task:
    return Task("t", IMAGE_CLASSIFICATION, (channels, side, side), 5, "none")


# MDENAS: measured by us. The others: the sizes published for ProxylessNAS, from memory, which the skeletons rest on.
@pytest.mark.parametrize(
    ("space", "text", "params", "macs"),
    [
        (GPU, MDENAS, 5_745_984, 765.096),
        (GPU, PROXYLESS_GPU, 7_119_848, 465.260),
        (CPU, PROXYLESS_CPU, 4_361_648, 439.244),
    ],
)
def test_counts_of_the_published_networks(space, text, params, macs):
    graph = space.operations(space.from_genotype(text), IMAGENET)
    assert graph.params == params
    assert round(graph.macs / 1e6, 3) == macs


def test_the_published_skeletons_end_their_stages_at_their_widths():
    for space, widths in ((GPU, (24, 32, 56, 112, 128, 256, 432)), (CPU, (24, 32, 48, 88, 104, 216, 360))):
        graph = space.operations(sample(space, generator(0)), IMAGENET)
        shapes = [graph.operations[graph.marks[f"stage{stage}"]].shape for stage in range(1, 8)]
        assert shapes == [(width, side, side) for width, side in zip(widths, (112, 56, 28, 14, 14, 7, 7), strict=True)]
    assert (size(GPU), size(CPU)) == (9**14, 9**20)


def test_the_known_gene_reads_and_prints():
    known = GPU.from_genotype("mdenas_gpu ")
    assert GPU.genotype(known) == MDENAS and GPU.from_genotype(f" {MDENAS}\n") == known
    assert GPU.decisions[0].options[known.choices[0]] == "7x7 x6"


@given(CHOICES)
@settings(max_examples=50, deadline=None)
def test_genes_lead_back_and_signatures_are_of_the_same_network(choices):
    architecture = SMALL.architecture(choices)
    assert architecture.choices == choices
    assert SMALL.from_genotype(SMALL.genotype(architecture)) == architecture
    moved = SMALL.from_genotype(SMALL.signature(architecture))
    assert SMALL.signature(moved) == SMALL.signature(architecture)
    kinds = [[(o.kind, o.shape, o.kernel) for o in SMALL.operations(a, task(8)).operations] for a in (architecture, moved)]
    assert kinds[0] == kinds[1]


def test_only_blocks_that_keep_the_shape_may_be_left_out():
    assert [SKIP in decision.options for decision in SMALL.decisions] == [False, True, True] * 3
    assert not any(SKIP in decision.options for decision in Proxyless(channels=4).decisions)
    text = "(3,1)(0,0)(3,1)" * 3
    assert SMALL.from_genotype(text).choices == (0, LEFT_OUT, 0) * 3
    assert SMALL.signature(SMALL.from_genotype(text)) == "(3,1)(3,1)(0,0)" * 3
    with pytest.raises(UserError, match=r"stage 1 block 2 of proxyless is one of .*, but \(0, 0\) came; .* space\.skip"):
        Proxyless(channels=4).from_genotype(text)
    with pytest.raises(UserError, match=r"stage 1 block 1 of proxyless is one of .*, but \(0, 0\) came"):
        SMALL.from_genotype("(0,0)(0,0)(3,1)" * 3)


def test_a_block_that_is_left_out_leaves_nothing_in_its_path():
    architecture = SMALL.from_genotype("(3,6)(0,0)(5,3)(7,1)(0,0)(0,0)(3,1)(3,1)(0,0)")
    net = supernet_of(SMALL, task(8), seed=0)
    own = SMALL.operations(architecture, task(8))
    path = net.path(architecture)
    shown = [[(o.kind, o.inputs, o.shape, o.kernel, o.stride, o.groups) for o in graph.operations] for graph in (path, own)]
    assert shown[0] == shown[1] and path.params == own.params
    assert len(own.paths) == 2


def test_counts_of_a_small_network_by_hand():
    space = Proxyless(channels=4, depth=2)
    graph = space.operations(space.from_genotype("(3,1)(5,3)" * 3), task(16))
    total, before = 27 * 4 + 2 * 4, 4
    for c in (4, 8, 16):
        total += 9 * before + before * c + 2 * (before + c)
        total += 3 * c * c * 2 + 25 * 3 * c + 2 * (3 * c * 2 + c)
        before = c
    assert graph.params == total + 16 * 64 + 2 * 64 + 64 * 5 + 5


@pytest.mark.parametrize(("side", "maps"), [(28, [14, 7, 4]), (32, [16, 8, 4]), (64, [32, 16, 8])])
def test_a_stage_halves_the_map(side, maps):
    wanted = task(side, channels=1)
    architecture = sample(SMALL, generator(side))
    graph = SMALL.operations(architecture, wanted)
    shapes = [graph.operations[graph.marks[f"stage{stage}"]].shape for stage in (1, 2, 3)]
    assert shapes == [(width, side, side) for width, side in zip((4, 8, 16), maps, strict=True)]
    assert SMALL.build(architecture, wanted)(torch.randn(2, *wanted.shape)).shape == (2, 5)


def test_only_the_small_skeleton_is_sized():
    assert SMALL.sized(8, 1) == replace(SMALL, channels=8) and SMALL.sized() == SMALL, "its depth is a matter of its decisions"
    assert GPU.sized(0, 1) == GPU
    with pytest.raises(UserError, match="'gpu' of proxyless has published widths, but 8 channels were asked for"):
        GPU.sized(channels=8)


@pytest.mark.parametrize("text", ["", "(7,6", "7,6", "MDENAS", MDENAS[:-1], "proxyless:0.0"])
def test_other_text_is_not_of_this_space(text):
    assert GPU.from_genotype(text) is None


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        (SMALL, "MDENAS_GPU", "'small' has 9 blocks, but a gene of 14 came; .*space.skeleton"),
        (GPU, MDENAS.replace("(7,6)", "(9,6)", 1), r"stage 1 block 1 of proxyless is one of \(3, 1\).*, but \(9, 6\) came"),
    ],
)
def test_a_gene_that_the_space_does_not_hold_is_refused(space, text, message):
    with pytest.raises(UserError, match=message):
        space.from_genotype(text)


def test_wrong_settings_are_refused():
    for wrong, message in (
        ({"skeleton": "mobile"}, "must be 'small', 'gpu' or 'cpu', but 'mobile' came"),
        ({"channels": 0}, "at least 1, but 0 and 3 came"),
        ({"depth": 0}, "at least 1, but 16 and 0 came"),
    ):
        with pytest.raises(ValueError, match=message):
            Proxyless(**wrong)
