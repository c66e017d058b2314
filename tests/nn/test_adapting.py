"""Inner loops and meta-gradients: their definitions, by autograd and in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.operations import GraphBuilder
from archscout.nn.adapting import (
    EpisodeStatistics,
    Inner,
    LearnableGraph,
    _normalised,
    accuracies,
    accuracies_of,
    adapted,
    classified,
    learnable,
    meta_gradients,
)
from archscout.nn.episodes import Episode
from archscout.nn.network import Network
from archscout.nn.recipe import new_network
from archscout.nn.threads import Threads
from archscout.testing.tasks import episode_task

TASK = episode_task(side=12)
SPLIT = TASK.splits["train"]
METHODS = ("fomaml", "maml", "anil", "reptile")


def small(channels: int = 4, seed: int = 0) -> tuple[LearnableGraph, dict[str, torch.Tensor]]:
    builder = GraphBuilder(TASK.shape)
    x = builder.relu(builder.batch_norm(builder.conv(builder.input, channels, 3, stride=2, name="first")))
    x = builder.relu(builder.batch_norm(builder.conv(x, channels, 3, stride=2, name="second"), name="other"))
    graph = builder.finish(builder.linear(builder.global_pool(x), TASK.classes, name="last"))
    torch.manual_seed(seed)
    network = Network(graph).double()
    return LearnableGraph(graph), {name: weight.detach() for name, weight in network.named_parameters()}


def episode(seed: int = 0) -> Episode:
    found = SPLIT.episode(seed)
    return replace(found, support=found.support.double(), queries=found.queries.double())


class Plain:
    """A function of weights that is no network of images."""

    def __init__(self, function, loss, names, head=frozenset()) -> None:
        self.function, self.loss, self.names, self.head, self.parted = function, loss, frozenset(names), head, False

    def __call__(self, weights, x, norms=None):
        return self.function(weights, x)


def test_the_head_and_the_names() -> None:
    net, weights = small()
    assert net.names == set(weights) and net.head == {"last.weight", "last.bias"} and net.parted


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("statistics", ["batch", "support"])
def test_without_a_rate_nothing_is_adapted(method: str, statistics: str) -> None:
    net, weights = small()
    inner = Inner(method, 0.0, 3, statistics)
    before = accuracies_of(net, weights, [episode(1)], replace(inner, steps=0))
    assert accuracies_of(net, weights, [episode(1)], inner) == before


def test_one_step_is_gradient_descent_on_the_support() -> None:
    net, weights = small()
    one = episode()
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    F.cross_entropy(net(leaves, one.support), one.support_labels).backward()
    found = adapted(net, weights, one.support, one.support_labels, Inner("fomaml", 0.3, 1))
    for name, weight in leaves.items():
        assert torch.allclose(found[name], weight.detach() - 0.3 * weight.grad)


def test_fomaml_is_the_gradient_of_the_queries_where_the_adaptation_ends() -> None:
    net, weights = small()
    one, inner = episode(), Inner("fomaml", 0.3, 3)
    ended = adapted(net, weights, one.support, one.support_labels, inner)
    leaves = {name: weight.clone().requires_grad_() for name, weight in ended.items()}
    loss = F.cross_entropy(net(leaves, one.queries), one.query_labels)
    loss.backward()
    found, losses = meta_gradients(net, weights, [one], inner)
    assert losses.tolist() == pytest.approx([loss.item()])
    for name, leaf in leaves.items():
        assert torch.allclose(found[name], leaf.grad)


@pytest.mark.parametrize("method", ["maml", "anil"])
@pytest.mark.parametrize("statistics", ["batch", "support"])
def test_maml_and_anil_are_the_derivative_of_the_loss_after_the_steps(method: str, statistics: str) -> None:
    """Against central differences in float64 along random directions."""
    net, weights = small()
    one, inner = episode(3), Inner(method, 0.4, 2, statistics)

    def after(at: dict[str, torch.Tensor]) -> float:
        ended = adapted(net, at, one.support, one.support_labels, inner)
        return F.cross_entropy(classified(net, ended, one, inner.statistics), one.query_labels).item()

    found, _ = meta_gradients(net, weights, [one], inner)
    noise = torch.Generator().manual_seed(5)
    for _ in range(3):
        way = {name: torch.randn(weight.shape, generator=noise, dtype=torch.float64) for name, weight in weights.items()}
        ahead, behind = ({n: w + sign * 1e-6 * way[n] for n, w in weights.items()} for sign in (1, -1))
        slope = (after(ahead) - after(behind)) / 2e-6
        assert slope == pytest.approx(sum(float((found[name] * way[name]).sum()) for name in weights), rel=2e-4, abs=1e-6)


def test_maml_of_one_step_on_a_quadratic() -> None:
    """(I - rate * H) g, with g the gradient of the queries' loss at W - rate * H W."""
    torch.manual_seed(0)
    root = torch.randn(4, 4, dtype=torch.float64)
    hessian, start = root @ root.T / 4, torch.randn(4, dtype=torch.float64)
    net = Plain(lambda weights, x: weights["w"] @ x @ weights["w"] / 2, lambda value, labels: value, {"w"})
    one = Episode(hessian, torch.zeros(1), 2 * hessian, torch.zeros(1))
    found, _ = meta_gradients(net, {"w": start}, [one], Inner("maml", 0.1, 1))
    step = torch.eye(4, dtype=torch.float64) - 0.1 * hessian
    assert torch.allclose(found["w"], step @ (2 * hessian) @ (step @ start))


def test_reptile_is_the_way_to_the_adapted_weights() -> None:
    net, weights = small()
    one, inner = episode(), Inner("reptile", 0.2, 3)
    images, labels = torch.cat([one.support, one.queries]), torch.cat([one.support_labels, one.query_labels])
    ended = adapted(net, weights, images, labels, inner)
    found, _ = meta_gradients(net, weights, [one], inner)
    for name, weight in weights.items():
        assert torch.allclose(found[name], weight - ended[name])


def test_anil_moves_the_classifier_alone() -> None:
    net, weights = small()
    one = episode()
    found = adapted(net, weights, one.support, one.support_labels, Inner("anil", 0.5, 3))
    assert {name for name in weights if not torch.equal(found[name], weights[name])} == net.head


@pytest.mark.parametrize("statistics", ["batch", "support"])
def test_anil_together_is_anil_one_by_one(statistics: str) -> None:
    net, weights = small()
    episodes, inner = [episode(n) for n in range(4)], Inner("anil", 0.7, 3, statistics)
    found, losses = meta_gradients(net, weights, episodes, inner)
    net._body = None  # then every episode goes through the general way
    apart, others = meta_gradients(net, weights, episodes, inner)
    assert torch.allclose(losses, others)
    for name in weights:
        assert torch.allclose(found[name], apart[name], atol=1e-10), name


@pytest.mark.parametrize("method", METHODS)
def test_several_episodes_add_up(method: str) -> None:
    net, weights = small()
    inner = Inner(method, 0.2, 2)
    both, _ = meta_gradients(net, weights, [episode(1), episode(2)], inner)
    one, other = (meta_gradients(net, weights, [episode(n)], inner)[0] for n in (1, 2))
    for name in both:
        assert torch.allclose(both[name], one[name] + other[name], atol=1e-10)


def test_statistics_of_the_support_are_those_of_the_support() -> None:
    """An episode's answer to a query does not depend on the other queries; with those of the batch it does."""
    net, weights = small()
    one = episode()
    fewer = replace(one, queries=one.queries[:2], query_labels=one.query_labels[:2])
    for statistics, alike in (("support", True), ("batch", False)):
        all_, some = (classified(net, weights, e, statistics) for e in (one, fewer))
        assert torch.allclose(all_[:2], some) == alike
    norms = EpisodeStatistics(1, len(one.support), "support")
    both = net(weights, torch.cat([one.support, one.support]), norms)
    assert torch.allclose(both[: len(one.support)], net(weights, one.support)), "of the very images both are one"
    assert torch.allclose(both[: len(one.support)], both[len(one.support) :])


def test_an_untrained_network_guesses() -> None:
    net, weights = small(8, seed=1)
    task = episode_task(3, 1, 4, classes=(6, 30))
    weights = {name: weight.float() for name, weight in weights.items()}
    valid = replace(task.splits["valid"], count=150)
    found = accuracies(net, weights, valid, Inner("fomaml", 0.0, 1))
    assert len(found) == 150 and abs(found.mean() - 1 / 3) < 4 * found.std() / 150**0.5
    with Threads(2) as threads:
        assert np.array_equal(accuracies(net, weights, valid, Inner("fomaml", 0.0, 1), threads), found)


def test_a_network_without_a_graph_is_refused() -> None:
    with pytest.raises(UserError, match="need networks of operation graphs"):
        learnable(torch.nn.Linear(2, 2))


def test_a_classifier_that_is_a_convolution_is_a_head_too() -> None:
    space = catalogue.make("spaces", "handmade-few-shot")
    network = new_network(space, space.architecture((0, 1)), replace(TASK, shape=(1, 40, 40)), seed=0)
    net = learnable(network)
    assert {name.partition(".")[0] for name in net.head} == {"classifier"} and not net.parted
    weights = dict(network.named_parameters())
    images, labels = torch.randn(3, 1, 40, 40), torch.arange(3)
    found = adapted(net, weights, images, labels, Inner("anil", 0.5, 1))
    assert {name for name in weights if not torch.equal(found[name], weights[name])} == net.head


def test_sinusoids() -> None:
    """MAML's first experiment: a few points of a sine wave are enough once many waves were met (Finn et al. 2017, section 5.1)."""

    def function(weights, x):
        x = torch.relu(x @ weights["w1"].T + weights["b1"])
        x = torch.relu(x @ weights["w2"].T + weights["b2"])
        return x @ weights["w3"].T + weights["b3"]

    def wave(seed: int) -> Episode:
        noise = np.random.default_rng(seed)
        amplitude, phase = noise.uniform(0.1, 5), noise.uniform(0, math.pi)
        x = torch.tensor(noise.uniform(-5, 5, (20, 1)), dtype=torch.float32)
        y = amplitude * torch.sin(x - phase)
        return Episode(x[:10], y[:10], x[10:], y[10:])

    torch.manual_seed(0)
    shapes = {"w1": (40, 1), "b1": (40,), "w2": (40, 40), "b2": (40,), "w3": (1, 40), "b3": (1,)}
    weights = {n: torch.nn.Parameter(torch.randn(s) * (0.0 if n[0] == "b" else (2 / s[-1]) ** 0.5 / 2)) for n, s in shapes.items()}
    net, inner = Plain(function, F.mse_loss, shapes), Inner("fomaml", 0.01, 1)
    optimizer = torch.optim.Adam(weights.values(), 5e-3)

    def error(steps: int) -> float:
        plain = {name: weight.detach() for name, weight in weights.items()}
        found = []
        for seed in range(10**6, 10**6 + 60):
            one = wave(seed)
            ended = adapted(net, plain, one.support, one.support_labels, replace(inner, steps=steps))
            found.append(F.mse_loss(net(ended, one.queries), one.query_labels).item())
        return float(np.mean(found))

    before = error(1)
    for step in range(600):
        found, _ = meta_gradients(net, weights, [wave(step * 10 + n) for n in range(4)], inner)
        for name, weight in weights.items():
            weight.grad = (found[name] / 4).clamp(-10, 10)
        optimizer.step()
    unadapted, one, ten = (error(steps) for steps in (0, 1, 10))
    assert before > 3.5 and one < 0.85 * unadapted and one < 2.6 and ten < 0.9 * one, (before, unadapted, one, ten)


def test_the_formula_is_the_layers() -> None:
    """What a GPU computes for the statistics of the batch is what the CPU computes part by part."""
    x, weight, bias = torch.randn(3 * 7, 4, 5, 5), torch.rand(4) + 0.5, torch.randn(4)
    builder = GraphBuilder((4, 5, 5))
    operation = builder.finish(builder.batch_norm(builder.input)).operations[-1]
    parts = EpisodeStatistics(3, 2, "batch").normalise(operation, x, weight, bias).view(3, 7, 4, 5, 5)
    by_episode = x.view(3, 7, 4, 5, 5)
    for part in (slice(None, 2), slice(2, None)):
        assert torch.allclose(_normalised(by_episode[:, part], by_episode[:, part], weight, bias), parts[:, part], atol=1e-5)
