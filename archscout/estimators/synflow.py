"""Synflow: how much signal flows through an untrained network when all its weights are positive. Reads no data.

Tanaka, Kunin, Yamins and Ganguli 2020 (arXiv 2006.05467), as a score of whole networks by Abdelfattah et al. 2021
(arXiv 2101.08134). With every parameter replaced by its absolute value, normalisations removed, an image of ones and R the sum
of the logits,

    s = log sum over convolutions and linear layers l of sum |W_l * dR/dW_l|

That is what a uniform growth of all weights does to R, and it needs no gradients of weights: with non-negative weights and signals,
sum |W_l * dR/dW_l| = sum (a_l - bias) * dR/da_l, where a_l is the layer's output.

With `batch_norm` normalisations stay, with the statistics of that one image ("synflow_bn" of the port); it is reported to rank
much worse.

Deviations: the logarithm (the sum reaches 1e43 on NAS-Bench-201; ranks do not change). A sum of nought is a typed failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.evidence import Estimate
from archscout.core.operations import Operation, OperationGraph
from archscout.core.problem import Problem
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import seeded
from archscout.estimators._probe import check_images
from archscout.nn.executor import WeightBank, Weights, execute
from archscout.nn.probes import Subject, subject_of_graph, subject_of_module


@dataclass(frozen=True)
class Synflow:
    """Synflow score of an untrained network, in double precision.

    batch_norm: keep the normalisations.
    """

    batch_norm: bool = False

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The logarithm of the score. Raises NotFinite where no signal flows (or too much for double precision)."""
        start = perf_counter()
        check_images(problem, "synflow")
        device = problem.device
        image = torch.ones(1, *problem.task.shape, dtype=torch.float64, device=device)
        if isinstance(problem.space, GraphSpace):
            graph = problem.space.operations(architecture, problem.task).live()
            flow = flow_of_graph(graph, WeightBank(torch.float64, device).draw(graph, seed), image, batch_norm=self.batch_norm)
        else:
            with seeded(seed):
                network = problem.space.build(architecture, problem.task).to(device)
            flow = flow_of_module(network, image, batch_norm=self.batch_norm)
        if not flow > 0:
            raise NotFinite(f"the signal through the untrained network is {flow}, so its logarithm is not finite")
        return Estimate(log(flow), perf_counter() - start)


def flow_of_graph(graph: OperationGraph, weights: Weights, image: Tensor, *, batch_norm: bool = False) -> float:
    """The score before the logarithm, for these weights (their signs do not matter)."""
    positive = {name: weight.detach().abs() for name, weight in weights.items()}
    if batch_norm or any(operation.kind == "zero" for operation in graph.operations):  # nothing flows back through a zero
        return _flow(subject_of_graph(graph, positive, batch_norm=batch_norm), image)
    signals: list[Tensor] = []
    biases: list[Tensor | None] = []

    def observe(operation: Operation, result: Tensor, count: int) -> None:
        signals.append(result)
        biases.append(positive.get(f"{operation.name}.bias"))

    with torch.enable_grad():
        image = image.detach().requires_grad_()
        total = execute(graph, positive, image, observe=observe, observed=("conv", "linear"), batch_norm=False).sum()
        gradients = torch.autograd.grad(total, signals, allow_unused=True)
    flow = 0.0
    for signal, bias, gradient in zip(signals, biases, gradients, strict=True):
        if gradient is not None:
            own = signal.detach() if bias is None else signal.detach() - bias.view(-1, *[1] * (signal.dim() - 2))
            flow += float((own * gradient).sum())
    return flow


def flow_of_module(network: nn.Module, image: Tensor, *, batch_norm: bool = False) -> float:
    """The same for a module, which is changed: double precision, positive parameters, without `batch_norm` evaluation mode."""
    subject = subject_of_module(network.double(), 0)
    network.train(batch_norm)
    norms = [module for module in network.modules() if isinstance(module, _NormBase)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    # A hook and not an exchange of submodules, because a network may keep references of its own.
    handles = [] if batch_norm else [norm.register_forward_hook(lambda _, inputs, result: inputs[0]) for norm in norms]
    flow = _flow(subject, image)
    for handle in handles:
        handle.remove()
    return flow


def _flow(subject: Subject, image: Tensor) -> float:
    with torch.enable_grad():
        total = subject.forward(image, None).sum()
        gradients = torch.autograd.grad(total, subject.weights, allow_unused=True) if subject.weights else ()
    pairs = zip(subject.weights, gradients, strict=True)
    return sum(float((weight.detach() * gradient).abs().sum()) for weight, gradient in pairs if gradient is not None)
