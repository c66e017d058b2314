"""The graph encoder as it is usually written: a graph is an object, and every vertex asks its neighbours for their states.

With the weights of `nn.vertex_graphs.GraphEncoder`; slow, and plain enough to be believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from archscout.nn.vertex_graphs import GraphEncoder, Messages


@dataclass
class Vertex:
    number: int
    kind: int
    before: list[Vertex] = field(default_factory=list)
    after: list[Vertex] = field(default_factory=list)


def graph_of(types: list[int], edges: tuple[tuple[int, int], ...]) -> list[Vertex]:
    """The vertices of a graph, joined."""
    vertices = [Vertex(number, kind) for number, kind in enumerate(types)]
    for source, target in edges:
        vertices[target].before.append(vertices[source])
        vertices[source].after.append(vertices[target])
    return vertices


def encode(encoder: GraphEncoder, types: Tensor) -> Tensor:
    """The codes (N, code) of graphs with types (N, V), one after the other."""
    return torch.stack([_encoded(encoder, graph_of(row, encoder.encoding.edges)) for row in types.tolist()])


def _encoded(encoder: GraphEncoder, graph: list[Vertex]) -> Tensor:
    last = _walk(encoder.forwards, graph, [[u.number for u in vertex.before] for vertex in graph], encoder)
    first = _walk(encoder.backwards, graph[::-1], [[u.number for u in vertex.after] for vertex in graph], encoder)
    return encoder.code(encoder.unify(torch.cat([last, first])))


def _walk(messages: Messages, order: list[Vertex], sources: list[list[int]], encoder: GraphEncoder) -> Tensor:
    states: dict[int, Tensor] = {}
    state = torch.zeros(messages.hidden)
    for vertex in order:
        reached = torch.zeros(messages.hidden)
        for source in sources[vertex.number]:
            given = torch.cat([states[source], _one_hot(source, encoder.encoding.count)])
            reached = reached + torch.sigmoid(messages.gate(given)) * messages.message(given)
        state = messages.cell(_one_hot(vertex.kind, encoder.encoding.types)[None], reached[None])[0]
        states[vertex.number] = state
    return state


def _one_hot(place: int, count: int) -> Tensor:
    return torch.zeros(count).index_fill_(0, torch.tensor(place), 1.0)
