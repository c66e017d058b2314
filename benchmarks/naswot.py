"""NASWOT's published numbers beside ours: rank correlations, the search table, and assisted evolution; into results/naswot.csv.

    python benchmarks/naswot.py --data-dir ../shared/data --minutes 120

Every row is of one `archscout` command, which the row names. Resumes: scores and answers are kept in --scores, and a command that
has answered is not run again. Published: Mellor, Turner, Storkey and Crowley 2021 (arXiv 2006.04647), tables 1 and 2 and figure 3.

Deviations: CIFAR-10 is the re-compressed copy in ../shared/data, and both data sets are searched by scores on its images; in the
searches the score of a NAS-Bench-201 cell is that of its isomorphism class (`--per-class`), without activations that do not reach
the logits, as in the released code; one draw of weights and one batch serve all runs of a search (there, each run has its own). The
12,000 seconds of assisted evolution are not recorded, so it gets 100 queries of the 12-epoch accuracy instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from hashlib import blake2b
from math import sqrt
from pathlib import Path
from time import monotonic
from typing import Any

from _rows import HERE, answer, append, claimed, command, commit, machine

from archscout.core.scores import read_scores

# (validation mean, its deviation, test mean, its deviation)
SEARCH = {
    ("cifar10", 10): (89.14, 1.14, 92.44, 1.13),
    ("cifar10", 100): (89.55, 0.89, 92.81, 0.99),
    ("cifar10", 1000): (89.69, 0.73, 92.96, 0.81),
    ("cifar100", 10): (68.50, 2.03, 68.62, 2.04),
    ("cifar100", 100): (69.35, 1.70, 69.48, 1.70),
    ("cifar100", 1000): (69.86, 1.21, 69.98, 1.22),
}
RANDOM = {"cifar10": (83.20, 13.28, 86.61, 13.46), "cifar100": (60.70, 12.55, 60.83, 12.58)}
OPTIMAL = {
    ("cifar10", 10): (89.92, 0.75, 93.06, 0.59),
    ("cifar10", 100): (91.05, 0.28, 93.84, 0.23),
    ("cifar100", 10): (69.61, 1.21, 69.76, 1.25),
    ("cifar100", 100): (71.45, 0.79, 71.56, 0.78),
}
CELLS = 15_625
TAU = {("nas201", "cifar10"): 0.574, ("nas201", "cifar100"): 0.611, ("nas101", "cifar10"): 0.285}


@dataclass(frozen=True)
class Said:
    """A command and what it said, at which commit, in how many seconds."""

    command: str
    found: dict[str, Any]
    commit: str
    seconds: float


class Rows:
    """Runs commands while there is time, keeps what they said, and writes their rows."""

    def __init__(self, results: Path, kept: Path, minutes: float) -> None:
        self._results, self._kept, self._end = results, kept, monotonic() + minutes * 60
        self.among = ""
        """How many cells are scored, where that is not all of them."""
        kept.mkdir(parents=True, exist_ok=True)

    def left(self) -> float:
        """Minutes left."""
        return (self._end - monotonic()) / 60

    def ask(self, words: list[str]) -> Said | None:
        """What `archscout ... --json` says, or said before; None where it failed or the time is up."""
        kept = self._kept / f"{blake2b(f'{command(words)}{self.among}'.encode(), digest_size=8).hexdigest()}.json"
        if kept.exists():
            return Said(**json.loads(kept.read_text()))
        if self.left() <= 0:
            return None
        print(command(words), file=sys.stderr)
        begun = monotonic()
        found = answer(words)
        if found is None:
            return None
        said = Said(command(words), found, commit(), round(monotonic() - begun, 1))
        kept.write_text(json.dumps(asdict(said)))
        return said

    def add(self, said: Said, rows: list[dict[str, object]]) -> None:
        """Write the rows of a command."""
        tail = {"seed": 0, "command": said.command, "commit": said.commit, "seconds": said.seconds, "machine": machine(1)}
        append(self._results, [{**row, **tail} for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--minutes", type=float, default=360, help="start nothing after so many minutes")
    parser.add_argument("--sample", type=int, default=1000, help="architectures of a correlation")
    parser.add_argument("--runs", type=int, default=500, help="runs of a search (a tenth of them of assisted evolution)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--part", action="store_true", help="search by the scores that are there, a random part of all")
    parser.add_argument("--scores", type=Path, default=HERE / "runs" / "naswot")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "naswot.csv")
    asked = parser.parse_args()
    rows = Rows(asked.results, asked.scores, asked.minutes)
    data = ["--data", "cifar10", "--data-dir", asked.data_dir]
    correlate(rows, asked, data)
    recorded_searches(rows, asked.runs)
    macs = macs_searches(rows, asked.runs, data)
    scores = score_all(rows, asked, data)
    if scores is not None:
        searches(rows, asked.runs, scores, macs)
        assisted(rows, asked, scores)


def correlate(rows: Rows, asked: argparse.Namespace, data: list[str]) -> None:
    """Kendall's tau on NAS-Bench-201, for both data sets from one scoring, and on the recorded half of NAS-Bench-101."""
    for (table, dataset), published in TAU.items():
        words = ["bench", "correlate", "--estimator", "naswot", "--table", table, "--dataset", dataset, *data]
        words += ["--sample", str(asked.sample), "--seed", "0", "--workers", str(asked.workers)]
        words += ["--out", str(asked.scores / f"{table}-sample.npz")]
        words += ["--set", "space.stem=16"] if table == "nas101" else []
        said = rows.ask(words)
        if said is None:
            continue
        found, made = said.found, []
        for name, one in (("naswot", found), *found["baselines"].items()):
            claim = f"{table} {dataset}: Kendall's tau of {name} with {found['column']}, {found['sample']} architectures"
            low, high = one["interval"]
            made.append(claimed(claim, one["kendall"], low, high, published if one is found else None))
        rows.add(said, made)


def recorded_searches(rows: Rows, runs: int) -> None:
    """The rows that need no score: one random cell, and the best of N by recorded validation accuracy."""
    published = {(dataset, 1): numbers for dataset, numbers in RANDOM.items()} | OPTIMAL
    for (dataset, queries), numbers in published.items():
        name = "random cell" if queries == 1 else f"optimum of N = {queries} by validation"
        search(rows, name, _search("random", dataset, queries, runs), dataset, numbers)


def macs_searches(rows: Rows, runs: int, data: list[str]) -> dict[tuple[str, int], Said | None]:
    """The best of N random cells by MACs, which a score has to beat."""
    found = {}
    for dataset, queries in SEARCH:
        words = [*_search("random", dataset, queries, runs, "macs"), *data]
        found[dataset, queries] = search(rows, f"macs N = {queries}", words, dataset, None)
    return found


def score_all(rows: Rows, asked: argparse.Namespace, data: list[str]) -> Path | None:
    """Scores of the whole of NAS-Bench-201, in as many sittings as it takes; None while they are not complete, or with --part."""
    path: Path = asked.scores / "nas201-live.npz"
    words = ["score", "--all", "--space", "nas201", "--estimator", "naswot", "--set", "estimator.only_live=true", "--per-class"]
    words += [*data, "--workers", str(asked.workers), "--out", str(path)]
    if rows.left() > 0 and not asked.part:
        subprocess.run([sys.executable, "-m", "archscout.cli.main", *words, "--minutes", f"{rows.left():.1f}"], check=False)
    return path if path.exists() and (asked.part or len(read_scores(path)) == CELLS) else None


def searches(rows: Rows, runs: int, scores: Path, macs: dict[tuple[str, int], Said | None]) -> None:
    """The best of N random cells by score, and how far ahead of MACs that is."""
    scored = len(read_scores(scores))
    rows.among = among = "" if scored == CELLS else f" among {scored:,} scored cells"
    for (dataset, queries), numbers in SEARCH.items():
        ours = search(
            rows, f"naswot N = {queries}{among}", _search("random", dataset, queries, runs, str(scores)), dataset, numbers
        )
        other = macs[dataset, queries]
        if ours is not None and other is not None:
            gap = ours.found["test_mean"] - other.found["test_mean"]
            half = 1.96 * sqrt((ours.found["test_std"] ** 2 + other.found["test_std"] ** 2) / runs)
            claim = f"{dataset}: test accuracy of naswot{among} less that of macs, N = {queries}, {runs} runs"
            rows.add(ours, [claimed(claim, gap, gap - half, gap + half)])


def assisted(rows: Rows, asked: argparse.Namespace, scores: Path) -> None:
    """Assisted evolution against aging evolution at 100 queries of the 12-epoch validation accuracy."""
    runs = max(2, asked.runs // 10)
    for dataset in ("cifar10", "cifar100"):
        words = [*_search("assisted-evolution", dataset, 100, runs), "--proxy", str(scores)]
        said = rows.ask([*words, "--epochs", "12", "--final-epochs", "200"])
        if said is None:
            continue
        other = said.found["baselines"]["regularized-evolution"]
        made = []
        for part in ("valid", "test"):
            what = f"100 queries of 12 epochs{rows.among}, {runs} runs"
            for name, numbers in (("AREA", said.found), ("REA", other)):
                mean, half = numbers[f"{part}_mean"], 1.96 * numbers[f"{part}_std"] / sqrt(runs)
                made.append(claimed(f"{dataset}: {part} accuracy of {name}, {what}", mean, mean - half, mean + half))
            made.append(claimed(f"{dataset}: {part} accuracy of AREA less that of REA, {what}", *other["difference"][part]))
        rows.add(said, made)


def search(
    rows: Rows, name: str, words: list[str], dataset: str, published: tuple[float, float, float, float] | None
) -> Said | None:
    """One `bench search`, and a row each for validation and test: the mean, its interval, and in the claim the deviations."""
    said = rows.ask(words)
    if said is None:
        return None
    made = []
    for part, place in (("valid", 0), ("test", 2)):
        mean, spread = said.found[f"{part}_mean"], said.found[f"{part}_std"]
        half = 1.96 * spread / sqrt(said.found["seeds"])
        theirs = f" (published deviation {published[place + 1]})" if published else ""
        claim = f"{dataset}: {part} accuracy of {name}, {said.found['seeds']} runs, deviation {spread:.2f}{theirs}"
        made.append(claimed(claim, mean, mean - half, mean + half, published[place] if published else None))
    rows.add(said, made)
    return said


def _search(strategy: str, dataset: str, queries: int, runs: int, judge: str = "tabular") -> list[str]:
    words = ["bench", "search", "--strategy", strategy, "--table", "nas201", "--dataset", dataset]
    return [*words, "--estimator", judge, "--queries", str(queries), "--seeds", str(runs)]


if __name__ == "__main__":
    main()
