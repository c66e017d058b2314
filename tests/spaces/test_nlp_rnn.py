"""NAS-Bench-NLP: recipes as architectures and back, what is drawn, and the recorded sizes."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout.core.architecture import Architecture
from archscout.core.draw import neighbours
from archscout.core.errors import UserError
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task
from archscout.core.seeds import generator, seeded
from archscout.nn.measure import acceptance, counts, smallest_count
from archscout.spaces.nlp_rnn import NlpRnn
from archscout.testing.tasks import token_task

SPACE = NlpRnn()
PENN = Task("ptb", LANGUAGE_MODELLING, (70,), 10_000, "none")
Graph = dict[str, dict[str, Any]]


def node(operation: str, *inputs: str) -> dict[str, Any]:
    return {"op": operation, "input": list(inputs)}


GATE = node("linear", "x", "h_prev_0")
RNN: Graph = {"f": GATE, "h_new_0": node("activation_tanh", "f")}
LSTM: Graph = {
    "i": GATE, "i_act": node("activation_tanh", "i"),
    "j": GATE, "j_act": node("activation_sigm", "j"),
    "f": GATE, "f_act": node("activation_sigm", "f"),
    "o": GATE, "o_act": node("activation_tanh", "o"),
    "kept": node("elementwise_prod", "f_act", "h_prev_1"),
    "added": node("elementwise_prod", "i_act", "j_act"),
    "h_new_1": node("elementwise_sum", "kept", "added"),
    "h_new_1_act": node("activation_tanh", "h_new_1"),
    "h_new_0": node("elementwise_prod", "h_new_1_act", "o_act"),
}  # fmt: skip
GRU: Graph = {
    "r": GATE, "r_act": node("activation_sigm", "r"),
    "z": GATE, "z_act": node("activation_sigm", "z"),
    "rh": node("elementwise_prod", "r_act", "h_prev_0"),
    "h_tilde": node("linear", "x", "rh"), "h_tilde_act": node("activation_tanh", "h_tilde"),
    "h_new_0": node("blend", "z_act", "h_prev_0", "h_tilde_act"),
}  # fmt: skip
# Recorded cells with their recorded numbers of parameters: one with three states and a blend, one whose state reads a new state.
RECORDED: list[tuple[Graph, int]] = [
    (
        {
            "node_0": node("linear", "h_prev_0", "h_prev_2"), "node_1": node("activation_leaky_relu", "node_0"),
            "node_2": node("blend", "h_prev_0", "h_prev_2", "h_prev_1"), "node_3": node("linear", "h_prev_2", "node_1"),
            "node_6": node("linear", "h_prev_2", "x"), "h_new_0": node("activation_sigm", "node_6"),
            "h_new_1": node("elementwise_sum", "node_1", "node_2"), "h_new_2": node("activation_sigm", "node_3"),
        },
        9_254_800,
    ),
    (
        {
            "node_0": node("linear", "x", "h_prev_0"), "node_13": node("linear", "h_new_1", "h_prev_1"),
            "h_new_0": node("activation_tanh", "node_13"), "h_new_1": node("activation_tanh", "node_0"),
        },
        7_493_200,
    ),
]  # fmt: skip


def read(graph: Graph) -> Architecture:
    found = SPACE.from_genotype(json.dumps(graph))
    assert found is not None
    return found


@pytest.mark.parametrize(("graph", "params"), [(RNN, 5_731_600), (GRU, 9_174_800), (LSTM, 4_010_000 + 4 * 1_721_600), *RECORDED])
def test_recorded_numbers_of_parameters(graph: Graph, params: int) -> None:
    architecture = read(graph)
    assert counts(SPACE, architecture, PENN)["params"] == params
    with torch.device("meta"):
        network = SPACE.build(architecture, PENN)
    assert sum(parameter.numel() for parameter in network.parameters()) == params


def test_multiplications_of_a_window() -> None:
    per_token = 600 * (400 + 600) + 600 * (600 + 600) + 400 * (600 + 400) + 400 * 10_000
    assert counts(SPACE, read(RNN), PENN)["macs"] == 70 * per_token


def shuffled(graph: Graph, seed: int) -> Graph:
    """The same cell with other names, in another order of nodes and of those inputs whose order does not matter."""
    random = Random(seed)
    names = [name for name in graph if not name.startswith("h_new_") or len(name) > len("h_new_0")]
    renamed = {name: f"n{number}" for number, name in enumerate(random.sample(names, len(names)))}
    entries = []
    for name, entry in graph.items():
        inputs = [renamed.get(i, i) for i in entry["input"]]
        if entry["op"] != "blend":
            random.shuffle(inputs)
        entries.append((renamed.get(name, name), node(entry["op"], *inputs)))
    random.shuffle(entries)
    return dict(entries)


@pytest.mark.parametrize("graph", [RNN, LSTM, GRU, *(graph for graph, _ in RECORDED)])
def test_equal_cells_are_equal_architectures(graph: Graph) -> None:
    assert {read(shuffled(graph, seed)) for seed in range(20)} == {read(graph)}


@settings(max_examples=60)
@given(st.integers(0, 100_000))
def test_drawn_cells_lead_back_whatever_their_nodes_are_called(seed: int) -> None:
    architecture = SPACE.sample(generator(seed))
    text = SPACE.genotype(architecture)
    assert SPACE.from_genotype(text) == architecture
    assert read(shuffled(json.loads(text), seed)) == architecture
    assert SPACE.architecture(architecture.choices) == architecture


def test_symmetric_cells_keep_their_order() -> None:
    # Four alike gates, added up in two pairs: any of 8 symmetries leads to the same text.
    graph: Graph = {f"g{i}": GATE for i in range(4)}
    graph |= {"one": node("elementwise_sum", "g0", "g2"), "two": node("elementwise_sum", "g1", "g3")}
    graph["h_new_0"] = node("elementwise_prod", "one", "two")
    assert {read(shuffled(graph, seed)) for seed in range(30)} == {read(graph)}


def test_the_order_of_a_blend_matters_and_that_of_a_sum_does_not() -> None:
    def blended(*inputs: str) -> Architecture:
        return read({"a": GATE, "b": GATE, "b_act": node("activation_tanh", "b"), "h_new_0": node("blend", *inputs)})

    assert blended("a", "b_act", "h_prev_0") != blended("b_act", "a", "h_prev_0")
    assert read(RNN) == read({"f": node("linear", "h_prev_0", "x"), "h_new_0": node("activation_tanh", "f")})


def test_nodes_and_inputs_without_effect_go() -> None:
    idle = {**RNN, "idle": node("activation_sigm", "f"), "h_new_0_copy": node("activation_tanh", "idle")}
    assert read(idle) == read(RNN)
    choices = list(read(RNN).choices)
    choices[4 + 2] = 3  # the activation's second input
    choices[12] = 2  # a node whose inputs are missing, which nobody reads
    assert SPACE.architecture(choices) == read(RNN)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"h_new_0": node("linear", "x", "h_prev_0", "h_prev_0")}, "different inputs"),
        ({"h_new_0": node("linear", "x")}, "takes 2 or 3"),
        ({"h_new_0": node("activation_tanh", "x")}, "x goes into linear operations only"),
        ({"f": GATE, "h_new_1": node("activation_tanh", "f")}, "h_new_0, h_new_1"),
        ({"f": GATE}, "1 to 3 new hidden states"),
        ({}, "1 to 3 new hidden states"),
        ({"f": node("linear", "x", "h_prev_1"), "h_new_0": node("activation_tanh", "f")}, "reads x, h_prev_0, but x, h_prev_1"),
        ({"h_new_0": node("elementwise_sum", "h_prev_0", "h_prev_1")}, "reads x, h_prev_0, but"),
        ({"a": node("linear", "x", "h_new_0"), "h_new_0": node("activation_tanh", "a")}, "no cycles"),
        ({"h_new_0": node("linear", "x", "h_prev_9")}, "unknown inputs"),
        ({"h_new_0": node("__import__", "x", "h_prev_0")}, "known: linear, blend"),
        ({"h_new_0": {"op": "linear"}}, "reads like"),
        ({"h_new_0": {"op": ["linear"], "input": ["x"]}}, "reads like"),
        ({"h_new_0": {"op": "linear", "input": "x"}}, "reads like"),
        ({"h_new_0": {"op": "linear", "input": ["x", 1]}}, "reads like"),
        ({"h_new_0": {"op": "linear", "input": ["x", "h_prev_0"], "more": 1}}, "reads like"),
        ({"x": GATE, "h_new_0": node("activation_tanh", "x")}, "names each node once"),
        ({"h_new_0": GATE, **{f"h_new_{i}": node("linear", "x", f"h_prev_{i}") for i in (1, 2, 3)}}, "unknown inputs"),
    ],
)  # fmt: skip
def test_what_is_no_cell_is_refused(graph: Graph, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        SPACE.from_genotype(json.dumps(graph))
    assert "\n" not in str(refused.value)


def test_too_large_recipes_are_refused() -> None:
    chain: Graph = {"n0": GATE} | {f"n{i}": node("activation_tanh", f"n{i - 1}") for i in range(1, 25)}
    assert read({**{k: v for k, v in chain.items() if k != "n24"}, "h_new_0": node("activation_tanh", "n23")})
    with pytest.raises(UserError, match="at most 25 nodes, but 26 came"):
        read({**chain, "h_new_0": node("activation_tanh", "n24")})
    with pytest.raises(UserError, match="at most 20,000 characters"):
        SPACE.from_genotype(json.dumps(RNN) + " " * 20_000)
    twice = '{"f": {"op": "linear", "input": ["x", "h_prev_0"]}, "f": {"op": "linear", "input": ["x", "h_prev_0"]}}'
    with pytest.raises(UserError, match="names each node once"):
        SPACE.from_genotype(twice)


@pytest.mark.parametrize("text", ["", "rnn", "[]", "{", '{"f": }', '{"a":' * 3000, "{'f': 1}", json.dumps(RNN) + "}"])
def test_other_texts_are_no_recipes(text: str) -> None:
    assert SPACE.from_genotype(text) is None


def test_choices_that_are_no_cell_are_refused() -> None:
    zeros = [0] * len(SPACE.decisions)
    with pytest.raises(UserError, match="new hidden states"):
        SPACE.architecture(zeros)
    with pytest.raises(UserError, match="node 3 of the recipe is used, but absent"):
        SPACE.architecture([*zeros[:-3], 4, 0, 0])


def test_draws_keep_to_the_published_generator() -> None:
    rng = generator(0)
    sizes, states = [], set()
    for _ in range(150):
        graph: Graph = json.loads(SPACE.genotype(SPACE.sample(rng)))
        new = [name for name in graph if name.startswith("h_new_")]
        activated = {name for name, entry in graph.items() if entry["op"].startswith("activation")}
        for name, entry in graph.items():
            sources = [i for i in entry["input"] if i in graph]
            if entry["op"] == "linear":
                assert activated.issuperset(sources)
            elif entry["op"].startswith("activation"):
                assert [graph[i]["op"] for i in sources] == ["linear"]
            assert name not in new or not any(i.startswith("h_prev") for i in entry["input"])
        sizes.append(len(graph))
        states.add(len(new))
    assert states == {1, 2, 3} and 2 <= min(sizes) <= 4 and 12 <= max(sizes) <= 25


def test_mutants_grow_and_shrink() -> None:
    rng = generator(1)
    sizes = set()
    for _ in range(200):
        child = SPACE.mutate(read(GRU), rng)
        assert child != read(GRU) and SPACE.architecture(child.choices) == child
        sizes.add(len(json.loads(SPACE.genotype(child))))
    assert min(sizes) < len(GRU) < max(sizes)
    assert SPACE.mutate(SPACE.smallest(), rng) != SPACE.smallest()


def test_neighbours_are_cells() -> None:
    around = neighbours(SPACE, read(RNN))
    assert read({"f": GATE, "h_new_0": node("activation_sigm", "f")}) in around
    assert all(SPACE.architecture(found.choices) == found for found in around)


def test_limits_on_parameters_are_met() -> None:
    problem = Problem(SPACE, PENN, {"params": 7_500_000})
    accept = acceptance(problem)
    assert accept is not None and accept(read(RNN)) and not accept(read(LSTM))
    assert smallest_count(problem, "params") == counts(SPACE, SPACE.smallest(), PENN)["params"] == 5_731_600


def test_a_cell_of_the_space_runs_as_its_recipe_says() -> None:
    space, task = NlpRnn(embedding=4, hidden=5, layers=1), token_task(length=3, classes=6)
    with seeded(0):
        network = space.build(read(GRU), task).double()
    cell, tokens = network.cells[0], torch.tensor([[1, 4, 2]])
    order = [operation for operation, _ in cell._nodes]
    h = torch.zeros(1, 4).double()
    outputs = []
    for x in network.embedding(tokens).unbind(1):
        values = {0: x, 1: h}
        for number, ((operation, sources), layer) in enumerate(zip(cell._nodes, cell.layers, strict=True), start=2):
            first, *others = (values[i] for i in sources)
            match operation:
                case "linear":
                    result = torch.cat([first, *others], 1) @ layer.weight.T + layer.bias
                case "activation_sigm":
                    result = 1 / (1 + torch.exp(-first))
                case "activation_tanh":
                    result = torch.tanh(first)
                case "elementwise_prod":
                    result = first * others[0]
                case _:
                    result = first * others[0] + (1 - first) * others[1]
            values[number] = result
        h = values[1 + len(order)]
        outputs.append(h @ network.embedding.weight.T)
    assert order[-1] == "blend"
    assert torch.allclose(network(tokens), torch.stack(outputs, 1))


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="sizes are at least 1"):
        NlpRnn(layers=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        NlpRnn(dropout_input=1.0)
