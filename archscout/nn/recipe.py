"""How a network is trained: the recipe, its optimizer, the initial weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.joint import member_space
from archscout.core.problem import Task
from archscout.core.protocols import Space
from archscout.core.seeds import derive, seeded
from archscout.nn.network import Network

_LEAST_STEPS = 20  # per epoch, as far as the set allows it


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. All fields are plain values: `asdict` is the record.

    learning_rate: at the peak, for `batch` images a step; a smaller batch takes proportionally less.
    warm_up: share of the steps over which the learning rate rises from 0; `schedule` is how it then falls to 0.
    weight_decay: of convolutions and linear layers, not of normalisations and biases.
    average: decay per step of a running average of the weights that is evaluated in their place; 0 for none.
    small_share, small_scale: during the first share of the steps images are shrunk to this scale, which costs less; 0 for never.
    precision: `bf16` computes convolutions in bfloat16 where the machine can (autocast); weights stay fp32.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warm_up: float = 0.15
    schedule: Literal["linear", "cosine"] = "linear"
    batch: int = 64
    label_smoothing: float = 0.05
    average: float = 0.0
    augment: bool = True
    small_share: float = 0.5
    small_scale: float = 0.75
    precision: Literal["fp32", "bf16"] = "fp32"

    def batch_for(self, images: int) -> int:
        """The batch size for a set of so many training images: smaller where an epoch would have fewer than 20 steps."""
        return max(1, min(self.batch, max(8, images // _LEAST_STEPS), images))

    def rate(self, progress: float) -> float:
        """The share of the peak learning rate when `progress` (0..1) of the training is done; 0 at 1."""
        if progress < self.warm_up:
            return progress / self.warm_up
        left = (1 - progress) / (1 - self.warm_up) if self.warm_up < 1 else 0.0
        return left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def new_network(space: Space, architecture: Architecture, task: Task, *, seed: int) -> nn.Module:
    """A network to be trained, with weights drawn from `seed`; a space whose `INITIALISATION` is "he" gets `initialise`."""
    space = member_space(space, architecture)
    with seeded(derive(seed, "build")):
        network = space.build(architecture, task)
    return initialise(network, derive(seed, "weights")) if getattr(space, "INITIALISATION", "") == "he" else network


def initialise(network: nn.Module, seed: int) -> nn.Module:
    """Draw the weights anew: He et al.'s normal initialisation, and zero where a residual branch ends.

    A normalisation that ends a branch begins with a scale of 0 (Goyal et al. 2017, arXiv 1706.02677), so that every block begins
    as its skip. Meant for the spaces that are trained (`mobile`, `handmade`); `nas201` and `darts` keep PyTorch's default.
    """
    last = _ends_of_branches(network)
    with seeded(seed):
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                module.reset_parameters()
            elif isinstance(module, nn.BatchNorm2d) and module.affine:
                nn.init.constant_(module.weight, 0.0 if name in last else 1.0)
                nn.init.zeros_(module.bias)
    return network


def _ends_of_branches(network: nn.Module) -> set[str]:
    """The normalisations whose result is, perhaps through a gate, the first input of a sum: spaces put the branch first."""
    if not isinstance(network, Network):
        return set()
    operations = network.graph.operations
    found: set[str] = set()
    for operation in operations:
        if operation.kind == "add":
            end = operations[operation.inputs[0]]
            if end.kind == "multiply":
                end = operations[end.inputs[0]]
            if end.kind == "batch_norm":
                found.add(end.name)
    return found


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; vectors (normalisations and biases) do not decay."""
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.99), fused=True)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the optimizer's tensors back, in the memory format of their parameters (so that sums run in the same order)."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, part = name.split(".", 1)
        like = parameters[int(number)]
        state.setdefault(int(number), {})[part] = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
