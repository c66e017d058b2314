"""What a busy neighbour costs a training on two threads: threads that spin while they wait against threads that sleep.

    python benchmarks/threads.py

Starts a process that keeps one core busy, then times training steps in fresh processes, in turn with either policy.
"""

from __future__ import annotations

import os
import subprocess
import sys

STEP = """
import sys
from archscout.engine.threads import keep_memory, torch_threads
keep_memory()
from archscout import catalogue
from archscout.data._opened import DataRequest, open_data
from archscout.nn.recipe import Recipe, new_network
from archscout.nn.train import step_seconds
task = open_data(DataRequest("bundled")).task
space = catalogue.make("spaces", "handmade")
network = new_network(space, space.architecture((0, 0, 7)), task, seed=0)
with torch_threads(2):
    print(step_seconds(network, task, Recipe(), steps=6) * 1000)
"""


def milliseconds(policy: str) -> float:
    """A training step under a policy, in a process of its own."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    return float(subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    for busy in (False, True):
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            found = {policy: [milliseconds(policy) for _ in range(2)] for policy in ("active", "passive")}
        finally:
            if neighbour is not None:
                neighbour.kill()
        active, passive = min(found["active"]), min(found["passive"])
        ratio = active / passive
        print(f"{'busy' if busy else 'quiet'} machine: spinning {active:.1f} ms, sleeping {passive:.1f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
