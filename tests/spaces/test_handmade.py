import numpy as np
import pytest
import torch

from archscout.core.draw import enumerate_space
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.nn.measure import counts
from archscout.nn.train import new_network
from archscout.spaces.handmade import Handmade

SPACE = Handmade()
CIFAR = Task("none", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "cifar-like")


def test_resnet_20_has_the_published_shape() -> None:
    # He et al. 2016: 0.27 M parameters; with projected skips (option B) 272,474, as in common code.
    found = counts(SPACE, SPACE.architecture((0, 2, 7)), CIFAR)
    assert found["params"] == 272_474
    assert round(found["macs"] / 1e6) == 41


def test_resnet_8_is_the_78_thousand_parameter_network() -> None:
    assert counts(SPACE, SPACE.architecture((0, 0, 7)), CIFAR)["params"] == 78_042


def test_mobilenetv2_has_the_published_size() -> None:
    # The published network has 2,223,872 parameters without its 1000-class classifier; here it has 10 classes.
    found = counts(SPACE, SPACE.architecture((1, 3, 7)), CIFAR)
    assert found["params"] == 2_223_872 + 1280 * 10 + 10


def test_depth_five_is_depth_four_for_mobilenetv2() -> None:
    assert SPACE.architecture((1, 4, 0)) == SPACE.architecture((1, 3, 0))
    assert SPACE.architecture((0, 4, 0)) != SPACE.architecture((0, 3, 0))
    assert len(list(enumerate_space(SPACE))) == 9 * 12


@pytest.mark.parametrize("limits", [{}, {"params": 500_000}, {"work": 40e6}, {"macs": 3e6}, {"params": 60_000, "macs": 6e6}])
def test_baselines_are_the_largest_within_the_limits(limits: dict[str, float]) -> None:
    baselines = SPACE.baselines(Problem(SPACE, CIFAR, limits))
    assert [name for name, _ in baselines] == ["ResNet-type", "MobileNetV2-type"]
    for family, (_, best) in enumerate(baselines):
        assert best.choices[0] == family
        members = [a for a in enumerate_space(SPACE) if a.choices[0] == family]
        sizes = {a: counts(SPACE, a, CIFAR) for a in members}
        allowed = {a: size["params"] for a, size in sizes.items() if all(size[name] <= limits[name] for name in limits)}
        assert allowed[best] == max(allowed.values())


def test_a_family_above_the_plans_own_bound_is_there_with_its_cheapest_member() -> None:
    (_, residual), (_, mobile) = SPACE.baselines(Problem(SPACE, CIFAR, {"work": 10e6}))
    assert counts(SPACE, residual, CIFAR)["work"] <= 10e6
    members = [a for a in enumerate_space(SPACE) if a.choices[0] == 1]
    assert counts(SPACE, mobile, CIFAR)["work"] == min(counts(SPACE, a, CIFAR)["work"] for a in members) > 10e6


def test_a_family_without_a_member_within_the_limits_is_left_out() -> None:
    assert [name for name, _ in SPACE.baselines(Problem(SPACE, CIFAR, {"params": 20_000}))] == ["ResNet-type"]
    assert SPACE.baselines(Problem(SPACE, CIFAR, {"params": 100})) == ()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 48), (1, 28, 28), (3, 256, 256)])
def test_networks_of_any_image_size_run(shape: tuple[int, int, int]) -> None:
    task = Task("none", IMAGE_CLASSIFICATION, shape, 4, f"{shape}")
    rng = np.random.default_rng(0)
    for family in (0, 1):
        architecture = SPACE.architecture((family, int(rng.integers(5)), int(rng.integers(3))))
        graph = SPACE.operations(architecture, task)
        last = [position for name, position in graph.marks.items() if name.startswith("stage")][-1]
        assert min(graph.operations[last].shape[1:]) >= 3
        network = new_network(SPACE, architecture, task, seed=0)
        logits = network(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))
        logits.square().sum().backward()
        assert logits.shape == (2, 4)
