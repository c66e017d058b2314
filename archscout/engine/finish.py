"""Finish: train the winner for real, open the test split once, and with `--verify` train the others at the same cost.

Each training is checkpointed in the run folder. What is found is written into the store as soon as it is known, so that a resumed
run neither trains nor tests again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, NotFinite
from archscout.core.seeds import derive
from archscout.engine.job import Job
from archscout.engine.plan import Plan, closing_seconds, recipe_of
from archscout.engine.stages import SEARCHED, Contest, Contestant
from archscout.nn import checkpoint
from archscout.nn.batches import ImageSplit
from archscout.nn.course import AnyRecipe, Marks
from archscout.nn.evaluate import predictions
from archscout.nn.marks import digest_of, marks_of
from archscout.nn.recipe import new_network
from archscout.nn.threads import torch_threads
from archscout.nn.train import EpochReport, fit, step_seconds
from archscout.store.results import write_results

_LEAST_SECONDS = 5.0
"""A final training gets at least this, also where the stages before it or a resumption used the time up."""


@dataclass(frozen=True)
class Trained:
    """One full training.

    valid_marks, test_marks: how each item fared (`nn.course.Marks`); the latter is empty without a test split. confusion: of
    images.

    shortened: the clock ended it before the epochs asked for.
    """

    role: str
    architecture: Architecture
    valid_marks: Marks
    test_marks: Marks
    confusion: NDArray[np.int64]
    history: tuple[EpochReport, ...]
    epochs: float
    seconds: float
    remarks: tuple[str, ...]
    shortened: bool = False

    @property
    def valid_value(self) -> float:
        """The value on the validation split."""
        return float(self.valid_marks.mean())

    @property
    def test_value(self) -> float | None:
        """The value on the test split, or None without one."""
        return float(self.test_marks.mean()) if len(self.test_marks) else None

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "role": self.role,
            "architecture": str(self.architecture),
            "valid_correct": packed(self.valid_marks),
            "test_correct": packed(self.test_marks),
            "confusion": self.confusion.tolist(),
            "history": [asdict(report) for report in self.history],
            "epochs": self.epochs,
            "seconds": self.seconds,
            "remarks": list(self.remarks),
            "shortened": self.shortened,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Trained:
        """From the store."""
        return cls(
            record["role"], Architecture.parse(record["architecture"]), unpacked(record["valid_correct"]),
            unpacked(record["test_correct"]), np.array(record["confusion"], dtype=np.int64),
            tuple(EpochReport(**report) for report in record["history"]), record["epochs"], record["seconds"],
            tuple(record["remarks"]), record.get("shortened", False),
        )  # fmt: skip


def finish(job: Job, plan: Plan, contest: Contest) -> Trained:
    """Train the winner of the comparison, a baseline too, and test it. The next best takes over where a training breaks down."""
    job.store.stage("finish")
    dropped = set(job.store.meta.get("dropped", []))
    while True:
        candidates = [c for c in contest.contestants if str(c.architecture) not in dropped]
        winner = replace(contest, contestants=tuple(candidates)).best()
        if winner is None:
            raise ArchscoutError("the final training broke down for every contestant; see results.csv for what each said")
        try:
            trained = train_fully(job, plan, winner, "finish", lambda net: job.left() - closing_seconds(job, net), _after(job))
            break
        except NotFinite as error:
            job.say("finish", f"The final training of {winner.architecture} broke down ({error}); the next best takes over.")
            dropped.add(str(winner.architecture))
            job.store.meta["dropped"] = sorted(dropped)
    if job.opened.test is not None and "test" not in job.store.meta:
        # Beside the marks: which items they are of, so that runs can be compared item by item. Nothing that searches reads it.
        job.store.meta["test"] = {"digest": digest_of(job.opened.test), "count": len(job.opened.test)}
    if not job.store.stage_finished("finish"):
        job.store.finish_stage("finish", str(trained.architecture))
    return trained


def verify(job: Job, plan: Plan, contest: Contest, finished: Trained) -> list[Trained]:
    """Train the best searched network, every baseline and the random one as long as the winner was, and test them."""
    job.store.stage("verify")
    best = contest.best(SEARCHED)
    others = [c for c in contest.contestants if c.role != SEARCHED] + ([best] if best else [])
    found = [finished]
    for contestant in others:
        if contestant.architecture == finished.architecture:
            continue
        try:
            found.append(_as_long(job, plan, contestant, finished))
        except NotFinite as error:
            job.say("verify", f"The full training of {contestant.architecture} broke down: {error}")
    if not job.store.stage_finished("verify"):
        job.store.finish_stage("verify", None)
    return found


def _as_long(job: Job, plan: Plan, contestant: Contestant, finished: Trained) -> Trained:
    """A full training of the same seconds in all: what an interrupted one had already counts."""
    seconds = finished.seconds - _seconds_trained(checkpoint_of(job.folder, contestant.architecture))
    return train_fully(job, plan, contestant, "verify", lambda _: seconds)


def train_fully(
    job: Job, plan: Plan, contestant: Contestant, stage: str, seconds: Callable[[nn.Module], float], reserve: int = 0
) -> Trained:
    """One checkpointed full training and its test; taken from the store where it is there already.

    seconds: under a clock, how long a network may train, asked when it is about to. reserve: as for `fit`.
    """
    key = f"trained {contestant.architecture}"
    if key in job.store.meta:
        # One architecture may stand in two roles: the random one may be one that the search found as well.
        return replace(Trained.from_record(job.store.meta[key]), role=contestant.role)
    recipe = recipe_of(job, plan)
    seed = derive(job.request.seed, "finish", contestant.architecture)
    network = new_network(job.arena, contestant.architecture, job.task, seed=seed).to(job.device)
    with torch_threads(plan.threads):
        epochs = _epochs(job, plan, network, recipe, contestant, seconds)
        deadline = None if job.seconds is None else monotonic() + max(_LEAST_SECONDS, seconds(network))

        def on_epoch(report: EpochReport) -> None:
            job.store.tick()
            kind = job.task.kind
            value = "" if report.valid_value is None else f", validation {kind.metric} {kind.told(report.valid_value)}"
            job.progress(stage, f"{contestant.role}: epoch {report.epoch:.4g} of {epochs:.4g}, loss {report.train_loss:.3f}{value}")

        result = fit(
            network, job.task, recipe, seed=seed, epochs=epochs, checkpoint=checkpoint_of(job.folder, contestant.architecture),
            on_epoch=on_epoch, deadline=deadline, lanes=plan.lanes, reserve=reserve,
        )  # fmt: skip
        test, confusion = _tested(job, network, recipe)
    trained = Trained(
        contestant.role, contestant.architecture, result.valid_marks, test, confusion, tuple(result.history),
        result.epochs_done, result.seconds, result.remarks, result.stopped_early,
    )  # fmt: skip
    job.store.meta[key] = trained.record()
    return trained


def _after(job: Job) -> int:
    """How many items are evaluated once the winner is trained: of the test, and two rivals on the validation split."""
    return (len(job.opened.test) if job.opened.test is not None else 0) + 2 * len(job.task.splits["valid"])


def _epochs(
    job: Job, plan: Plan, network: nn.Module, recipe: AnyRecipe, contestant: Contestant, seconds: Callable[[nn.Module], float]
) -> float:
    """How many epochs to ask for: the plan's, or as many as fit, measured once and stored."""
    if plan.finish_epochs:
        return plan.finish_epochs
    key = f"epochs {contestant.architecture}"
    if key not in job.store.meta:
        count = len(job.task.splits["train"])
        batch = recipe.batch_for(count)
        epoch_seconds = step_seconds(network, job.task, recipe, steps=8, lanes=plan.lanes) * max(1, count // batch)
        # Asks for a little more than fits: the training shortens its schedule to the deadline, but never lengthens it.
        most = job.customs.most_epochs(job.task, count)
        job.store.meta[key] = min(most, 1.15 * max(_LEAST_SECONDS, seconds(network)) / epoch_seconds)
    return float(job.store.meta[key])


def _seconds_trained(path: Path) -> float:
    found, _ = checkpoint.load(path)
    return float(found[1]["seconds"]) if found is not None else 0.0


def _tested(job: Job, network: nn.Module, recipe: AnyRecipe) -> tuple[Marks, NDArray[np.int64]]:
    """How each test item fared, and the confusion matrix of images (true class in rows); empty without a test split."""
    test, nothing = job.opened.test, np.zeros((0, 0), np.int64)
    if test is None:
        return np.zeros(0, bool), nothing
    if not isinstance(test, ImageSplit):
        return marks_of(network, test, recipe), nothing
    guessed = predictions(network, test, precision=recipe.precision)
    truth = test.labels[test.rows]
    confusion = np.zeros((job.task.classes, job.task.classes), np.int64)
    np.add.at(confusion, (truth, guessed), 1)
    return guessed == truth, confusion


def checkpoint_of(folder: Path, architecture: Architecture) -> Path:
    """Where the full training of an architecture keeps its checkpoint."""
    return folder / "checkpoints" / f"{architecture.digest}.safetensors"


def save_results(job: Job) -> None:
    """results.csv and timings.csv of everything judged so far."""
    write_results(job.store, job.folder / "results.csv")


def packed(marks: Marks) -> dict[str, Any]:
    """Marks as JSON, to the last bit."""
    if marks.dtype == np.bool_:
        return {"count": len(marks), "bits": np.packbits(marks.astype(bool)).tobytes().hex()}
    return {"count": len(marks), "float64": marks.astype("<f8").tobytes().hex()}


def unpacked(record: Mapping[str, Any]) -> Marks:
    """The marks that `packed` wrote."""
    if "float64" in record:
        return np.frombuffer(bytes.fromhex(record["float64"]), "<f8").astype(np.float64)
    bits = np.frombuffer(bytes.fromhex(record["bits"]), dtype=np.uint8)
    return np.unpackbits(bits, count=record["count"]).astype(bool)
