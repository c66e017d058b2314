"""AT-NAS on a whole data set: the data are one large task, to which paths of a meta-trained supernet adapt.

Rong, Yu, Zhang and Ou 2021 (arXiv 2110.05842); `nn/at_nas.py` has the method. The value of a path is its accuracy on one half of
some training images after some passes over the other half, from the meta-weights with a fresh classifier. With an evolutionary
strategy that is the paper's second protocol: the architecture of the meta-network is adapted, and the answer trained from scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import numpy as np
import torch
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate, Observation
from archscout.core.kinds import check_kind
from archscout.core.models import model_file
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator, Space
from archscout.core.seeds import derive
from archscout.learners._meta_network import Opened, of_shape, opened
from archscout.learners._shared_weights import digest_of, unchanged
from archscout.nn.batches import ImageSplit, Stream, batches_of, halved, some

_EVALUATED = 256


@dataclass(frozen=True)
class AtNas:
    """The accuracy of a path of a meta-trained supernet after adapting to this data set, 0 to 1.

    model: a name (archscout meta list) or a .safetensors file, of archscout meta train at-nas.
    images: of the training part; half of them are learned from, the others judge. epochs: passes over the former.
    learning_rate, momentum, batch: of stochastic gradient descent.
    """

    model: str = ""
    images: int = 2000
    epochs: float = 2.0
    learning_rate: float = 0.05
    momentum: float = 0.9
    batch: int = 32

    def __post_init__(self) -> None:
        check_least(self, images=4, batch=2)
        if not self.epochs > 0 or not self.learning_rate > 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                "epochs and learning_rate are above 0 and momentum lies between 0 and 1, but "
                f"{self.epochs}, {self.learning_rate} and {self.momentum} came"
            )
        if self.model:
            model_file(self.model)  # a name that nobody has is told of at once

    def fit(self, problem: Problem, history: Sequence[Observation] = (), *, seed: int) -> Estimator:
        """Read the model; the history is not needed. Raises UserError where it does not fit the problem."""
        check_kind(problem.task, None, "the judge 'at-nas'")
        if not self.model:
            raise UserError("the judge 'at-nas' needs a meta-trained supernet; name one with --set estimator.model=NAME")
        path = model_file(self.model)
        judge = _Fitted(str(path), digest_of(path), self.images, self.epochs, self.learning_rate, self.momentum, self.batch, seed)
        judge.opened(problem)
        return judge


@dataclass(frozen=True)
class _Fitted:
    """Judges paths. digest: of the model's file. seed: of the images, which are the same for all architectures."""

    path: str
    digest: str
    images: int
    epochs: float
    learning_rate: float
    momentum: float
    batch: int
    seed: int

    def opened(self, problem: Problem) -> Opened:
        """The model for a problem, read once a process. Raises RunError where its file is another one, UserError."""
        found = _opened(self.path, self.digest, problem.task.classes, problem.space, problem.device)  # type: ignore[arg-type]
        of_shape(found, problem.task.shape)
        return found

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The accuracy on the judging half."""
        start, found = perf_counter(), self.opened(problem)
        data: ImageSplit = some(problem.task.splits["train"], self.images, derive(self.seed, "images"))
        learned, judging = halved(data, 0.5, derive(self.seed, "halves"))
        network = found.network.net.extract(architecture).to(problem.device).train()
        optimizer = torch.optim.SGD(network.parameters(), self.learning_rate, self.momentum)
        stream = Stream(learned, self.batch, seed=derive(seed, "fit"))
        steps = max(1, round(self.epochs * stream.per_pass))
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1 - step / steps)
            x, y = (part.to(problem.device) for part in stream.at(step))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            right = [network(x.to(problem.device)).argmax(1).cpu() == y for x, y in batches_of(judging, _EVALUATED)]
        return Estimate(float(np.mean(torch.cat(right).numpy())), perf_counter() - start)


@lru_cache(maxsize=2)
def _opened(path: str, digest: str, classes: int, space: Space, device: str) -> Opened:
    unchanged(path, digest, "model", "begin again")
    return opened(path, classes, space, device)
