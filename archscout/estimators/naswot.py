"""NASWOT: how differently an untrained network treats the images of a batch (log-determinant of its activation codes).

Mellor, Turner, Storkey and Crowley 2021 (arXiv 2006.04647). With c_i the on/off pattern of all N activations for image i,

    K_ij = N - hamming(c_i, c_j)          s = log |det K|

The value is not normalised, so larger networks score higher; this is meant so, and holds only at one batch size.

Deviations from the released code: every activation counts once per use (there, a name test counts most of them twice), also
those without influence on the output unless `only_live`; identical images of the batch count once, since two equal rows make K
singular for every network; no augmentation, no labels. A singular K is a typed failure, never a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, log
from time import perf_counter

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError, NotFinite
from archscout.core.evidence import Estimate
from archscout.core.operations import Operation
from archscout.core.problem import Problem
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import derive, seeded
from archscout.nn.batches import one_batch
from archscout.nn.executor import Precision, WeightBank, execute

_ACTIVATIONS = ("relu", "silu")
_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
)  # fmt: skip
_UNITS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Naswot:
    """NASWOT score of an untrained network.

    batch: images (fewer where the split is smaller). split: where they come from.
    only_live: leave out activations on which the output does not depend.
    normalise: divide K by the number of activations, which takes most of the effect of size away.
    precision: "fp32", or "bf16": faster only on processors with matrix units for it (AMX; elsewhere it may well be slower), at a
    rank correlation with fp32 of 0.9998 on NAS-Bench-201.
    """

    batch: int = 128
    split: str = "train"
    only_live: bool = False
    normalise: bool = False
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ValueError(f"batch must be at least 2, but {self.batch} came")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be 'fp32' or 'bf16', but '{self.precision}' came")

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score; the metric `units` is the number of activations. Raises NotFinite where K is singular."""
        start = perf_counter()
        task = problem.task
        images, _ = one_batch(task, self.split, self.batch, seed=derive(0, "naswot", task.fingerprint))
        codes = Codes()
        with torch.no_grad():
            images = _distinct(images).to(problem.device)
            if isinstance(problem.space, GraphSpace):
                self._by_graph(problem, problem.space, architecture, images, codes, seed)
            else:
                self._by_module(problem, architecture, images, codes, seed)
        value = codes.log_determinant(normalise=self.normalise)
        return Estimate(value, perf_counter() - start, {"units": codes.units})

    def _by_graph(
        self, problem: Problem, space: GraphSpace, architecture: Architecture, images: Tensor, codes: Codes, seed: int
    ) -> None:
        graph = space.operations(architecture, problem.task)
        weights = WeightBank(device=problem.device).draw(graph, seed)

        def observe(operation: Operation, result: Tensor, count: int) -> None:
            codes.add(result, count)  # the result of these activations is positive exactly where their input is

        graph = graph.live() if self.only_live else graph
        execute(graph, weights, images, observe=observe, observed=_ACTIVATIONS, precision=self.precision)

    def _by_module(self, problem: Problem, architecture: Architecture, images: Tensor, codes: Codes, seed: int) -> None:
        with seeded(seed):
            network = problem.space.build(architecture, problem.task).to(problem.device).train()
            found: list[nn.Module] = [module for module in network.modules() if isinstance(module, _MODULES)]
            for module in network.modules():
                if isinstance(module, nn.modules.dropout._DropoutNd):
                    module.p = 0.0
            live = _live(network, found, images) if self.only_live else found
            if not live:
                raise CandidateError(
                    f"naswot reads the on/off pattern of ReLU-like modules, but '{architecture}' has none; use another judge"
                )
            # Before the module, because an in-place one overwrites its input.
            handles = [module.register_forward_pre_hook(lambda _, inputs: codes.add(inputs[0], 1)) for module in live]
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                network(images)
            for handle in handles:
                handle.remove()


class Codes:
    """The kernel of activation codes, accumulated exactly in integers; the codes themselves are not kept."""

    def __init__(self) -> None:
        self.units = 0
        self._kernel: Tensor | None = None

    def add(self, activations: Tensor, count: int = 1) -> None:
        """Take in the activations (B, ...) of a layer, `count` times."""
        on = activations > 0
        if on.dim() == 4:
            on = on.permute(0, 2, 3, 1)  # as it lies in memory: no copy
        on = on.reshape(on.shape[0], -1)
        both = torch.zeros(len(on), len(on), dtype=torch.int64)
        for part in torch.split(on, _UNITS_AT_ONCE, 1):
            both += _inner(part)
        ones = both.diagonal()
        kernel = count * (on.shape[1] - ones[:, None] - ones[None, :] + 2 * both)
        self._kernel = kernel if self._kernel is None else self._kernel + kernel
        self.units += count * on.shape[1]

    @property
    def kernel(self) -> Tensor:
        """K (B, B) int64: the number of activations on which two images agree."""
        if self._kernel is None:
            raise CandidateError("naswot reads ReLU-like activations, but the network has none; use another judge")
        return self._kernel

    def log_determinant(self, *, normalise: bool = False) -> float:
        """log |det K|, or of K / N. Raises NotFinite where K is singular."""
        kernel = self.kernel.double()
        spectrum = torch.linalg.eigvalsh(kernel)
        # K is positive semi-definite, so an eigenvalue within rounding of nought is nought.
        if not float(spectrum[0]) > len(kernel) * torch.finfo(torch.float64).eps * float(spectrum[-1]):
            raise NotFinite("the network cannot tell some images of the batch apart (singular kernel)")
        value = float(torch.linalg.slogdet(kernel).logabsdet)
        if not isfinite(value):
            raise NotFinite(f"log |det K| is {value}")
        return value - len(kernel) * log(self.units) if normalise else value


def _inner(codes: Tensor) -> Tensor:
    """The inner products of the rows of a boolean matrix, on the CPU: int64 (B, B), exact."""
    # Rows of a single element come out wrong (torch 2.13), so short rows go the slow way.
    product = _integer_product() if codes.device.type == "cpu" and codes.shape[1] >= 16 else None
    if product is not None:
        signs = codes.view(torch.int8)
        return product(signs, signs.t()).long()
    floats = codes.float()  # exact: at most 2**20 ones per row
    return (floats @ floats.t()).round().long().cpu()


@lru_cache(maxsize=1)
def _integer_product() -> Callable[[Tensor, Tensor], Tensor] | None:
    """torch's int8 product, seven times as fast as the float one; None where it is missing or wrong (the name is private)."""
    product: Callable[[Tensor, Tensor], Tensor] | None = getattr(torch, "_int_mm", None)
    if product is None:
        return None
    probe = (torch.arange(33 * 400).view(33, 400) * 7 % 11 < 5).to(torch.int8)
    try:
        right = torch.equal(product(probe, probe.t()).long(), (probe.float() @ probe.float().t()).long())
    except (RuntimeError, TypeError):
        return None
    return product if right else None


def _distinct(images: Tensor) -> Tensor:
    """The images of a batch without repetitions, in order of their first appearance."""
    first: dict[bytes, int] = {}
    for place, image in enumerate(images):
        first.setdefault(image.contiguous().numpy().tobytes(), place)
    return images[list(first.values())]


def _live(network: nn.Module, modules: list[nn.Module], images: Tensor) -> list[nn.Module]:
    """Those modules that a backward pass from the output reaches."""
    reached: set[nn.Module] = set()

    def watch(module: nn.Module, _: object, result: Tensor) -> None:
        result.register_hook(lambda _: reached.add(module))  # type: ignore[no-untyped-call]

    handles = [module.register_forward_hook(watch) for module in modules]
    with torch.enable_grad():
        network(images).sum().backward()
    for handle in handles:
        handle.remove()
    return [module for module in modules if module in reached]
