"""The regression of signals against the plain way (`_plain_regression.py`) on random NAS-Bench-201 cells, one thread, CPU time.

    OMP_NUM_THREADS=1 python benchmarks/signals.py [--cells 8] [--steps 20]

Both sides in turn in one process, after a check that equal weights give equal errors in double precision. The plain side is a tree
of modules in PyTorch's usual memory order, with its own normalisations and optimiser; what reaches no tap is computed too. Networks
are of full size (C = 16, N = 5) on a batch of 16 images of 3 x 32 x 32; the error is evaluated once every ten steps. The limit is
the time of the convolutions alone (three passes) at the rate measured at the start; it cannot be reached. `low` and `high` of a
gain are quartiles over the pairs. The cheaper presets are timed on the same cells. Rows go to results/signals_speed.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from time import process_time

import _plain_regression as plain
import torch
from _rows import HERE, append, commit, machine
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.problem import Problem
from archscout.core.seeds import generator, seeded
from archscout.core.signals import signal_task
from archscout.estimators.signal_regression import PRESETS
from archscout.nn.regression import MapRegressor, Schedule, regress, regressed_images
from archscout.nn.signals import targets
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201")
TASK = image_task((3, 32, 32), 10, 256)
SIGNALS = signal_task("combo")
CHANNELS = [stage.channels for stage in SIGNALS.stages]
IMAGES = regressed_images(TASK, SIGNALS)
TARGETS = targets(SIGNALS, IMAGES, 0)
STEPS = 100
CHEAPER = {
    **{f"preset {name}": ({}, name) for name in PRESETS},
    "preset quick and C = 8": ({"channels": 8}, "quick"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of each side; what 100 cost is extrapolated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "signals_speed.csv")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    check()
    rng = generator(asked.seed, "benchmark")
    cells = [sample(SPACE, rng) for _ in range(asked.cells)]
    limit = _limit(cells, asked.steps)
    for side in (ours, theirs):
        side(cells[0], 2)
    times = [(timed(ours, cell, asked.steps), timed(theirs, cell, asked.steps)) for cell in cells]
    own, other = (sum(column) for column in zip(*times, strict=True))
    pairs = [reference / mine for mine, reference in times]
    low, _, high = quantiles(pairs, n=4)
    scale = STEPS / asked.steps / len(cells)
    what = f"signal-regression (combo), {len(cells)} cells"
    rows: list[tuple[object, ...]] = [
        (f"{what}: times faster than the plain way", other / own, low, high),
        (f"{what}: times faster, median pair", median(pairs), low, high),
        (f"{what}: times the time of its convolutions alone", own / limit),
        (f"{what}: seconds per architecture, ours, {STEPS} steps", own * scale),
        (f"{what}: seconds per architecture, the plain way, {STEPS} steps", other * scale),
    ]
    rows += [(f"{what}: seconds per architecture, {name}", cheaper(*settings, cells)) for name, settings in CHEAPER.items()]
    for claim, *numbers in rows:
        print(f"{claim}: {numbers[0]:.3g}", flush=True)
    tail = {"seed": asked.seed, "command": f"python benchmarks/signals.py --cells {asked.cells} --steps {asked.steps}"}
    tail |= {"commit": commit(), "seconds": round(own + other, 1), "machine": machine(1)}
    names = ("ours", "low", "high")
    shown = [
        {"claim": claim, **dict(zip(names, (round(number, 4) for number in numbers), strict=False))} for claim, *numbers in rows
    ]
    append(asked.results, [{**row, **tail} for row in shown])


def ours(cell: Architecture, steps: int) -> None:
    """This package's way."""
    regressor = MapRegressor(SPACE.operations(cell, TASK), CHANNELS, 1)
    regress(regressor, SIGNALS, IMAGES, TARGETS, Schedule(steps, 10), 0)


def theirs(cell: Architecture, steps: int) -> None:
    """The plain way."""
    with seeded(1):
        network = plain.Tapped(SPACE.operations(cell, TASK), CHANNELS)
    plain.train(network, SIGNALS, IMAGES.contiguous(), [target.contiguous() for target in TARGETS], steps=steps, every=10, seed=0)


def timed(side: Callable[[Architecture, int], None], cell: Architecture, steps: int) -> float:
    begun = process_time()
    side(cell, steps)
    return process_time() - begun


def cheaper(space: dict[str, int], preset: str, cells: list[Architecture]) -> float:
    """Seconds of a judgement."""
    problem = Problem(replace(SPACE, **space), TASK)
    estimator = catalogue.make("estimators", "signal-regression", preset=preset)
    estimator.estimate(problem, cells[0], seed=0)
    begun = process_time()
    for cell in cells:
        estimator.estimate(problem, cell, seed=1)
    return (process_time() - begun) / len(cells)


def check() -> None:
    """Equal weights give equal errors."""
    space = replace(SPACE, channels=8, cells=1)
    wanted = [target.double() for target in TARGETS]
    for number in range(3):
        graph = space.operations(sample(space, generator(number, "check")), TASK)
        regressor = MapRegressor(graph, CHANNELS, number, dtype=torch.float64)
        network = plain.Tapped(graph, CHANNELS).double()
        plain.copy_weights(network, regressor.weights)
        found = regress(regressor, SIGNALS, IMAGES.double(), wanted, Schedule(4, 2), 0)
        expected = plain.train(network, SIGNALS, IMAGES.double(), wanted, steps=4, every=2, seed=0)
        worst = max(abs(found[step] / expected[step] - 1) for step in expected)
        assert worst < 1e-8, f"the errors differ by {worst:.1e}"


def _limit(cells: list[Architecture], steps: int) -> float:
    """Seconds that the convolutions of all steps would take."""
    x = torch.randn(16, 32, 16, 16).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(32, 32, 3, 3)
    times = []
    for _ in range(30):
        begun = process_time()
        F.conv2d(x, weight, padding=1)
        times.append(process_time() - begun)
    rate = 2 * 16 * 32 * 32 * 9 * 256 / sorted(times)[5]
    print(f"convolutions: {rate / 1e9:.0f} GFLOP/s")
    work = sum(SPACE.operations(cell, TASK).macs for cell in cells)
    return 2 * 3 * 16 * work * steps / rate


if __name__ == "__main__":
    main()
