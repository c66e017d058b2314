"""What judges without training share: the images, the untrained network with its taps, and the correlation of rows.

An `Untrained` network is a graph run by the functional executor where the space states one, otherwise a module. Either way its
normalisations use the statistics of the batch, nothing is dropped, and no weight requires a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules import pooling
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite, UserError
from archscout.core.kinds import check_kind
from archscout.core.operations import OperationGraph
from archscout.core.problem import Problem, Task
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import derive, seeded
from archscout.nn.batches import one_batch
from archscout.nn.executor import Init, Precision, WeightBank, Weights, execute
from archscout.nn.probes import freeze

Family = Literal["conv", "norm", "activation", "pool"]
"""Layers that a tap can be set on. Sigmoids (gates, never off) are no activations here, means over the whole map no pooling."""
See = Callable[[Tensor, int], None]
"""Told (value of a layer, how many equal layers it stands for)."""

_KINDS: dict[Family, tuple[str, ...]] = {
    "conv": ("conv",),
    "norm": ("batch_norm",),
    "activation": ("relu", "silu"),
    "pool": ("max_pool", "avg_pool"),
}
_MODULES: dict[Family, tuple[type[nn.Module], ...]] = {
    "conv": (_ConvNd,),
    "norm": (_BatchNorm,),
    # All of these are positive exactly where their input is.
    "activation": (
        nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    ),
    "pool": (pooling._MaxPoolNd, pooling._AvgPoolNd),
}  # fmt: skip


class Untrained(Protocol):
    """An untrained network, or its part before the head."""

    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, K), or the last feature map (B, C', H', W') of a network without head."""
        ...

    def watch(self, x: Tensor, families: tuple[Family, ...], see: See, *, before: bool = False, only_live: bool = False) -> Tensor:
        """As a call; `see` is told the output of every layer of these families, in the order of execution.

        before: the input in place of the output. only_live: without the layers on which the result does not depend.
        """
        ...

    def weights(self) -> list[Tensor]:
        """The parameters called weight (those of normalisations among them)."""
        ...

    def parameters(self) -> list[Tensor]:
        """All parameters, biases among them."""
        ...


class GraphNetwork:
    """An operation graph with its weights."""

    def __init__(self, graph: OperationGraph, weights: Weights, precision: Precision = "fp32") -> None:
        self._graph, self._weights, self._precision = graph, weights, precision

    def __call__(self, x: Tensor) -> Tensor:
        """As `Untrained`."""
        return execute(self._graph, self._weights, x, precision=self._precision)

    def watch(self, x: Tensor, families: tuple[Family, ...], see: See, *, before: bool = False, only_live: bool = False) -> Tensor:
        """As `Untrained`; equal activations and poolings of one value are told of once, with their number."""
        graph = self._graph.live() if only_live else self._graph
        return execute(
            graph, self._weights, x, observe=lambda _, value, count: see(value, count), before=before,
            observed=[kind for family in families for kind in _KINDS[family]], precision=self._precision,
        )  # fmt: skip

    def weights(self) -> list[Tensor]:
        """As `Untrained`."""
        return [weight for name, weight in self._weights.items() if name.endswith("weight")]

    def parameters(self) -> list[Tensor]:
        """As `Untrained`."""
        return list(self._weights.values())


class ModuleNetwork:
    """A module, which is changed: train mode, no dropout, frozen parameters. What else it draws at random follows from `seed`."""

    def __init__(self, network: nn.Module, seed: int = 0, precision: Precision = "fp32", *, headless: bool = False) -> None:
        self._network, self._seed, self._precision, self._headless = freeze(network), seed, precision, headless

    def __call__(self, x: Tensor) -> Tensor:
        """As `Untrained`; the last feature map is the last one that a layer of any family gives."""
        return self.watch(x, (), lambda value, count: None)

    def watch(self, x: Tensor, families: tuple[Family, ...], see: See, *, before: bool = False, only_live: bool = False) -> Tensor:
        """As `Untrained`; live layers are those that a backward pass from the result reaches."""
        found = self._layers(families)
        found = self._live(found, x) if only_live else found
        handles = [
            module.register_forward_hook(lambda _, inputs, output: see(inputs[0] if before else output, 1)) for module in found
        ]
        try:
            return self._run(x)
        finally:
            for handle in handles:
                handle.remove()

    def weights(self) -> list[Tensor]:
        """As `Untrained`."""
        return [weight for name, weight in self._network.named_parameters() if name.endswith("weight")]

    def parameters(self) -> list[Tensor]:
        """As `Untrained`."""
        return list(self._network.parameters())

    def _layers(self, families: tuple[Family, ...]) -> list[nn.Module]:
        types = tuple(kind for family in families for kind in _MODULES[family])
        return [module for module in self._network.modules() if isinstance(module, types)]

    def _run(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            if output.dim() == 4:
                maps[:] = [output]

        handles = [module.register_forward_hook(keep) for module in self._layers(tuple(_MODULES))] if self._headless else []
        try:
            with seeded(self._seed), torch.autocast(x.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
                result: Tensor = self._network(x)
        finally:
            for handle in handles:
                handle.remove()
        return (maps[0] if maps else result).to(x.dtype)

    def _live(self, modules: list[nn.Module], x: Tensor) -> list[nn.Module]:
        reached: set[nn.Module] = set()

        def look(module: nn.Module, _: object, result: Tensor) -> None:
            if result.requires_grad:
                result.register_hook(lambda _: reached.add(module))  # type: ignore[no-untyped-call]

        handles = [module.register_forward_hook(look) for module in modules]
        try:
            with torch.enable_grad():
                # A copy, because a first layer may work in place.
                total = self._run(x.detach().requires_grad_().clone()).sum()
                if total.requires_grad:
                    total.backward()  # type: ignore[no-untyped-call]
        finally:
            for handle in handles:
                handle.remove()
        return [module for module in modules if module in reached]


def untrained(
    problem: Problem, architecture: Architecture, seed: int, *, task: Task | None = None, init: Init = "default",
    precision: Precision = "fp32", headless: bool = False,
) -> Untrained:  # fmt: skip
    """The network of an architecture with weights drawn by `seed`, on the device of the problem.

    task: another one than the problem's (of images of another shape). headless: only up to the mean over the last feature map.
    """
    task = task or problem.task
    if isinstance(problem.space, GraphSpace):
        graph = problem.space.operations(architecture, task)
        weights = WeightBank(device=problem.device).draw(graph, seed, init)
        return GraphNetwork(without_head(graph) if headless else graph, weights, precision)
    with seeded(seed):
        network = problem.space.build(architecture, task)
        redraw(network, init)
    return ModuleNetwork(network.to(problem.device), seed, precision, headless=headless)


def without_head(graph: OperationGraph) -> OperationGraph:
    """The graph up to the last feature map: what the last mean over a whole map reads."""
    live = graph.live()
    pools = [operation for operation in live.operations if operation.kind == "global_pool" and not operation.keep]
    return replace(live, output=pools[-1].inputs[0]) if pools else live


def redraw(network: nn.Module, init: Init) -> None:
    """Draw the weights of convolutions and linear layers anew, from torch's global generator; other layers stay as built."""
    if init == "default":
        return
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, _ConvNd | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0.0, (2 / fan_in) ** 0.5 if init == "kaiming-normal" else 1.0)
                if module.bias is not None:
                    module.bias.zero_()


def check_images(problem: Problem, name: str) -> None:
    """Raises UserError where the task is not of images; the judges here state no kinds of their own."""
    check_kind(problem.task, None, f"the judge '{name}'")


def images_of(problem: Problem, name: str, split: str, size: int) -> tuple[Tensor, Tensor]:
    """The images that the judge `name` shows to every network for this task, each once, and their labels.

    Fewer where the split is smaller or images repeat: two equal ones would make the kernel of every network singular.
    Raises UserError where the task is not of images.
    """
    check_images(problem, name)
    images, labels = one_batch(problem.task, split, size, seed=derive(0, name, problem.task.fingerprint))
    first: dict[bytes, int] = {}
    for place, image in enumerate(images):
        first.setdefault(image.contiguous().numpy().tobytes(), place)
    kept = list(first.values())
    return images[kept].to(problem.device), labels[kept]


def noise_for(problem: Problem, name: str, shape: tuple[int, ...], *labels: object) -> Tensor:
    """Standard normal noise of this shape, the same for every network. Raises UserError where the task is not of images."""
    check_images(problem, name)
    source = torch.Generator().manual_seed(derive(0, name, *labels))
    return torch.randn(shape, generator=source).to(problem.device)


def input_jacobian(network: Untrained, images: Tensor) -> Tensor:
    """Row i: the gradient of the sum of all logits with respect to image i; (B, C * H * W).

    Raises NotFinite where the logits do not depend on the images.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        total = network(images).sum()
    found = torch.autograd.grad(total, images, allow_unused=True)[0] if total.requires_grad else None
    if found is None:
        raise NotFinite("the logits of the untrained network do not depend on the image")
    check_finite(found, "gradients")
    return found.flatten(1)


def check_finite(values: Tensor, what: str) -> None:
    """Raises NotFinite where a value is NaN or infinite. what: the values are called, such as "logits"."""
    if not bool(torch.isfinite(values).all()):
        raise NotFinite(f"some {what} of the untrained network are not finite")


def correlation(rows: Tensor) -> Tensor:
    """The Pearson correlation of rows (N, D): float64 (N, N). A row that is constant within its rounding becomes nought."""
    exact = rows.double()
    centred = exact - exact.mean(1, keepdim=True)
    length = centred.norm(dim=1)
    constant = ~(length > torch.finfo(rows.dtype).eps * exact.norm(dim=1))
    unit = torch.where(constant[:, None], 0.0, centred / torch.where(constant, 1.0, length)[:, None])
    return unit @ unit.t()


def check_preset(preset: str, presets: Collection[str]) -> None:
    """Raises ValueError for a preset that a judge does not have."""
    if preset not in ("full", *presets):
        raise ValueError(f"preset must be 'full' or one of {', '.join(presets)}, but '{preset}' came")


def thinned(problem: Problem, cells: int | None) -> Problem:
    """The problem with so many cells per stage; None leaves it. Raises UserError where the space has no such setting."""
    space = problem.space
    if cells is None:
        return problem
    if "cells" not in getattr(space, "__dataclass_fields__", ()):
        raise UserError(f"the space '{space.name}' has no setting 'cells' to make smaller; choose another preset")
    return replace(problem, space=replace(space, cells=cells))  # type: ignore[type-var]  # a dataclass, as just found
