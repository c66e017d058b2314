"""The inner loop of methods that learn to learn: a network's weights adapted to an episode, and gradients through that.

Finn, Abbeel and Levine 2017 (arXiv 1703.03400). Weights are dictionaries and a network is a function of them, so that an adaptation
copies no module and can itself be differentiated. With the meta-weights W, the loss L on the support and the steps
W' <- W' - rate * grad L(W') from W' = W, the meta-gradient of an episode is

    maml     the gradient of the queries' loss at W' with respect to W, through all steps;
    fomaml   the same gradient at W', taken for the gradient at W (first order);
    anil     as maml, but only the classifier moves in the steps (Raghu, Raghu, Bengio and Vinyals 2020, arXiv 1909.09157);
    reptile  W - W', with the queries a part of the support (Nichol, Achiam and Schulman 2018, arXiv 1803.02999).

With `anil` the features of an image depend on W alone. So they are computed once for all steps, and for all episodes of a network
together; the steps themselves are products of small matrices.

Normalisations never use running statistics. `statistics` says whose they use: "batch", those of the images that are classified
together (the queries of an episode see one another: transductive), or "support", those of the episode's support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.operations import Operation, OperationGraph
from archscout.nn.episodes import Episode, EpisodeSplit
from archscout.nn.executor import Program, Statistics, weight_names
from archscout.nn.network import Network
from archscout.nn.threads import Threads

Tensors = Mapping[str, Tensor]
Method = Literal["fomaml", "maml", "reptile", "anil"]
WhoseStatistics = Literal["batch", "support"]
_EPSILON = 1e-5
AT_ONCE = 8
"""Episodes that an evaluation looks at together."""


class LearnableGraph:
    """An operation graph: a network, or a path of a supernet. names: of its weights. head: of those of its classifier."""

    def __init__(self, graph: OperationGraph) -> None:
        names = weight_names(graph)
        self.names = frozenset(name for found in names.values() for name in found)
        self.head = frozenset(names[max(names)])
        self._program = Program(graph)
        self._classifier = graph.operations[graph.output]
        self._body = Program(graph, self._classifier.inputs[:1]) if self._classifier.kind == "linear" else None

    loss = staticmethod(F.cross_entropy)

    def __call__(self, weights: Tensors, images: Tensor, norms: EpisodeStatistics | None = None) -> Tensor:
        """Images (N, C, H, W) -> logits (N, ways). norms: whose statistics normalisations use; those of the images without."""
        return self._program.run(weights, images, statistics=norms)[0]

    @property
    def parted(self) -> bool:
        """Whether it is features and a linear classifier of them."""
        return self._body is not None

    def features(self, weights: Tensors, images: Tensor, norms: EpisodeStatistics) -> Tensor:
        """Images (N, C, H, W) -> what the classifier reads (N, F)."""
        assert self._body is not None
        return self._body.run(weights, images, statistics=norms)[0]

    def classifier(self, weights: Tensors) -> tuple[Tensor, Tensor]:
        """The linear layer: weight (ways, F) and bias (ways,)."""
        return weights[f"{self._classifier.name}.weight"], weights[f"{self._classifier.name}.bias"]


def learnable(network: nn.Module) -> LearnableGraph:
    """A module as a function of its weights. Raises UserError where it is of no operation graph."""
    if not isinstance(network, Network):
        raise UserError("few-shot tasks need networks of operation graphs, but this space builds others; choose another space")
    return LearnableGraph(network.graph)


class EpisodeStatistics(Statistics):
    """Means and variances within each episode of a batch that holds several, one after the other, each support before its queries.

    shown: images of a support. whose: "batch" normalises support and queries apart, each by its own; "support" both by those of the
    support. They are differentiable, as all of the batch's values are.
    """

    def __init__(self, episodes: int, shown: int, whose: WhoseStatistics) -> None:
        self._episodes, self._shown, self._whose = episodes, shown, whose

    def normalise(self, operation: Operation, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """One normalisation."""
        if self._whose == "batch" and x.device.type == "cpu":
            # The layer's own kernel, part by part, takes half the time; not on a GPU, with its launches.
            sizes = [self._shown, len(x) // self._episodes - self._shown] * self._episodes
            return torch.cat([F.batch_norm(part, None, None, weight, bias, training=True) for part in torch.split(x, sizes)])
        by_episode = x.view(self._episodes, -1, *x.shape[1:])
        if self._whose == "support":
            return _normalised(by_episode, by_episode[:, : self._shown], weight, bias).flatten(0, 1)
        parts = [by_episode[:, : self._shown], by_episode[:, self._shown :]]
        return torch.cat([_normalised(part, part, weight, bias) for part in parts], 1).flatten(0, 1)


def _normalised(x: Tensor, by: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Images (E, N, C, H, W) of E episodes by the means and variances within each episode's `by` (E, M, C, H, W)."""
    variance, mean = torch.var_mean(by, (1, 3, 4), correction=0, keepdim=True)
    scale = (variance + _EPSILON).rsqrt()
    scale = scale if weight is None else scale * weight[:, None, None]
    shift = -mean * scale if bias is None else bias[:, None, None] - mean * scale
    return torch.addcmul(shift, x, scale)


@dataclass(frozen=True)
class Inner:
    """How an adaptation goes. rate, steps: of plain gradient descent on the support's loss."""

    method: Method = "fomaml"
    rate: float = 0.4
    steps: int = 1
    statistics: WhoseStatistics = "batch"

    def moving(self, net: LearnableGraph) -> frozenset[str]:
        """The weights that move in the steps."""
        return net.head if self.method == "anil" else net.names


def adapted(
    net: LearnableGraph, weights: Tensors, images: Tensor, labels: Tensor, inner: Inner, *, through: bool = False
) -> dict[str, Tensor]:
    """The weights after the inner steps. through: so that the result is differentiable with respect to `weights`."""
    names = sorted(inner.moving(net))
    found = dict(weights)
    for _ in range(inner.steps):
        if not through:
            found |= {name: found[name].detach().requires_grad_() for name in names}
        with torch.enable_grad():
            loss = net.loss(net(found, images), labels)
            moved = torch.autograd.grad(loss, [found[name] for name in names], create_graph=through, allow_unused=True)
        for name, gradient in zip(names, moved, strict=True):
            if gradient is not None:
                found[name] = found[name] - inner.rate * gradient
    return found if through else {name: tensor.detach() for name, tensor in found.items()}


def classified(net: LearnableGraph, weights: Tensors, episode: Episode, statistics: WhoseStatistics) -> Tensor:
    """The logits (Q, ways) of an episode's queries under these weights."""
    if statistics == "batch":
        return net(weights, episode.queries)
    shown = len(episode.support)
    return net(weights, torch.cat([episode.support, episode.queries]), EpisodeStatistics(1, shown, statistics))[shown:]


Found = tuple[dict[str, Tensor], Tensor]
"""The sum of the gradients of some episodes by name, and the loss of each (E,)."""


def meta_gradients(net: LearnableGraph, weights: Tensors, episodes: Sequence[Episode], inner: Inner) -> Found:
    """Of some episodes with one network: the sum of their gradients by the weights that it has, and each one's loss.

    The loss is that of the queries, with `reptile` that of support and queries.
    """
    if inner.method == "anil" and net.parted:
        return _together(net, weights, episodes, inner)
    found = [_meta_gradient(net, weights, episode, inner) for episode in episodes]
    names = sorted({name for gradients, _ in found for name in gradients})
    total = {name: torch.stack([gradients[name] for gradients, _ in found if name in gradients]).sum(0) for name in names}
    return total, torch.stack([loss for _, loss in found])


def _meta_gradient(net: LearnableGraph, weights: Tensors, episode: Episode, inner: Inner) -> tuple[dict[str, Tensor], Tensor]:
    names = sorted(net.names)
    own = {name: weights[name].detach() for name in names}
    if inner.method == "reptile":
        images, labels = torch.cat([episode.support, episode.queries]), torch.cat([episode.support_labels, episode.query_labels])
        end = adapted(net, own, images, labels, inner)
        with torch.no_grad():
            loss = net.loss(net(end, images), labels)
        return {name: own[name] - end[name] for name in names}, loss
    through = inner.method != "fomaml"
    if through:
        own = {name: tensor.requires_grad_() for name, tensor in own.items()}
    end = adapted(net, own, episode.support, episode.support_labels, inner, through=through)
    at = own if through else {name: end[name].requires_grad_() for name in names}
    with torch.enable_grad():
        loss = net.loss(classified(net, end if through else at, episode, inner.statistics), episode.query_labels)
        gradients = torch.autograd.grad(loss, [at[name] for name in names], allow_unused=True)
    return {name: g.detach() for name, g in zip(names, gradients, strict=True) if g is not None}, loss.detach()


def _together(net: LearnableGraph, weights: Tensors, episodes: Sequence[Episode], inner: Inner) -> Found:
    """`anil` for all episodes at once."""
    names = sorted(net.names)
    own = {name: weights[name].detach().requires_grad_() for name in names}
    with torch.enable_grad():
        logits, labels = _head_logits(net, own, episodes, inner)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)
        gradients = torch.autograd.grad(losses.sum(), [own[name] for name in names])
    return dict(zip(names, gradients, strict=True)), losses.detach()


def _head_logits(net: LearnableGraph, weights: Tensors, episodes: Sequence[Episode], inner: Inner) -> tuple[Tensor, Tensor]:
    """The logits (E, Q, ways) of the queries of E episodes after steps of the classifier alone, and their labels (E, Q)."""
    shown = len(episodes[0].support)
    images = torch.cat([part for episode in episodes for part in (episode.support, episode.queries)])
    found = net.features(weights, images, EpisodeStatistics(len(episodes), shown, inner.statistics))
    found = found.view(len(episodes), -1, found.shape[1])
    known, asked = found[:, :shown], found[:, shown:]
    weight, bias = net.classifier(weights)
    wanted = F.one_hot(torch.stack([episode.support_labels for episode in episodes]), len(bias)).to(known.dtype)
    weight, bias = weight.expand(len(episodes), -1, -1), bias.expand(len(episodes), 1, -1)
    for _ in range(inner.steps):  # the gradient of the mean cross-entropy, written out
        error = (torch.baddbmm(bias, known, weight.mT).softmax(-1) - wanted) / known.shape[1]
        weight = weight - inner.rate * error.mT @ known
        bias = bias - inner.rate * error.sum(1, keepdim=True)
    return torch.baddbmm(bias, asked, weight.mT), torch.stack([episode.query_labels for episode in episodes])


@torch.no_grad()
def right_answers(net: LearnableGraph, weights: Tensors, episodes: Sequence[Episode], inner: Inner) -> list[Tensor]:
    """Of each episode which of its queries (Q,) the adapted network classifies right."""
    found: list[Tensor] = []
    if inner.method == "anil" and net.parted:
        for first in range(0, len(episodes), AT_ONCE):
            logits, labels = _head_logits(net, weights, episodes[first : first + AT_ONCE], inner)
            found += (logits.argmax(-1) == labels).cpu()
        return found
    for episode in episodes:
        end = adapted(net, weights, episode.support, episode.support_labels, inner)
        logits = classified(net, end, episode, inner.statistics)
        found.append((logits.argmax(1) == episode.query_labels).cpu())
    return found


def accuracies_of(net: LearnableGraph, weights: Tensors, episodes: Sequence[Episode], inner: Inner) -> list[float]:
    """Of each episode the share of its queries that the adapted network classifies right."""
    return [float(right.double().mean()) for right in right_answers(net, weights, episodes, inner)]


def accuracies(
    net: LearnableGraph, weights: Tensors, split: EpisodeSplit, inner: Inner, threads: Threads | None = None
) -> NDArray[np.float64]:
    """(N,) of the N fixed episodes of a split: the share of each one's queries that is classified right after adaptation."""
    device = next(iter(weights.values())).device
    plain = {name: tensor.detach() for name, tensor in weights.items()}

    def some(numbers: range) -> list[float]:
        return accuracies_of(net, plain, [split.number(number).to(device) for number in numbers], inner)

    parts = [range(first, min(first + AT_ONCE, len(split))) for first in range(0, len(split), AT_ONCE)]
    return np.array([value for found in (threads or Threads()).map(some, parts) for value in found])
