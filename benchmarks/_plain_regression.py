"""The regression of signals the plain way: a tree of modules with hooks for taps, PyTorch's own normalisations and optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.operations import OperationGraph
from archscout.core.seeds import derive
from archscout.core.signals import SignalTask
from archscout.nn.network import Network, combine
from archscout.nn.regression import STAGE_WEIGHTS, stage_ends
from archscout.nn.signals import noise


class Tapped(nn.Module):
    """A network with a head at the end of each stage: images (B, C, H, W) -> (B, channels, 8, 8) each."""

    def __init__(self, graph: OperationGraph, channels: Sequence[int]) -> None:
        super().__init__()
        self.network = Network(graph)
        self.taps = stage_ends(graph)
        widths = [graph.operations[tap].shape[0] for tap in self.taps]
        heads = [
            nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, count, 1)) for width, count in zip(widths, channels, strict=True)
        ]
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> list[Tensor]:
        values = {0: x}
        for position, operation, layer, _ in self.network._steps:
            inputs = [values[i] for i in operation.inputs]
            values[position] = layer(inputs[0]) if layer is not None else combine(operation, inputs)
        return [head(F.interpolate(values[tap], (8, 8))) for head, tap in zip(self.heads, self.taps, strict=True)]


def train(
    network: Tapped, task: SignalTask, x: Tensor, targets: Sequence[Tensor], *, steps: int, every: int, seed: int
) -> dict[int, float]:
    """The error at every evaluated step, as `nn.regression.regress` gives it."""
    filters = [weight for name, weight in network.named_parameters() if "weight" in name and weight.dim() > 1]
    others = [weight for name, weight in network.named_parameters() if not ("weight" in name and weight.dim() > 1)]
    groups = [{"params": filters, "weight_decay": 4e-5}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, 0.1, 0.9)
    sources = {name: torch.Generator().manual_seed(derive(seed, name)) for name in ("noise", "noise of evaluations")}
    trace = {}

    def error() -> Tensor:
        source = sources["noise" if network.training else "noise of evaluations"]
        outputs = network(x + noise(task, x, source) if task.noise_level else x)
        return sum(w * F.mse_loss(found, wanted) for w, found, wanted in zip(STAGE_WEIGHTS, outputs, targets, strict=True))

    for step in range(1, steps + 1):
        network.train()
        optimiser.zero_grad()
        error().backward()
        optimiser.step()
        if step % every == 0:
            network.eval()
            with torch.no_grad():
                trace[step] = float(error())
    return trace


def copy_weights(network: Tapped, weights: dict[str, Tensor]) -> None:
    """Give it the weights of a `MapRegressor`, with the names that those have there."""
    names = {f"signal_head{k + 1}.{ours}": f"heads.{k}.{theirs}" for k in range(3) for ours, theirs in (("norm", 0), ("conv", 1))}
    own = dict(network.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            layer, _, part = name.rpartition(".")
            own[f"{names.get(layer, f'network.{layer}')}.{part}"].copy_(weight)
