"""Graphs of typed vertices: the encoder against plain object graphs, the decoder's losses against step by step, what is written."""

from itertools import product

import numpy as np
import pytest
import torch
from _metad2a_reference import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.seeds import generator, seeded
from archscout.core.vertices import VertexEncoding, vertex_encoding_of, vertices_of
from archscout.nn.vertex_graphs import GraphDecoder, GraphEncoder

NAS201 = catalogue.make("spaces", "nas201")


def types_of(space, count, seed=0):
    rng = generator(seed, "types")
    return torch.tensor([vertices_of(space, sample(space, rng)) for _ in range(count)])


def decoder(edges, graph="dataflow", encoding=None, width=10):
    with seeded(0):
        return GraphDecoder(encoding or vertex_encoding_of(NAS201, graph), width, width, edges)


@pytest.mark.parametrize("name", ["nas201", "mobile", "darts"])
@pytest.mark.parametrize("graph", ["dataflow", "reference"])
def test_the_batch_encoder_gives_what_object_graphs_give(name, graph):
    space = catalogue.make("spaces", name)
    with seeded(0):
        encoder = GraphEncoder(vertex_encoding_of(space, graph), 12, 7)
    types = types_of(space, 9)
    assert torch.allclose(encoder(types), encode(encoder, types), atol=1e-5)


@st.composite
def encodings(draw):
    count = draw(st.integers(3, 7))
    pairs = [(u, v) for v in range(count) for u in range(v)]
    edges = tuple(pair for pair in pairs if draw(st.booleans()))
    return VertexEncoding(5, ((0,), *((2, 3, 4),) * (count - 2), (1,)), edges)


@settings(max_examples=30, deadline=None)
@given(encodings(), st.integers(0, 100))
def test_any_edges_are_read_as_object_graphs_are(encoding, seed):
    with seeded(seed):
        encoder = GraphEncoder(encoding, 6, 4)
    rng = generator(seed)
    types = torch.tensor([[0, *rng.integers(2, 5, encoding.count - 2), 1] for _ in range(3)])
    assert torch.allclose(encoder(types), encode(encoder, types), atol=1e-5)


def plain_losses(module, latent, types):
    """Vertex by vertex and edge by edge, of one graph."""
    encoding, cell = module.encoding, module.messages.cell

    def hot(kind):
        return F.one_hot(torch.tensor([kind]), encoding.types).float()

    def sent(u):
        given = torch.cat([states[u], F.one_hot(torch.tensor([u]), encoding.count)], -1)
        return torch.sigmoid(module.messages.gate(given)) * module.messages.message(given)

    def state(kind, sources):
        return cell(hot(kind), sum((sent(u) for u in sources), torch.zeros(1, module.messages.hidden)))

    states = [cell(hot(0), torch.tanh(module.start(latent[None])))]
    doubt = edge_doubt = 0.0
    for v in range(1, encoding.count):
        logits = module.types(states[-1])[0]
        if module.edges == "fixed":
            logits[[kind for kind in range(encoding.types) if kind not in encoding.allowed[v]]] = float("-inf")
        doubt -= torch.log_softmax(logits, -1)[types[v]]
        before = {u for u in range(v) if (u, v) in encoding.edges}
        if module.edges == "fixed":
            states.append(state(types[v], sorted(before | {v - 1})))
            continue
        now, taken = state(types[v], []), []
        for u in reversed(range(v)):
            chance = torch.sigmoid(module.edge(torch.cat([states[u], now], -1)))[0, 0]
            edge_doubt -= torch.log(chance if u in before else 1 - chance)
            taken += [u] if u in before else []
            now = state(types[v], taken)
        states.append(now)
    return float(doubt), float(edge_doubt)


@pytest.mark.parametrize(("edges", "graph"), [("fixed", "dataflow"), ("generated", "dataflow"), ("generated", "reference")])
@torch.no_grad()
def test_losses_are_those_of_writing_step_by_step(edges, graph):
    module, types = decoder(edges, graph), types_of(NAS201, 4)
    latent = torch.from_numpy(generator(0).standard_normal((4, 10))).float()
    found = module(latent, types)
    for place in range(4):
        plain = plain_losses(module, latent[place], types[place].tolist())
        assert (float(found.types[place]), float(found.edges[place])) == pytest.approx(plain, abs=1e-4)


@torch.no_grad()
def test_likelihoods_of_all_graphs_of_a_small_space_sum_to_one():
    encoding = VertexEncoding(5, ((0,), (2, 3), (3, 4), (2, 3, 4), (1,)), ((0, 1), (1, 2), (2, 3), (3, 4)))
    module = decoder("fixed", encoding=encoding)
    every = torch.tensor(list(product(*encoding.allowed)))
    assert float(torch.exp(-module(torch.ones(len(every), 10), every).types).sum()) == pytest.approx(1, abs=1e-5)


def test_graphs_are_drawn_as_likely_as_the_losses_say():
    encoding = VertexEncoding(4, ((0,), (2, 3), (2, 3), (1,)), ((0, 1), (1, 2), (2, 3)))
    module = decoder("fixed", encoding=encoding)
    every = torch.tensor(list(product(*encoding.allowed)))
    with torch.no_grad():
        chances = torch.exp(-module(torch.ones(len(every), 10), every).types).numpy()
    drawn = module.write(torch.ones(4000, 10), generator(0)).types
    shares = [(drawn == row).all(1).mean() for row in every.numpy()]
    assert np.abs(np.array(shares) - chances).max() < 0.03


def test_untrained_reference_decoders_are_seldom_valid():
    module = decoder("generated", "reference", width=56)
    written = module.write(torch.from_numpy(generator(0).standard_normal((2000, 56))).float(), generator(1))
    assert 0 < written.legal.mean() < (5 / 7) ** 6
    ended = (written.types[:, 1:-1] == 1).any(1)
    assert ended.any() and not written.legal[ended].any()
    assert not np.tril(written.edges).any()


def test_written_graphs_are_legal_where_edges_are_fixed():
    module = decoder("fixed")
    written = module.write(torch.from_numpy(generator(0).standard_normal((300, 10))).float(), generator(1))
    assert written.legal.all() and (written.edges == module.encoding.adjacency()).all()
    assert len(np.unique(written.types, axis=0)) > 200


def test_writing_repeats_with_the_generator_and_leaves_global_states_alone():
    module, latent = decoder("generated"), torch.ones(20, 10)
    before = torch.get_rng_state()
    one, same, other = (module.write(latent, generator(seed)) for seed in (0, 0, 1))
    assert (one.types == same.types).all() and (one.edges == same.edges).all() and (one.types != other.types).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_written_dangles_at_the_output():
    written = decoder("generated").write(torch.ones(500, 10), generator(0))
    whole = ~(written.types[:, 1:-1] == 1).any(1)
    assert written.edges[whole][:, :-1].any(2).all()


@pytest.mark.slow
@pytest.mark.parametrize(("edges", "graph"), [("fixed", "dataflow"), ("generated", "reference")])
def test_pairs_are_learned_by_heart(edges, graph):
    module, types = decoder(edges, graph, width=32), types_of(NAS201, 32)
    latent = torch.from_numpy(generator(0).standard_normal((32, 32))).float()
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    for _ in range(250):
        lost = module(latent, types)
        optimizer.zero_grad()
        (lost.types + lost.edges).mean().backward()
        optimizer.step()
    assert float(lost.types.detach().mean()) < 0.05
    written = module.eval().write(latent)
    assert (written.types == types.numpy()).all() and (written.edges == module.encoding.adjacency()).all()
