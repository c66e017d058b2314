"""The plain way to score NAS-Bench-201 cells, as published code goes about it: the side that `proxies.py` compares with.

Per architecture a tree of modules in which every edge holds all five candidates, though one is run. For NASWOT a forward and a
backward pass mark the modules that matter, and a second forward pass multiplies the codes of every module whose name says ReLU. The
others build the network a second time as a copy and differentiate all of its parameters. Written for this comparison; no published
code is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Choices = Sequence[int]


class ReLUConvBN(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.op = nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


class Cell(nn.Module):
    def __init__(self, channels: int, choices: Choices) -> None:
        super().__init__()
        self.choices = tuple(choices)
        self.edges = nn.ModuleList(self._candidates(channels) for _ in choices)

    @staticmethod
    def _candidates(channels: int) -> nn.ModuleList:
        pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        convs = [ReLUConvBN(channels, channels, kernel) for kernel in (1, 3)]
        return nn.ModuleList([Zero(), nn.Identity(), *convs, pool])

    def forward(self, x: Tensor) -> Tensor:
        nodes, edge = [x], 0
        for node in (1, 2, 3):
            terms = []
            for source in range(node):
                terms.append(self.edges[edge][self.choices[edge]](nodes[source]))
                edge += 1
            nodes.append(sum(terms[1:], terms[0]))
        return nodes[-1]


class Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(ReLUConvBN(channels // 2, channels, 3, 2), ReLUConvBN(channels, channels, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(channels // 2, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.shortcut(x)


class Network(nn.Module):
    """Images (B, 3, H, W) -> logits (B, K)."""

    def __init__(self, choices: Choices, classes: int, channels: int = 16, cells: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        body: list[nn.Module] = []
        for width in (channels, 2 * channels, 4 * channels):
            body += [Reduction(width)] if width > channels else []
            body += [Cell(width, choices) for _ in range(cells)]
        self.body = nn.Sequential(*body)
        self.last = nn.Sequential(nn.BatchNorm2d(4 * channels), nn.ReLU())
        self.head = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.body(self.stem(x))).mean((2, 3)))


def copied(choices: Choices, classes: int) -> Network:
    """A network built twice: the second takes over the weights of the first."""
    first, second = Network(choices, classes), Network(choices, classes)
    second.load_state_dict(first.state_dict())
    return second.train()


def layers(network: nn.Module) -> list[nn.Module]:
    """All convolutions and linear layers, run or not."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def naswot(network: nn.Module, images: Tensor, *, twice: bool = True) -> float:
    """log |det K| over what the logits depend on.

    twice: as published, with every module whose name says ReLU, so that the blocks around a ReLU count it a second time.
    """
    count = len(images)
    kernel = np.zeros((count, count))
    reached: set[nn.Module] = set()
    found = [module for module in network.modules() if "ReLU" in type(module).__name__ and (twice or isinstance(module, nn.ReLU))]

    def mark(module: nn.Module, inputs: object, outputs: object) -> None:
        reached.add(module)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module in reached:
            code = (inputs[0] > 0).reshape(count, -1).float()
            kernel.__iadd__((code @ code.t() + (1 - code) @ (1 - code).t()).detach().numpy())

    for module in found:
        module.register_full_backward_hook(mark)
    logits = network(images.clone().requires_grad_())
    logits.backward(torch.ones_like(logits))
    for module in found:
        module.register_forward_hook(add)
    network(images.clone())
    return float(np.linalg.slogdet(kernel)[1])


def jacob_cov(network: nn.Module, images: Tensor) -> float:
    images = images.clone().requires_grad_()
    logits = network(images)
    logits.backward(torch.ones_like(logits))
    assert images.grad is not None
    spectrum, _ = np.linalg.eig(np.corrcoef(images.grad.reshape(len(images), -1).numpy()))
    return -float(np.sum(np.log(spectrum + 1e-5) + 1 / (spectrum + 1e-5)).real)


def by_gradients(network: nn.Module, images: Tensor, labels: Tensor, part: Callable[[Tensor, Tensor], Tensor]) -> float:
    """The sum of part(weight, gradient) over the layers."""
    F.cross_entropy(network(images), labels).backward()
    pairs = [(layer.weight.detach(), layer.weight.grad) for layer in layers(network)]
    return sum(float(part(weight, gradient)) for weight, gradient in pairs if gradient is not None)


def fisher(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """With the activations and gradients of all layers kept until the end."""
    outputs: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        outputs[layer] = output

    for layer in layers(network):
        layer.register_forward_hook(keep)
    F.cross_entropy(network(images), labels).backward()
    total = 0.0
    for layer, output in outputs.items():
        assert output.grad is not None
        signal = (output.detach() * output.grad).reshape(len(output), output.shape[1], -1).sum(2)
        total += float(signal.square().mean(0).sum() / 2) * layer.weight[0].numel()
    return total


def synflow(network: nn.Module, shape: Sequence[int]) -> float:
    network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    with torch.no_grad():
        for value in network.state_dict().values():
            value.abs_()
    network(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    pairs = [(layer.weight.detach(), layer.weight.grad) for layer in layers(network)]
    return sum(float((weight * gradient).abs().sum()) for weight, gradient in pairs if gradient is not None)
