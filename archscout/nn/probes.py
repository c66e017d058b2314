"""Gradients of an untrained network's loss, which many training-free judges read.

A `Subject` is such a network: a graph run by the functional executor, or a module. Only the weights of its layers (convolutions
and linear ones) are differentiated, everything else is frozen; normalisations use the statistics of the batch, nothing is dropped.

All judges see the same labelled images of a task, and those that ask for the same pass of the same network share it: the last
passes are remembered. That changes what a judgement costs, never its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.kinds import check_kind
from archscout.core.operations import Operation, OperationGraph
from archscout.core.problem import Problem, Task
from archscout.core.protocols import GraphSpace, Space
from archscout.core.seeds import derive, seeded
from archscout.nn.batches import one_batch
from archscout.nn.executor import Precision, WeightBank, Weights, execute

Watch = Callable[[Tensor, Tensor], None]
"""Told (weight of a layer, its output) during a forward pass."""
_PASSES = 2  # remembered; two, because some judges compare two batches
_fisher_wanted = False  # since somebody asked: then every pass brings it along, so that judges who take turns need one pass only
_AT_ONCE = 8  # images whose products stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Subject:
    """An untrained network.

    weights: those of its layers, in order; they require gradients.
    forward: images (B, C, H, W), and a watch or None -> logits (B, K).
    """

    weights: tuple[Tensor, ...]
    forward: Callable[[Tensor, Watch | None], Tensor]


@dataclass(frozen=True, eq=False)
class LossPass:
    """What one forward and one backward pass of the mean cross-entropy L found.

    layers: the weight W and the gradient dL/dW of every layer that reaches the logits, detached.
    fisher: where asked for, the sum over all layers and channels c of D_c times the weights of a channel, with
    D_c = mean over images of (sum over positions of a_c * dL/da_c)^2 / 2 and a the layer's output.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    fisher: float | None = None

    def total(self, part: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The sum over layers of part(W, dL/dW)."""
        return sum(float(part(weight, gradient)) for weight, gradient in self.layers)


def check_settings(batch: int, precision: Precision = "fp32", *, least: int = 2) -> None:
    """Raises ValueError for settings that no pass can have; a batch of one has no statistics."""
    if batch < least:
        raise ValueError(f"batch must be at least {least}, but {batch} came")
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be 'fp32' or 'bf16', but '{precision}' came")


def loss_pass(
    problem: Problem, architecture: Architecture, *, seed: int, batch: int, split: str, number: int = 0, fisher: bool = False,
    precision: Precision = "fp32",
) -> LossPass:  # fmt: skip
    """The pass of a network whose weights `seed` draws, over the task's labelled batch `number` of `batch` images.

    fisher: whether it is needed; it costs about a tenth more.
    """
    global _fisher_wanted
    _fisher_wanted |= fisher
    asked = (problem.space, problem.task, problem.device, architecture, seed, batch, split, number, _fisher_wanted, precision)
    try:
        hash(problem.space)
    except TypeError:  # somebody's own space whose values cannot be told apart quickly
        return _loss_pass(*asked)
    return _remembered(*asked)  # type: ignore[arg-type]  # hashable, as just found


def subject(problem: Problem, architecture: Architecture, seed: int, precision: Precision = "fp32") -> Subject:
    """The untrained network whose weights `seed` draws. Raises UserError where the task is not of images."""
    check_kind(problem.task, None, "a judge by gradients of the loss")
    if isinstance(problem.space, GraphSpace):
        graph = problem.space.operations(architecture, problem.task).live()
        return subject_of_graph(graph, WeightBank(device=problem.device).draw(graph, seed), precision)
    with seeded(seed):
        network = problem.space.build(architecture, problem.task).to(problem.device)
    return subject_of_module(network, seed, precision)


def subject_of_graph(graph: OperationGraph, weights: Weights, precision: Precision = "fp32", *, batch_norm: bool = True) -> Subject:
    """A graph without dead parts, with these weights (those of its layers come to require gradients).

    batch_norm: False leaves normalisations out.
    """
    layers = [f"{operation.name}.weight" for operation in graph.operations if operation.kind in ("conv", "linear")]
    for name in layers:
        weights[name].requires_grad_()

    def forward(images: Tensor, watch: Watch | None) -> Tensor:
        def observe(operation: Operation, result: Tensor, count: int) -> None:
            if watch is not None:
                watch(weights[f"{operation.name}.weight"], result)

        observed = ("conv", "linear") if watch is not None else ()
        return execute(graph, weights, images, observe=observe, observed=observed, batch_norm=batch_norm, precision=precision)

    return Subject(tuple(weights[name] for name in layers), forward)


def subject_of_module(network: nn.Module, seed: int, precision: Precision = "fp32") -> Subject:
    """A module, which is changed: frozen (`freeze`) but for its layers, nothing in place (that would spoil what layers put out)."""
    for module in freeze(network).modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    layers = [module for module in network.modules() if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)]
    weights = tuple({id(layer.weight): layer.weight.requires_grad_() for layer in layers}.values())

    def forward(images: Tensor, watch: Watch | None) -> Tensor:
        def look(layer: nn.Module, _: object, result: Tensor) -> None:
            if watch is not None and isinstance(layer.weight, Tensor):
                watch(layer.weight, result)

        handles = [layer.register_forward_hook(look) for layer in layers] if watch is not None else []
        try:
            with seeded(seed), torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits: Tensor = network(images)
        finally:
            for handle in handles:
                handle.remove()
        return logits

    return Subject(weights, forward)


def freeze(network: nn.Module) -> nn.Module:
    """The module, changed: training mode, no dropout, no parameter requires a gradient."""
    for module in network.train().requires_grad_(False).modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return network


def labelled_batch(problem: Problem, batch: int, split: str, number: int = 0) -> tuple[Tensor, Tensor]:
    """The same images and labels for every judge and network; batches of different numbers share no image.

    Where the split has too few images for that, a batch is smaller.
    """
    task: Task = problem.task
    batch = min(batch, max(len(task.splits[split]) // (number + 1), 1))
    images, labels = one_batch(task, split, batch * (number + 1), seed=derive(0, "proxy batch", task.fingerprint))
    return images[-batch:].to(problem.device), labels[-batch:].to(problem.device)


def gradients(
    network: Subject, images: Tensor, labels: Tensor, watch: Watch | None = None, *, twice: bool = False
) -> Sequence[Tensor | None]:
    """dL/dW of every layer's weight, None where a layer does not reach the logits. twice: they can be differentiated again."""
    if not network.weights:
        return ()
    with torch.enable_grad():
        loss = F.cross_entropy(network.forward(images, watch), labels)
        return torch.autograd.grad(loss, network.weights, create_graph=twice, allow_unused=True)


def measure(network: Subject, images: Tensor, labels: Tensor, *, fisher: bool = True) -> LossPass:
    """One pass of a network over labelled images (B, C, H, W), (B,)."""
    information: list[Tensor] = []

    def watch(weight: Tensor, output: Tensor) -> None:
        kept = output.detach()
        output.register_hook(lambda gradient: information.append(_information(weight, kept, gradient)))  # type: ignore[no-untyped-call]

    found = gradients(network, images, labels, watch if fisher else None)
    pairs = zip(network.weights, found, strict=True)
    layers = tuple((weight.detach(), gradient) for weight, gradient in pairs if gradient is not None)
    return LossPass(layers, sum(map(float, information)) if fisher else None)


def _loss_pass(
    space: Space, task: Task, device: str, architecture: Architecture, seed: int, batch: int, split: str, number: int, fisher: bool,
    precision: Precision,
) -> LossPass:  # fmt: skip
    problem = Problem(space, task, device=device)
    return measure(subject(problem, architecture, seed, precision), *labelled_batch(problem, batch, split, number), fisher=fisher)


_remembered = lru_cache(maxsize=_PASSES)(_loss_pass)


def _information(weight: Tensor, output: Tensor, gradient: Tensor) -> Tensor:
    """The part of `LossPass.fisher` that one layer adds."""
    dimensions = range(1, output.dim() - 1) if weight.dim() == 2 else range(2, output.dim())
    pairs = zip(torch.split(output, _AT_ONCE), torch.split(gradient, _AT_ONCE), strict=True)
    products = (a.float() * b.float() if a.dtype == torch.bfloat16 else a * b for a, b in pairs)
    signal = torch.cat([product.sum(tuple(dimensions)) if dimensions else product for product in products])
    channels = signal.shape[1]
    return signal.square().mean(0).sum() * 0.5 * (weight.numel() // channels)
