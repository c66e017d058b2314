"""Weight sharing: train one supernet on random paths; then every architecture is judged with the weights that it finds there.

Bender, Kindermans, Zoph, Vasudevan and Le 2018; Pham, Guan, Zoph, Le and Dean 2018 (ENAS, arXiv 1802.03268). Every step trains one
path: that of a random architecture (`uniform`), or paths such that every option is trained equally often (`fair`: Chu, Zhang and
Xu 2021, arXiv 1907.01845; there the gradients of a round are summed into one step, here every path is a step of its own).

It is trained on one thread, so that the same weights come on any number of cores.

The value of an architecture is the accuracy of its path on images of the validation split, the same for all, with the statistics
of the batch, or with statistics collected on training images for each architecture anew (`recalibrated`).

Such values are known to rank badly (Yu, Sciuto, Jaggi, Musat and Salzmann 2020, arXiv 1902.08142): look at
`archscout bench correlate --estimator weight-sharing` before they are believed.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Literal

import torch
from torch import Tensor

from archscout.core.checks import check_least
from archscout.core.draw import sample
from archscout.core.evidence import Observation
from archscout.core.fitting import fitted
from archscout.core.kinds import check_kind
from archscout.core.places import cache_folder
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.core.seeds import derive, generator
from archscout.learners._shared_weights import SharedWeights, digest_of
from archscout.nn import checkpoint
from archscout.nn import gates as gating
from archscout.nn.paths import fair_path
from archscout.nn.supernet import Supernet, supernet_of
from archscout.nn.supernet_training import Schedule, Training
from archscout.nn.threads import torch_threads

_SAVED_EVERY = 30.0
_TIMED_STEPS = 20


@dataclass(frozen=True)
class WeightSharing(Schedule):
    """A supernet trained on random paths, and then a judge.

    epochs: over `share` of the training images. minutes: of training in place of the epochs, measured once; 0 for the epochs.
    sampler: "uniform" over architectures, or "fair" to options. drop_path: chance at the end that an operation of the last cell is
        left out for an image; 0.1 in NAO's search. images: of the validation split that judge a path.
    statistics: "batch" or "recalibrated". channels, depth: of the supernet; 0 for those with which the space is usually searched.
    keep: the folder for the supernet and its checkpoints; archscout's cache where empty. Has no influence on values.
    """

    epochs: float = 20.0
    minutes: float = 0.0
    share: float = 0.98
    sampler: Literal["uniform", "fair"] = "uniform"
    images: int = 1024
    statistics: Literal["batch", "recalibrated"] = "batch"
    channels: int = 0
    depth: int = 0
    keep: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler not in ("uniform", "fair") or self.statistics not in ("batch", "recalibrated"):
            raise ValueError(
                f"sampler is uniform or fair and statistics batch or recalibrated, but {self.sampler}, {self.statistics}"
            )
        check_least(self, images=2, minutes=0, channels=0, depth=0)

    def fit(self, problem: Problem, history: Sequence[Observation] = (), *, seed: int) -> Estimator:
        """Train the supernet, or go on where a training was cut; the history is not needed."""
        return fitted(self, problem, seed=seed)

    def fitting(
        self, problem: Problem, history: Sequence[Observation] = (), *, seed: int
    ) -> Generator[tuple[int, int], None, Estimator]:
        """As `fit`, and after every step how many are done, and of how many. Interrupts wait for the end of a step and a save."""
        path = self._path(problem, seed)
        check_kind(problem.task, None, "the learner 'weight-sharing'")
        net = supernet_of(
            problem.space, problem.task, seed=derive(seed, "weights"), channels=self.channels, depth=self.depth
        ).to(problem.device)  # fmt: skip
        training = Training(net, problem, self, seed)
        step, timed = self._resumed(training, path)
        begun, saved, first = monotonic(), monotonic(), step
        if self.minutes and not timed:
            training.steps = max(training.steps, step + _TIMED_STEPS)
        with checkpoint.Interrupts(True) as interrupts, torch_threads(1 if problem.device == "cpu" else torch.get_num_threads()):
            while step < training.steps:
                training.learn(self._gates(net, problem, seed, step), training.batch(training.weighed, step), step)
                step += 1
                if self.minutes and not timed and step - first == _TIMED_STEPS:
                    training.steps = max(step, int(self.minutes * 60 / (monotonic() - begun) * _TIMED_STEPS))
                    timed = True
                if interrupts.pending or monotonic() - saved > _SAVED_EVERY or step == training.steps:
                    self._save(training, path, step, timed)
                    saved = monotonic()
                    interrupts.deliver()
                yield step, training.steps
        return SharedWeights(
            str(path), digest_of(path), seed, self.channels, self.depth, self.images, self.statistics, self.batch
        )  # fmt: skip

    def _gates(self, net: Supernet, problem: Problem, seed: int, step: int) -> Tensor:
        if self.sampler == "fair":
            path = fair_path([len(row.options) for row in net.space.gates], derive(seed, "paths"), step)
            return gating.one_hot(torch.from_numpy(path), net.gate_shape[1]).to(problem.device)
        return net.gates(sample(problem.space, generator(seed, "paths", step))).to(problem.device)

    def _path(self, problem: Problem, seed: int) -> Path:
        """Of the supernet: named by all that its weights depend on."""
        settings = asdict(replace(self, keep="", images=2, statistics="batch"))
        device = problem.device.split(":")[0]
        facts = [sorted(settings.items()), repr(problem.space), problem.task.fingerprint, seed, version("archscout"), device]
        name = blake2b(json.dumps(facts).encode(), digest_size=8).hexdigest()
        folder = Path(self.keep) if self.keep else cache_folder() / "supernets"
        return folder / f"{problem.space.name}-{name}.safetensors"

    def _save(self, training: Training, path: Path, step: int, timed: bool) -> None:
        tensors = {name: torch.as_tensor(value) for name, value in training.state().items()}
        checkpoint.save(path, tensors, {"step": step, "steps": training.steps, "timed": timed})

    def _resumed(self, training: Training, path: Path) -> tuple[int, bool]:
        """How many steps a checkpoint holds, and whether their number was measured."""
        found = checkpoint.last(path)
        if found is None:
            return 0, False
        tensors, facts = found
        training.restore(tensors)
        training.steps = int(facts["steps"])
        return int(facts["step"]), bool(facts["timed"])
