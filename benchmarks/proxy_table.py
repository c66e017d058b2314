"""All training-free judges on the recorded tables: rank correlations beside the published ones, into results/proxies.csv.

    python benchmarks/proxy_table.py --data-dir ../shared/data --minutes 120

One `archscout bench correlate` per table scores a seeded sample with all judges. It resumes, and uses what is there when the time
is up. Published: Abdelfattah et al. 2021 (arXiv 2101.08134; all architectures, absolute values) where a judge is in their notebook,
else Li et al. 2023 (ZiCo, arXiv 2301.11300). NASWOT's own numbers are in results/naswot.csv. CIFAR-10 is the re-compressed copy;
scores of CIFAR-100's rows are on CIFAR-10 images too. Of language models these judges know nothing, so parameters and MACs stand
alone on nlp-rnn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import monotonic

from _rows import HERE, answer, append, command, commit, machine

from archscout import catalogue

# Spearman's rho by table, data set and judge.
PUBLISHED = {
    ("nas201", "cifar10"): {
        "grad-norm": 0.594, "snip": 0.596, "grasp": 0.514, "fisher": 0.360, "synflow": 0.737, "jacob-cov": 0.731,
        "zen": 0.38, "zico": 0.80, "params": 0.75, "macs": 0.73,
    },
    ("nas201", "cifar100"): {
        "grad-norm": 0.637, "snip": 0.637, "grasp": 0.547, "fisher": 0.385, "synflow": 0.763, "jacob-cov": 0.704,
        "zen": 0.36, "zico": 0.81, "params": 0.73, "macs": 0.71,
    },
    ("nas101", "cifar10"): {
        "grad-norm": -0.25, "snip": -0.17, "grasp": 0.29, "fisher": -0.28, "synflow": 0.35, "zen": 0.63, "zico": 0.63,
        "params": 0.43, "macs": 0.44,
    },
}  # fmt: skip
TABLES = {"nas201": ("cifar10", "cifar100"), "nas101": ("cifar10",), "macro": ("cifar10",), "nlp-rnn": ("ptb",)}
SETTINGS = {"nas101": ["--set", "space.stem=16"]}
QUICK = ("naswot", "synflow", "snip", "fisher", "grad-norm", "l2-norm", "plain", "linear-regions", "meco", "zico")
SLOW = ("jacob-cov", "grasp", "zen", "ntk-condition", "epe-nas", "swap", "gradsign")
"""These take four times as long; zen and swap are averaged over 4 draws of weights in place of 32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--minutes", type=float, default=180, help="for judging, in six equal parts (three tables, quick and slow)")
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--slow-sample", type=int, default=100, help="for the judges that take long")
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--scores", type=Path, default=HERE / "runs" / "proxies")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "proxies.csv")
    asked = parser.parse_args()
    asked.scores.mkdir(parents=True, exist_ok=True)
    assert {*QUICK, *SLOW} <= set(catalogue.names("estimators"))
    for table in asked.tables:
        for dataset in TABLES[table]:
            if dataset == "ptb":
                correlate(asked, table, dataset, "params", ["--sample", "10000"])
                continue
            shared = ["--data", "cifar10", "--data-dir", asked.data_dir, "--minutes", f"{asked.minutes / 6:g}"]
            shared += SETTINGS.get(table, [])
            correlate(asked, table, dataset, ",".join(QUICK), ["--sample", str(asked.sample), *shared])
            few = ["--sample", str(asked.slow_sample), "--set", "estimator.repeats=4"]
            correlate(asked, table, dataset, ",".join(SLOW), [*few, *shared], "-slow")


def correlate(asked: argparse.Namespace, table: str, dataset: str, judges: str, words: list[str], kind: str = "") -> None:
    """The rows of one table, data set and kind of judges; those of parameters and MACs come with the quick ones."""
    words = ["bench", "correlate", "--table", table, "--dataset", dataset, "--estimator", judges, *words, "--seed", "0"]
    words += ["--workers", "1", "--out", str(asked.scores / f"{table}{kind}.npz")]
    begun = monotonic()
    found = answer(words)
    if found is None:
        return
    found = found if isinstance(found, list) else [found]
    published = PUBLISHED.get((table, dataset), {})
    tail = {"command": command(words), "seed": 0, "commit": commit(), "machine": machine(1)}
    rows: list[dict[str, object]] = []
    named = {row["estimator"]: row for row in found}
    for name, one in (named if kind else found[0]["baselines"] | named).items():
        what = f"{name} on {table} {dataset}, {found[0]['sample']} architectures"
        failed = f" ({one['failed']} without a score, ranked last)" if one.get("failed") else ""
        seconds = round(one.get("seconds_per_architecture") or 0.0, 4)
        spearman: dict[str, object] = {
            "claim": f"Spearman's rho of {what}{failed}",
            "ours": _short(one["spearman"]),
            "seconds": seconds,
        }
        rows.append({**spearman, "published": published[name]} if name in published else spearman)
        low, high = one["interval"]
        rows.append(
            {
                "claim": f"Kendall's tau of {what}{failed}",
                "ours": _short(one["kendall"]),
                "low": _short(low),
                "high": _short(high),
                "seconds": seconds,
            }
        )
    append(asked.results, [{**row, **tail} for row in rows])
    print(f"{table} {dataset}: {monotonic() - begun:.0f} s", file=sys.stderr)


def _short(value: float | None) -> float | str:
    return "" if value is None else round(value, 4)


if __name__ == "__main__":
    main()
