"""The recurrent supernet: mixtures against loops, the two ways to share weights, hidden states, masks, loose ends."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archscout.core.seeds import seeded
from archscout.nn import gates as gating
from archscout.nn.recurrent_supernet import RecurrentSupernet
from archscout.nn.supernet import supernet_of
from archscout.spaces.rnn import Rnn
from archscout.testing.tasks import token_task

TOKENS = token_task(length=5, classes=7)
ACTIVATIONS = (torch.tanh, torch.relu, torch.sigmoid, lambda x: x)
NAMES = ("tanh", "relu", "sigmoid", "identity")
SHARES = ("node", "node_prev_act")


def folded(share: str = "node", **settings: object) -> RecurrentSupernet:
    space = Rnn(**{"nodes": 4, "size": 6, "share": share, **settings})
    net = supernet_of(space, TOKENS, seed=0, init="kaiming-normal")
    assert isinstance(net, RecurrentSupernet)
    return net.double()


def tokens(batch: int = 3, length: int = 5) -> Tensor:
    return torch.randint(7, (batch, length), generator=torch.Generator().manual_seed(0))


def mixture(net: RecurrentSupernet, seed: int = 0, shut: float = 0.0) -> Tensor:
    """Positive gates, some of them shut."""
    draw = torch.Generator().manual_seed(seed)
    gates = gating.softmax(torch.randn(net.gate_shape, generator=draw), net.valid).double()
    return gates * (torch.rand(net.gate_shape, generator=draw) >= shut)


def by_loops(net: RecurrentSupernet, x: Tensor, gates: Tensor) -> Tensor:
    """The logits, one edge and activation after another."""
    weights = dict(net.named_parameters())
    shared = net.network.share == "node"
    h = torch.zeros(len(x), net.network.size).double()
    rows = []

    def normalised(s: Tensor) -> Tensor:
        return (s - s.mean(0)) / (s.var(0, correction=0) + 1e-5).sqrt() if shared else s

    for token in x.T:
        c, u = (torch.cat([weights["embedding.weight"][token], h], 1) @ weights["node0.weight"]).chunk(2, 1)
        states = [normalised(h + torch.sigmoid(c) * (torch.tanh(u) - h))]
        row = 0
        for node in range(1, net.network.nodes + 1):
            total = torch.zeros_like(h)
            for source in range(node):
                for column, (name, function) in enumerate(zip(NAMES, ACTIVATIONS, strict=True), 1):
                    matrix = weights[f"node{node}.weight" if shared else f"node{node}.s{source}.{name}.weight"]
                    c, u = (states[source] @ matrix).chunk(2, 1)
                    total = total + gates[row, column] * (states[source] + torch.sigmoid(c) * (function(u) - states[source]))
                row += 1
            states.append(normalised(total))
        h = torch.stack(states[1:]).mean(0)
        rows.append(h @ weights["embedding.weight"].T + weights["bias"])
    return torch.stack(rows, 1)


@pytest.mark.parametrize("share", SHARES)
@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_a_mixture_is_the_sum_of_its_terms(share: str, seed: int, shut: float) -> None:
    net = folded(share)
    gates, x = mixture(net, seed, shut), tokens()
    wanted = by_loops(net, x, gates)
    assert torch.allclose(net(x, gates), wanted, atol=1e-9)
    assert torch.allclose(net(x, gates, execute="all"), wanted, atol=1e-9)


@pytest.mark.parametrize("share", SHARES)
def test_gates_that_are_not_computed_get_no_gradient(share: str) -> None:
    net = folded(share)
    found = {}
    for execute in ("selected", "all"):
        gates = mixture(net, 1, shut=0.6).requires_grad_()
        [found[execute]] = torch.autograd.grad(net(tokens(), gates, execute=execute).square().sum(), gates)
    computed = mixture(net, 1, shut=0.6) != 0
    computed[:, 0] = False  # `none` has no term
    assert torch.equal(found["selected"] != 0, computed)
    assert torch.allclose(found["selected"][computed], found["all"][computed])
    assert bool((found["all"][:, 1:] != 0).all()) and not bool(found["all"][:, 0].any())


@pytest.mark.parametrize(("share", "matrices"), [("node", 4), ("node_prev_act", 4 * (1 + 2 + 3 + 4))])
def test_what_has_a_matrix_of_its_own(share: str, matrices: int) -> None:
    net = folded(share)
    assert sum(parameter.shape == (6, 12) for parameter in net.parameters()) == matrices
    first, second = (net.space.architecture(choices) for choices in ([0, 0] * 4, [0, 0] * 3 + [1, 0]))
    common = net.active_parameters(first) & net.active_parameters(second)
    assert len(common) == (7 if share == "node" else 6)


@pytest.mark.parametrize("share", SHARES)
def test_the_hidden_state_goes_on_where_it_stopped(share: str) -> None:
    net = folded(share)
    gates, x = mixture(net), tokens(length=9)
    first, states = net.run(x[:, :4], gates)
    second, [(h,)] = net.run(x[:, 4:], gates, states=states)
    assert torch.allclose(torch.cat([first, second], 1), net(x, gates)) and h.shape == (3, 6)
    assert not torch.allclose(second, net(x[:, 4:], gates))


@pytest.mark.parametrize("part", ["embedding", "input", "hidden", "output"])
def test_masks_come_from_the_generator_alone(part: str) -> None:
    net = folded("node_prev_act", **{f"dropout_{part}": 0.5})
    gates, x = mixture(net), tokens()
    state = torch.random.get_rng_state()

    def drawn(seed: int) -> Tensor:
        return net(x, gates, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(0), drawn(0)) and not torch.allclose(drawn(0), drawn(1))
    assert torch.equal(net.train()(x, gates), net.eval()(x, gates)), "nothing is dropped without a generator"
    assert torch.equal(state, torch.random.get_rng_state())


def test_equal_generators_give_a_network_and_a_path_equal_masks() -> None:
    net = folded("node_prev_act", dropout_hidden=0.5, dropout_output=0.5)
    architecture = net.space.architecture([0, 0, 1, 1, 2, 2, 0, 3])
    child = net.extract(architecture).train()
    path = net(tokens(), net.gates(architecture), generator=torch.Generator().manual_seed(3))
    with seeded(3):
        assert torch.allclose(child(tokens()), path)


def test_loose_ends_are_the_nodes_that_no_open_gate_reads() -> None:
    every, loose = folded("node_prev_act"), folded("node_prev_act", ends="loose")
    star, chain = (every.space.architecture(choices) for choices in ([0, 0, 0, 1, 0, 2, 0, 3], [0, 0, 1, 1, 2, 2, 3, 3]))
    x = tokens()
    assert torch.equal(every(x, every.gates(star)), loose(x, loose.gates(star)))
    last = loose.run(x[:, :1], loose.gates(chain))[1][0][0]
    assert not torch.allclose(last, every.run(x[:, :1], every.gates(chain))[1][0][0])
    model = loose.extract(chain)
    assert torch.allclose(last, model.run(x[:, :1])[1][0][0]) and model._outputs == (4,)


@pytest.mark.parametrize(("init", "scale"), [("default", 0.04 / 3**0.5), ("kaiming-normal", (2 / 60) ** 0.5), ("normal", 1.0)])
def test_weights_are_drawn_as_wanted(init: str, scale: float) -> None:
    net = supernet_of(Rnn(nodes=3, size=60), TOKENS, seed=1, init=init)
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    assert not weights["bias"].any()
    assert float(weights["node2.weight"].std()) == pytest.approx(scale, rel=0.03)
    assert float(weights["embedding.weight"].std()) == pytest.approx(scale, rel=0.15)
    assert float(weights["node0.weight"].std()) == pytest.approx(scale if init != "kaiming-normal" else (2 / 120) ** 0.5, rel=0.03)
