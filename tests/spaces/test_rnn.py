"""The recurrent cells of ENAS, NAO and DARTS: the equations, the published forms, the published sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.draw import mutate, sample
from archscout.core.encoding import architecture_of, tokens_of
from archscout.core.errors import UserError
from archscout.core.highway import ACTIVATIONS
from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.core.seeds import generator, seeded
from archscout.nn.highway import HighwayModel
from archscout.nn.measure import counts
from archscout.nn.supernet import supernet_of
from archscout.spaces.rnn import Rnn
from archscout.testing.tasks import token_task

PENN = Task("ptb", LANGUAGE_MODELLING, (35,), 10_000, "none")
TOKENS = token_task(length=5, classes=7)
SMALL = Rnn(nodes=6, size=4)
NUMPYS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "identity": lambda x: x}
# As the two programs of NAO print them, with their own readings of the numbers 2 and 3.
NAO = "0 1 0 1 1 1 3 0 4 1 4 1 5 1 1 1 7 1 1 1 1 2", ("tanh", "relu", "identity", "sigmoid")
NAO_WS = "0 1 1 1 2 2 1 2 4 1 4 1 4 1 7 1 8 2 1 0 4 1", ("tanh", "relu", "sigmoid", "identity")

drawn = st.integers(0, 100_000).map(lambda seed: sample(SMALL, generator(seed)))


def built(space: Rnn, architecture: Architecture, scale: float = 20.0) -> HighwayModel:
    """In double precision, with weights large enough for every unit to matter."""
    with seeded(1):
        model = space.build(architecture, TOKENS).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        model.bias.copy_(torch.arange(7))
    return model


def by_hand(
    model: HighwayModel, tokens: list[int], h: np.ndarray, averaged: list[int], masks: Sequence[np.ndarray] = (1.0,) * 4
) -> tuple[np.ndarray, np.ndarray]:
    """The logits (L, V) of one sequence and the last hidden state, one unit after another as nao.md writes them.

    masks: of the embedded tokens, of what the cell reads of them, of the states, of the outputs.
    """
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    sigmoid, size = NUMPYS["sigmoid"], len(h)
    embedded, of_input, of_hidden, of_output = masks
    rows = []
    for token in tokens:
        x = weights["embedding.weight"][token] * embedded * of_input
        c, u = np.split(np.concatenate([x, h * of_hidden]) @ weights["node0.weight"], 2)
        states = [h + sigmoid(c) * (np.tanh(u) - h)]
        for number, (source, activation) in enumerate(model.nodes, 1):
            state, read, matrix = states[source], states[source] * of_hidden, weights[f"node{number}.weight"]
            new = np.empty(size)
            for unit in range(size):
                gate = sigmoid(sum(read[i] * matrix[i, unit] for i in range(size)))
                value = NUMPYS[activation](sum(read[i] * matrix[i, size + unit] for i in range(size)))
                new[unit] = state[unit] + gate * (value - state[unit])
            states.append(new)
        h = sum(states[node] for node in averaged) / len(averaged)
        rows.append(weights["embedding.weight"] @ (h * of_output) + weights["bias"])
    return np.array(rows), h


@settings(max_examples=20)
@given(drawn, st.booleans())
def test_a_network_is_what_its_equations_say(architecture: Architecture, loose: bool) -> None:
    model = built(Rnn(nodes=6, size=4, ends="loose" if loose else "all"), architecture)
    read = {source for source, _ in model.nodes}
    averaged = [node for node in range(1, 7) if not loose or node not in read]
    h = np.linspace(-1, 1, 4)
    tokens = [1, 4, 2, 2, 6]
    logits, [(end,)] = model.run(torch.tensor([tokens, tokens[::-1]]), [(torch.tensor(np.stack([h, -h])),)])
    wanted, last = by_hand(model, tokens, h, averaged)
    assert np.allclose(logits[0].detach(), wanted, atol=1e-12) and np.allclose(end[0].detach(), last, atol=1e-12)
    assert np.ptp(wanted - wanted.mean(0), axis=0).max() > 1e-3, "the tokens should matter"


def test_identities_without_weights_halve_the_state_at_every_node() -> None:
    # s_0 = h / 2 and s_i = s_p / 2: the chain of three nodes gives h (1/4 + 1/8 + 1/16) / 3.
    space = Rnn(nodes=3, size=4)
    model = built(space, space.architecture([0, 3, 1, 3, 2, 3]), scale=0.0)
    _, [(h,)] = model.run(torch.tensor([[0]]), [(torch.ones(1, 4).double(),)])
    assert torch.allclose(h, torch.full((1, 4), 7 / 48).double())


def test_the_hidden_state_goes_on_where_it_stopped() -> None:
    model = built(SMALL, sample(SMALL, generator(3)))
    tokens = torch.arange(24).view(2, 12) % 7
    first, states = model.run(tokens[:, :5])
    second, _ = model.run(tokens[:, 5:], states)
    assert torch.allclose(torch.cat([first, second], 1), model(tokens))
    assert torch.equal(model(tokens, states), model.run(tokens, states)[0])


def test_weights_are_tied_and_drawn_within_their_bounds() -> None:
    with seeded(0):
        model = Rnn(nodes=2, size=40).build(Rnn(nodes=2, size=40).architecture([0, 0, 1, 1]), TOKENS)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes == {
        "embedding.weight": (7, 40), "bias": (7,), "node0.weight": (80, 80), "node1.weight": (40, 80), "node2.weight": (40, 80)
    }  # fmt: skip
    assert not model.bias.any()
    assert all(0.038 < p.abs().max() <= 0.04 for name, p in model.named_parameters() if name != "bias")
    tokens = torch.tensor([[1, 2]])
    F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    assert bool(model.embedding.weight.grad[5].any()), "the decoder is the embedding"


def test_masks_stay_for_a_sequence_and_act_in_training_alone() -> None:
    shares = {"dropout_embedding": 0.2, "dropout_input": 0.5, "dropout_hidden": 0.25, "dropout_output": 0.75}
    space = Rnn(nodes=6, size=8, **shares)
    model = built(space, sample(space, generator(0)))
    tokens = [1, 4, 2, 2, 6]
    with seeded(0):
        logits = model.train()(torch.tensor([tokens]))[0].detach()
    with seeded(0):
        kept = [torch.empty(8).bernoulli_(1 - share).div_(1 - share).numpy() for share in shares.values()]
    wanted, _ = by_hand(model, tokens, np.zeros(8), [*range(1, 7)], kept)
    assert np.allclose(logits, wanted, atol=1e-6)
    plain, _ = by_hand(model, tokens, np.zeros(8), [*range(1, 7)])
    assert np.allclose(model.eval()(torch.tensor([tokens]))[0].detach(), plain, atol=1e-6)


@pytest.mark.parametrize("part", ["embedding", "input", "hidden", "output"])
def test_every_dropout_has_a_part(part: str) -> None:
    space = Rnn(nodes=3, size=8, **{f"dropout_{part}": 0.5})
    model = built(space, sample(space, generator(0)))
    tokens = torch.tensor([[1, 2, 3]] * 2)
    assert torch.equal(model.eval()(tokens)[0], model(tokens)[1])
    with seeded(0):
        one, other = model.train()(tokens)
    assert not torch.allclose(one, other)
    with seeded(0):
        assert torch.equal(one, model(tokens)[0])


@pytest.mark.parametrize(("nodes", "params"), [(8, 22_960_000), (11, 27_295_000)])
def test_published_sizes(nodes: int, params: int) -> None:
    space = Rnn(nodes=nodes)
    architecture = sample(space, generator(0))
    found = counts(space, architecture, PENN)
    assert found["params"] == params == 10_000 * 850 + 10_000 + 1700 * 1700 + nodes * 850 * 1700
    assert found["macs"] == 35 * (params - 10_000)
    with torch.device("meta"):
        model = space.build(architecture, PENN)
    assert sum(parameter.numel() for parameter in model.parameters()) == params


@pytest.mark.parametrize(("name", "published"), [("NAO", NAO), ("nao_ws", NAO_WS)])
@pytest.mark.parametrize("ends", ["all", "loose"])
def test_known_cells_are_the_published_integers(name: str, published: tuple[str, tuple[str, ...]], ends: str) -> None:
    integers, reading = published
    numbers = [int(number) for number in integers.split()]
    nodes = list(zip(numbers[::2], (reading[number] for number in numbers[1::2]), strict=True))
    space = Rnn(nodes=11, size=4, ends=ends)
    architecture = space.from_genotype(f" {name} ")
    assert architecture is not None and list(space.build(architecture, TOKENS).nodes) == nodes
    assert space.from_genotype(space.genotype(architecture)) == architecture


def test_the_published_text() -> None:
    space = Rnn(nodes=3)
    text = "Genotype(recurrent=[('sigmoid', 0), ('identity', 1), ('relu', 1)], concat=range(1, 4))"
    architecture = space.architecture([0, 2, 1, 3, 1, 1])
    assert space.genotype(architecture) == text and space.from_genotype(text) == architecture
    assert space.from_genotype("Genotype([('sigmoid', 0), ('identity', 1), ('relu', 1)], [1, 2, 3])") == architecture
    loose = Rnn(nodes=3, ends="loose")
    assert loose.genotype(architecture) == text.replace("range(1, 4)", "[2, 3]")
    assert loose.from_genotype(loose.genotype(architecture)) == architecture


@settings(max_examples=50)
@given(drawn, st.integers(0, 1000))
def test_the_numbers_of_nodes_do_not_matter_to_the_signature(architecture: Architecture, seed: int) -> None:
    nodes = [(source, activation) for activation, source in zip(architecture.choices[1::2], architecture.choices[::2], strict=True)]
    rng = generator(seed)
    places = {0: 0}  # of the old numbers: any order in which predecessors come first
    while len(places) <= len(nodes):
        ready = [node for node in range(1, 7) if node not in places and nodes[node - 1][0] in places]
        places[ready[int(rng.integers(len(ready)))]] = len(places)
    moved: list[int] = []
    for node in sorted(places, key=lambda node: places[node])[1:]:
        moved += [places[nodes[node - 1][0]], nodes[node - 1][1]]
    other = SMALL.architecture(moved)
    assert SMALL.signature(other) == SMALL.signature(architecture)
    [activations] = {tuple(sorted(a.choices[1::2])) for a in (architecture, other)}
    child = mutate(SMALL, architecture, rng)
    if tuple(sorted(child.choices[1::2])) != activations:
        assert SMALL.signature(child) != SMALL.signature(architecture)


def test_a_chain_is_no_star() -> None:
    space = Rnn(nodes=2)
    assert space.signature(space.architecture([0, 0, 1, 0])) != space.signature(space.architecture([0, 0, 0, 0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NAO", "have 3 nodes here, but 11 came; set space.nodes=11"),
        ("Genotype(recurrent=[('relu', 0), ('relu', 2), ('relu', 0)], concat=range(1, 4))", "node 2 .* 0 to 1, but 'relu' and 2"),
        ("Genotype(recurrent=[('relu', 0), ('elu', 0), ('relu', 0)], concat=range(1, 4))", "has the activation tanh, relu"),
        ("Genotype(recurrent=[('relu', -1), ('relu', 0), ('relu', 0)], concat=range(1, 4))", "node 1 .* but 'relu' and -1"),
        ("Genotype(recurrent=[('relu', 0), ('relu', 0), ('relu', 0)], concat=range(1, 3))", r"\[1, 2, 3\], but \[1, 2\] came"),
    ],
)
def test_cells_of_other_spaces_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Rnn(nodes=3).from_genotype(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "DARTS_V2", "Genotype(", "Genotype()", "Genotype(recurrent=open('x'), concat=range(1, 4))",
        "Genotype(recurrent=[('relu', 0)])", "Genotype(recurrent=[3], concat=range(1, 2))", "Genotype(" + "(" * 3000,
        "Genotype([('relu', 0)], range(1, 2), [('relu', 0)])", "print(recurrent=[('relu', 0)], concat=range(1, 2))",
    ],
)  # fmt: skip
def test_other_texts_are_no_cells(text: str) -> None:
    assert Rnn(nodes=1).from_genotype(text) is None


@settings(max_examples=50)
@given(st.integers(0, 100_000))
def test_weights_of_gates_speak_for_the_strongest_edge_of_each_node(seed: int) -> None:
    weights = generator(seed).random((21, 5))
    found = SMALL.derived(weights)
    rows = {edge: row for row, edge in enumerate((source, node) for node in range(1, 7) for source in range(node))}
    for node, (source, activation) in enumerate(zip(found.choices[::2], found.choices[1::2], strict=True), 1):
        strongest = max(weights[rows[other, node], 1 + a] for other in range(node) for a in range(4))
        assert weights[rows[source, node], 1 + activation] == strongest
    assert [row.name for row in SMALL.gates][:4] == ["edge 0->1", "edge 0->2", "edge 1->2", "edge 0->3"]
    assert SMALL.gates[0].options == ("none", *ACTIVATIONS)


def test_nothing_is_never_chosen_and_the_first_of_equals_is() -> None:
    weights = np.zeros((3, 5))
    weights[:, 0] = 1.0
    assert Rnn(nodes=2).derived(weights).choices == (0, 0, 0, 0)


@settings(max_examples=10)
@given(drawn)
def test_a_path_without_normalisation_is_the_network_of_the_space(architecture: Architecture) -> None:
    space = Rnn(nodes=6, size=4, share="node_prev_act")
    net = supernet_of(space, TOKENS, seed=0, init="kaiming-normal").double()
    model = space.build(architecture, TOKENS).double()
    model.load_state_dict(dict(zip(model.state_dict(), net.extract(architecture).state_dict().values(), strict=True)))
    tokens = torch.arange(10).view(2, 5) % 7
    assert torch.allclose(net(tokens, net.gates(architecture)), model(tokens), atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 0}, "nodes lies between 1 and 99 and size is at least 1, but 0 and 850 came"),
        ({"nodes": 100}, "but 100 and 850 came"),
        ({"size": 0}, "but 8 and 0 came"),
        ({"dropout_hidden": 1.0}, "between 0 and 1"),
        ({"ends": "some"}, "ends is all or loose, but 'some' came"),
        ({"share": "edge"}, "share is node or node_prev_act, but 'edge' came"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rnn(**settings)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("NAO", (1, 13, 1, 13, 2, 13, 4, 12, 5, 13, 5, 13, 6, 13, 2, 13, 8, 13, 2, 13, 2, 15)),
        ("NAO_WS", (1, 13, 2, 13, 3, 14, 2, 14, 5, 13, 5, 13, 5, 13, 8, 13, 9, 14, 2, 12, 5, 13)),
    ],
)
def test_known_cells_have_the_published_tokens(name, tokens):
    space = Rnn(nodes=11)
    known = space.from_genotype(name)
    assert tokens_of(space, known) == tokens
    assert architecture_of(space, tokens) == known
