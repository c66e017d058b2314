"""NASWOT: how differently an untrained network treats the images of a batch (log-determinant of its activation codes).

Mellor, Turner, Storkey and Crowley 2021 (arXiv 2006.04647). With c_i the on/off pattern of all N activations for image i,

    K_ij = N - hamming(c_i, c_j)          s = log |det K|

The value is not normalised, so larger networks score higher; this is meant so, and holds only at one batch size.

Deviations from the released code: every activation counts once per use (there, a name test counts most of them twice), also
those without influence on the output unless `only_live`; identical images of the batch count once, since two equal rows make K
singular for every network; no augmentation, no labels. A singular K is a typed failure, never a number.

Presets are cheaper scores under a name; `python benchmarks/proxies.py --ranks 200` prints how well each agrees with the full one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, log
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import CandidateError, NotFinite
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.estimators._probe import check_preset, images_of, thinned, untrained
from archscout.nn.executor import Precision
from archscout.nn.probes import check_settings

_UNITS_AT_ONCE = 1 << 14
_WORDS_AT_ONCE = 1 << 16  # of 64 codes each; they stay in the processor's cache
_NONE = torch.zeros((), dtype=torch.int64)


class Preset(NamedTuple):
    """What a preset sets in place of the settings; `cells` of the space, None to leave them."""

    batch: int
    precision: Precision = "fp32"
    cells: int | None = None


PRESETS = {
    "bf16": Preset(128, "bf16"),
    "small-batch": Preset(32),
    "one-cell": Preset(128, cells=1),
    "quick": Preset(32, cells=1),
}


@dataclass(frozen=True)
class Naswot:
    """NASWOT score of an untrained network.

    batch: images (fewer where the split is smaller). split: where they come from.
    only_live: leave out activations on which the output does not depend.
    normalise: divide K by the number of activations, which takes most of the effect of size away.
    precision: "fp32", or "bf16": faster only on processors with matrix units for it (AMX; elsewhere it may well be slower), at a
    rank correlation with fp32 of 0.9998 on NAS-Bench-201.
    preset: "full", or a cheaper score in place of `batch` and `precision`: "bf16", "small-batch" (32 images), "one-cell" (networks
    of one cell per stage, in spaces with such a setting) or "quick" (both).
    """

    batch: int = 128
    split: str = "train"
    only_live: bool = False
    normalise: bool = False
    precision: Precision = "fp32"
    preset: str = "full"

    def __post_init__(self) -> None:
        check_preset(self.preset, PRESETS)
        check_settings(self.batch, self.precision)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The score; the metric `units` is the number of activations. Raises NotFinite where K is singular."""
        start = perf_counter()
        codes = Codes()
        batch, precision, cells = PRESETS.get(self.preset, Preset(self.batch, self.precision))
        problem = thinned(problem, cells)
        with torch.no_grad():
            images, _ = images_of(problem, "naswot", self.split, batch)
            network = untrained(problem, architecture, seed, precision=precision)
            network.watch(images, ("activation",), codes.add, only_live=self.only_live)
        value = codes.log_determinant(normalise=self.normalise)
        return Estimate(value, perf_counter() - start, {"units": codes.units})


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
        kernel = count * sum((agreement(part) for part in torch.split(on, _UNITS_AT_ONCE, 1)), _NONE)
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


def agreement(codes: Tensor) -> Tensor:
    """On how many columns each two rows of a boolean matrix (B, N) agree: exact, int64 (B, B), on the CPU."""
    if codes.device.type != "cpu":
        return _by_products(codes, lambda on: (on.float() @ on.float().t()).round().long().cpu())  # exact up to 2**24 columns
    # Rows of a single element come out wrong in torch's int8 product (2.13), so short rows are counted.
    return _by_int8(codes) if codes.shape[1] >= 16 and _int8_is_quick() else _by_counting(codes)


def _by_products(codes: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    both = product(codes)
    ones = both.diagonal()
    return codes.shape[1] - ones[:, None] - ones[None, :] + 2 * both


def _by_int8(codes: Tensor) -> Tensor:
    return _by_products(codes, lambda on: torch._int_mm(on.view(torch.int8), on.view(torch.int8).t()).long())


def _by_counting(codes: Tensor) -> Tensor:
    """By the bits that differ, 64 at a time; twice as fast as a product of floats."""
    rows, columns = codes.shape
    packed = np.zeros((rows, 8 * -(-columns // 64)), np.uint8)
    packed[:, : -(-columns // 8)] = np.packbits(codes.numpy(), axis=1)
    words = packed.view(np.uint64)
    step = max(1, _WORDS_AT_ONCE // words.size)
    differ = np.zeros((rows, rows), np.int64)
    for start in range(0, rows, step):
        end = min(rows, start + step)
        unlike = np.bitwise_count(words[start:end, None] ^ words[None, :end])
        differ[start:end, :end] = unlike.sum(2, dtype=np.uint32)
    below = np.tril(differ, -1)
    return columns - torch.from_numpy(below + below.T)


@lru_cache(maxsize=1)
def _int8_is_quick() -> bool:
    """Whether torch's int8 product is there, right, and faster here than counting; seven times with instructions for it (VNNI).

    Tried out, because the name is private and a processor without those instructions is slower by far. The value is the same.
    """
    probe = torch.arange(128 * 8192).view(128, 8192) * 7 % 11 < 5
    seconds, found = [], []
    try:
        for way in (_by_counting, _by_int8):
            way(probe[:, :64])
            start = process_time()
            found.append(way(probe))
            seconds.append(process_time() - start)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(*found) and seconds[1] < seconds[0]
