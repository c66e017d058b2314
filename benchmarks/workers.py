"""How much two worker processes give over one: evaluations per second of short trainings, as in the compare stage, in one run.

    python benchmarks/workers.py [--jobs 12]

Compares the same executor with one and two workers, in turn, on the bundled images; the goal is 1.5 times.
"""

from __future__ import annotations

import argparse
from time import perf_counter

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.data._opened import DataRequest, open_data
from archscout.engine.executors import Pool
from archscout.nn.measure import acceptance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--epochs", type=float, default=1.0)
    asked = parser.parse_args()
    task = open_data(DataRequest("bundled")).task
    problem = Problem(catalogue.make("spaces", "mobile"), task, {"work": 2e7})
    rng = generator(0)
    drawn = [sample(problem.space, rng, acceptance(problem)) for _ in range(asked.jobs)]
    judge = catalogue.make("estimators", "train", epochs=asked.epochs)
    rates: dict[int, list[float]] = {1: [], 2: []}
    values: dict[int, dict[object, float]] = {1: {}, 2: {}}
    for _ in range(2):
        for workers in (1, 2):
            with Pool(workers) as pool:
                warm = [pool.submit(judge_briefly(), problem, drawn[0], 0) for _ in range(workers)]
                while any(job.outcome is None for job in warm):
                    pool.wait()
                start = perf_counter()
                jobs = [pool.submit(judge, problem, architecture, 0) for architecture in drawn]
                while any(job.outcome is None for job in jobs):
                    pool.wait()
                rates[workers].append(asked.jobs / (perf_counter() - start))
                values[workers] = {job.architecture: job.outcome.value for job in jobs}  # type: ignore[union-attr]
    assert values[1] == values[2], "the number of workers must not change values"
    one, two = max(rates[1]), max(rates[2])
    print(f"1 worker {one:.3f}/s, 2 workers {two:.3f}/s: {two / one:.2f} times; equal values")


def judge_briefly() -> object:
    """A first job that loads torch and the data."""
    return catalogue.make("estimators", "train", epochs=0.01)


if __name__ == "__main__":
    main()
