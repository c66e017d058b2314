"""Cells: which ones strategies find, and what wide and narrow ones do in training; into results/cell_analysis.csv.

    python benchmarks/cell_analysis.py --data-dir ../shared/data --parts topology evolution toy kept

    topology    widths and depths of published cells, beside random ones (seconds)
    toy         noise of gradients of four linear nodes, in a chain and side by side, by the size of their matrices (seconds)
    evolution   what regularised evolution, and random search, find on nas201 by table, --seeds runs each (minutes)
    kept        what the runs of benchmarks/supernets.py found on nas201, where they lie in --supernets (seconds)
    bias-nas201, bias-darts  what `darts`, `nasi` and `mdenas` find, --search-seeds runs each of --search-epochs; and
                evolution with a training-free judge (hours)
    study       ten re-connected variants of DARTS V2 (the paper's sampler) and the extremes, trained alike; how width and depth go
                with convergence and error; the landscape and the noise of the widest beside the narrowest (an hour)

Resumes: runs and studies lie in --runs. Published: width and depth as printed in the figures of Shu, Wang and Cai (ICLR 2020, arXiv
1909.09569). The study is small (8 channels, 5 cells, 16 x 16 images, the re-compressed CIFAR-10 of ../shared/data); rank
correlations above 0.4 were expected of it, and whatever comes is what stands here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from time import monotonic

import numpy as np
import torch
from _rows import HERE, answer, append, claimed, command, commit, machine

from archscout import catalogue
from archscout.analysis.cells import explained, explained_cells
from archscout.analysis.published_cells import NAMES, published_cells
from archscout.api import open_request
from archscout.core.architecture import Architecture
from archscout.core.topology import Topology
from archscout.engine.request import Request
from archscout.engine.resolve import resolve
from archscout.explaining.bias import bias
from archscout.explaining.settings import Study
from archscout.explaining.study import RECIPE, Member, Question, conduct, correlations, prepared, small
from archscout.store.runs import RunStore

FIGURE = {"NASNet": (5, 2), "AmoebaNet": (4, 4), "ENAS": (5, 2), "SNAS_MILD": (4, 2), "DARTS_V2": (3.5, 3)}
METHODS = {"darts": {"order": "1", "batch": "32"}, "nasi": {}, "mdenas": {}}
SIZES = {"nas201": {"channels": "8", "depth": "1"}, "darts": {"channels": "8", "depth": "5"}}


class Bench:
    """What all parts share."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self._end = monotonic() + asked.minutes * 60

    def left(self) -> float:
        """Minutes left."""
        return max((self._end - monotonic()) / 60, 0.0)

    def write(self, rows: Sequence[dict[str, object]], words: str, seconds: float) -> None:
        """Rows of a part."""
        tail = {"seed": 0, "command": words, "commit": commit(), "seconds": round(seconds, 1), "machine": machine(1)}
        append(self.asked.results, [{**row, **tail} for row in rows])

    def own(self, part: str) -> str:
        """This command, for a part."""
        return f"python benchmarks/cell_analysis.py --data-dir ../shared/data --parts {part}"

    def biased(self, name: str, words: list[str], seeds: int) -> None:
        """What `archscout explain --strategy` says, as rows; nothing where the time is up before all runs are done."""
        if self.left() <= 0:
            return
        begun, folder = monotonic(), self.asked.runs / name.replace(" ", "-").replace(",", "")
        words = ["explain", "--strategy", *words, "--seeds", str(seeds), "--minutes", f"{self.left():.1f}", "--out", str(folder)]
        found = answer(words)
        if found is not None and found["complete"]:
            without = [word for place, word in enumerate(words) if "--minutes" not in words[max(0, place - 1) : place + 1]]
            self.write(bias_rows(name, found["cells"], seeds), command(without), monotonic() - begun)


def bias_rows(name: str, cells: dict[str, dict[str, dict[str, object]]], seeds: int) -> list[dict[str, object]]:
    """Of every cell its mean width, depth and percentile, beside those of random cells."""
    rows = []
    for cell, told in cells.items():
        for part in ("width", "depth", "percentile"):
            facts: dict[str, object] = told[part]  # type: ignore[assignment]
            claim = f"{name}, the cell '{cell}': mean {part} of {seeds} seeds (random cells {facts['random']:.2f})"
            rows.append(claimed(claim, facts["mean"], *(facts["interval"] or ("", ""))))  # type: ignore[misc, arg-type]
        common = told["common_pattern"]
        if common["random"]:  # no cell of NAS-Bench-201 is as wide as that, since its nodes must reach the output
            claim = (
                f"{name}, the cell '{cell}': share of wide and shallow cells of {seeds} seeds (random cells {common['random']:.3f})"
            )
            rows.append(claimed(claim, common["share"]))  # type: ignore[arg-type]
    return rows


def topology(bench: Bench) -> None:
    """Published cells."""
    begun, rows = monotonic(), []
    for name in ("DARTS_V1", "DARTS_V2", *NAMES.values()):
        cells = published_cells(name)
        found = explained_cells(cells) if cells is not None else explained(*resolve(name))
        for part, cell in found.cells.items():
            figure = FIGURE.get(name, (None, None)) if part == "normal" else (None, None)
            rows += [
                claimed(f"{name}, {part} cell: width in c", float(cell.width), published=figure[0]),
                claimed(f"{name}, {part} cell: depth", cell.depth, published=figure[1]),
                claimed(f"{name}, {part} cell: share of random cells that rank at least as high", found.patterns.top_share(cell)),
            ]
    bench.write(rows, bench.own("topology"), monotonic() - begun)


def toy(bench: Bench) -> None:
    """The noise of a chain grows with a power of the size of its matrices, about 2 (n - 1); that of a wide cell does not."""
    begun, nodes, sizes = monotonic(), 4, (2.0, 3.0, 4.0, 6.0, 8.0)
    rows = []
    for kind in ("chain", "wide"):
        noise = [linear_noise(kind, nodes, size) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(noise), 1)[0])
        expected = 2 * (nodes - 1) if kind == "chain" else 0
        claim = f"{nodes} linear nodes, {kind}: slope of log gradient variance in log singular values (about {expected} expected)"
        rows.append(claimed(claim, slope))
    bench.write(rows, bench.own("toy"), monotonic() - begun)


def linear_noise(kind: str, nodes: int, size: float, width: int = 6, draws: int = 2000) -> float:
    """The variance of the gradients of sum over nodes <node, r> over random inputs and r, with respect to matrices of equal size.

    All singular values of the matrices are `size`. chain: node i is W_i times node i - 1; wide: W_i times the input.
    """
    source = torch.Generator().manual_seed(0)
    matrices = [torch.linalg.qr(torch.randn(width, width, generator=source))[0] * size for _ in range(nodes)]
    x, *r = torch.randn(nodes + 1, draws, width, generator=source)
    if kind == "wide":
        gradients = [each[:, :, None] * x[:, None, :] for each in r]
    else:
        states = [x]
        for matrix in matrices:
            states.append(states[-1] @ matrix.T)
        backward, gradients = torch.zeros_like(x), []
        for place in reversed(range(nodes)):
            backward = backward + r[place]
            gradients.append(backward[:, :, None] * states[place][:, None, :])
            backward = backward @ matrices[place]
    return float(torch.cat([part.flatten(1) for part in gradients], 1).var(0).sum())


def evolution(bench: Bench) -> None:
    """By table."""
    for strategy in ("regularized-evolution", "random"):
        words = [strategy, "--table", "nas201", "--queries", str(bench.asked.queries)]
        bench.biased(f"nas201, {strategy} by table, {bench.asked.queries} queries", words, bench.asked.seeds)


def kept(bench: Bench) -> None:
    """The answers of runs that other benchmarks left."""
    begun, space = monotonic(), catalogue.make("spaces", "nas201")
    groups: dict[str, dict[int, Architecture]] = {}
    for summary in sorted(bench.asked.supernets.glob("*/summary.json")):
        name, _, seed = summary.parent.name.rpartition("-")
        with RunStore.read(summary.parent) as store:
            found = store.stage("screen").answer
        if found is not None and found.space == space.name:
            groups.setdefault(name, {})[int(seed)] = found
    for name, answers in groups.items():
        if len(answers) > 1:
            bench.write(bias_rows(f"nas201, runs '{name}'", bias(space, answers)["cells"], len(answers)), bench.own("kept"), 0)
    print(f"{len(groups)} kinds of runs in {monotonic() - begun:.0f} s", file=sys.stderr)


def _searched(bench: Bench, space: str) -> None:
    """Strategies that learn by themselves, from the images; and evolution with NASWOT as its judge."""
    data = [
        "--space",
        space,
        "--data",
        "cifar10",
        "--data-dir",
        str(bench.asked.data_dir),
        "--image-size",
        str(bench.asked.image_size),
    ]
    for strategy, settings in METHODS.items():
        given = {**SIZES[space], **settings, **({} if strategy == "nasi" else {"epochs": str(bench.asked.search_epochs)})}
        known = {field for field in catalogue.plugin("strategies", strategy).__dataclass_fields__}
        words = [word for key, value in given.items() if key in known for word in ("--set", f"strategy.{key}={value}")]
        what = "" if strategy == "nasi" else f", {bench.asked.search_epochs} epochs"
        bench.biased(f"{space}, {strategy}{what}", [strategy, *data, *words], bench.asked.search_seeds)
    words = ["regularized-evolution", *data, "--estimator", "naswot", "--queries", str(bench.asked.queries)]
    bench.biased(f"{space}, regularized-evolution by naswot, {bench.asked.queries} queries", words, bench.asked.search_seeds)


def bias_nas201(bench: Bench) -> None:
    """On NAS-Bench-201."""
    _searched(bench, "nas201")


def bias_darts(bench: Bench) -> None:
    """On DARTS."""
    _searched(bench, "darts")


def study(bench: Bench) -> None:
    """Re-connected variants."""
    if bench.left() <= 0:
        return
    space, architecture = resolve("DARTS_V2")
    found = explained(space, architecture)
    extremes = {one.name: one.architecture for one in found.variants(0) if one.name in ("widest", "narrowest")}
    redrawn: dict[Architecture, str] = {}
    for seed in range(1, 20):
        redrawn.setdefault(space.of_topologies(redraw(found.cells, seed)), f"seed {seed}")  # type: ignore[attr-defined]
    variants = [Member(name, one, seen=False) for one, name in list(redrawn.items())[:10]]
    study = Study(
        epochs=bench.asked.epochs, seeds=bench.asked.study_seeds, train_images=bench.asked.train_images, valid_images=2000,
        grid=bench.asked.grid, pairs=3, noise_grid=min(5, bench.asked.grid), batches=20,
    )  # fmt: skip
    data = Request("cifar10", str(bench.asked.data_dir), image_size=str(bench.asked.image_size))
    task = prepared(open_request(data).task, study)
    members = [
        Member("as it is", architecture),
        *(Member(name, one) for name, one in extremes.items() if one is not None),
        *variants,
    ]
    recipe = replace(RECIPE, augment=True)
    question = Question(small(space, architecture, task), task, members, study, recipe)
    begun, folder = monotonic(), bench.asked.runs / "study"
    facts, complete = conduct(question, folder, bench.left())
    (folder / "study.json").write_text(json.dumps(facts, indent=1))
    print(f"study: {'complete' if complete else 'goes on with the same command'}", file=sys.stderr)
    if complete:
        bench.write(_study_rows(facts), bench.own("study"), monotonic() - begun)


def redraw(cells: Mapping[str, Topology], seed: int) -> dict[str, Topology]:
    """Random connections as the paper's code draws them: uniform sources, normal and reduction cell in turn.

    Where both sources of a node are one, which the space does not hold, the second is the next one.
    """
    legacy, states = np.random.RandomState(seed), [0, 1]
    drawn: dict[str, list[list[int]]] = {"normal": [], "reduce": []}
    for place in range(8):
        for name in drawn:
            source = int(legacy.choice(states, 1)[0])
            if place % 2 == 0:
                drawn[name].append([source])
            else:
                first = drawn[name][-1][0]
                drawn[name][-1].append(source if source != first else (source + 1) % len(states))
        if place % 2:
            states.append(len(states))
    return {name: cells[name].with_sources(tuple(map(tuple, drawn[name]))) for name in drawn}  # type: ignore[arg-type]


def _study_rows(facts: dict[str, object]) -> list[dict[str, object]]:
    networks = {one["name"]: one for one in facts["networks"]}  # type: ignore[attr-defined, index]
    settings = facts["settings"]
    what = f"DARTS V2 and variants, {settings['epochs']} epochs"  # type: ignore[index]
    rows = []
    redrawn = [one for name, one in networks.items() if name.startswith("seed ")]
    for which, told in (
        ("re-connected at random", correlations(redrawn)),
        ("with the extremes and the cell itself", facts["correlations"]),
    ):
        for name, value in (told or {}).items():  # type: ignore[attr-defined]
            if name != "networks":
                claim = f"{what}, {told['networks']} {which}: Spearman's rho of {name} (expected above 0.4)"  # type: ignore[index]
                rows.append(claimed(claim, value["spearman"], *value["interval"]))
    for name in ("as it is", "widest", "narrowest"):
        one = networks[name]
        rows += [
            claimed(f"{what}, {name}: final loss", one["final_loss"]),
            claimed(f"{what}, {name}: final error", one["final_error"]),
            claimed(f"{what}, {name}: loss by log epoch", one["loss_area"]),
            claimed(f"{what}, {name}: parameters", one["params"]),
            claimed(f"{what}, {name}: MACs", one["macs"]),
            *(claimed(f"{what}, {name}: landscape, {part.replace('_', ' ')}", one["landscape"][part]) for part in _SHAPE),
            claimed(f"{what}, {name}: gradient variance at the network", one["noise"]["centre_variance"]),
            claimed(f"{what}, {name}: gradient variance around it, over that", one["noise"]["rise"]),
            claimed(f"{what}, {name}: gradient variance over the squared mean gradient, around it", one["noise"]["mean_ratio"]),
        ]
    errors = [one["final_error"] for one in networks.values()]
    rows.append(claimed(f"{what}: final error of all {len(errors)}", mean(errors), min(errors), max(errors)))
    return rows


_SHAPE = ("basin_area", "roundness", "variation", "minima")
PARTS: dict[str, Callable[[Bench], None]] = {
    "topology": topology, "toy": toy, "evolution": evolution, "kept": kept, "study": study, "bias-nas201": bias_nas201,
    "bias-darts": bias_darts,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=360, help="start nothing further after so many minutes")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, default=100, help="runs by table")
    parser.add_argument("--queries", type=int, default=200, help="of evolution")
    parser.add_argument("--search-seeds", type=int, default=10, help="runs of strategies that learn from images")
    parser.add_argument("--search-epochs", type=int, default=5, help="of darts and mdenas")
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=15, help="of the study")
    parser.add_argument("--study-seeds", type=int, default=1)
    parser.add_argument("--train-images", type=int, default=5000, help="of the study")
    parser.add_argument("--grid", type=int, default=15, help="points of a landscape along each direction")
    parser.add_argument("--supernets", type=Path, default=HERE / "runs" / "supernets")
    parser.add_argument("--runs", type=Path, default=HERE / "runs" / "cell-analysis")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "cell_analysis.csv")
    asked = parser.parse_args()
    asked.runs.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked)
    for part in asked.parts:
        PARTS[part](bench)


if __name__ == "__main__":
    main()
