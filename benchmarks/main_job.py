"""The main job against its baselines: `archscout search --verify` over data sets and seeds, into results/main_job.csv.

    python benchmarks/main_job.py --data-dir ../shared/data --budget 10m --minutes 120 [--core 0]

Resumes: a run that is done is not run again, one that was cut goes on. With `--core` every run keeps to one core, so that several
of these commands can share a machine. The rows compare test accuracies after full trainings of equal seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

from _rows import HERE, append, commit, machine

from archscout.analysis.intervals import mean_interval, wilson
from archscout.engine.finish import Trained
from archscout.store.runs import RunStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["fashion-mnist", "cifar10", "sign-digits"])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=360, help="start no run after so many minutes")
    parser.add_argument("--core", type=int, help="keep to this core")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "main_job")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "main_job.csv")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    begun = monotonic()
    for seed in asked.seeds:
        for data in asked.data:
            if monotonic() - begun < asked.minutes * 60:
                one_run(asked, data, seed)
    write_means(asked)


def one_run(asked: argparse.Namespace, data: str, seed: int) -> None:
    """One search with --verify, done or resumed, and its rows."""
    where = "1core" if asked.core is not None else "all"
    folder = asked.runs / f"{data}-{asked.budget}-{where}-{seed}"
    archscout = [sys.executable, "-m", "archscout.cli.main"]
    words = ["search", "--data", data, "--data-dir", asked.data_dir, "--budget", asked.budget, "--seed", str(seed), "--verify"]
    if (folder / "summary.json").exists():
        return
    command = (
        [*archscout, "resume", str(folder)] if (folder / "run.sqlite").exists() else [*archscout, *words, "--out", str(folder)]
    )
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE)
    if done.returncode:
        print(f"{data} seed {seed}: exit code {done.returncode}", file=sys.stderr)
        return
    summary = json.loads(done.stdout)
    used = machine(1 if asked.core is not None else None)
    tail = {"command": " ".join(["archscout", *words]), "seed": seed, "commit": commit(), "machine": used}
    rows = []
    for trained in verified(folder):
        low, high = wilson(int(trained.test_marks.sum()), len(trained.test_marks))
        claim = f"{data}, {asked.budget}: test accuracy of {trained.role}"
        rows.append(
            {"claim": claim, "ours": trained.test_value, "low": low, "high": high, "seconds": round(trained.seconds, 1), **tail}
        )
    rows.append(
        {
            "claim": f"{data}, {asked.budget}: search won (None is undecided)",
            "ours": str(summary["search_won"]),
            "seconds": summary["seconds"],
            **tail,
        }
    )
    append(asked.results, rows)


def verified(folder: Path) -> list[Trained]:
    """All full trainings of a run."""
    with RunStore.read(folder) as store:
        return [Trained.from_record(record) for key, record in store.meta.items() if key.startswith("trained ")]


def write_means(asked: argparse.Namespace) -> None:
    """Searched less best hand-made baseline and less random, mean over the seeds that are done, with a t interval."""
    where = "1core" if asked.core is not None else "all"
    for data in asked.data:
        gains: dict[str, list[float]] = {"best hand-made": [], "random architecture": []}
        for folder in sorted(asked.runs.glob(f"{data}-{asked.budget}-{where}-*")):
            if not (folder / "summary.json").exists():
                continue
            tests = {t.role: t.test_value or 0.0 for t in verified(folder)}
            handmade = [value for role, value in tests.items() if role.endswith("-type")]
            if "searched" in tests and handmade:
                gains["best hand-made"].append(tests["searched"] - max(handmade))
                if "random architecture" in tests:
                    gains["random architecture"].append(tests["searched"] - tests["random architecture"])
        for against, values in gains.items():
            if len(values) > 1:
                low, high = mean_interval(values)
                claim = f"{data}, {asked.budget}: mean test accuracy of searched less {against}, {len(values)} seeds"
                mean = sum(values) / len(values)
                used = machine(1 if asked.core is not None else None)
                row = {"claim": claim, "ours": round(mean, 5), "low": round(low, 5), "high": round(high, 5), "machine": used}
                append(asked.results, [{**row, "command": "python benchmarks/main_job.py", "seed": "all", "commit": commit()}])
                print(f"{claim}: {mean:+.2%} ({low:+.2%} to {high:+.2%})")


if __name__ == "__main__":
    main()
