"""Judge a network by how well it learns designed signals: a short regression without labels (GenNAS).

Li, Hao, Li, Xiong and Chen 2021 (arXiv 2108.01899). The classifier is cut off, small heads are set where the last three resolutions
of the network end, and all is trained for 100 steps on one fixed batch against fixed synthetic maps of 8 x 8 (`nn.signals`). The
value is minus the error after the last step (`nn.regression`). Which signals are mixed is a `SignalTask`: `combo` is the paper's
hand-made mixture, others were found by search (`archscout meta train signal-tasks`). A recurrent network regresses sequences.

The images, their targets and the noise of every step are the same for all networks of a task, the initial weights follow from the
estimate's own seed. Without images (a task without data) the batch is Gaussian noise.

Deviations from the released code, which draws everything from one stream: seeds are named, so a value does not depend on the order
of evaluation; the batch is neither cropped nor flipped; an error that is no number is a failure, not 1,000. Networks are those of
the spaces, with PyTorch's initialisation, at the size of the images: there, NAS-Bench-201 cells have normalisations without affine
part, which evaluate with the statistics of the batch, NAS-Bench-101 is drawn from a normal law and has a stem of 16 channels (here:
`--set space.stem=16`), small images are brought to 32 pixels, and networks for ImageNet lose the strides of their stems.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import mean
from time import perf_counter
from typing import NamedTuple, get_args

from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import UserError
from archscout.core.evidence import Estimate
from archscout.core.kinds import check_kind
from archscout.core.problem import IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Problem, Task, TaskKind
from archscout.core.protocols import GraphSpace
from archscout.core.seeds import derive, seeded
from archscout.core.signals import SignalTask, pinned, signal_task
from archscout.estimators._probe import check_preset, thinned
from archscout.nn.recurrent import LanguageModel
from archscout.nn.regression import Evaluation, MapRegressor, Schedule, SequenceRegressor, regress, regressed_images
from archscout.nn.signals import sequences, targets


class Preset(NamedTuple):
    """What a preset sets in place of the settings; `cells` of the space, None to leave them."""

    steps: int
    statistics: Evaluation
    resolution: int
    cells: int | None = None


PRESETS = {
    "small-images": Preset(100, "running", 16),
    "one-cell": Preset(100, "running", 0, 1),
    "quick": Preset(50, "batch", 16, 1),
}


@dataclass(frozen=True)
class SignalRegression:
    """Trains the network for some steps to regress designed signals; the value is minus the final error.

    signals: a name (combo, nb101, darts, resnet, nlp, ...; those of `archscout meta list`), a .json file, or the text of a task.
    steps, every: of training, and between two evaluations, which become metrics; early ones say nothing with running statistics.
    repeats: the error is the mean over so many initialisations.
    rate: of learning; where None 0.1, and 0.001 for recurrent networks.
    statistics: what normalisations use at an evaluation: running ones, or those of the batch.
    resolution: images are brought to so many pixels a side first; 0 leaves them as they are.
    preset: "full", or a cheaper judgement in place of `steps`, `statistics` and `resolution`: "small-images" (16 pixels),
    "one-cell" (networks of one cell per stage, in spaces with such a setting) or "quick" (both, and 50 steps with the statistics
    of the batch).
    train_recurrent: False leaves the weights on previous hidden states untrained, as the released code does.
    draw: of the batch, the signals and the noise; another number gives others.
    """

    signals: str = "combo"
    steps: int = 100
    every: int = 10
    repeats: int = 1
    rate: float | None = None
    statistics: Evaluation = "running"
    resolution: int = 0
    preset: str = "full"
    train_recurrent: bool = True
    draw: int = 0
    split: str = "train"

    def __post_init__(self) -> None:
        Schedule(self.steps, self.every)
        if self.repeats < 1:
            raise ValueError(f"repeats is at least 1, but {self.repeats} came")
        check_preset(self.preset, PRESETS)
        if self.statistics not in get_args(Evaluation):
            raise ValueError(f"statistics must be 'running' or 'batch', but '{self.statistics}' came")
        if self.resolution and self.resolution < 8:
            raise ValueError(f"a resolution has at least 8 pixels, or 0 for the images' own, but {self.resolution} came")
        if self.rate is not None and not self.rate >= 0:
            raise ValueError(f"a rate is at least 0, but {self.rate} came")
        object.__setattr__(self, "signals", pinned(self.signals))

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Images, and text for recurrent networks."""
        return (IMAGE_CLASSIFICATION, LANGUAGE_MODELLING)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """Minus the final error. Metrics: the error at every evaluation, `error STEP`.

        Raises NotFinite where an error is no number, UserError where the signals do not fit the task or no stages are marked.
        """
        check_kind(problem.task, self, "the judge 'signal-regression'")
        start = perf_counter()
        signals = self._fitting(problem)
        regression = self._sequence if problem.task.kind == LANGUAGE_MODELLING else self._maps
        how = self._how()
        problem = thinned(problem, how.cells)
        seeds = [derive(seed, "repeat", n) if n else seed for n in range(self.repeats)]
        traces = [regression(problem, architecture, signals, each, how) for each in seeds]
        errors = {step: mean(trace[step] for trace in traces) for step in traces[0] if all(step in trace for trace in traces)}
        metrics = {f"error {step}": error for step, error in errors.items()}
        return Estimate(-errors[max(errors)], perf_counter() - start, metrics)

    def refusal(self, problem: Problem, architecture: Architecture) -> None:
        """As `RefusingEstimator`: it judges every network, but raises UserError where the signals or the space do not fit."""
        self._fitting(problem)

    def shown(self, task: Task, device: str) -> tuple[SignalTask, list[Tensor]]:
        """As `SignalJudge`."""
        signals = self._signals(task)
        if signals.for_sequences:
            return signals, []
        _, wanted = _drawn(task, signals, self.draw, self.split, self._how().resolution, device)
        return signals, wanted

    def _how(self) -> Preset:
        return PRESETS.get(self.preset, Preset(self.steps, self.statistics, self.resolution))

    def _maps(self, problem: Problem, architecture: Architecture, signals: SignalTask, seed: int, how: Preset) -> dict[int, float]:
        assert isinstance(problem.space, GraphSpace)
        images, wanted = _drawn(problem.task, signals, self.draw, self.split, how.resolution, problem.device)
        task = replace(problem.task, shape=tuple(images.shape[1:]))
        regressor = MapRegressor(
            problem.space.operations(architecture, task), [stage.channels for stage in signals.stages], seed,
            device=problem.device, rate=0.1 if self.rate is None else self.rate, statistics=how.statistics,
        )  # fmt: skip
        return regress(regressor, signals, images, wanted, Schedule(how.steps, self.every), self.draw)

    def _sequence(
        self, problem: Problem, architecture: Architecture, signals: SignalTask, seed: int, how: Preset
    ) -> dict[int, float]:
        read, written = (part.to(problem.device) for part in sequences(signals, self.draw))
        with seeded(seed):
            model = problem.space.build(architecture, replace(problem.task, classes=1))
            if not isinstance(model, LanguageModel):
                raise UserError(
                    f"sequences are regressed by recurrent networks, but '{problem.space.name}' builds a {type(model).__name__}; "
                    "choose another judge"
                )
            rate = 1e-3 if self.rate is None else self.rate
            regressor = SequenceRegressor(
                model, signals.stages[0].channels, rate=rate, train_recurrent=self.train_recurrent, device=problem.device
            )
            return regress(regressor, signals, read, [written], Schedule(how.steps, self.every), self.draw)

    def _fitting(self, problem: Problem) -> SignalTask:
        """The signals; raises UserError where they, or the space, do not fit the task."""
        signals = self._signals(problem.task)
        if not signals.for_sequences and not isinstance(problem.space, GraphSpace):
            raise UserError(
                f"signals are regressed at marked stages of a graph of operations, but the space '{problem.space.name}' states no "
                "`operations`; choose another judge"
            )
        return signals

    def _signals(self, task: Task) -> SignalTask:
        sequences = task.kind == LANGUAGE_MODELLING
        found = signal_task(self.signals, sequences=sequences)
        if found.for_sequences != sequences:
            wanted, came = ("sequences", "images") if sequences else ("images", "sequences")
            raise UserError(f"the signals '{self.signals}' are for {came}, but the task needs some for {wanted}")
        return found


@lru_cache(maxsize=2)
def _drawn(task: Task, signals: SignalTask, draw: int, split: str, resolution: int, device: str) -> tuple[Tensor, list[Tensor]]:
    """The images and their targets, which all networks share."""
    images = regressed_images(task, signals, draw, split, resolution).to(device)
    return images, targets(signals, images, draw)
