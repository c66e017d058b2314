"""Judges that read activations, Jacobians and tangent kernels: unit values, and plain modules with equal weights."""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from torch import nn

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import CandidateError, NotFinite, UserError
from archscout.core.operations import GraphBuilder
from archscout.core.problem import Problem
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import generator
from archscout.estimators import linear_regions
from archscout.estimators._probe import GraphNetwork, ModuleNetwork, correlation, images_of, input_jacobian, redraw, without_head
from archscout.estimators.epe_nas import EpeNas, difference
from archscout.estimators.jacob_cov import JacobCov, evenness
from archscout.estimators.linear_regions import LinearRegions, Regions
from archscout.estimators.meco import Meco, smallest_eigenvalue
from archscout.estimators.ntk_condition import NtkCondition, condition, tangent_kernel
from archscout.estimators.swap import Patterns, Swap
from archscout.estimators.zen import Zen, sensitivity
from archscout.nn import network as network_module
from archscout.nn.batches import ImageSplit
from archscout.nn.executor import WeightBank
from archscout.nn.network import Network
from archscout.spaces.darts import Darts
from archscout.spaces.mobile import Mobile
from archscout.spaces.nas201 import Nas201
from archscout.testing.problems import CountingSpace
from archscout.testing.tasks import image_task, token_task

K = 1e-5
TASK = image_task((3, 16, 16), classes=5, rows=64)
TINY = Nas201(4, 1)
ALL = [JacobCov(16), EpeNas(16), Zen(4, 2), LinearRegions(50), Swap(16, repeats=2), Meco(16), NtkCondition(6)]
NAMES = [type(judge).__name__ for judge in ALL]
EACH = pytest.mark.parametrize("judge", ALL, ids=NAMES)


def graphs():
    for number in (6111, 1462, 9):
        yield f"nas201 {number}", TINY.operations(TINY.at(number), TASK)
    yield "darts", Darts(4, 3).operations(sample(Darts(), generator(1, "graph")), TASK)
    # With depthwise convolutions, gates and maximum pooling.
    yield "mobile", Mobile().operations(sample(Mobile(), generator(42, "graph")), TASK)


GRAPHS = [graph for _, graph in graphs()]
ON_GRAPHS = pytest.mark.parametrize("graph", GRAPHS, ids=[name for name, _ in graphs()])


@dataclass(frozen=True)
class Opaque:
    """NAS-Bench-201 without its graphs: judges have to build modules."""

    inner: Nas201 = TINY

    @property
    def name(self):
        return self.inner.name

    @property
    def decisions(self):
        return self.inner.decisions

    def architecture(self, choices):
        return self.inner.architecture(choices)

    def build(self, architecture, task):
        return self.inner.build(architecture, task)


def both(graph, init="default"):
    """The functional network and the plain module, in double precision with equal weights."""
    weights = WeightBank(torch.float64).draw(graph, 3, init)
    module = Network(graph).double().train()
    module.load_state_dict(dict(weights), strict=False)
    return GraphNetwork(graph, weights), module


def noise(batch=6, shape=(3, 16, 16), seed=0):
    return torch.randn(batch, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chain(*widths):
    """Linear layers without biases."""
    builder = GraphBuilder((widths[0],))
    x = builder.input
    for number, width in enumerate(widths[1:]):
        x = builder.linear(x, width, bias=False, name=f"layer{number}")
    return builder.finish(x)


def hadamard(size):
    rows = np.array([[1]])
    while len(rows) < size:
        rows = np.block([[rows, rows], [rows, -rows]])
    return torch.from_numpy(rows).double()


# ---- what they share


def test_correlation_is_numpys_and_constant_rows_are_nought():
    rows = noise(5, (40,))
    assert np.allclose(correlation(rows), np.corrcoef(rows.numpy()), atol=1e-12)
    rows[2] = 0.1
    found = correlation(rows.float())
    assert not found[2].any() and not found[:, 2].any() and found[0, 0] == pytest.approx(1)


@ON_GRAPHS
def test_the_jacobian_is_the_modules(graph):
    functional, module = both(graph)
    x = noise().requires_grad_()
    module(x).sum().backward()
    found = input_jacobian(functional, x.detach())
    assert torch.allclose(found, x.grad.flatten(1), rtol=1e-9, atol=1e-12)
    assert torch.allclose(input_jacobian(ModuleNetwork(module), x.detach()), found, rtol=1e-9, atol=1e-12)


@ON_GRAPHS
@pytest.mark.parametrize("only_live", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_graph_and_module_show_the_same_layers(graph, only_live, before):
    functional, module = both(graph)
    for family in ("conv", "norm", "activation", "pool"):
        ours, plain = (told(network, family, before, only_live) for network in (functional, ModuleNetwork(module)))
        assert ours == pytest.approx(plain, rel=1e-9), family


def told(network, family, before, only_live):
    """How many layers `watch` tells of, and the sum of what they hold."""
    seen = []
    with torch.no_grad():
        network.watch(noise(), (family,), lambda *told: seen.append(told), before=before, only_live=only_live)
    return len(seen) and sum(count for _, count in seen), sum(count * float(value.abs().mean()) for value, count in seen)


def test_dead_layers_are_left_out_where_asked():
    architecture = TINY.from_genotype("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    alive = TINY.from_genotype("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    for judge in (LinearRegions(50), Swap(8, repeats=1)):
        problem = Problem(TINY, TASK)
        live = type(judge)(**{**vars(judge), "only_live": True})
        units = [
            j.estimate(problem, a, seed=0).metrics["units"]
            for j, a in ((judge, architecture), (live, architecture), (judge, alive))
        ]
        assert units[0] > units[1] == units[2]
    functional, module = both(TINY.operations(architecture, TASK))
    seen = [[], []]
    for network, found in zip((functional, ModuleNetwork(module)), seen, strict=True):
        network.watch(noise(), ("conv",), lambda v, n, found=found: found.append(v), only_live=True)
    assert len(seen[0]) == len(seen[1]) == 7  # the stem and two residual blocks


def test_equal_images_count_once_with_their_labels():
    source: ImageSplit = TASK.splits["train"]
    twice = ImageSplit(source.images, source.labels, np.concatenate([source.rows[:10]] * 2), source.mean, source.std)
    task = type(TASK)("t", TASK.kind, TASK.shape, TASK.classes, "same", {"train": twice})
    images, labels = images_of(Problem(TINY, task), "x", "train", 64)
    assert len(images) == len(labels) == 10
    problem = Problem(TINY, task)
    for judge in (JacobCov(64), NtkCondition(64)):  # ten images, not twenty of which every second makes the kernel singular
        assert judge.estimate(problem, TINY.at(6111), seed=0).value > -1000


@EACH
def test_the_seed_changes_the_weights_only(judge):
    problem, architecture = Problem(TINY, TASK), TINY.at(6111)
    values = [judge.estimate(problem, architecture, seed=seed).value for seed in (1, 2, 1)]
    assert values[0] == values[2] and (values[0] != values[1] or isinstance(judge, LinearRegions))


@EACH
def test_spaces_without_graphs_are_judged_by_modules(judge):
    assert not isinstance(Opaque(), GraphSpace)
    opaque, architecture = Problem(Opaque(), TASK), TINY.at(6111)
    values = [judge.estimate(opaque, architecture, seed=4).value for _ in range(2)]
    known = [judge.estimate(Problem(TINY, TASK), architecture, seed=seed).value for seed in range(6)]
    assert values[0] == values[1]
    spread = max(known) - min(known)  # other weights, but of the same law
    assert min(known) - 3 * spread - 1 <= values[0] <= max(known) + 3 * spread + 1


@EACH
def test_dead_cells_fail_or_score_low_but_never_with_a_fake_number(judge):
    problem = Problem(TINY, TASK)
    good = judge.estimate(problem, TINY.at(1462), seed=0).value
    try:
        dead = judge.estimate(problem, TINY.architecture([0] * 6), seed=0).value
    except NotFinite:
        assert isinstance(judge, JacobCov | EpeNas | Zen | NtkCondition)
    else:
        assert 0 <= dead < good


@EACH
def test_networks_without_feature_maps_are_judged_or_refused(judge):
    problem = Problem(CountingSpace(), TASK)
    architecture = problem.space.architecture([1, 2, 3, 1, 2, 3])
    if isinstance(judge, Meco):
        with pytest.raises(CandidateError, match="use another judge"):
            judge.estimate(problem, architecture, seed=0)
    elif isinstance(judge, LinearRegions):
        assert 1 <= judge.estimate(problem, architecture, seed=0).value <= 50
    else:
        assert np.isfinite(judge.estimate(problem, architecture, seed=0).value)


@EACH
def test_tasks_of_another_kind_are_refused(judge):
    with pytest.raises(UserError, match="language-modelling"):
        judge.estimate(Problem(TINY, token_task()), TINY.at(9), seed=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("jacob-cov", {"batch": 1}), ("epe-nas", {"batch": 1}), ("zen", {"repeats": 0}), ("zen", {"gamma": 0.0}),
        ("linear-regions", {"samples": 1}), ("swap", {"batch": 1}), ("swap", {"mu": 40.0}), ("meco", {"side": 1}),
        ("ntk-condition", {"batch": 1}),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(name, settings):
    with pytest.raises(UserError, match="must be"):
        catalogue.make("estimators", name, **settings)


# ---- jacob_cov


def test_uncorrelated_rows_reach_the_most():
    value = evenness(hadamard(32)[1:])
    assert value == pytest.approx(-31 * (log(1 + K) + 1 / (1 + K)), abs=1e-9)
    assert value == pytest.approx(-31, abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_no_rows_exceed_minus_their_number(seed):
    assert evenness(noise(20, (30,), seed)) < -20


def test_two_linear_layers_react_alike_to_every_image():
    functional, _ = both(chain(7, 5, 3))
    rows = input_jacobian(functional, noise(4, (7,)))
    expected = torch.ones(3, dtype=torch.float64) @ functional._weights["layer1.weight"] @ functional._weights["layer0.weight"]
    assert torch.allclose(rows, expected.expand(4, 7), rtol=1e-12)
    assert evenness(rows) == pytest.approx(-(log(4 + K) + 1 / (4 + K) + 3 * (log(K) + 1 / K)), rel=1e-6)


def test_images_without_influence_are_not_finite():
    rows = noise(4, (9,))
    rows[1] = 0
    for score in (evenness, lambda rows: difference(rows, torch.tensor([0, 0, 1, 1]))):
        with pytest.raises(NotFinite, match="some image"):
            score(rows)
    assert evenness(noise(1, (9,))) == pytest.approx(-1, abs=1e-6)


# ---- epe_nas


def test_two_classes_by_hand():
    angle = sqrt(0.5)
    rows = torch.tensor([[1.0, -1, 0, 0], [1, -1, 1, -1], [5, 1, 2, 3]], dtype=torch.float64)
    assert correlation(rows[:2])[0, 1] == pytest.approx(angle)
    first, second = 2 * log(1 + K) + 2 * log(angle + K), log(1 + K)
    assert difference(rows, torch.tensor([4, 4, 9])) == pytest.approx(abs(first) + abs(second), rel=1e-9)


def test_more_than_a_hundred_classes():
    rows, labels = noise(202, (12,)), torch.arange(202) % 101
    parts = [np.log(np.abs(np.corrcoef(rows[labels == c].numpy())) + K).sum() / 2 for c in range(101)]
    expected = sum(abs(a - b) for a in parts for b in parts) / 101
    assert difference(rows, labels) == pytest.approx(expected, rel=1e-9)


def test_order_of_images_does_not_matter_and_lone_images_are_refused():
    rows, labels = noise(12, (30,)), torch.arange(12) % 3
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert difference(rows[order], labels[order]) == pytest.approx(difference(rows, labels), rel=1e-12)
    with pytest.raises(CandidateError, match="raise batch"):
        EpeNas(5).estimate(Problem(TINY, image_task((3, 16, 16), classes=48)), TINY.at(9), seed=0)


# ---- zen


@ON_GRAPHS
def test_zen_equals_a_plain_module(graph, monkeypatch):
    functional, module = both(graph, "normal")
    live = {operation.name for operation in graph.live().operations}
    norms = [layer for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d) and name in live]
    for layer in norms:
        layer.momentum = None  # the running variance is that of the one pass
    maps = []

    def combine(operation, inputs, plain=network_module.combine):
        if operation.kind == "global_pool" and not operation.keep:
            maps.append(inputs[0])
        return plain(operation, inputs)

    monkeypatch.setattr(network_module, "combine", combine)
    x, moved = noise(4), noise(4) + 0.01 * noise(4, seed=1)
    with torch.no_grad():
        module(x)
        scale = sum(0.5 * log(var) for var in (float(layer.running_var.mean()) for layer in norms) if var > 0)
        module(moved)
    expected = log(float((maps[-2] - maps[-1]).abs().sum((1, 2, 3)).mean())) + scale
    found = sensitivity(GraphNetwork(without_head(graph), functional._weights), x, moved)
    assert len(maps) == 2 and found == pytest.approx(expected, rel=1e-9)


def test_zen_of_modules_without_graph_reads_the_last_layer():
    graph = TINY.operations(TINY.at(6111), TASK)
    functional, module = both(graph, "normal")
    x, moved = noise(4), noise(4) + 0.01 * noise(4, seed=1)
    expected = sensitivity(GraphNetwork(without_head(graph), functional._weights), x, moved)
    assert sensitivity(ModuleNetwork(module, headless=True), x, moved) == pytest.approx(expected, rel=1e-9)


def test_zen_by_hand_and_its_scale():
    builder = GraphBuilder((2, 5, 5))
    x = builder.conv(builder.input, 3, 3, name="first")
    plain = builder.finish(builder.linear(builder.global_pool(x), 2))
    network, module = both(plain, "normal")
    headless = GraphNetwork(without_head(plain), network._weights)
    x, step = noise(4, (2, 5, 5)), noise(4, (2, 5, 5), 1)
    distance = float(module.first(step).abs().sum((1, 2, 3)).detach().mean())
    assert sensitivity(headless, x, x + step) == pytest.approx(log(distance), rel=1e-9)
    assert sensitivity(headless, x, x + 2 * step) == pytest.approx(log(2 * distance), rel=1e-9)
    with pytest.raises(NotFinite, match="does not depend"):
        sensitivity(headless, x, x)


def test_zen_averages_its_repeats():
    problem, architecture = Problem(TINY, TASK), TINY.at(6111)
    one, two, four = (Zen(4, repeats).estimate(problem, architecture, seed=0).value for repeats in (1, 2, 4))
    assert len({one, two, four}) == 3 and max(one, two, four) - min(one, two, four) < 3


# ---- linear_regions


def test_regions_count_distinct_rows():
    regions = Regions(4)
    regions.add(torch.tensor([[1.0, -1], [1, -1], [-1, 1], [1, 0]]))
    assert (regions.count, regions.units) == (2, 2)
    regions.add(torch.tensor([[1.0], [-1], [1], [1]]), 3)
    assert (regions.count, regions.units) == (3, 5)
    with pytest.raises(CandidateError, match="use another judge"):
        _ = Regions(4).count


@ON_GRAPHS
def test_regions_and_patterns_are_those_of_hooks_on_the_module(graph):
    functional, module = both(graph)
    x = noise(9)
    codes = []
    for layer in module.modules():
        if isinstance(layer, nn.ReLU | nn.SiLU):
            layer.register_forward_hook(lambda _, inputs, output: codes.append((inputs[0] > 0).flatten(1)))
    regions, patterns = Regions(9), Patterns()
    with torch.no_grad():
        module(x)
        functional.watch(x, ("activation",), regions.add)
        functional.watch(x, ("activation",), patterns.add)
    together = torch.cat(codes, 1)
    assert regions.units == patterns.units == together.shape[1]
    assert regions.count == len(torch.unique(together, dim=0))
    assert patterns.count == len(torch.unique(together.t(), dim=0))


def test_crops_come_from_the_images_and_serve_every_network_alike():
    problem = Problem(TINY, TASK)
    crops = LinearRegions(200)._crops(problem)
    assert crops.shape == (200, 1, 3, 3) and torch.equal(crops, LinearRegions(200)._crops(problem))
    images = TASK.splits["train"].normalise(TASK.splits["train"].take(np.arange(64))[0])
    windows = {tuple(w.flatten().tolist()) for w in images.unfold(2, 3, 1).unfold(3, 3, 1).reshape(-1, 9)}
    assert {tuple(crop.flatten().tolist()) for crop in crops} <= windows
    assert LinearRegions(5, side=40)._crops(problem).shape == (5, 1, 16, 16)


def test_regions_lie_between_one_and_the_samples(monkeypatch):
    problem = Problem(Nas201(1, 1), TASK)
    values = [LinearRegions(100).estimate(problem, problem.space.at(n), seed=0).value for n in (6111, 1462, 9)]
    assert all(1 <= value <= 100 for value in values)
    same = torch.ones(100, 1, 3, 3)
    monkeypatch.setattr(linear_regions.LinearRegions, "_crops", lambda self, problem: same)
    assert LinearRegions(100).estimate(problem, problem.space.at(6111), seed=0).value == 1


# ---- swap


@pytest.mark.parametrize("batch", [3, 8, 16, 64, 65, 130])
def test_patterns_count_distinct_columns(batch):
    on = torch.rand(batch, 500, generator=torch.Generator().manual_seed(batch)) < 0.5
    on[:, 250:] = on[:, :250]
    layers = torch.split(on, [100, 300, 100], 1)
    patterns = Patterns()
    for layer in layers:
        patterns.add(layer.float())
    assert patterns.count == len(torch.unique(on.t(), dim=0)) and patterns.units == 500


def test_swap_is_bounded_and_regularised():
    problem, architecture = Problem(TINY, TASK), TINY.at(6111)
    plain = Swap(4, repeats=3).estimate(problem, architecture, seed=0)
    assert 1 <= plain.value <= 2**4
    params = TINY.operations(architecture, TASK).params / 1000
    found = Swap(4, repeats=3, mu=10.0, sigma=50.0).estimate(problem, architecture, seed=0).value
    assert found == pytest.approx(plain.value * exp(-((params - 10) ** 2) / 50), rel=1e-12)


# ---- meco


def test_smallest_eigenvalues_by_hand():
    one, two = noise(1, (50,))[0], noise(1, (50,), 1)[0]
    r = float(np.corrcoef(one, two)[0, 1])
    assert smallest_eigenvalue(torch.stack([one, two]).view(2, 5, 10)) == pytest.approx(1 - abs(r), rel=1e-9)
    assert smallest_eigenvalue(one.view(1, 5, 10)) == pytest.approx(1)
    assert smallest_eigenvalue(torch.stack([one, torch.full_like(one, 0.1)]).view(2, 5, 10).float()) == 0
    assert smallest_eigenvalue(noise(1, (9, 3, 3))[0]) == 0  # more channels than free pixels
    assert smallest_eigenvalue(noise(1, (8, 3, 3))[0]) > 0
    assert smallest_eigenvalue(hadamard(8)[1:].view(7, 2, 4)) == pytest.approx(1)


@pytest.mark.parametrize("number", [6111, 1462, 9])
def test_meco_equals_hooks_on_the_module(number):
    graph = TINY.operations(TINY.at(number), image_task((3, 32, 32)))
    functional, module = both(graph)
    values = []

    def look(_, inputs, output):
        rows = output[0].flatten(1).numpy()
        with np.errstate(all="ignore"):
            matrix = np.nan_to_num(np.corrcoef(rows), nan=0.0)
        values.append(max(0.0, float(np.linalg.eigvalsh(matrix)[0])))

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.ReLU | nn.AvgPool2d):
            layer.register_forward_hook(look)
    total, layers = 0.0, 0

    def see(value, count):
        nonlocal total, layers
        total, layers = total + count * smallest_eigenvalue(value[0]), layers + count

    with torch.no_grad():
        module(noise(1, (3, 32, 32)))
        functional.watch(noise(1, (3, 32, 32)), ("conv", "norm", "activation", "pool"), see)
    assert layers == len(values) and total == pytest.approx(sum(values), rel=1e-6)
    assert 0 < total <= layers


# ---- ntk_condition


def test_the_kernel_of_two_linear_layers_by_hand():
    functional, _ = both(chain(7, 5, 3))
    first, second = (functional._weights[f"layer{number}.weight"].clone() for number in range(2))
    x = noise(4, (7,))
    # d(sum f)/dW2 = 1 (W1 x)^T, d(sum f)/dW1 = W2^T 1 x^T.
    expected = 3 * (x @ first.t()) @ (x @ first.t()).t() + float(second.sum(0).square().sum()) * x @ x.t()
    kernel = tangent_kernel(functional, x)
    assert torch.allclose(kernel, expected, rtol=1e-10)
    assert condition(kernel, 1e-12) == pytest.approx(float(np.linalg.cond(expected)), rel=1e-6)


@ON_GRAPHS
def test_the_kernel_is_the_plain_modules(graph):
    functional, module = both(graph, "kaiming-normal")
    x = noise(4)
    kernel = tangent_kernel(functional, x)
    assert torch.allclose(tangent_kernel(ModuleNetwork(module), x), kernel, rtol=1e-9)
    rows = []
    for place in range(4):
        module.requires_grad_(True).zero_grad()
        module(x)[place].sum().backward()
        rows.append(torch.cat([p.grad.flatten() for n, p in module.named_parameters() if "weight" in n and p.grad is not None]))
    expected = torch.stack(rows)
    assert torch.allclose(kernel, expected @ expected.t(), rtol=1e-9)
    assert condition(kernel, 0) >= 1


def test_condition_numbers():
    assert condition(torch.eye(3).double(), 1e-7) == pytest.approx(1)
    assert condition(torch.diag(torch.tensor([2.0, 8.0, 4.0])).double(), 1e-7) == pytest.approx(4)
    for singular in (torch.ones(3, 3).double(), torch.zeros(3, 3).double()):
        with pytest.raises(NotFinite, match="singular"):
            condition(singular, 1e-7)


def test_the_value_is_minus_the_logarithm():
    found = NtkCondition(8).estimate(Problem(TINY, TASK), TINY.at(6111), seed=0)
    assert found.value == -log(found.metrics["kappa"]) <= 0


def test_fewer_images_are_never_worse_conditioned():
    kernel = tangent_kernel(both(GRAPHS[0], "kaiming-normal")[0], noise(8))
    kappas = [condition(kernel[:count, :count], 0) for count in (1, 2, 5, 8)]
    assert kappas[0] == 1 and kappas == sorted(kappas)


# ---- weights of modules


def test_modules_are_redrawn_as_the_bank_draws():
    network = nn.Sequential(nn.Conv2d(8, 64, 3), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(640, 50))
    network.requires_grad_(False)
    before = network[0].weight.clone()
    redraw(network, "default")
    assert torch.equal(network[0].weight, before)
    for init, deviation in (("normal", 1.0), ("kaiming-normal", sqrt(2 / 72))):
        redraw(network, init)
        assert float(network[0].weight.std()) == pytest.approx(deviation, rel=0.05)
        assert not network[0].bias.any() and not network[3].bias.any()
    assert float(network[3].weight.std()) == pytest.approx(sqrt(2 / 640), rel=0.05)
