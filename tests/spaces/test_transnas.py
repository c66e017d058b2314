"""TransNAS-Bench-101: the published strings, the sizes of the spaces, and what the networks compute."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from archscout.core.draw import enumerate_space, neighbours
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import PartialSpace
from archscout.core.seeds import generator, seeded
from archscout.nn.measure import counts
from archscout.spaces.transnas_cell import TransnasCell
from archscout.spaces.transnas_macro import TransnasMacro

CELL, MACRO = TransnasCell(), TransnasMacro()


def task(side: int = 256, classes: int = 75, channels: int = 3) -> Task:
    return Task("t", IMAGE_CLASSIFICATION, (channels, side, side), classes, "none")


@pytest.mark.parametrize(("classes", "params"), [(47, 41_435_727), (75, 41_450_091)])
def test_counts_of_the_largest_cell(classes: int, params: int) -> None:
    # Scene and object classification, as another public implementation of the benchmark's networks states them.
    assert counts(CELL, CELL.from_genotype("64-41414-3_33_333"), task(classes=classes))["params"] == params


@pytest.mark.parametrize(
    ("text", "edges"),
    [("0_00_000", 0), ("2_00_000", 1), ("0_20_000", 1), ("0_02_000", 1), ("0_02_022", 3)],
)
def test_counts_of_cells_by_hand(text: str, edges: int) -> None:
    from_input = sum(text[place] == "2" for place in (0, 2, 5))
    stem = 27 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64
    widths = (64, 128, 128, 256, 256, 512)
    cells = 0
    for before, width in pairwise(widths):
        cells += from_input * (before + width) * width + (edges - from_input) * 2 * width * width + 2 * edges * 2 * width
    assert counts(CELL, CELL.from_genotype(f"64-41414-{text}"), task())["params"] == stem + cells + 512 * 75 + 75


def test_counts_of_a_macro_network_by_hand() -> None:
    def block(before: int, width: int, shortcut: bool) -> int:
        return 9 * before * width + 9 * width * width + 4 * width + (before * width + 2 * width if shortcut else 0)

    stem = 27 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64
    modules = [(64, 64, False), (64, 128, True), (128, 128, True), (128, 256, True)]
    blocks = sum(block(before, width, shortcut) + block(width, width, False) for before, width, shortcut in modules)
    assert counts(MACRO, MACRO.from_genotype("64-1234-basic"), task())["params"] == stem + blocks + 256 * 75 + 75


def test_the_cell_space_has_4096_architectures_each_with_its_string() -> None:
    texts = {CELL.genotype(architecture) for architecture in enumerate_space(CELL)}
    assert len(texts) == 4096
    assert CELL.genotype(CELL.architecture([1, 0, 2, 3, 3, 3])) == "64-41414-1_02_333"
    assert not isinstance(CELL, PartialSpace)


def test_the_macro_space_has_3256_architectures() -> None:
    found = list(enumerate_space(MACRO))
    assert len(found) == 3256
    assert {MACRO.from_genotype(MACRO.genotype(architecture)) for architecture in found} == set(found)
    # The one that the recorded table does not hold.
    assert MACRO.from_genotype("64-113444-basic") in found
    assert isinstance(MACRO, PartialSpace) and MACRO.smallest() in found


@pytest.mark.parametrize("modules", ["1111", "2222", "1133", "3333", "222233", "333332"])
def test_macro_networks_outside_the_constraints_are_refused(modules: str) -> None:
    with pytest.raises(UserError, match=r"modules (double the channels|halve the map), but in '\d+' \d do"):
        MACRO.from_genotype(f"64-{modules}-basic")


@pytest.mark.parametrize("text", ["64-123-basic", "32-1234-basic", "64-1235-basic", "64-1234444-basic", "64-41414-1_02_333", ""])
def test_other_texts_are_no_macro_networks(text: str) -> None:
    assert MACRO.from_genotype(text) is None


@pytest.mark.parametrize("text", ["64-41414-1_02_334", "32-41414-1_02_333", "64-41414-102333", "64-1234-basic", "1_02_333"])
def test_other_texts_are_no_cells(text: str) -> None:
    assert CELL.from_genotype(text) is None


def test_types_of_modules_that_are_not_there_have_no_effect() -> None:
    assert MACRO.architecture([0, 0, 1, 2, 3, 3, 2]) == MACRO.architecture([0, 0, 1, 2, 3, 0, 0])
    assert MACRO.architecture([0, 0, 1, 2, 3, 0, 0]) == MACRO.from_genotype("64-1234-basic")


@pytest.mark.parametrize("text", ["64-1114-basic", "64-444111-basic", "64-3214-basic"])
def test_mutants_of_macro_networks_are_neighbours(text: str) -> None:
    parent, rng = MACRO.from_genotype(text), generator(0)
    around = set(neighbours(MACRO, parent))
    mutants = {MACRO.mutate(parent, rng) for _ in range(300)}
    assert mutants <= around and len(mutants) > len(around) // 2


def test_draws_of_macro_networks_are_uniform() -> None:
    rng = generator(0)
    depths = np.bincount([MACRO.sample(rng).choices[0] for _ in range(2_000)], minlength=3) / 2_000
    expected = np.bincount([architecture.choices[0] for architecture in enumerate_space(MACRO)], minlength=3) / 3256
    assert np.abs(depths - expected).max() < 0.04


@settings(max_examples=25)
@given(st.sampled_from([TransnasCell(channels=4), TransnasMacro(channels=4)]), st.integers(8, 70), st.integers(0, 10_000))
def test_images_of_any_size_from_eight_pixels(space: TransnasCell | TransnasMacro, side: int, seed: int) -> None:
    architecture, data = space.sample(generator(seed)), task(side, classes=5, channels=1)
    graph = space.operations(architecture, data)
    assert graph.operations[graph.output].shape == (5,)
    x = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad(), seeded(seed):
        assert torch.isfinite(space.build(architecture, data).eval()(x)).all()


def test_the_first_cell_of_a_module_widens_and_halves_on_the_edges_out_of_its_input() -> None:
    space = TransnasCell(channels=4)
    graph = space.operations(space.from_genotype("4-41414-3_21_102"), task(64, channels=1))
    shapes = {operation.name: operation.shape for operation in graph.operations}
    assert shapes["module1.block1.edge01.conv"] == shapes["module1.block1.edge02.conv"] == (8, 8, 8)
    assert shapes["module1.block1.edge03.even"] == shapes["module1.block1.edge03.odd"] == (4, 8, 8)
    assert not any(name.startswith("module1.block1.edge12") for name in shapes)
    assert not any(name.startswith("module1.block2.edge03") for name in shapes)
    assert [graph.operations[graph.marks[f"stage{n}"]].shape for n in (1, 2, 3, 4, 5)] == [
        (8, 8, 8), (8, 8, 8), (16, 4, 4), (16, 4, 4), (32, 2, 2)
    ]  # fmt: skip


def test_a_residual_block_is_two_normalised_convolutions_and_a_skip() -> None:
    space = TransnasMacro(channels=4)
    with seeded(0):
        network = space.build(space.from_genotype("4-1114-basic"), task(16, channels=1)).double().train()
    parts = dict(network.named_modules())
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()

    def conv(path: str, x: torch.Tensor) -> torch.Tensor:
        return parts[f"{path}.norm"](parts[f"{path}.conv"](x))

    with torch.no_grad():
        wanted = parts["stem.norm_2"](parts["stem.conv_2"](F.relu(conv("stem", x))))
        for module in (1, 2, 3, 4):
            for block in (1, 2):
                path = f"module{module}.block{block}"
                inner = conv(f"{path}.second", F.relu(conv(f"{path}.first", F.relu(wanted))))
                wanted = inner + (conv(f"{path}.skip", wanted) if (module, block) == (4, 1) else wanted)
        wanted = parts["head.linear"](wanted.mean((2, 3)))
        assert torch.allclose(network(x), wanted)


def test_channels_must_be_even() -> None:
    for space in (TransnasCell, TransnasMacro):
        with pytest.raises(ValueError, match="even and at least 2, but 7 came"):
            space(channels=7)
