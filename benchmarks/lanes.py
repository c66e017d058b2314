"""A training step on two cores: threads in every operation (OpenMP) against two lanes (`nn.lanes`), quiet and with a neighbour.

    python benchmarks/lanes.py

Every reading comes from a fresh process; the better of two counts. One thread on one core is given for comparison.
"""

from __future__ import annotations

import os
import subprocess
import sys

STEP = """
import sys
from archscout.engine.threads import keep_memory
from archscout.nn.threads import torch_threads
keep_memory()
from archscout import catalogue
from archscout.data._opened import DataRequest, open_data
from archscout.nn.recipe import Recipe, new_network
from archscout.nn.train import step_seconds
task = open_data(DataRequest("bundled")).task
space = catalogue.make("spaces", "mobile")
architecture = space.architecture((2, 1, 0, 2, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 3, 1, 0, 0, 0))
network = new_network(space, architecture, task, seed=0)
with torch_threads(int(sys.argv[1])):
    print(step_seconds(network, task, Recipe(), steps=8, lanes=int(sys.argv[2])) * 1000)
"""
_OURS, _THEIRS = "3000", "300000"
WAYS = {
    "one thread": (1, 1, _OURS),
    "two OpenMP threads": (2, 1, _OURS),
    "two that spin as long as libgomp lets them": (2, 1, _THEIRS),
    "two lanes": (1, 2, _OURS),
}


def milliseconds(threads: int, lanes: int, spins: str) -> float:
    """A training step, in a process of its own."""
    command = [sys.executable, "-c", STEP, str(threads), str(lanes)]
    environment = os.environ | {"GOMP_SPINCOUNT": spins}
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def main() -> None:
    for busy in (False, True):
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            found = {name: min(milliseconds(*way) for _ in range(2)) for name, way in WAYS.items()}
        finally:
            if neighbour is not None:
                neighbour.kill()
        words = ", ".join(f"{name} {value:.1f} ms ({found['one thread'] / value:.2f} times)" for name, value in found.items())
        print(f"{'busy' if busy else 'quiet'} machine: {words}")


if __name__ == "__main__":
    main()
