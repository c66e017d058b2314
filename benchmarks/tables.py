"""How long opening a recorded table takes, and how much memory, each in a fresh process; then look-ups per second.

    python benchmarks/tables.py

Opening means: checksum, the first objective, the test values, and one look-up by architecture. A look-up is the question whether
there is a value, and the value, of an architecture not seen before. Seconds are processor seconds, so that a busy machine does not
matter. The project's bounds: 1 second and 300 MB a table, 25 MB for all files together.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from archscout import catalogue

MOST_SECONDS, MOST_MB, MOST_FILE_MB = 1.0, 300.0, 25.0
CODE = """
import resource, sys, time
from archscout.benchmarks._open import open_table, space_of
start = time.process_time()
from archscout.benchmarks.verdict import reveal
table = open_table(sys.argv[1])
space = space_of(table)
dataset = table.facts.datasets[0]
table.objective(dataset), reveal(table, dataset)
assert table.row(space, table.architecture(space, 0)) == 0
seconds, memory = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.estimators.tabular import Tabular
judge, problem = Tabular(table.name, dataset), Problem(space, Task("none", IMAGE_CLASSIFICATION, (3, 32, 32), 10, ""))
asked = [table.architecture(space, row) for row in range(0, table.facts.rows, table.facts.rows // 1000)]
judge.estimate(problem, next(a for a in asked[:50] if judge.refusal(problem, a) is None), seed=0)
asked = asked[50:]
start = time.process_time()
for architecture in asked:
    if judge.refusal(problem, architecture) is None:
        judge.estimate(problem, architecture, seed=0)
print(seconds, memory, len(asked) / (time.process_time() - start))
"""


def main() -> int:
    """Print a line per table; 1 if a bound is broken."""
    broken = False
    print(f"{'table':18}{'seconds':>9}{'MB':>7}{'look-ups/s':>12}")
    for name in catalogue.names("tables"):
        done = subprocess.run([sys.executable, "-c", CODE, name], capture_output=True, text=True, check=True)
        seconds, memory, rate = map(float, done.stdout.split())
        broken |= seconds > MOST_SECONDS or memory > MOST_MB
        print(f"{name:18}{seconds:9.3f}{memory:7.0f}{rate:12,.0f}")
    folder = Path(catalogue.__file__).parent / catalogue.ROOMS["tables"]
    size = sum(file.stat().st_size for file in folder.glob("*.npz")) / 1e6
    print(f"all files: {size:.2f} MB")
    return int(broken or size > MOST_FILE_MB)


if __name__ == "__main__":
    raise SystemExit(main())
