"""How far one task is from another, by the Fisher information of networks trained on either.

Le, Soltani, Ravier, Dong and Tarokh 2021 (arXiv 2103.12827, Frechet; 2103.00241, log-determinant). Let N_a and N_b be networks of
one kind, trained from the same initial weights on tasks a and b. On images and labels of b,

    F_j = E (d log p(y | x; theta) / d theta_j)^2,       the diagonal of the Fisher information over all weights,

is F_ab for N_a and F_bb for N_b, either divided by its sum. How far a is from b:

    frechet          d = 1/2 || sqrt(F_ab) - sqrt(F_bb) ||^2 = 1 - sum_j sqrt(F_ab,j F_bb,j),   0..1
    log-determinant  s = 1/n sum over tensors of | sum_j log(F_ab,j / F_bb,j) |,                not bounded

Neither is symmetric, since the data are those of b. `squared = False` is the root of d, as later versions of the paper print it.

Kinds of F: "per-sample" squares the gradient of every image with its own label; "true" draws labels from the network's softmax, by
the same draw for all networks, so that d of a network and itself is 0; "reference" is what the released code computes: squares of
gradients of the mean loss of a batch, averaged over the first axis of every tensor (so that all outputs of a layer share a value,
and a bias has one).

Deviations: the released code adds 1e-10 before the logarithm, which decides everything where units are dead; here entries are at
least the quantile `clip` of those above nought (`clip = 0` is the code's). Where class counts differ, the last layer is left out
of both vectors; the code pads it with noughts. Class counts of source and target may be matched by the classes' mean features (Le,
Dong, Soltani and Tarokh 2021, arXiv 2110.02399). Normalisations are in evaluation mode, and their weights are part of the vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from archscout.core.errors import UserError
from archscout.core.seeds import derive

Mode = Literal["per-sample", "true", "reference"]
Kind = Literal["frechet", "log-determinant"]
Head = Literal["auto", "keep", "leave-out"]
Match = Literal["none", "centroid"]
Fisher = Mapping[str, Tensor]
"""For each weight of a network, by name, its entries of F (float64), not divided by anything."""

_FLOOR = 1e-10
_SEARCHED = 1 << 24


@dataclass(frozen=True)
class TaskDistance:
    """How distances are measured; compare only distances of one setting and one kind of network.

    mode, kind: see the head of this file. squared: of frechet, the square; else its root.
    head: whether the last layer is part of the vectors; "auto" leaves it out where classes differ in number or are matched.
    match: "centroid" gives each class of the target the label of that class of the source which looks most like it to the source.
    per_tensor: divide every tensor by its own sum, and average the distances of tensors.
    clip: quantile; see above. chunk: images whose gradients are held at once. batch: of the mode "reference".
    """

    mode: Mode = "per-sample"
    kind: Kind = "frechet"
    squared: bool = True
    head: Head = "auto"
    match: Match = "none"
    per_tensor: bool = False
    clip: float = 1e-4
    chunk: int = 128
    batch: int = 50

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, ("per-sample", "true", "reference")),
            ("kind", self.kind, ("frechet", "log-determinant")),
            ("head", self.head, ("auto", "keep", "leave-out")),
            ("match", self.match, ("none", "centroid")),
        ):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, but '{value}' came")
        if not 0 <= self.clip < 1 or self.chunk < 1 or self.batch < 1:
            raise ValueError(
                "clip is at least 0 and less than 1, chunk and batch are at least 1, "
                f"but {self.clip}, {self.chunk} and {self.batch} came"
            )
        if self.match == "centroid" and self.head == "keep":
            raise ValueError("matched classes are not those of the last layer, which is left out then; give head 'auto'")

    def fisher(self, network: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0) -> Fisher:
        """F of a network (without running statistics: they are those of its training) on images (N, C, H, W) with labels (N,).

        seed: of the drawn labels, which follow from it and the number of the image alone. Labels beyond the network's outputs meet
        logits of 0.
        """
        with _evaluating(network):
            if self.mode == "reference":
                return _of_batches(network, x, y, self.batch)
            if self.mode == "true":
                y = drawn_labels(network, x, seed, self.chunk)
            return _of_samples(network, x, y, self.chunk)

    def leaves_head_out(self, class_counts: set[int]) -> bool:
        """Whether the last layer is left out when tasks of so many classes are compared."""
        return self.head == "leave-out" or (self.head == "auto" and (len(class_counts) > 1 or self.match == "centroid"))

    def between(self, source: Fisher, target: Fisher) -> float:
        """From F_ab and F_bb, of the same weights, to the distance; where they are divided by their sums does not matter.

        Raises UserError where one is nought throughout.
        """
        if {name: part.shape for name, part in source.items()} != {name: part.shape for name, part in target.items()}:
            raise ValueError("distances are between networks of one kind, but these have other weights")
        if self.per_tensor:
            found = [self._between({name: source[name]}, {name: target[name]}) for name in source if _alive(source, target, name)]
            return float(np.mean(found)) if found else self._between(source, target)
        return self._between(source, target)

    def _between(self, source: Fisher, target: Fisher) -> float:
        one, other = _normalised(source), _normalised(target)
        if self.kind == "frechet":
            gap = sum(float((one[name].sqrt() - other[name].sqrt()).square().sum()) for name in one)
            squared = min(1.0, gap / 2)
            return squared if self.squared else sqrt(squared)
        count = sum(part.numel() for part in one.values())
        if self.clip:
            floor = _quantile(torch.cat([part.flatten() for part in (*one.values(), *other.values())]), self.clip)
            logs = ((one[name].clamp(min=floor) / other[name].clamp(min=floor)).log().sum() for name in one)
        else:
            logs = (((one[name] + _FLOOR) / (other[name] + _FLOOR)).log().sum() for name in one)
        return sum(abs(float(log)) for log in logs) / count


def support(fisher: Fisher) -> float:
    """To how many entries F comes down: 1 / sum F^2 of the normalised one. Raises UserError where F is nought throughout."""
    return 1 / sum(float(part.square().sum()) for part in _normalised(fisher).values())


def without_head(fisher: Fisher, network: nn.Module) -> Fisher:
    """The same without the entries of the network's last layer."""
    name, _ = head_of(network)
    return {weight: part for weight, part in fisher.items() if not weight.startswith(f"{name}.")}


def head_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer, which gives the logits, and its name. Raises UserError where there is none."""
    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not found:
        raise UserError("task distances need networks that end in a linear layer, but this one has none; choose another --network")
    return found[-1]


def centroids(network: nn.Module, x: Tensor, y: Tensor, classes: int, chunk: int = 512) -> Tensor:
    """The mean features of each class's images, as the last layer reads them: (N, C, H, W), labels (N,) -> (K, F).

    A class without images has no mean: its row is infinite.
    """
    _, head = head_of(network)
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].detach()))
    try:
        with _evaluating(network), torch.no_grad():
            for start in range(0, len(x), chunk):
                network(x[start : start + chunk])
    finally:
        hook.remove()
    features = torch.cat(seen).double()
    rows = [
        features[y == label].mean(0) if bool((y == label).any()) else torch.full_like(features[0], torch.inf)
        for label in range(classes)
    ]
    return torch.stack(rows)


def matching(source: Tensor, target: Tensor) -> Tensor:
    """For each class of the target (M,) the class of the source, each taken once, so that the sum of distances is least.

    source: (K, F), target: (M, F) centroids. Where the target has more classes, those that are left get the numbers from K on.
    """
    cost = torch.cdist(target, source).nan_to_num(nan=1e9, posinf=1e9).numpy()
    rows, columns = linear_sum_assignment(cost)
    found = np.full(len(target), -1, np.int64)
    found[rows] = columns
    left = np.flatnonzero(found < 0)
    found[left] = len(source) + np.arange(len(left))
    return torch.from_numpy(found)


def drawn_labels(network: nn.Module, x: Tensor, seed: int, chunk: int = 512) -> Tensor:
    """A label (N,) for each image, drawn from the network's softmax; which quantile is drawn depends on seed and image alone."""
    draws = torch.rand(len(x), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(derive(seed, "labels")))
    found = []
    with torch.no_grad():
        for start in range(0, len(x), chunk):
            reached = network(x[start : start + chunk]).double().softmax(1).cumsum(1)
            reached[:, -1] = 1.0
            found.append((reached <= draws[start : start + chunk].to(reached)).sum(1))
    return torch.cat(found)


def _of_samples(network: nn.Module, x: Tensor, y: Tensor, chunk: int) -> dict[str, Tensor]:
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    loss = _loss_of(network, int(y.max()) + 1)
    gradients = vmap(grad(lambda found, image, label: loss(found, image[None], label[None])), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    for start in range(0, len(x), chunk):
        for name, part in gradients(weights, x[start : start + chunk], y[start : start + chunk]).items():
            total[name] += part.double().square_().sum(0)  # terms of 1e-12 would be lost in float32
    return {name: part / len(x) for name, part in total.items()}


def _of_batches(network: nn.Module, x: Tensor, y: Tensor, batch: int) -> dict[str, Tensor]:
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    gradient = grad(_loss_of(network, int(y.max()) + 1))
    total = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    for start in range(0, len(x), batch):
        for name, part in gradient(weights, x[start : start + batch], y[start : start + batch]).items():
            total[name] += part.double().square().mean(0)
    return total


def _loss_of(network: nn.Module, classes: int) -> Callable[[Mapping[str, Tensor], Tensor, Tensor], Tensor]:
    """(weights, images, labels) -> mean cross-entropy."""
    buffers = dict(network.named_buffers())

    def loss(weights: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(network, {**weights, **buffers}, (images,))
        missing = classes - logits.shape[1]
        return F.cross_entropy(F.pad(logits, (0, missing)) if missing > 0 else logits, labels)

    return loss


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def _normalised(fisher: Fisher) -> dict[str, Tensor]:
    total = sum(float(part.sum()) for part in fisher.values())
    if not total > 0 or not np.isfinite(total):
        raise UserError(
            f"the Fisher information of a network sums to {total}, so that it cannot be compared; "
            "give more images (--samples), or --mode true"
        )
    return {name: part / total for name, part in fisher.items()}


def _alive(source: Fisher, target: Fisher, name: str) -> bool:
    return bool(source[name].any()) and bool(target[name].any())


def _quantile(values: Tensor, share: float) -> float:
    """Of those above nought."""
    above = values[values > 0].numpy()
    step = max(1, len(above) // _SEARCHED)
    return float(np.quantile(above[::step], share))
