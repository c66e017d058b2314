from time import perf_counter

import numpy as np
import pytest
import torch

from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.nn.measure import acceptance, counts, smallest_count
from archscout.nn.train import new_network
from archscout.spaces.mobile import Mobile

SPACE = Mobile()


def task(channels: int = 3, height: int = 32, width: int = 32, classes: int = 10) -> Task:
    return Task("none", IMAGE_CLASSIFICATION, (channels, height, width), classes, f"{channels} {height} {width} {classes}")


def chosen(**options: str) -> Architecture:
    """The architecture with these options ('stage1_width' for 'stage1.width'), all others the first."""
    names = {name.replace("_", ".", 1): option for name, option in options.items()}
    assert set(names) <= {decision.name for decision in SPACE.decisions}
    return SPACE.architecture([d.options.index(names.get(d.name, d.options[0])) for d in SPACE.decisions])


@pytest.mark.parametrize(
    ("height", "width", "maps"),
    [
        (8, 8, 4),
        (16, 16, 4),
        (28, 28, 4),
        (32, 32, 4),
        (48, 48, 6),
        (64, 64, 4),
        (96, 96, 6),
        (200, 200, 4),
        (256, 256, 4),
        (9, 40, 3),
    ],
)
def test_the_map_before_the_pooling_is_neither_tiny_nor_large(height: int, width: int, maps: int) -> None:
    rng = np.random.default_rng(height)
    for architecture in [chosen(), chosen(stem="16", reduction="pool"), *(sample(SPACE, rng) for _ in range(40))]:
        graph = SPACE.operations(architecture, task(1, height, width))
        side = min(graph.operations[graph.marks["stage3"]].shape[1:])
        assert 3 <= side <= 8
        assert set(graph.marks) >= {"stage2", "stage3"}
    graph = SPACE.operations(chosen(stem="16"), task(1, height, width))
    assert min(graph.operations[graph.marks["stage3"]].shape[1:]) == maps


def test_choices_without_effect_become_nought_and_nothing_else_does() -> None:
    rng = np.random.default_rng(0)
    small = task(1, 16, 16, 3)
    graphs = {}
    for _ in range(300):
        architecture = sample(SPACE, rng)
        assert SPACE.architecture(architecture.choices) == architecture
        graph = SPACE.operations(architecture, small)
        key = tuple(graph.operations)
        assert graphs.setdefault(key, architecture) == architecture
    residual = chosen(stage2_kernel="5", stage2_expansion="4", stage2_gate="squeeze")
    assert residual == chosen()
    assert chosen(stage2_depth="1", stage2_gate="squeeze") != chosen(stage2_depth="1")
    assert chosen(stage1_block="inverted", stage1_kernel="5") == chosen()
    assert chosen(stem="8", stage1_block="inverted", stage1_kernel="5") != chosen(stem="8")
    inverted = {f"stage{stage}_block": "inverted" for stage in (1, 2, 3)}
    assert chosen(stem="8", reduction="pool", **inverted) == chosen(stem="8", **inverted)
    assert chosen(stem="8", reduction="pool") != chosen(stem="8")


def test_known_counts_of_a_residual_network() -> None:
    network = chosen(
        stem="16", reduction="pool", stage1_width="32", stage2_width="64", stage2_depth="1", stage3_width="128", stage3_depth="1"
    )
    found = counts(SPACE, network, task())
    weights = 9 * (3 * 16 + 16 * 32 + 32 * 64 + 2 * 64 * 64 + 64 * 128 + 2 * 128 * 128) + 128 * 10
    norms = 2 * (16 + 32 + 64 * 3 + 128 * 3)
    assert found["params"] == weights + norms + 10
    per_pixel = [(1024, 3 * 16 + 16 * 32), (256, 32 * 64), (64, 2 * 64 * 64 + 64 * 128), (16, 2 * 128 * 128)]
    assert found["macs"] == 9 * sum(pixels * pairs for pixels, pairs in per_pixel) + 1280


def test_known_counts_of_an_inverted_network() -> None:
    network = chosen(stage1_width="8", stage2_block="inverted", stage2_width="16", stage2_expansion="2", stage3_width="24")
    weights = 27 * 8 + 8 * 16 + 16 * 9 + 16 * 16 + 9 * 16 * 24 + 24 * 10
    assert counts(SPACE, network, task())["params"] == weights + 2 * (8 + 16 + 16 + 16 + 24) + 10


def test_the_space_spans_thousands_to_millions_of_parameters() -> None:
    for data in (task(1, 28, 28), task(3, 32, 32), task(3, 128, 128, 100)):
        assert smallest_count(Problem(SPACE, data), "params") < 5_000 + 30 * data.classes
        largest = counts(SPACE, SPACE.architecture([len(d.options) - 1 for d in SPACE.decisions]), data)["params"]
        assert largest > 3_000_000
    for bound in (20_000, 500_000):
        problem = Problem(SPACE, task(), {"params": bound})
        rng = np.random.default_rng(0)
        found = [counts(SPACE, sample(SPACE, rng, acceptance(problem)), task())["params"] for _ in range(5)]
        assert max(found) <= bound


def test_counting_is_fast() -> None:
    rng = np.random.default_rng(1)
    architectures = [sample(SPACE, rng) for _ in range(100)]
    best = float("inf")
    for _ in range(3):
        start = perf_counter()
        for architecture in architectures:
            graph = SPACE.operations(architecture, task())
            assert graph.params and graph.macs
        best = min(best, perf_counter() - start)
    assert best / len(architectures) < 0.004  # about half a millisecond; the bound allows for a loaded machine


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 47), (1, 64, 64)])
def test_networks_run_forwards_and_backwards_with_named_weights(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    data = task(*shape, classes=4)
    for _ in range(4):
        network = new_network(SPACE, sample(SPACE, rng), data, seed=0)
        logits = network(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))
        assert logits.shape == (2, 4)
        logits.square().sum().backward()
        assert all(name.startswith(("stem.", "stage", "classifier.")) for name, _ in network.named_parameters())
