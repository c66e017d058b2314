"""NAS-Bench-201's supernet as one would write it plainly: a module list per edge, every operation on every edge, summed by weights.

The side that `benchmarks/supernets.py` compares with. Its modules carry the names that `nas201.supernet` gives the weights, so that
the two can hold the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


class Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, affine: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(torch.relu(x)))


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0.0


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Mixture(nn.Module):
    """All operations of an edge."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.none, self.skip_connect = Zero(), nn.Identity()
        self.nor_conv_1x1, self.nor_conv_3x3 = Convolution(channels, channels, 1), Convolution(channels, channels, 3)
        self.avg_pool_3x3 = Pool()

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """All of them, or where a single weight is not nought that one."""
        pairs = list(zip(OPERATIONS, weights, strict=True))
        if int((weights != 0).sum()) == 1:
            pairs = [pair for pair in pairs if pair[1] != 0]
        return sum(weight * getattr(self, name)(x) for name, weight in pairs)  # type: ignore[return-value]


class Cell(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        for source, target in EDGES:
            setattr(self, f"edge{source}{target}", Mixture(channels))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        nodes = [x]
        for target in (1, 2, 3):
            terms = [
                getattr(self, f"edge{source}{target}")(nodes[source], weights[place])
                for place, (source, end) in enumerate(EDGES)
                if end == target
            ]
            nodes.append(sum(terms))  # type: ignore[arg-type]
        return nodes[-1]


class Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels // 2, channels, 3, 2, affine=True)
        self.second = Convolution(channels, channels, 3, affine=True)
        self.shortcut = nn.Module()
        self.shortcut.conv = nn.Conv2d(channels // 2, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut.conv(F.avg_pool2d(x, 2, 2)) + self.second(self.first(x))


class PlainSupernet(nn.Module):
    """images (B, C, H, W), weights (6, 5) -> logits (B, K)."""

    def __init__(self, channels: int, cells: int, classes: int) -> None:
        super().__init__()
        self.cells = cells
        self.stem = nn.Module()
        self.stem.conv, self.stem.norm = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        for stage in range(3):
            holder = nn.Module()
            if stage:
                holder.reduction = Reduction(channels << stage)
            for number in range(cells):
                setattr(holder, f"cell{number + 1}", Cell(channels << stage))
            setattr(self, f"stage{stage + 1}", holder)
        self.head = nn.Module()
        self.head.norm, self.head.linear = nn.BatchNorm2d(channels * 4), nn.Linear(channels * 4, classes)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        x = self.stem.norm(self.stem.conv(x))
        for stage in range(3):
            holder = getattr(self, f"stage{stage + 1}")
            x = holder.reduction(x) if stage else x
            for number in range(self.cells):
                x = getattr(holder, f"cell{number + 1}")(x, weights)
        return self.head.linear(torch.relu(self.head.norm(x)).mean((2, 3)))


def load(plain: PlainSupernet, weights: dict[str, Tensor]) -> Sequence[str]:
    """Give it these weights; names that did not fit."""
    return plain.load_state_dict(weights, strict=False).unexpected_keys
