"""NASWOT through the functional executor against the plain way: a module per architecture, hooks on its ReLUs, float products.

    OMP_NUM_THREADS=1 python benchmarks/naswot.py

Both sides in turn in one process, CPU time, NAS-Bench-201 cells at full size (C = 16, N = 5, batch 128). With equal weights the
scores are equal, which is checked first. The plain side makes one forward pass; the published code makes two and a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import process_time

import torch
from torch import nn

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.problem import Problem
from archscout.core.protocols import Estimator
from archscout.core.seeds import derive, seeded
from archscout.nn.batches import one_batch
from archscout.nn.executor import WeightBank
from archscout.testing.tasks import image_task

CELLS = (11472, 6111, 1462)
SPACE = catalogue.make("spaces", "nas201")
TASK = image_task((3, 32, 32), 10, 256)
PROBLEM = Problem(SPACE, TASK)


def plain(architecture: Architecture, seed: int, *, weights_of_executor: bool = False) -> float:
    """log|det K| of a module, by hooks."""
    with seeded(seed):
        network = SPACE.build(architecture, TASK).train()
    if weights_of_executor:
        network.load_state_dict(dict(WeightBank().draw(SPACE.operations(architecture, TASK), seed)), strict=False)
    x, _ = one_batch(TASK, "train", 128, seed=derive(0, "naswot", TASK.fingerprint))
    kernel = torch.zeros(128, 128, dtype=torch.float64)

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        code = (inputs[0] > 0).reshape(128, -1).float()
        kernel.add_(code @ code.t() + (1 - code) @ (1 - code).t())

    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(hook)
    with torch.no_grad():
        network(x)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def main() -> None:
    torch.set_num_threads(1)
    judges = {precision: catalogue.make("estimators", "naswot", precision=precision) for precision in ("fp32", "bf16")}
    sides = {"plain": plain, **{name: _judged(judge) for name, judge in judges.items()}}
    for cell in CELLS:
        architecture = SPACE.at(cell)
        ours, theirs = sides["fp32"](architecture, 0), plain(architecture, 0, weights_of_executor=True)
        assert abs(ours - theirs) < 1e-6 * abs(theirs), "equal weights must give equal scores"
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(5):
            for name, score in sides.items():
                start = process_time()
                score(architecture, turn)
                times[name].append(process_time() - start)
        found = {name: median(values[1:]) for name, values in times.items()}
        gains = ", ".join(f"{name} {value:.3f} s ({found['plain'] / value:.2f} times)" for name, value in found.items())
        print(f"cell {cell}: {gains}")


def _judged(judge: Estimator) -> Callable[[Architecture, int], float]:
    return lambda architecture, seed: judge.estimate(PROBLEM, architecture, seed=seed).value


if __name__ == "__main__":
    main()
