"""First and second derivatives of every primitive operation, in the executor and in the module, against differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from archscout.core.operations import GraphBuilder, Kind, OperationGraph
from archscout.nn.executor import Program, WeightBank
from archscout.nn.network import Network

SHAPE, BATCH = (2, 4, 4), 2
GATES = torch.tensor([[0.7, -0.4, 1.3]], dtype=torch.float64)
CASES: dict[str, Callable[[GraphBuilder], int]] = {
    "conv": lambda b: b.conv(b.input, 3, 3),
    "conv, strided, with bias": lambda b: b.conv(b.input, 2, 3, stride=2, bias=True),
    "conv, strided, of one pixel": lambda b: b.conv(b.input, 2, 1, stride=2),
    "conv, depthwise, dilated": lambda b: b.conv(b.input, 2, 3, groups=2, dilation=2),
    "batch_norm": lambda b: b.batch_norm(b.input),
    "batch_norm, without scale": lambda b: b.batch_norm(b.input, affine=False),
    "relu": lambda b: b.relu(b.input),
    "silu": lambda b: b.activation(b.input, "silu"),
    "sigmoid": lambda b: b.activation(b.input, "sigmoid"),
    "max_pool": lambda b: b.max_pool(b.input, 3),
    "max_pool, strided": lambda b: b.max_pool(b.input, 2, stride=2, padding=0),
    "avg_pool": lambda b: b.avg_pool(b.input, 3),
    "avg_pool, strided": lambda b: b.avg_pool(b.input, 3, stride=2),
    "global_pool": lambda b: b.global_pool(b.input),
    "global_pool, kept": lambda b: b.global_pool(b.input, keep=True),
    "linear": lambda b: b.linear(b.global_pool(b.input), 3),
    "add": lambda b: b.add(b.input, b.conv(b.input, 2), b.input),
    "mix": lambda b: b.mix([(b.input, (0, 0)), (b.conv(b.input, 2), (0, 1)), (b.input, (0, 2))]),
    "mix, of a normalisation": lambda b: b.mix([(b.batch_norm(b.conv(b.input, 2)), (0, 0)), (b.max_pool(b.input, 3), (0, 1))]),
    "multiply": lambda b: b.multiply(b.input, b.activation(b.global_pool(b.input, keep=True), "sigmoid")),
    "concat": lambda b: b.concat(b.input, b.conv(b.input, 1)),
    "narrow": lambda b: b.narrow(b.input, 1, 1),
    "zero": lambda b: b.add(b.zero(b.input, stride=2), b.conv(b.input, 2, stride=2)),
    "shift": lambda b: b.shift(b.input),
    "crop": lambda b: b.crop(b.input),
}


def graph_of(case: str) -> OperationGraph:
    builder = GraphBuilder(SHAPE)
    return builder.finish(CASES[case](builder))


def images() -> torch.Tensor:
    """All values differ, and none lies at a kink."""
    count = BATCH * SHAPE[0] * SHAPE[1] * SHAPE[2]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return torch.linspace(-1, 1, count, dtype=torch.float64)[order].view(BATCH, *SHAPE).requires_grad_()


def checked(function: Callable[..., torch.Tensor], arguments: list[torch.Tensor]) -> None:
    assert function(*arguments).abs().sum() > 0
    assert gradcheck(function, arguments) and gradgradcheck(function, arguments, gen_non_contig_grad_outputs=True)


def test_every_kind_is_here():
    assert {case.split(",")[0] for case in CASES} == set(get_args(Kind)) - {"input"}


@pytest.mark.parametrize("case", CASES)
def test_the_executor(case):
    graph, program = graph_of(case), Program(graph_of(case))
    bank = {name: weight.clone().requires_grad_() for name, weight in WeightBank(torch.float64).draw(graph, 0).items()}
    gates = [GATES.clone().requires_grad_()] if any(operation.kind == "mix" for operation in graph.operations) else []

    def run(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        weights = dict(zip(bank, rest, strict=False))
        return program.run(weights, x, gates=rest[-1] if gates else None)[0]

    checked(run, [images(), *bank.values(), *gates])


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("mix")])
def test_the_module(case):
    network = Network(graph_of(case)).double()
    weights = dict(network.named_parameters())

    def run(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, dict(zip(weights, rest, strict=True)), (x,))

    checked(run, [images(), *weights.values()])
