"""The judge that `weight-sharing` makes: paths of a trained supernet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import RunError
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem, Task
from archscout.core.protocols import Space
from archscout.core.seeds import derive
from archscout.nn import checkpoint
from archscout.nn.batches import Stream, one_batch
from archscout.nn.supernet import GraphSupernet, supernet_of
from archscout.nn.supernet_training import put_back

_RECALIBRATED_ON = 20
"""Batches of training images."""


@dataclass(frozen=True)
class SharedWeights:
    """Judges an architecture by its path of a trained supernet: validation accuracy with the weights that all share.

    path, digest: the file of the supernet. seed: of its training. channels, depth: its size, 0 for the space's own.
    images: of the validation split. statistics: of the normalisations, those of these images, or `recalibrated` on batches of
    `batch` training images.
    """

    path: str
    digest: str
    seed: int
    channels: int
    depth: int
    images: int
    statistics: Literal["batch", "recalibrated"]
    batch: int

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The accuracy (0..1). Raises RunError where the file is not there any more, or another one."""
        start = perf_counter()
        net = _trained(self, problem.space, problem.task, problem.device)  # type: ignore[arg-type]  # spaces are values
        x, y = (part.to(problem.device) for part in _images(problem.task, self.images))
        gates = net.gates(architecture).to(problem.device)
        with torch.no_grad():
            statistics = None
            if self.statistics == "recalibrated":
                stream = Stream(problem.task.splits["train"], self.batch, seed=derive(0, "recalibrated"))
                batches = (stream.at(number)[0].to(problem.device) for number in range(_RECALIBRATED_ON))
                statistics = net.recalibrated(gates, batches)
            right = int((net(x, gates, statistics=statistics).argmax(1) == y).sum())
        return Estimate(right / len(y), perf_counter() - start)


@lru_cache(maxsize=2)
def _trained(fitted: SharedWeights, space: Space, task: Task, device: str) -> GraphSupernet:
    path = unchanged(fitted.path, fitted.digest, "supernet", "train it again")
    net = supernet_of(space, task, seed=0, channels=fitted.channels, depth=fitted.depth).to(device)
    assert isinstance(net, GraphSupernet), "spaces of image networks have graphs"
    found, _ = checkpoint.load(path)
    assert found is not None
    put_back(dict(net.named_parameters()), found[0], "weights.")
    return net


@lru_cache(maxsize=2)
def _images(task: Task, count: int) -> tuple[Tensor, Tensor]:
    return one_batch(task, "valid", count, seed=derive(0, "weight-sharing", task.fingerprint))


def unchanged(path: str, digest: str, what: str, advice: str) -> Path:
    """The file that was fitted. Raises RunError where it is not there any more, or another one; `advice` says what to do then."""
    file = Path(path)
    if not file.exists() or digest_of(file) != digest:
        raise RunError(f"the {what} '{path}' is not there any more, or another one; {advice}")
    return file


def digest_of(path: Path) -> str:
    """Of a file's bytes."""
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()
