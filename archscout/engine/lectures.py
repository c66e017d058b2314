"""Drives a training across tasks: keeps snapshots, goes on after a kill to the same end, stops when the time is up."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from hashlib import blake2b
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch

from archscout.catalogue import plain_record
from archscout.core.errors import Interrupted, UserError
from archscout.core.moves import Lecture
from archscout.core.protocols import Snapshot
from archscout.engine.machine import versions
from archscout.engine.threads import keep_memory
from archscout.nn import checkpoint

_SAVED_EVERY = 20.0
Tell = Callable[[Lecture], None]


class Lectures:
    """A training of a method that learns across tasks, and the file of its snapshots in `folder`.

    training: begins it, anew or from the state of a lecture. question: JSON-able, what it depends on besides the method, the seed
    and the version of archscout; the same question finds its file again.
    """

    def __init__(
        self, learner: object, training: Callable[[Snapshot | None], Generator[Lecture, None, None]], question: Sequence[object], *,
        seed: int, folder: Path,
    ) -> None:  # fmt: skip
        self._training = training
        asked = [plain_record(learner), *question, seed, versions()["archscout"]]
        self.digest = blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()
        """16 hexadecimal digits that name the question."""
        self.path = folder / f"training-{self.digest}.safetensors"

    def attend(self, *, minutes: float | None = None, tell: Tell = lambda lecture: None) -> tuple[dict[str, Any], Lecture]:
        """What was learned, by name, and the last lecture; its `done` is less than its `total` where the time was up.

        A method may have learned nothing that can be used before its end; then the names are none. Raises UserError where the time
        was up before there was anything to go on from.
        """
        keep_memory()
        found = checkpoint.last(self.path)
        state: Snapshot | None = None if found is None else {**found[0], **found[1]["state"]}
        deadline, saved = inf if minutes is None else monotonic() + 60 * minutes, monotonic()
        last = None if found is None else Lecture(found[1]["done"], found[1]["total"], found[1]["metrics"], state)
        kept = last
        if last is None or last.done < last.total:
            training = self._training(state)
            try:
                for lecture in training:
                    tell(lecture)
                    last = lecture if lecture.state is not None else last
                    done, late = lecture.done >= lecture.total, monotonic() > deadline
                    if last is not None and last is not kept and (done or late or monotonic() - saved > _SAVED_EVERY):
                        self._save(last)
                        saved, kept = monotonic(), last
                    if late and last is not None:
                        break
            except Interrupted as stop:
                stop.hint = "Go on with the same command."
                raise
            finally:
                training.close()
        if last is None or last.state is None:
            raise UserError("the time was up before the first step was kept; give more --minutes")
        return checkpoint.under("learned.", last.state), last

    def _save(self, lecture: Lecture) -> None:
        tensors, rest = parted(lecture.state or {})
        facts = {"done": lecture.done, "total": lecture.total, "metrics": dict(lecture.metrics), "state": rest}
        checkpoint.save(self.path, tensors, facts)


def keep_model(path: Path, learned: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a model: what was learned, by name, and what is to be known of it, as JSON takes it."""
    tensors, rest = parted(learned)
    checkpoint.save(path, tensors, {"model": rest, **facts})


def parted(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The arrays, as tensors, and everything else."""
    tensors = {name: torch.as_tensor(value) for name, value in state.items() if isinstance(value, torch.Tensor | np.ndarray)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}
