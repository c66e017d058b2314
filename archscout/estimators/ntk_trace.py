"""NTK trace: how large the tangent kernel of an untrained network is, exactly or through the gradient of the loss.

Shu, Cai, Dai, Ooi and Low 2022 (NASI, arXiv 2109.00817). With f(x) the logits and L the mean cross-entropy of a batch of B images,
gradients by all weights (scales and biases included), drawn from N(0, 2 / fan-in),

    gradient   s = || grad L ||^2                                      one pass; what NASI climbs
    exact      sum over images x of || grad f(x) ||_F^2                 one pass backward per image and class
    probes     mean over random signs v of || grad <v, f> ||^2          as the exact one in expectation, one pass per probe

At least nought, higher is better up to where training becomes unstable: NASI bounds it. The theory bounds the exact trace from
below by s, up to constants. Compare at one batch size only; `s` also falls with the noise that averaging removes.

Normalisations use the statistics of the batch, through which the logits of one image depend on the others; that is differentiated,
too.

Deviations: images, labels and the mode without them (`images = "noise"`, labels uniform) as in NASI.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import derive
from archscout.estimators._probe import check_finite, images_of, noise_for, untrained
from archscout.nn.executor import Init
from archscout.nn.probes import check_settings


@dataclass(frozen=True)
class NtkTrace:
    """The trace of an untrained network's tangent kernel.

    version: "gradient", "exact" or "probes". batch: images (fewer where the split is smaller). split: where they come from.
    probes: random directions of that version. images: "true" or "noise". labels: "true" or "random". init: of the weights.
    """

    version: Literal["gradient", "exact", "probes"] = "gradient"
    batch: int = 64
    split: str = "train"
    probes: int = 4
    images: Literal["true", "noise"] = "true"
    labels: Literal["true", "random"] = "true"
    init: Init = "kaiming-normal"

    def __post_init__(self) -> None:
        check_settings(self.batch)
        if self.version not in ("gradient", "exact", "probes") or self.probes < 1:
            raise ValueError(f"version is gradient, exact or probes, and probes at least 1, but {self.version}, {self.probes} came")

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The value. Raises NotFinite where the logits depend on no weight, or gradients are not finite."""
        start = perf_counter()
        x, y = images_of(problem, "ntk-trace", self.split, self.batch)
        source = torch.Generator().manual_seed(derive(0, "ntk-trace", "labels"))
        if self.images == "noise":
            x = noise_for(problem, "ntk-trace", tuple(x.shape))
        if self.images == "noise" or self.labels == "random":
            y = torch.randint(problem.task.classes, (len(x),), generator=source)
        network = untrained(problem, architecture, seed, init=self.init)
        weights = [weight.requires_grad_() for weight in network.parameters()]
        with torch.enable_grad():
            logits = network(x)
        if not logits.requires_grad:
            raise NotFinite("the logits of the untrained network depend on no weight")
        if self.version == "gradient":
            value = _squared(F.cross_entropy(logits, y.to(x.device)), weights)
        elif self.version == "exact":
            value = sum(_squared(logit, weights, keep=True) for logit in logits.flatten())
        else:
            signs = torch.randint(2, (self.probes, *logits.shape), generator=source).to(logits) * 2 - 1
            value = sum(_squared((sign * logits).sum(), weights, keep=True) for sign in signs) / self.probes
        return Estimate(value, perf_counter() - start)


def _squared(value: Tensor, weights: list[Tensor], *, keep: bool = False) -> float:
    found = torch.autograd.grad(value, weights, retain_graph=keep, allow_unused=True)
    total = torch.stack([gradient.double().square().sum() for gradient in found if gradient is not None]).sum()
    check_finite(total, "gradients")
    return float(total)
