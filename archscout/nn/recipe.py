"""How a network is trained: the recipe, its optimizer, the initial weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.checks import check_plain
from archscout.core.errors import UserError
from archscout.core.joint import member_space
from archscout.core.operations import OperationGraph
from archscout.core.problem import Task
from archscout.core.protocols import AuxiliarySpace, GraphSpace, Space
from archscout.core.seeds import derive, seeded
from archscout.nn.network import Network

_LEAST_STEPS = 20  # per epoch, as far as the set allows it
# The first checkpoints know nothing of these.
_LATER = ("clip", "drop_path", "auxiliary", "decay_all", "nesterov", "last_rate", "drop_path_by_depth", "dropout")
_WORDS = {"optimizer": ("sgd", "adamw"), "schedule": ("linear", "cosine"), "precision": ("fp32", "bf16")}
_SHARES = ("warm_up", "small_share", "small_scale")
_LESS_THAN_ONE = ("momentum", "label_smoothing", "average", "drop_path", "dropout")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. All fields are plain values: `asdict` is the record.

    learning_rate: at the peak, for `batch` images a step; a smaller batch (of a small data set) takes proportionally less.
    warm_up: share of the steps over which the learning rate rises from 0; `schedule` is how it then falls to `last_rate`.
    nesterov: whether the momentum of `sgd` is Nesterov's.
    weight_decay: of convolutions and linear layers; with `decay_all` of normalisations and biases, too.
    clip: the largest norm of the gradients of all weights together, to which larger ones are scaled down; 0 for no bound.
    average: decay per step of a running average of the weights that is evaluated in their place; 0 for none.
    small_share, small_scale: during the first share of the steps images are shrunk to this scale, which costs less; 0 for never.
    drop_path: probability with which, at the end of the training, each path of each image is dropped (a path is an operation on
        an edge of a cell, other than the identity; what is kept is scaled up); it rises linearly from 0.
    drop_path_by_depth: that is so in the last cell only, and before it a path is dropped the less often, the earlier it comes.
    dropout: probability with which each feature is dropped before the classifier; what is kept is scaled up.
    auxiliary: weight of the auxiliary head's loss, which is added to the network's; 0 for no head. It needs whole images.
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
    clip: float = 0.0
    drop_path: float = 0.0
    auxiliary: float = 0.0
    decay_all: bool = False
    nesterov: bool = True
    last_rate: float = 0.0
    drop_path_by_depth: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_plain(self, Recipe, _WORDS)
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise UserError(f"the recipe's {name} lies between 0 and 1, but {getattr(self, name)} came")
        for name in _LESS_THAN_ONE:
            if getattr(self, name) >= 1:
                raise UserError(f"the recipe's {name} is less than 1, but {getattr(self, name)} came")
        if self.batch < 1 or not self.learning_rate > 0 or not self.small_scale > 0:
            raise UserError(
                "the recipe's batch, learning_rate and small_scale are more than 0, but "
                f"{self.batch}, {self.learning_rate} and {self.small_scale} came"
            )
        if self.last_rate > self.learning_rate:
            raise UserError(
                f"the recipe's last_rate is at most its learning_rate, {self.learning_rate}, but {self.last_rate} came; "
                "give a smaller last_rate"
            )
        if self.auxiliary and self.small_share:
            raise UserError(
                f"an auxiliary head needs whole images, but the recipe's small_share is {self.small_share}; "
                "give recipe.small_share=0, or recipe.auxiliary=0"
            )

    def record(self) -> dict[str, Any]:
        """What a checkpoint must agree with: the fields, without newer ones that are at their default, so that older ones go on."""
        neutral = {field.name: field.default for field in fields(Recipe)}
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value != neutral[name]}

    def batch_for(self, images: int) -> int:
        """The batch size for a set of so many training images: smaller where an epoch would have fewer than 20 steps."""
        return max(1, min(self.batch, max(8, images // _LEAST_STEPS), images))

    def rate(self, progress: float) -> float:
        """The share of the peak learning rate when `progress` (0..1) of the training is done; that of `last_rate` at 1."""
        if progress < self.warm_up:
            return progress / self.warm_up
        left = (1 - progress) / (1 - self.warm_up) if self.warm_up < 1 else 0.0
        share = left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2
        last = self.last_rate / self.learning_rate
        return last + (1 - last) * share


def new_network(space: Space, architecture: Architecture, task: Task, *, seed: int, auxiliary: bool = False) -> nn.Module:
    """A network to be trained, with weights drawn from `seed`; a space whose `INITIALISATION` is "he" gets `initialise`.

    auxiliary: with an auxiliary head, which changes none of the other weights. Raises UserError where it cannot have one.
    """
    space = member_space(space, architecture)
    with seeded(derive(seed, "build")):
        network = Network(_with_auxiliary(space, architecture, task)) if auxiliary else space.build(architecture, task)
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


def _with_auxiliary(space: Space, architecture: Architecture, task: Task) -> OperationGraph:
    if not isinstance(space, AuxiliarySpace):
        raise UserError(f"the networks of '{space.name}' have no auxiliary head")
    return space.with_auxiliary(architecture, task)


def impossible(space: Space, architecture: Architecture, task: Task, recipe: Recipe) -> dict[str, str]:
    """Which fields of the recipe this network cannot be trained with, and for each, in a clause, why."""
    space = member_space(space, architecture)
    found = {}
    if recipe.auxiliary:
        try:
            _with_auxiliary(space, architecture, task)
        except UserError as error:
            found["auxiliary"] = str(error)
    if recipe.drop_path and not (isinstance(space, GraphSpace) and space.operations(architecture, task).paths):
        found["drop_path"] = f"the networks of '{space.name}' have no paths to drop"
    if recipe.dropout and not (isinstance(space, GraphSpace) and classifier_width(space.operations(architecture, task))):
        found["dropout"] = f"the networks of '{space.name}' have no classifier whose features could be dropped"
    return found


def classifier_width(graph: OperationGraph) -> int:
    """How many features the classifier reads; 0 where the network does not end in one."""
    operation = graph.operations[graph.output]
    return graph.input_shape(operation)[0] if operation.kind == "linear" else 0


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
    """The recipe's optimizer; vectors (normalisations and biases) do not decay, unless the recipe says `decay_all`."""
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": recipe.weight_decay * recipe.decay_all},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.99), fused=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov, fused=True)


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the optimizer's tensors back, in the memory format of their parameters (so that sums run in the same order)."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, part = name.split(".", 1)
        like = parameters[int(number)]
        state.setdefault(int(number), {})[part] = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
