"""Networks that read and write graphs of typed vertices: an encoder in both directions and an autoregressive decoder.

Zhang, Jiang, Cui, Garnett and Chen 2019 (D-VAE, arXiv 1904.11088), as MetaD2A uses it (`meta/metad2a.py`). Vertices are visited in
their topological order. With h_u the state of a vertex, m_v what reaches v, and 1_t the one-hot vector of a type or a vertex:

    message_u = sigmoid(Wg [h_u, 1_u] + bg) * (Wm [h_u, 1_u])
    m_v = sum over the predecessors u of v of message_u
    h_v = GRU(1_type(v), m_v)

A message depends on its sender alone, so each is computed once for the whole batch: V steps of a recurrent cell on (B, H), instead
of a walk over every graph's edges.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.vertices import OUTPUT, VertexEncoding

Edges = Literal["fixed", "generated"]


class Losses(NamedTuple):
    """Negative log likelihoods of B graphs, (B,) each: of their types, and of their edges (0 where those are fixed)."""

    types: Tensor
    edges: Tensor


class Written(NamedTuple):
    """N graphs that were written.

    types: (N, V); where a graph ended early, INPUT stands after its output. edges: (N, V, V), from row to column.
    legal: (N,) whether a graph has V vertices with types that are allowed there, and all inner ones have edges to and from others.
    """

    types: NDArray[np.int64]
    edges: NDArray[np.bool_]
    legal: NDArray[np.bool_]


class Messages(nn.Module):
    """What each vertex sends, and the state that the sum of what reaches it makes of a type."""

    def __init__(self, encoding: VertexEncoding, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gate = nn.Linear(hidden + encoding.count, hidden)
        self.message = nn.Linear(hidden + encoding.count, hidden, bias=False)
        self.cell = nn.GRUCell(encoding.types, hidden)
        # One-hot inputs are short; at the usual initial weights types would hardly show in what is made of them.
        nn.init.normal_(self.cell.weight_ih)
        nn.init.xavier_uniform_(self.message.weight)

    def ready(self) -> Ready:
        """The weights as a pass over graphs reads them."""
        weight = torch.cat([self.gate.weight, self.message.weight]).t()
        places = weight[self.hidden :] + F.pad(self.gate.bias, (0, self.hidden))
        cell = self.cell
        return Ready(cell.weight_ih.t() + cell.bias_ih, cell.weight_hh.t(), cell.bias_hh, weight[: self.hidden], places)


class Ready(NamedTuple):
    """Weights of `Messages`, so arranged that a vertex takes few operations: on small graphs it is those that take the time.

    A one-hot vector picks a row, of `kinds` (T, 3 H) for a type, of `places` (V, 2 H) for a vertex. recurrent (H, 3 H) and
    recurrent_bias (3 H): of the cell. send (H, 2 H): gate and message side by side. Each may have a first dimension of several
    directions.
    """

    kinds: Tensor
    recurrent: Tensor
    recurrent_bias: Tensor
    send: Tensor
    places: Tensor

    def state(self, kind: Tensor, reached: Tensor) -> Tensor:
        """The states (..., B, H) of vertices with rows (..., B, 3 H) of `kinds` that messages (..., B, H) reach."""
        hidden = reached.shape[-1]
        past = reached @ self.recurrent + self.recurrent_bias
        reset, keep = torch.sigmoid(kind[..., : 2 * hidden] + past[..., : 2 * hidden]).chunk(2, -1)
        fresh = torch.tanh(kind[..., 2 * hidden :] + reset * past[..., 2 * hidden :])
        return torch.lerp(fresh, reached, keep)

    def sent(self, place: Tensor, state: Tensor) -> Tensor:
        """The messages (..., B, H) of vertices with a row of `places` in states (..., B, H)."""
        opened, message = (state @ self.send + place).chunk(2, -1)
        return torch.sigmoid(opened) * message


class GraphEncoder(nn.Module):
    """The code (B, code) of graphs of one encoding, given by their types (B, V)."""

    joined: Tensor

    def __init__(self, encoding: VertexEncoding, hidden: int, code: int) -> None:
        super().__init__()
        self.encoding = encoding
        self.forwards = Messages(encoding, hidden)
        self.backwards = Messages(encoding, hidden)
        self.unify = nn.Linear(2 * hidden, hidden)
        self.code = nn.Linear(hidden, code)
        for layer in (self.unify, self.code):
            nn.init.xavier_uniform_(layer.weight)
        adjacency = torch.from_numpy(encoding.adjacency())
        # From row to column, in the order of each direction.
        joined = torch.stack([adjacency, adjacency.t().flip(0, 1)], -1)
        self.register_buffer("joined", joined.to(self.code.weight.dtype), persistent=False)
        self._both = joined.all(-1).tolist()
        self._before = [torch.nonzero(joined[:, v].any(-1)).flatten().tolist() for v in range(encoding.count)]

    def forward(self, types: Tensor) -> Tensor:
        """Of the last vertex's state forwards and the first one's backwards, which are found side by side."""
        ways = [self.forwards.ready(), self.backwards.ready()]
        kinds = torch.stack([F.embedding(types, ways[0].kinds), F.embedding(types.flip(1), ways[1].kinds)]).unbind(2)
        places = torch.stack([ways[0].places, ways[1].places.flip(0)]).unsqueeze(2)
        ready = Ready(*(torch.stack(parts) for parts in zip(*ways, strict=True)))
        ready = ready._replace(recurrent_bias=ready.recurrent_bias[:, None])
        joined = self.joined[..., None, None]
        state = types.new_zeros(2, len(types), self.forwards.hidden, dtype=places.dtype)
        nothing = state
        sent: list[Tensor] = []
        for vertex, before in enumerate(self._before):
            reached = [sent[u] if self._both[u][vertex] else sent[u] * joined[u, vertex] for u in before]
            state = ready.state(kinds[vertex], sum(reached[1:], reached[0]) if reached else nothing)
            if vertex < len(kinds) - 1:
                sent.append(ready.sent(places[:, vertex], state))
        code: Tensor = self.code(self.unify(torch.cat([state[0], state[1]], -1)))
        return code


class GraphDecoder(nn.Module):
    """Writes graphs vertex by vertex from latent points (B, latent).

    The state of the vertex written last tells the type of the next one. Either the edges are "generated" as in the released code:
    any type may come anywhere, and each edge is drawn, from the nearest vertex to the furthest. Or they are "fixed": only the types
    are written, among those that a vertex may have, and messages go along the edges of the encoding and from each vertex to the
    next; without the latter (which the released code's graphs have too) the last state would not know of all types before it.
    """

    mask: Tensor
    joined: Tensor

    def __init__(self, encoding: VertexEncoding, latent: int, hidden: int, edges: Edges = "fixed") -> None:
        super().__init__()
        self.encoding, self.edges = encoding, edges
        self.start = nn.Linear(latent, hidden)
        self.types = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, encoding.types))
        self.messages = Messages(encoding, hidden)
        if edges == "generated":
            self.edge = nn.Sequential(nn.Linear(2 * hidden, 4 * hidden), nn.ReLU(), nn.Linear(4 * hidden, 1))
        mask = encoding.mask() if edges == "fixed" else np.ones((encoding.count, encoding.types), np.bool_)
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)
        joined = encoding.adjacency()
        chained = joined | np.eye(encoding.count, k=1, dtype=np.bool_)
        self.register_buffer("joined", torch.from_numpy(joined), persistent=False)
        self._before = [np.flatnonzero(chained[:, vertex]).tolist() for vertex in range(encoding.count)]

    def forward(self, latent: Tensor, types: Tensor) -> Losses:
        """How unlikely graphs with types (B, V) and the encoding's edges are, when all before is written as it should be."""
        ready = self.messages.ready()
        kinds = F.embedding(types, ready.kinds).unbind(1)
        states = [self._first(ready, latent, kinds[0])]
        sent: list[Tensor] = []
        doubts: list[Tensor] = []
        for vertex in range(1, self.encoding.count):
            sent.append(ready.sent(ready.places[vertex - 1], states[-1]))
            if self.edges == "fixed":
                state = self._reached(ready, kinds[vertex], sent, vertex)
            else:
                state, doubt = self._told(ready, kinds[vertex], states, sent)
                doubts.append(doubt)
            states.append(state)
        logits = self._logits(torch.stack(states[:-1], 1), slice(1, None))
        unlikely = F.cross_entropy(logits.transpose(1, 2), types[:, 1:], reduction="none").sum(1)
        return Losses(unlikely, torch.stack(doubts).sum(0) if doubts else torch.zeros_like(unlikely))

    def _told(self, ready: Ready, kinds: Tensor, states: list[Tensor], sent: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The state (B, H) of a vertex whose edges are known, and how unlikely (B,) those are."""
        # Before the edge from u is drawn, the edges from the vertices between are there; so all these states are found at once.
        vertex = len(states)
        edges = self.joined[:vertex, vertex].flip(0)
        messages = torch.stack(sent, 1).flip(1) * edges[None, :, None]
        states_then = ready.state(kinds[:, None], F.pad(messages.cumsum(1), (0, 0, 1, 0)))
        logits = self.edge(torch.cat([torch.stack(states, 1).flip(1), states_then[:, :-1]], -1)).squeeze(-1)
        wanted = edges.to(logits.dtype).expand_as(logits)
        return states_then[:, -1], F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)

    @torch.no_grad()
    def write(self, latent: Tensor, rng: np.random.Generator | None = None) -> Written:
        """A graph for each latent point (N, latent): drawn, or without `rng` the likeliest type and edge at every step."""
        count, total = self.encoding.count, len(latent)
        types = torch.zeros(total, count, dtype=torch.long)
        edges = torch.zeros(total, count, count, dtype=torch.bool)
        ended = torch.zeros(total, dtype=torch.bool)
        ready = self.messages.ready()
        states = [self._first(ready, latent, ready.kinds[types[:, 0]])]
        sent: list[Tensor] = []
        for vertex in range(1, count):
            sent.append(ready.sent(ready.places[vertex - 1], states[-1]))
            chosen = _picked(self._logits(states[-1], vertex), rng)
            if vertex == count - 1:
                chosen = torch.full_like(chosen, OUTPUT)
            types[:, vertex] = torch.where(ended, 0, chosen)
            kinds = ready.kinds[chosen]
            if self.edges == "fixed":
                edges[:, :vertex, vertex] = self.joined[:vertex, vertex]
                states.append(self._reached(ready, kinds, sent, vertex))
                continue
            state, found = self._joined_up(ready, kinds, states, sent, rng)
            states.append(state)
            dangling = ~edges[:, :vertex, :vertex].any(2)
            edges[:, :vertex, vertex] = torch.where((chosen == OUTPUT)[:, None], dangling, found) & ~ended[:, None]
            ended |= chosen == OUTPUT
        return self._checked(types, edges)

    def _joined_up(
        self, ready: Ready, kinds: Tensor, states: list[Tensor], sent: list[Tensor], rng: np.random.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The state (N, H) of a vertex, and from which earlier ones (N, vertex) edges to it were drawn."""
        reached = torch.zeros_like(states[0])
        state = ready.state(kinds, reached)
        found = torch.zeros(len(kinds), len(states), dtype=torch.bool)
        for other in range(len(states) - 1, -1, -1):
            chance = torch.sigmoid(self.edge(torch.cat([states[other], state], -1)).squeeze(-1))
            limit = 0.5 if rng is None else torch.from_numpy(rng.random(len(kinds))).to(chance)
            found[:, other] = chance > limit
            reached = reached + sent[other] * found[:, other, None]
            state = ready.state(kinds, reached)
        return state, found

    def _first(self, ready: Ready, latent: Tensor, kinds: Tensor) -> Tensor:
        return ready.state(kinds, torch.tanh(self.start(latent)))

    def _reached(self, ready: Ready, kinds: Tensor, sent: list[Tensor], vertex: int) -> Tensor:
        first, *others = self._before[vertex]
        return ready.state(kinds, sum((sent[u] for u in others), sent[first]))

    def _logits(self, states: Tensor, vertices: int | slice) -> Tensor:
        logits: Tensor = self.types(states)
        return logits.masked_fill(~self.mask[vertices], float("-inf"))

    def _checked(self, types: Tensor, edges: Tensor) -> Written:
        allowed = torch.from_numpy(self.encoding.mask())[torch.arange(self.encoding.count), types].all(1)
        entered, left = edges[:, :, 1:-1].any(1).all(1), edges[:, 1:-1].any(2).all(1)
        return Written(types.numpy(), edges.numpy(), (allowed & entered & left).numpy())


def _picked(logits: Tensor, rng: np.random.Generator | None) -> Tensor:
    """A type (N,) for each row of logits (N, T), drawn or the likeliest."""
    if rng is None:
        return logits.argmax(-1)
    below = torch.softmax(logits.double(), -1).cumsum(-1)
    whole = below[:, -1:]
    # What is drawn lies below the whole sum, so that a type of no chance is never taken, not even by rounding.
    draws = torch.minimum(torch.from_numpy(rng.random(whole.shape)) * whole, torch.nextafter(whole, torch.zeros_like(whole)))
    return torch.searchsorted(below, draws, right=True).squeeze(-1)
