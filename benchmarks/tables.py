"""How long opening a recorded table takes, and how much memory, each in a fresh process; look-ups per second; one `bench search`.

    python benchmarks/tables.py            # into results/tables.csv

Opening means: checksum, the first objective, the test values, and one look-up by architecture. A look-up is the question whether
there is a value, and the value, of an architecture not seen before. Seconds are processor seconds, so that a busy machine does not
matter. The project's bounds: 1 second and 300 MB a table, 25 MB for all files together, a minute for 100 runs of 300 queries and as
many of random search.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from time import monotonic

from _rows import HERE, answer, append, command, commit, machine

from archscout import catalogue

MOST_SECONDS, MOST_MB, MOST_FILE_MB, MOST_SEARCH_SECONDS = 1.0, 300.0, 25.0, 60.0
SEARCH = [
    *("bench", "search", "--strategy", "regularized-evolution", "--table", "nas201", "--dataset", "cifar10"),
    *("--queries", "300", "--seeds", "100"),
]
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
    """Print a line per table and keep the numbers; 1 if a bound is broken."""
    broken = False
    print(f"{'table':18}{'seconds':>9}{'MB':>7}{'look-ups/s':>12}")
    for name in catalogue.names("tables"):
        begun = monotonic()
        done = subprocess.run([sys.executable, "-c", CODE, name], capture_output=True, text=True, check=True)
        seconds, memory, rate = map(float, done.stdout.split())
        broken |= seconds > MOST_SECONDS or memory > MOST_MB
        print(f"{name:18}{seconds:9.3f}{memory:7.0f}{rate:12,.0f}")
        found = {
            f"{name}: processor seconds to open it (at most {MOST_SECONDS:g})": round(seconds, 3),
            f"{name}: MB of memory then (at most {MOST_MB:g})": round(memory),
            f"{name}: look-ups per second": round(rate),
        }
        keep(found, monotonic() - begun)
    folder = Path(catalogue.__file__).parent / catalogue.ROOMS["tables"]
    size = sum(file.stat().st_size for file in folder.glob("*.npz")) / 1e6
    print(f"all files: {size:.2f} MB")
    keep({f"all tables: MB of files (at most {MOST_FILE_MB:g})": round(size, 2)}, 0.0)
    begun, before = monotonic(), processor_seconds()
    if answer(SEARCH) is None:
        return 1
    search = processor_seconds() - before
    shown = command([*SEARCH, "--json"])
    print(f"{shown}: {search:.1f} s")
    keep(
        {f"{shown}: processor seconds (at most {MOST_SEARCH_SECONDS:g})": round(search, 1)},
        monotonic() - begun,
    )
    return int(broken or size > MOST_FILE_MB or search > MOST_SEARCH_SECONDS)


def processor_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def keep(found: dict[str, float], seconds: float) -> None:
    """Rows of results/tables.csv."""
    facts = {"seed": "", "command": "python benchmarks/tables.py", "commit": commit(), "machine": machine(1)}
    rows: list[dict[str, object]] = [
        {"claim": c, "ours": value, "seconds": round(seconds, 1), **facts} for c, value in found.items()
    ]
    append(HERE / "results" / "tables.csv", rows)


if __name__ == "__main__":
    raise SystemExit(main())
