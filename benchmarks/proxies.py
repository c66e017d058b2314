"""Training-free judges against the plain way (`_reference.py`) on random NAS-Bench-201 cells, one thread, CPU time.

    OMP_NUM_THREADS=1 python benchmarks/proxies.py [--cells 12] [--jobs snip synflow]     seconds, gains, multiples of the limit
    OMP_NUM_THREADS=1 python benchmarks/proxies.py --memory                               peak memory, a process of its own each
    OMP_NUM_THREADS=1 python benchmarks/proxies.py --ranks 200                            cheaper presets against the full score

Both sides in turn in one process, after a check that equal weights give equal values. Networks are of full size (C = 16, N = 5) on
images of 3 x 32 x 32; the cost does not depend on what they show. The limit is the time that the convolutions alone would take (one
pass forward, two more for gradients of weights, one more for gradients of images) at the rate measured at the start; it cannot be
reached. `low` and `high` of a gain are quartiles over the pairs. Rows go to results/proxies_speed.csv.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from math import log
from pathlib import Path
from statistics import median, quantiles
from time import process_time

import _reference as plain
import torch
from _rows import HERE, append, commit, machine
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.draw import sample
from archscout.core.errors import CandidateError
from archscout.core.problem import Problem
from archscout.core.seeds import derive, generator, seeded
from archscout.estimators.naswot import PRESETS
from archscout.nn.batches import one_batch
from archscout.nn.executor import WeightBank
from archscout.nn.probes import labelled_batch
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201")
TASK = image_task((3, 32, 32), 10, 256)
PROBLEM = Problem(SPACE, TASK)
BATCH = 64
Side = Callable[[Architecture, int], object]

PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad-norm": lambda weight, gradient: gradient.norm(),
    "snip": lambda weight, gradient: (weight * gradient).abs().sum(),
    "plain": lambda weight, gradient: (weight * gradient).sum(),
}
TOGETHER = {
    "snip + grad-norm": ("snip", "grad-norm"),
    "snip + grad-norm + plain + fisher": ("snip", "grad-norm", "plain", "fisher"),
}
SINGLE = ("naswot", "jacob-cov", "snip", "grad-norm", "synflow")
JOBS = (*SINGLE, *TOGETHER)
PASSES = {"naswot": 1, "jacob-cov": 2, "synflow": None}
"""Multiples of a forward pass that the limit counts; 3 for the others, None for no limit (synflow is in double precision)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=12, help="architectures")
    parser.add_argument("--jobs", nargs="+", default=JOBS, choices=JOBS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--ranks", type=int, metavar="N", help="architectures for the rank agreement of presets")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "proxies_speed.csv")
    parser.add_argument("--peak", nargs=2, metavar=("JOB", "SIDE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.peak:
        print(peak(*asked.peak, asked.seed))
    elif asked.memory:
        memory(asked)
    elif asked.ranks:
        ranks(asked)
    else:
        speed(asked)


def speed(asked: argparse.Namespace) -> None:
    """Seconds of both sides, their ratio and the multiple of the limit."""
    check()
    rate = {batch: conv_rate(batch) for batch in (BATCH, 128)}
    print(f"convolutions: {rate[BATCH] / 1e9:.0f} GFLOP/s at {BATCH} images, {rate[128] / 1e9:.0f} at 128")
    cells = drawn(asked.cells, asked.seed)
    for job in asked.jobs:
        ours, theirs = side(job, "ours"), side(job, "reference")
        for one in (ours, theirs):
            one(cells[0], derive(asked.seed, "warm"))
        times = [(timed(ours, cell, asked.seed, job), timed(theirs, cell, asked.seed, job)) for cell in cells]
        report(asked, job, times, limit(job, cells, rate))


def report(asked: argparse.Namespace, job: str, times: list[tuple[float, float]], least: float | None) -> None:
    ours, theirs = (sum(column) for column in zip(*times, strict=True))
    pairs = sorted(reference / own for own, reference in times)
    low, _, high = quantiles(pairs, n=4) if len(pairs) > 1 else (pairs[0],) * 3
    multiple = f", {ours / least:.2f} times the limit" if least else ""
    print(
        f"{job}: ours {ours / len(times):.3f} s, reference {theirs / len(times):.3f} s a network; "
        f"{theirs / ours:.2f} times faster (median pair {median(pairs):.2f}){multiple}",
        flush=True,
    )
    rows = [("times faster than the plain way", theirs / ours, low, high), ("times faster, median pair", median(pairs), low, high)]
    if least:
        rows.append(("times the time of its convolutions alone", ours / least, "", ""))
    write(
        asked,
        [{"claim": f"{job}, {len(times)} cells: {what}", **_numbers(*rest), "seconds": round(ours, 3)} for what, *rest in rows],
    )


def memory(asked: argparse.Namespace) -> None:
    """Peak memory (MiB) of scoring three architectures."""
    for job in asked.jobs:
        found = {}
        for which in ("ours", "reference"):
            command = [sys.executable, __file__, "--peak", job, which, "--seed", str(asked.seed)]
            found[which] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{job}: ours {found['ours']:.0f} MiB, reference {found['reference']:.0f} MiB", flush=True)
        rows = [{"claim": f"{job}: peak memory in MiB, {which}", **_numbers(value)} for which, value in found.items()]
        write(asked, rows)


def peak(job: str, which: str, seed: int) -> float:
    """MiB of this process after three architectures, the heaviest among them."""
    for cell in (SPACE.at(1462), *drawn(2, seed)):
        side(job, which)(cell, seed)
    # Not `ru_maxrss`, which may hold the peak of the process that started this one.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return float(line.split()[1]) / 1024


def ranks(asked: argparse.Namespace) -> None:
    """Spearman correlation of cheaper scores with the full ones, and how much less they cost. Failures rank last."""
    cells = drawn(asked.ranks, asked.seed)
    cheaper = {"naswot": [{"preset": name} for name in PRESETS]}
    cheaper |= {name: [{"precision": "bf16"}] for name in ("snip", "grad-norm", "fisher")}
    for name, settings in cheaper.items():
        full, seconds = scores(name, {}, cells, asked.seed)
        for setting in settings:
            found, less = scores(name, setting, cells, asked.seed)
            agreement = float(spearmanr(full, found)[0])
            [label] = setting.values()
            print(
                f"{name} {label}: rank agreement {agreement:.4f} over {len(cells)}, {seconds / less:.2f} times faster", flush=True
            )
            claim = f"{name} {label}, {len(cells)} cells: Spearman correlation with the full score"
            faster = f"{name} {label}, {len(cells)} cells: times faster than the full score"
            write(asked, [{"claim": claim, **_numbers(agreement)}, {"claim": faster, **_numbers(seconds / less)}])


def scores(name: str, settings: dict[str, object], cells: list[Architecture], seed: int) -> tuple[list[float], float]:
    judge = catalogue.make("estimators", name, **settings)
    values, start = [], process_time()
    for cell in cells:
        try:
            values.append(judge.estimate(PROBLEM, cell, seed=seed).value)
        except CandidateError:
            values.append(float("-inf"))
    return values, process_time() - start


def drawn(count: int, seed: int) -> list[Architecture]:
    return [sample(SPACE, generator(seed, "cells", number)) for number in range(count)]


def timed(one: Side, cell: Architecture, seed: int, job: str) -> float:
    """CPU seconds; the seed names the job, so that no pass of another job is remembered."""
    start = process_time()
    one(cell, derive(seed, job))
    return process_time() - start


def side(job: str, which: str) -> Side:
    """What scores an architecture for a job: our judges, or the plain way once for every judge."""
    if which == "ours":
        settings: dict[str, object] = {} if job in ("naswot", "synflow") else {"batch": BATCH}
        judges = [catalogue.make("estimators", name, **settings) for name in TOGETHER.get(job, (job,))]
        return lambda cell, seed: [judged(judge, cell, seed) for judge in judges]
    return lambda cell, seed: [reference(name, cell, seed) for name in TOGETHER.get(job, (job,))]


def judged(judge: object, cell: Architecture, seed: int) -> float:
    try:
        return float(judge.estimate(PROBLEM, cell, seed=seed).value)  # type: ignore[attr-defined]
    except CandidateError:
        return float("-inf")


def reference(name: str, cell: Architecture, seed: int) -> float:
    with seeded(seed):
        network = plain.Network(cell.choices, 10).train() if name == "naswot" else plain.copied(cell.choices, 10)
    if name == "synflow":
        return plain.synflow(network, TASK.shape)
    if name == "naswot":
        return plain.naswot(network, naswot_images())
    images, labels = labelled_batch(PROBLEM, BATCH, "train")
    images = images.contiguous()
    if name == "jacob-cov":
        return plain.jacob_cov(network, images)
    return plain.fisher(network, images, labels) if name == "fisher" else plain.by_gradients(network, images, labels, PARTS[name])


def naswot_images() -> Tensor:
    return one_batch(TASK, "train", 128, seed=derive(0, "naswot", TASK.fingerprint))[0].contiguous()


def check() -> None:
    """Equal weights give equal values, here in float32 and up to its rounding; the tests compare gradients, too, in float64."""
    cell, seed = SPACE.at(1462), 3
    images, labels = labelled_batch(PROBLEM, BATCH, "train")
    images = images.contiguous()
    for name in ("naswot", "snip", "grad-norm", "fisher", "synflow"):
        network = plain.Network(cell.choices, 10).train()
        give_weights(network, cell, seed, torch.float64 if name == "synflow" else torch.float32)
        settings: dict[str, object] = {"naswot": {"only_live": True}, "synflow": {}}.get(name, {"batch": BATCH})
        ours = judged(catalogue.make("estimators", name, **settings), cell, seed)
        if name == "naswot":
            theirs = plain.naswot(network, naswot_images(), twice=False)
        elif name == "synflow":
            theirs = log(plain.synflow(network, TASK.shape))
        elif name == "fisher":
            theirs = plain.fisher(network, images, labels)
        else:
            theirs = plain.by_gradients(network, images, labels, PARTS[name])
        assert abs(ours - theirs) < 2e-3 * abs(theirs), (
            f"{name}: equal weights must give equal values, but {ours} and {theirs} came"
        )


def give_weights(network: nn.Module, cell: Architecture, seed: int, kind: torch.dtype) -> None:
    """Hand the weights that `seed` draws to a plain network, whose layers run in the order of the graph's."""
    network.to(kind)
    graph = SPACE.operations(cell, TASK)
    weights = WeightBank(kind).draw(graph, seed)
    order: list[nn.Module] = []
    handles = [layer.register_forward_hook(lambda layer, _, output: order.append(layer)) for layer in plain.layers(network)]
    network(torch.zeros(2, *TASK.shape, dtype=kind))
    for handle in handles:
        handle.remove()
    names = [operation.name for operation in graph.operations if operation.kind in ("conv", "linear")]
    with torch.no_grad():
        for layer, name in zip(order, names, strict=True):
            layer.weight.copy_(weights[f"{name}.weight"])
            if layer.bias is not None:
                layer.bias.copy_(weights[f"{name}.bias"])


def limit(job: str, cells: list[Architecture], rate: dict[int, float]) -> float | None:
    """Seconds that the convolutions of all cells would take alone."""
    passes = PASSES.get(job, 3)
    if passes is None:
        return None
    batch = 128 if job == "naswot" else BATCH
    macs = sum(SPACE.operations(cell, TASK).live().macs for cell in cells)
    return 2 * macs * batch * passes / rate[batch]


def conv_rate(batch: int) -> float:
    """FLOP/s of 3 x 3 convolutions of the three stages, in channels-last memory: the harmonic mean of the best of seven each."""
    inverse = 0.0
    for channels, extent in ((16, 32), (32, 16), (64, 8)):
        images = torch.randn(batch, channels, extent, extent).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
        seconds = []
        for _ in range(8):
            start = process_time()
            F.conv2d(images, weight, padding=1)
            seconds.append(process_time() - start)
        inverse += min(seconds) / (2 * 9 * channels**2 * extent**2 * batch) / 3
    return 1 / inverse


def write(asked: argparse.Namespace, rows: list[dict[str, object]]) -> None:
    """Rows with the command that measures them again."""
    words = {"--memory": asked.memory, f"--ranks {asked.ranks}": asked.ranks}
    command = " ".join(["python benchmarks/proxies.py", *(word for word, given in words.items() if given)])
    if not (asked.memory or asked.ranks):
        command += f" --cells {asked.cells}"
    append(
        asked.results, [{**row, "command": command, "seed": asked.seed, "commit": commit(), "machine": machine(1)} for row in rows]
    )


def _numbers(ours: float, low: float | str = "", high: float | str = "") -> dict[str, object]:
    return {"ours": _short(ours), "low": _short(low), "high": _short(high)}


def _short(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.5g}")


if __name__ == "__main__":
    main()
