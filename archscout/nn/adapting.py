"""The inner loop of methods that learn to learn: a network's weights adapted to an episode, and gradients through that.

Finn, Abbeel and Levine 2017 (arXiv 1703.03400). Weights are dictionaries and a network is a function of them, so that an adaptation
copies no module and can itself be differentiated. With the meta-weights W, the loss L on the support and the steps
W' <- W' - rate * grad L(W') from W' = W, the meta-gradient of an episode is

    maml     the gradient of the queries' loss at W' with respect to W, through all steps;
    fomaml   the same gradient at W', taken for the gradient at W (first order);
    anil     as fomaml, but only the classifier moves in the steps (Raghu, Raghu, Bengio and Vinyals 2020, arXiv 1909.09157);
    reptile  W - W', with the queries a part of the support (Nichol, Achiam and Schulman 2018, arXiv 1803.02999).

Normalisations never use running statistics. `statistics` says whose they use: "batch", those of the images that are classified
together (the queries see one another: transductive), or "support", those that the adapted network had on the support.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.operations import Operation
from archscout.nn.episodes import Episode, EpisodeSplit
from archscout.nn.executor import Program, Statistics
from archscout.nn.network import Network
from archscout.nn.threads import Threads

Tensors = Mapping[str, Tensor]
Method = Literal["fomaml", "maml", "reptile", "anil"]
WhoseStatistics = Literal["batch", "support"]
_EPSILON = 1e-5


class Learnable(Protocol):
    """A network as a function of its weights.

    names: of the weights that it has. head: of those of its classifier.
    """

    names: frozenset[str]
    head: frozenset[str]

    def __call__(self, weights: Tensors, images: Tensor, norms: SupportStatistics | None = None) -> Tensor:
        """Images (N, C, H, W) -> logits (N, ways). norms: whose statistics normalisations use; those of the images without."""
        ...


class LearnableNetwork:
    """A network of an operation graph. Raises UserError for any other module."""

    def __init__(self, network: nn.Module) -> None:
        if not isinstance(network, Network):
            raise UserError("few-shot tasks need networks of operation graphs, but this space builds others; choose another space")
        self._program = Program(network.graph)
        self.names = frozenset(name for name, _ in network.named_parameters())
        self.head = head_of(self.names, network.graph.operations[network.graph.output])

    def __call__(self, weights: Tensors, images: Tensor, norms: SupportStatistics | None = None) -> Tensor:
        """The logits."""
        return self._program.run(weights, images, statistics=norms)[0]


def head_of(names: frozenset[str], classifier: Operation) -> frozenset[str]:
    """The weights of the classifier. Raises UserError where a network does not end in one."""
    found = frozenset(name for name in names if name.rpartition(".")[0] == classifier.name)
    if classifier.kind != "linear" or not found:
        raise UserError("few-shot tasks need networks that end in a linear classifier; choose another space")
    return found


class SupportStatistics(Statistics):
    """Means and variances of one batch, for another. They are differentiable, as all of the batch's values are."""

    def __init__(self) -> None:
        self.moving = True
        self._found: dict[str, tuple[Tensor, Tensor]] = {}

    def normalise(self, operation: Operation, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """One normalisation."""
        if self.moving:
            self._found[operation.name] = torch.var_mean(x, (0, 2, 3), correction=0)
        variance, mean = self._found[operation.name]
        scale = (variance + _EPSILON).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


@dataclass(frozen=True)
class Inner:
    """How an adaptation goes. rate, steps: of plain gradient descent on the support's loss."""

    method: Method = "fomaml"
    rate: float = 0.4
    steps: int = 1
    statistics: WhoseStatistics = "batch"

    def moving(self, net: Learnable) -> frozenset[str]:
        """The weights that move in the steps."""
        return net.head if self.method == "anil" else net.names


def adapted(
    net: Learnable, weights: Tensors, images: Tensor, labels: Tensor, inner: Inner, *, through: bool = False
) -> dict[str, Tensor]:
    """The weights after the inner steps. through: so that the result is differentiable with respect to `weights`."""
    names = sorted(inner.moving(net))
    found = dict(weights)
    for _ in range(inner.steps):
        if not through:
            found |= {name: found[name].detach().requires_grad_() for name in names}
        with torch.enable_grad():
            loss = F.cross_entropy(net(found, images), labels)
            moved = torch.autograd.grad(loss, [found[name] for name in names], create_graph=through, allow_unused=True)
        for name, gradient in zip(names, moved, strict=True):
            if gradient is not None:
                found[name] = found[name] - inner.rate * gradient
    return found if through else {name: tensor.detach() for name, tensor in found.items()}


def classified(net: Learnable, weights: Tensors, episode: Episode, statistics: WhoseStatistics) -> Tensor:
    """The logits (Q, ways) of an episode's queries under these weights."""
    if statistics == "batch":
        return net(weights, episode.queries)
    norms = SupportStatistics()
    net(weights, episode.support, norms)
    norms.moving = False
    return net(weights, episode.queries, norms)


def meta_gradient(net: Learnable, weights: Tensors, episode: Episode, inner: Inner) -> tuple[dict[str, Tensor], Tensor]:
    """An episode's gradient by the weights that `net` has, and the loss on its queries (with `reptile`, on its whole support)."""
    names = sorted(net.names)
    own = {name: weights[name].detach() for name in names}
    if inner.method == "reptile":
        images, labels = torch.cat([episode.support, episode.queries]), torch.cat([episode.support_labels, episode.query_labels])
        end = adapted(net, own, images, labels, inner)
        with torch.no_grad():
            loss = F.cross_entropy(net(end, images), labels)
        return {name: own[name] - end[name] for name in names}, loss
    through = inner.method == "maml"
    if through:
        own = {name: tensor.requires_grad_() for name, tensor in own.items()}
    end = adapted(net, own, episode.support, episode.support_labels, inner, through=through)
    at = own if through else {name: end[name].requires_grad_() for name in names}
    with torch.enable_grad():
        loss = F.cross_entropy(classified(net, end if through else at, episode, inner.statistics), episode.query_labels)
        gradients = torch.autograd.grad(loss, [at[name] for name in names], allow_unused=True)
    return {name: g.detach() for name, g in zip(names, gradients, strict=True) if g is not None}, loss.detach()


@torch.no_grad()
def accuracy_after(net: Learnable, weights: Tensors, episode: Episode, inner: Inner) -> float:
    """The share of an episode's queries that the adapted network classifies right."""
    end = adapted(net, weights, episode.support, episode.support_labels, inner)
    logits = classified(net, end, episode, inner.statistics)
    return float((logits.argmax(1) == episode.query_labels).double().mean())


def accuracies(
    net: Learnable, weights: Tensors, split: EpisodeSplit, inner: Inner, threads: Threads | None = None
) -> NDArray[np.float64]:
    """(N,) of the N fixed episodes of a split: the share of each one's queries that is classified right after adaptation."""
    device = next(iter(weights.values())).device
    plain = {name: tensor.detach() for name, tensor in weights.items()}

    def one(index: int) -> float:
        return accuracy_after(net, plain, split.number(index).to(device), inner)

    return np.array((threads or Threads()).map(one, range(len(split))))
