"""What `OperationGraph.work` is fitted to: the time of training steps of random networks, one thread, CPU time.

    OMP_NUM_THREADS=1 python benchmarks/work.py

Prints the fitted cost of each kind of operation relative to a MAC of a full convolution, and the errors of fit and MACs alone.
"""

from __future__ import annotations

from math import prod
from time import process_time

import numpy as np
import torch
from scipy.optimize import nnls
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.operations import OperationGraph
from archscout.core.problem import IMAGE_CLASSIFICATION, Problem, Task
from archscout.core.seeds import generator
from archscout.engine.threads import keep_memory
from archscout.nn.measure import acceptance
from archscout.nn.recipe import Recipe, new_network, optimizer_of

BATCH = 64


def main() -> None:
    torch.set_num_threads(1)
    keep_memory()
    task = Task("none", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "none")
    rng, rows, predicted = generator(5), [], []
    for name, macs, count in (("mobile", 20e6, 9), ("mobile", 6e6, 9), ("handmade", 20e6, 9), ("nas201", 60e6, 5)):
        space = catalogue.make("spaces", name)
        accept = acceptance(Problem(space, task, {"macs": macs}))
        for _ in range(count):
            architecture = sample(space, rng, accept)
            graph = space.operations(architecture, task)
            network = new_network(space, architecture, task, seed=0)
            rows.append([milliseconds(network, task), *features(graph)])
            predicted.append(graph.work / 1e6)
    table = np.array(rows)
    scaled = table[:, 1:] / table[:, :1]
    cost, _ = nnls(scaled, np.ones(len(table)))
    print("relative to a MAC of a full convolution (elements and layers: in MACs):")
    for label, value in zip(("full", "pointwise", "depthwise", "element", "layer"), cost / cost[0], strict=True):
        print(f"  {label:10}{value * (1e6 if label == 'layer' else 1):.3g}")
    for label, value in (
        ("fit", scaled @ cost),
        ("work", _scaled(predicted, table)),
        ("MACs", _scaled(table[:, 1:4].sum(1), table)),
    ):
        print(f"{label}: root mean square of the relative error {np.sqrt(np.mean((value - 1) ** 2)):.2f}")


def _scaled(cost: object, table: np.ndarray) -> np.ndarray:
    ratio = np.asarray(cost) / table[:, 0]
    best, _ = nnls(ratio[:, None], np.ones(len(ratio)))
    return ratio * best[0]


def milliseconds(network: torch.nn.Module, task: Task) -> float:
    """CPU milliseconds of a training step per image: the second fastest of seven."""
    network.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(network, Recipe())
    x = torch.randn(BATCH, *task.shape).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, task.classes, (BATCH,))
    times = []
    for _ in range(7):
        start = process_time()
        loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(process_time() - start)
    return sorted(times)[1] * 1000 / BATCH


def features(graph: OperationGraph) -> list[float]:
    """Millions of MACs of full, pointwise and depthwise convolutions, millions of other elements, layers."""
    full = pointwise = depthwise = elements = layers = 0
    for operation in graph.operations:
        if operation.kind in ("conv", "linear"):
            macs = prod(graph.weight_shape(operation) or ()) * prod(operation.shape[1:])
            full += macs if operation.groups == 1 and operation.kernel != (1, 1) else 0
            pointwise += macs if operation.groups == 1 and operation.kernel == (1, 1) else 0
            depthwise += macs if operation.groups > 1 else 0
            layers += 1
        elif operation.kind not in ("input", "narrow", "zero", "shift", "global_pool"):
            elements += prod(operation.shape)
    return [full / 1e6, pointwise / 1e6, depthwise / 1e6, elements / 1e6, float(layers)]


if __name__ == "__main__":
    main()
