"""The training loop, once, readable from top to bottom; what a step is depends on the kind of the task (`nn.course`).

Everything is a function of (network, task, recipe, seed, epochs): the schedule follows from how far the training is, the rows and
the augmentation from the numbers of epoch and batch, what is dropped from the number of the step. So a training that is cut and
resumed from its checkpoint equals an uninterrupted one byte for byte, on a CPU at the same number of threads and lanes. Only a
`deadline` brings the clock in.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from time import monotonic, perf_counter

import torch
from torch import Tensor, nn

from archscout.core.errors import NotFinite, RunError, UserError
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Task, TaskKind
from archscout.nn import checkpoint as checkpoints
from archscout.nn.course import AnyRecipe, Course, Marks
from archscout.nn.episode_course import EpisodeCourse
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.evaluate import accuracy, evaluate
from archscout.nn.image_course import ImageCourse
from archscout.nn.lanes import lanes_for
from archscout.nn.pace import Clock, Pace
from archscout.nn.recipe import Recipe, initialise, new_network, restore
from archscout.nn.text_course import TextCourse
from archscout.nn.text_recipe import TextRecipe

__all__ = [
    "EpisodeRecipe", "EpochReport", "Recipe", "TextRecipe", "TrainResult", "accuracy", "default_recipe", "evaluate", "fit",
    "initialise", "lanes_of", "new_network", "step_seconds",
]  # fmt: skip

_log = logging.getLogger(__name__)
_LOOK = 20  # steps between two looks at the clock and at the loss


@dataclass(frozen=True)
class EpochReport:
    """One pass over the training split (the last may be a part of one).

    epoch: passes done so far. seconds: since the training began, over all resumptions. train_loss: mean over the pass, the weighted
    loss of an auxiliary head included.
    valid_value: value on the validation split (accuracy, or the mean log-likelihood of a token), None where it was not measured (it
    is measured so often that it costs little).
    """

    epoch: float
    seconds: float
    train_loss: float
    valid_value: float | None


@dataclass(frozen=True)
class TrainResult:
    """What a training gave. The network itself holds the weights that were evaluated.

    valid_marks: (N,) how each item of the validation split fared (`nn.course.Marks`); their mean is the value.
    stopped_early: a deadline made it shorter than asked for; its learning rate still fell to zero.
    remarks: what a person should know (a damaged checkpoint).
    """

    valid_value: float
    valid_marks: Marks
    epochs_done: float
    steps: int
    seconds: float
    history: list[EpochReport]
    stopped_early: bool
    remarks: tuple[str, ...] = ()


def fit(
    network: nn.Module, task: Task, recipe: AnyRecipe, *, seed: int, epochs: float, checkpoint: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None, deadline: float | None = None, checkpoint_every_s: float = 30.0,
    lanes: int = 1, reserve: int = 0,
) -> TrainResult:  # fmt: skip
    """Train `network` in place on the device where it is, and evaluate it on the validation split.

    epochs: may be a fraction; at least one step is made. deadline: a value of `time.monotonic`: where the steps turn out too slow
    to be done by then, the rest of the schedule is compressed so that it ends, with a learning rate of zero, before the deadline.
    reserve: images that the caller will evaluate afterwards; the time for them is left before the deadline, too.
    checkpoint: a file; where it holds an unfinished training of this network with this recipe, seed and task, that one goes on.
    With a checkpoint, SIGINT and SIGTERM wait for the end of a step and are delivered after a save.
    lanes: threads that share each batch (`nn.lanes`); the last digits depend on their number.
    Raises NotFinite where the loss is NaN or infinite, RunError where the checkpoint is of another training, UserError where the
    recipe wants an auxiliary head or drops paths or features, and the network has none.
    """
    training = _Training(network, task, recipe, seed, epochs, deadline, reserve)
    if checkpoint is not None:
        training.resume(checkpoint)
    saved, kept = monotonic(), training.step
    with training.course.shared(lanes), checkpoints.Interrupts(checkpoint is not None) as interrupts:
        while training.step < training.pace.total:
            training.one_step()
            if training.step % training.per_epoch == 0 or training.step >= training.pace.total:
                training.end_epoch(on_epoch)
            if checkpoint is not None and (interrupts.pending or monotonic() - saved > checkpoint_every_s):
                training.save(checkpoint)
                saved, kept = monotonic(), training.step
                interrupts.deliver()
        if checkpoint is not None and kept < training.step:
            training.save(checkpoint)
    result = training.finish(on_epoch)
    if checkpoint is not None and training.exchanged:  # whoever reads the weights from it is to find those of the result
        training.save(checkpoint)
    return result


class _Training:
    """The state of one training: a course (weights, optimizer, average), the place in the schedule, history."""

    def __init__(
        self, network: nn.Module, task: Task, recipe: AnyRecipe, seed: int, epochs: float, deadline: float | None, reserve: int = 0
    ) -> None:
        self.network, self.task, self.recipe, self.seed, self.deadline = network, task, recipe, seed, deadline
        self.evaluated = len(task.splits["valid"]) + reserve
        self.most_evaluation = 0.0 if deadline is None else 0.5 * max(0.0, deadline - monotonic())
        self.device = next(network.parameters()).device
        self.course = course_of(network, task, recipe, seed)
        self.per_epoch = self.course.per_epoch
        self.asked = max(1, round(epochs * self.per_epoch))
        self.pace = Pace(self.asked)
        self.step, self.validated, self.earlier = 0, 0, 0.0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.summed = 0
        self.exchanged = False
        self.history: list[EpochReport] = []
        self.remarks: list[str] = []
        self.clock = Clock(recipe)
        self.began = perf_counter()

    @property
    def seconds(self) -> float:
        return self.earlier + perf_counter() - self.began

    def one_step(self) -> None:
        """One batch forward and backward, one move of the weights."""
        start = perf_counter()
        progress = self.pace.at(self.step + 0.5)
        self.loss_sum += self.course.move(self.step, progress)
        self.step += 1
        self.summed += 1
        if self.deadline is not None:
            self.loss_sum.item()  # waits for an accelerator, which else would seem infinitely fast
            self.clock.note(progress, perf_counter() - start)
        if self.step % _LOOK == 0 or self.step in (5, self.pace.total) or self.step % self.per_epoch == 0:
            self.look()

    def look(self) -> None:
        """Stop at a loss that is no number, or go on from better weights; shorten the schedule where the clock demands it."""
        if not math.isfinite(self.loss_sum.item()):
            found = f"the training loss was {self.loss_sum.item()} within the {_LOOK} steps up to step {self.step:,}"
            if not self.course.mended():
                raise NotFinite(
                    f"{found} of {self.pace.total:,}; a smaller learning rate than {self.recipe.learning_rate} may help"
                )
            self.loss_sum.zero_()
            self.summed = 0
            self.remarks.append(f"{found}; the training went on from the weights of the best validation before.")
        if self.deadline is None or self.step >= self.pace.total:
            return
        # The evaluations at the end (about a third of a step's work per image) and 2 % in hand come off what is left; but at most
        # half of the time that there was, so that a slow moment does not end a training that has hardly begun.
        evaluation = min(self.evaluated / self.course.items / 3 * self.clock.seconds(full=True), self.most_evaluation)
        left = (self.deadline - monotonic()) * 0.98 - evaluation
        steps = max(0, int(left / self.clock.mean(self.pace.at(self.step))))
        total = min(self.asked, self.step + steps)
        if total < self.pace.total * 0.995 or total > self.pace.total * 1.02:
            self.pace.turn(self.step, total)

    def end_epoch(self, on_epoch: Callable[[EpochReport], None] | None) -> None:
        """Report an epoch; validate where that has cost less than about 5 % of the training so far, or the recipe wants it."""
        done, value = self.step >= self.pace.total, None
        cheap = (self.validated + 1) * len(self.task.splits["valid"]) <= 0.15 * self.step * self.course.items
        if not done and (cheap or self.course.checks_every_pass):
            self.validated += 1
            found = float(self.course.marks().mean())
            if math.isfinite(found):
                value = found
                self.course.checked(value)
        loss = self.loss_sum.item() / max(1, self.summed)
        self.history.append(EpochReport(self.step / self.per_epoch, self.seconds, loss, value))
        self.loss_sum.zero_()
        self.summed = 0
        if on_epoch is not None and not done:
            on_epoch(self.history[-1])

    def finish(self, on_epoch: Callable[[EpochReport], None] | None) -> TrainResult:
        """The last evaluation; the network takes over the weights of the result."""
        marks = self.course.marks()
        self.exchanged = self.course.end(float(marks.mean()))
        if self.exchanged:
            marks = self.course.marks()
        value = float(marks.mean())
        if not math.isfinite(value):
            raise NotFinite(f"the trained network's value on the validation split is {value}; a smaller learning rate may help")
        spoilt = [name for name, weight in self.network.named_parameters() if not bool(weight.isfinite().all())]
        if spoilt:  # an accuracy is a number all the same, and the loss was that of the weights before the last step
            raise NotFinite(
                f"weights of the trained network, such as '{spoilt[0]}', are not finite; a smaller learning rate may help"
            )
        done = self.step / self.per_epoch
        if not self.history or self.history[-1].epoch < done:  # resumed with fewer epochs than were made
            self.end_epoch(None)
        self.history[-1] = replace(self.history[-1], valid_value=value, seconds=self.seconds)
        if on_epoch is not None:
            on_epoch(self.history[-1])
        early = self.step < self.asked
        return TrainResult(value, marks, done, self.step, self.seconds, self.history, early, tuple(self.remarks))

    def identity(self) -> str:
        """What a checkpoint must agree with."""
        shapes = sorted((name, tuple(tensor.shape)) for name, tensor in self.network.state_dict().items())
        text = json.dumps([self.recipe.record(), self.seed, self.task.fingerprint, self.course.batch, shapes], sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def save(self, path: Path) -> None:
        """Write everything that the rest of the training depends on."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= self.course.tensors()
        for number, state in self.course.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
        facts = {
            "identity": self.identity(), "recipe": asdict(self.recipe), "asked": self.asked, "pace": asdict(self.pace),
            "step": self.step, "validated": self.validated, "seconds": self.seconds,
            "history": [asdict(report) for report in self.history], "summed": self.summed, "course": self.course.facts(),
        }  # fmt: skip
        checkpoints.save(path, {**tensors, "loss_sum": self.loss_sum}, facts)

    def resume(self, path: Path) -> None:
        """Go on from the newest undamaged checkpoint at `path`, where there is one."""
        found, self.remarks = checkpoints.load(path)
        for remark in self.remarks:
            _log.warning(remark)
        if found is None:
            return
        tensors, facts = found
        if facts["identity"] != self.identity():
            raise RunError(
                f"the checkpoint '{path}' belongs to another network, recipe, seed or data set; remove it or name another file"
            )
        self.network.load_state_dict(checkpoints.under("network.", tensors))
        self.course.restore(tensors, facts.get("course", {}))
        restore(self.course.optimizer, checkpoints.under("optimizer.", tensors))
        self.loss_sum.copy_(tensors["loss_sum"])
        self.step, self.validated, self.earlier = facts["step"], facts["validated"], facts["seconds"]
        self.summed = facts.get("summed", self.step % self.per_epoch)  # older checkpoints are without it
        self.history = [EpochReport(**report) for report in facts["history"]]
        self.pace = Pace(**facts["pace"])
        if facts["asked"] != self.asked and self.step < self.pace.total:
            self.pace.turn(self.step, self.asked)


def course_of(network: nn.Module, task: Task, recipe: AnyRecipe, seed: int) -> Course:
    """The course for the kind of the task. Raises UserError for a recipe of another kind."""
    if task.kind == LANGUAGE_MODELLING and isinstance(recipe, TextRecipe):
        return TextCourse(network, task, recipe, seed)
    if task.kind == IMAGE_CLASSIFICATION and isinstance(recipe, Recipe):
        return ImageCourse(network, task, recipe, seed)
    if task.kind == FEW_SHOT and isinstance(recipe, EpisodeRecipe):
        return EpisodeCourse(network, task, recipe, seed)
    raise UserError(f"a {type(recipe).__name__} is not how networks for {task.kind.name} are trained; give a recipe of that kind")


def default_recipe(kind: TaskKind) -> AnyRecipe:
    """How networks for tasks of this kind are trained where nothing else is said."""
    made: dict[TaskKind, type[AnyRecipe]] = {LANGUAGE_MODELLING: TextRecipe, FEW_SHOT: EpisodeRecipe}
    return made.get(kind, Recipe)()


def lanes_of(recipe: AnyRecipe, items: int, cores: int) -> int:
    """How many lanes pay in a training of so many items a pass; a text's steps are not shared."""
    if isinstance(recipe, TextRecipe):
        return 1
    batch = recipe.batch_for(items)
    return min(batch, cores) if isinstance(recipe, EpisodeRecipe) else lanes_for(batch, cores)


def step_seconds(network: nn.Module, task: Task, recipe: AnyRecipe, steps: int = 5, lanes: int = 1) -> float:
    """Mean seconds of a training step over a whole schedule, from the median of `steps` steps; the network stays as it is."""
    network = copy.deepcopy(network)
    clock, course, number = Clock(recipe), course_of(network, task, recipe, 0), 0
    with course.shared(lanes):
        for progress in (0.0, 1.0) if recipe.small_share else (1.0,):
            for turn in range(steps + 2):
                start = perf_counter()
                course.trial(number, progress).item()  # waits for an accelerator
                number += 1
                if turn >= 2:
                    clock.note(progress, perf_counter() - start)
    return clock.mean(0.0)
