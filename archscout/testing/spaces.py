"""What every search space must do: a list of checks that take a space and a task and raise AssertionError.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_space(check):
    check(MySpace(...), image_task())  # or token_task(), for a space of language models
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from archscout.core.architecture import Architecture
from archscout.core.draw import crossover, legal, mutate, neighbours, sample
from archscout.core.encoding import TokenEncoding, architecture_of, encoding_of, tokens_of
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind
from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.core.protocols import CellSpace, GraphSpace, PartialSpace, PublishedSpace, SignatureSpace, Space
from archscout.core.seeds import generator, seeded
from archscout.core.vertices import of_vertices, vertex_encoding_of, vertices_of
from archscout.nn.batches import one_batch
from archscout.nn.executor import execute
from archscout.nn.measure import counts, example_input
from archscout.nn.tokens import one_token_batch

NETWORKS = 20
"""Random networks that are built by a check."""
LARGEST = 5_000_000
"""Parameters of a network that a check builds; larger ones show nothing more, and take seconds each."""


def is_described(space: Space, task: Task) -> None:
    """Decisions with distinct names and distinct options, a name that the text form can carry; the kind of the task is served."""
    check_kind(task, space, f"the space '{space.name}'")
    decisions = space.decisions
    assert decisions, "a space needs decisions"
    assert len({decision.name for decision in decisions}) == len(decisions), "two decisions share a name"
    for decision in decisions:
        assert len(set(decision.options)) == len(decision.options), f"'{decision.name}' lists an option twice"
    assert Architecture.parse(f"{space.name}:0").space == space.name
    assert pickle.loads(pickle.dumps(space)) == space, "a space must be a value: equal after pickling"


def round_trips_as_text(space: Space, task: Task) -> None:
    """`parse(str(a)) == a`, and the published form, where there is one, leads back."""
    for architecture in _drawn(space, 100):
        parsed = Architecture.parse(str(architecture))
        assert parsed == architecture
        assert space.architecture(parsed.choices) == architecture
        if isinstance(space, PublishedSpace):
            text = space.genotype(architecture)
            assert space.from_genotype(text) == architecture, f"{text} does not lead back to {architecture}"
    if isinstance(space, PublishedSpace):
        assert space.from_genotype("no such architecture") is None


def normalises_once(space: Space, task: Task) -> None:
    """Any legal tuple gives an architecture of this space, and normalising that changes nothing more.

    All tuples are legal; of a `PartialSpace`, a few among 200 at random and 200 that differ in one choice from a drawn one.
    """
    rng = generator(0, "normalises")
    found = 0
    drawn = [list(architecture.choices) for architecture in _drawn(space, 200)]
    for choices in drawn:
        place = int(rng.integers(len(choices)))
        choices[place] = int(rng.integers(len(space.decisions[place].options)))
    for choices in [*drawn, *([int(rng.integers(len(d.options))) for d in space.decisions] for _ in range(200))]:
        architecture = legal(space, choices)
        if architecture is None:
            continue
        found += 1
        assert architecture.space == space.name
        assert all(type(choice) is int for choice in architecture.choices)
        assert space.architecture(architecture.choices) == architecture, f"{choices} needs more than one normalisation"
    assert found, "the space refuses each of 400 tuples of choices"
    if isinstance(space, PartialSpace):
        assert space.architecture(space.smallest().choices) == space.smallest()


def refuses_illegal_choices(space: Space, task: Task) -> None:
    """Too many, too few, too large and negative choices are UserErrors."""
    zeros = [0] * len(space.decisions)
    too_large = [*zeros[:-1], len(space.decisions[-1].options)]
    for choices in ([], [*zeros, 0], zeros[:-1], too_large, [*zeros[:-1], -1]):
        try:
            space.architecture(choices)
        except UserError:
            continue
        raise AssertionError(f"the choices {choices} should be refused with a UserError")


def mutates(space: Space, task: Task) -> None:
    """Mutation, crossover and neighbours are legal; a mutant and a neighbour differ from their parent."""
    rng = generator(0, "mutates")
    parents = _drawn(space, 100)
    for parent in parents:
        child = mutate(space, parent, rng)
        assert child != parent
        assert space.architecture(child.choices) == child, f"the mutant {child} is not normalised"
        mixed = crossover(space, parent, child, rng)
        assert space.architecture(mixed.choices) == mixed
    assert len(set(parents)) > 1, "a hundred draws gave a single architecture"
    around = neighbours(space, parents[0])
    assert parents[0] not in around and len(set(around)) == len(around)


def draws_by_seed(space: Space, task: Task) -> None:
    """Equal seeds draw equal architectures, and a signature is a function of the architecture."""
    one, other = _drawn(space, 20), _drawn(space, 20)
    assert one == other
    if isinstance(space, SignatureSpace):
        assert [space.signature(a) for a in one] == [space.signature(a) for a in other]


def describes_cells(space: Space, task: Task) -> None:
    """Where a space has cells: they stand for an architecture with the same cells, and are among the patterns that are counted."""
    if not isinstance(space, CellSpace):
        return
    patterns = space.wiring.patterns()
    for architecture in _drawn(space, 50):
        cells = space.topologies(architecture)
        again = space.of_topologies(cells)
        assert space.topologies(again) == cells, f"{architecture}: {again} has other cells"
        for name, cell in cells.items():
            unknown = {operation for operation, _, _ in cell.edges} - set(space.wiring.operations)
            assert not unknown, f"{architecture}: the wiring knows no operation {', '.join(sorted(unknown))}"
            known = patterns is None or (cell.width, cell.depth) in patterns.counts
            assert known, f"{architecture}: no random cell is as wide and deep as its cell '{name}'"


def writes_tokens(space: Space, task: Task) -> None:
    """Architectures are legal sequences of tokens that lead back to them, also where spans have changed places.

    Legal sequences at random stand for architectures; a `PartialSpace` may refuse some.
    """
    rng = generator(0, "writes_tokens")
    encoding, drawn = encoding_of(space), _drawn(space, 100)
    written = np.array([tokens_of(space, architecture) for architecture in drawn])
    for tokens in (written, encoding.swapped(written, rng), encoding.swapped(written, rng)):
        for architecture, row in zip(drawn, tokens.tolist(), strict=True):
            assert encoding.is_legal(row), f"{architecture} is written {row}, which is not legal"
            assert architecture_of(space, row) == architecture, f"{row} does not lead back to {architecture}"
    for row in random_tokens(encoding, 100, rng):
        found = architecture_of(space, row)
        if found is None:
            assert isinstance(space, PartialSpace), f"{row} is legal, but stands for nothing"
        else:
            assert space.architecture(found.choices) == found, f"{row} gives {found}, which is not normalised"
            assert architecture_of(space, tokens_of(space, found)) == found


def writes_vertices(space: Space, task: Task) -> None:
    """Architectures are legal graphs of typed vertices that lead back to them, and what is not legal stands for nothing.

    In both graphs every inner vertex has edges from earlier vertices and to later ones. Legal types at random stand for
    architectures; a `PartialSpace` may refuse some, and tokens that restrict each other are not legal in any order.
    """
    rng = generator(0, "writes_vertices")
    encodings = [vertex_encoding_of(space, graph) for graph in ("dataflow", "reference")]
    encoding = encodings[0]
    assert all(other.allowed == encoding.allowed and other.types == encoding.types for other in encodings)
    for other in encodings:
        edges = other.adjacency()
        assert edges[:, 1:].any(0).all() and edges[:-1].any(1).all(), "a vertex is not joined to the others"
    for architecture in _drawn(space, 100):
        types = vertices_of(space, architecture)
        assert encoding.is_legal(types), f"{architecture} is written {types}, which is not legal"
        assert of_vertices(space, types) == architecture, f"{types} does not lead back to {architecture}"
        assert of_vertices(space, types[:-1]) is None and of_vertices(space, (*types[:-1], types[0])) is None
    for draws in rng.random((100, encoding.count)).tolist():
        row = [may[int(draw * len(may))] for may, draw in zip(encoding.allowed, draws, strict=True)]
        found = of_vertices(space, row)
        if found is None:
            assert isinstance(space, PartialSpace) or encoding_of(space).follows, f"{row} is legal, but stands for nothing"
        else:
            assert space.architecture(found.choices) == found, f"{row} gives {found}, which is not normalised"
            assert of_vertices(space, vertices_of(space, found)) == found


def random_tokens(encoding: TokenEncoding, count: int, rng: np.random.Generator) -> list[list[int]]:
    """Legal sequences; every position uniform over what is legal there."""
    found = []
    for draws in rng.random((count, encoding.length)).tolist():
        row: list[int] = []
        for allowed, draw in zip(encoding.allowed, draws, strict=True):
            after = encoding.follows.get(row[-1]) if row else None
            choice = allowed if after is None else [token for token in allowed if token in after]
            row.append(choice[int(draw * len(choice))])
        found.append(row)
    return found


def trains(space: Space, task: Task) -> None:
    """Random networks give finite logits (B, K) or (B, L, K) and finite gradients; in evaluation nothing depends on the batch."""
    x, y = _batch(task, 8)
    for architecture, network in _built(space, task):
        network.train()
        logits = network(x)
        assert logits.shape == (*y.shape, task.classes), f"{architecture} gives {tuple(logits.shape)}"
        F.cross_entropy(logits.flatten(0, -2), y.flatten()).backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(logits).all(), f"{architecture} gives logits that are not finite"
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert gradients, f"{architecture} has no gradients"
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients), f"{architecture}: gradients are not finite"
        network.eval()
        with torch.no_grad():
            assert torch.allclose(network(x)[:1], network(x[:1]), rtol=1e-3, atol=1e-4), f"{architecture} mixes images"


def builds_by_seed(space: Space, task: Task) -> None:
    """Under one seed, two builds are equal; under another they differ."""
    [architecture] = _drawn(space, 1)

    def weights(seed: int) -> list[torch.Tensor]:
        with seeded(seed):
            return list(space.build(architecture, task).parameters())

    one, same, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def counts_what_it_builds(space: Space, task: Task) -> None:
    """The counts (from the graph where there is one) are those of the built module."""
    x, text = example_input(task), task.kind == LANGUAGE_MODELLING
    for architecture, network in _built(space, task):
        found = counts(space, architecture, task)
        assert found["params"] == sum(p.numel() for p in network.parameters() if p.requires_grad), f"params of {architecture}"
        network.eval()
        if text:
            network.double()  # the counter does not see inside oneDNN's LSTM, which is of single precision
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network(x)
        assert found["macs"] == counter.get_total_flops() // 2, f"macs of {architecture}"


def executes_what_it_builds(space: Space, task: Task) -> None:
    """Where a space states graphs, the functional executor gives the logits of the built module (double precision)."""
    if not isinstance(space, GraphSpace):
        return
    x = _batch(task, 4)[0].double()
    for architecture, network in _built(space, task, 5):
        network.double().train()
        graph = space.operations(architecture, task)
        with torch.no_grad():
            difference = (execute(graph, dict(network.named_parameters()), x) - network(x)).abs().max()
        assert difference < 1e-9, f"{architecture}: executor and module differ by {difference}"


CHECKS = (
    is_described, round_trips_as_text, normalises_once, refuses_illegal_choices, mutates, draws_by_seed, describes_cells,
    writes_tokens, writes_vertices, trains, builds_by_seed, counts_what_it_builds, executes_what_it_builds,
)  # fmt: skip


def check_space(space: Space, task: Task) -> None:
    """All checks."""
    for check in CHECKS:
        check(space, task)


def _batch(task: Task, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    taken = one_token_batch if task.kind == LANGUAGE_MODELLING else one_batch
    return taken(task, "train", size, seed=0)


def _drawn(space: Space, count: int) -> list[Architecture]:
    rng = generator(0, "conformance", space.name)
    return [sample(space, rng) for _ in range(count)]


def _built(space: Space, task: Task, count: int = NETWORKS) -> Iterator[tuple[Architecture, nn.Module]]:
    fitting = (found for found in _drawn(space, 20 * count) if counts(space, found, task)["params"] <= LARGEST)
    chosen = list(islice(fitting, count))
    assert chosen, f"no architecture has {LARGEST:,} parameters or fewer; give the space smaller settings"
    for number, architecture in enumerate(chosen):
        with seeded(number):
            yield architecture, space.build(architecture, task)
