"""Synflow: how much signal flows through an untrained network when all its weights are positive. Reads no data.

Tanaka, Kunin, Yamins and Ganguli 2020 (arXiv 2006.05467), as a score of whole networks by Abdelfattah et al. 2021
(arXiv 2101.08134). With every parameter replaced by its absolute value, normalisations removed, an image of ones and R the sum
of the logits,

    s = log sum over convolutions and linear layers l of sum |W_l * dR/dW_l|

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
from archscout.core.operations import OperationGraph
from archscout.core.problem import Problem
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import seeded
from archscout.nn.executor import WeightBank, Weights, execute


@dataclass(frozen=True)
class Synflow:
    """Synflow score of an untrained network, in double precision."""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The logarithm of the score. Raises NotFinite where no signal flows (or too much for double precision)."""
        start = perf_counter()
        device = problem.device
        image = torch.ones(1, *problem.task.shape, dtype=torch.float64, device=device)
        if isinstance(problem.space, GraphSpace):
            graph = problem.space.operations(architecture, problem.task).live()
            flow = flow_of_graph(graph, WeightBank(torch.float64, device).draw(graph, seed), image)
        else:
            with seeded(seed):
                network = problem.space.build(architecture, problem.task).to(device)
            flow = flow_of_module(network, image)
        if not flow > 0:
            raise NotFinite(f"the signal through the untrained network is {flow}, so its logarithm is not finite")
        return Estimate(log(flow), perf_counter() - start)


def flow_of_graph(graph: OperationGraph, weights: Weights, image: Tensor) -> float:
    """The score before the logarithm, for these weights (their signs do not matter)."""
    positive = {name: weight.detach().abs() for name, weight in weights.items()}
    scored = [f"{operation.name}.weight" for operation in graph.operations if operation.kind in ("conv", "linear")]
    for name in scored:
        positive[name].requires_grad_()
    with torch.enable_grad():
        total = execute(graph, positive, image, batch_norm=False).sum()
    return _flow(total, [positive[name] for name in scored])


def flow_of_module(network: nn.Module, image: Tensor) -> float:
    """The same for a module, which is changed: double precision, evaluation mode, positive parameters."""
    network.double().eval()
    norms = [module for module in network.modules() if isinstance(module, _NormBase)]
    # A hook and not an exchange of submodules, because a network may keep references of its own.
    handles = [module.register_forward_hook(lambda _, inputs, result: inputs[0]) for module in norms]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    scored = [module.weight for module in network.modules() if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)]
    with torch.enable_grad():
        total = network(image).sum()
    for handle in handles:
        handle.remove()
    return _flow(total, scored)


def _flow(total: Tensor, scored: list[Tensor]) -> float:
    gradients = torch.autograd.grad(total, scored, allow_unused=True)
    pairs = zip(scored, gradients, strict=True)
    parts = [(weight.detach() * gradient).abs().sum() for weight, gradient in pairs if gradient is not None]
    return float(torch.stack(parts).sum()) if parts else 0.0
