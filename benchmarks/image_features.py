"""Trains the small network that turns images into features (`archscout.nn.image_features`), and keeps it as the shipped one.

    python benchmarks/image_features.py --data-dir ../shared/data --minutes 15

It learns from tasks of all families but `dataset`, with another seed than the databases have, so that none of their tasks is met.
It goes on after a kill; the number of steps is part of the question (its learning rate falls to zero over them).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import monotonic

import numpy as np
from _rows import HERE, commit

from archscout import catalogue
from archscout.comparison.telling import Countdown
from archscout.core.pictures import TaskForm
from archscout.engine.lectures import parted
from archscout.extractors.small import SHIPPED
from archscout.families._task import open_task
from archscout.nn import checkpoint
from archscout.nn.image_features import training

SEED = 1_000_000
FORM = TaskForm(train=512, valid=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--tasks", type=int, default=40, help="of each family")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    asked = parser.parse_args()
    begun = monotonic()
    names = [name for name in catalogue.names("families") if name != "dataset"]
    tasks = []
    countdown = Countdown("draw tasks", asked.tasks * len(names))
    for name in names:
        family = catalogue.make("families", name)
        for number in range(asked.tasks):
            train = open_task(family, number, FORM, seed=SEED, data_dir=asked.data_dir).splits["train"]
            tasks.append((np.ascontiguousarray(train.images), train.labels))
            countdown.at(len(tasks))
    countdown.close()
    part = HERE / "runs" / f"image-features-{asked.tasks}-{asked.steps}.safetensors"
    found, _ = checkpoint.load(part)
    state = None if found is None else {**found[0], **found[1]}
    countdown, saved = Countdown("image features", asked.steps), monotonic()
    for lecture in training(tasks, asked.steps, seed=0, state=state):
        countdown.at(lecture.done, "".join(f", {name} {value:.3g}" for name, value in lecture.metrics.items()))
        tensors, facts = parted(lecture.state or {})
        late, done = monotonic() - begun > 60 * asked.minutes, lecture.done == lecture.total
        if done or late or monotonic() - saved > 30:
            checkpoint.save(part, tensors, facts)
            saved = monotonic()
        if done:
            learned = {name: tensor for name, tensor in tensors.items() if name.startswith("learned.")}
            told = {
                "families": names,
                "tasks": len(tasks),
                "steps": asked.steps,
                "commit": commit(),
                "metrics": dict(lecture.metrics),
            }
            asked.out.unlink(missing_ok=True)
            checkpoint.save(asked.out, learned, told)
            print(f"kept in {asked.out}: {told}")
        elif late:
            print(f"{lecture.done:,} of {lecture.total:,} steps; the same command goes on")
            return


if __name__ == "__main__":
    main()
