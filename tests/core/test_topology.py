"""Width, depth and level of cells: the published values, path enumeration by brute force, and how patterns are counted."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout import catalogue
from archscout.analysis.cells import explained, explained_cells
from archscout.analysis.published_cells import published_cells
from archscout.core.draw import enumerate_space, sample
from archscout.core.errors import UserError
from archscout.core.genotypes import cells_of, written
from archscout.core.topology import Topology, is_common
from archscout.core.wiring import Graph, Sources
from archscout.engine.resolve import resolve

SOURCES = {
    "NASNet": ((1, 0), (0, 0), (1, 0), (0, 0), (1, 1)),
    "AmoebaNet": ((0, 1), (0, 2), (0, 3), (1, 1), (0, 1)),
    "ENAS": ((1, 1), (1, 0), (0, 1), (0, 1), (1, 0)),
    "SNAS_MILD": ((0, 1),) * 4,
}


def cell(*sources: tuple[int, ...], outputs: tuple[int, ...] | None = None) -> Topology:
    nodes = tuple(tuple(("sep_conv_3x3", source) for source in node) for node in sources)
    return Topology(nodes, tuple(range(2, 2 + len(nodes))) if outputs is None else outputs)


def longest(topology: Topology, *, skips: bool = True) -> int:
    """By going through all paths."""

    def paths(node: int) -> list[int]:
        if node < topology.inputs:
            return [0]
        edges = topology.nodes[node - topology.inputs]
        return [length + (skips or operation != "skip_connect") for operation, source in edges for length in paths(source)]

    ends = topology.outputs if not skips else range(topology.inputs, topology.inputs + len(topology.nodes))
    return 1 + max(length for node in ends for length in paths(node))


@st.composite
def cells(draw: st.DrawFn, nodes: int = 5) -> Topology:
    names = st.sampled_from(("skip_connect", "sep_conv_3x3", "max_pool_3x3"))
    made = tuple(
        tuple((draw(names), draw(st.integers(0, node - 1))) for _ in range(2)) for node in range(2, 2 + draw(st.integers(1, nodes)))
    )
    every = list(range(2, 2 + len(made)))
    return Topology(made, tuple(sorted(draw(st.sets(st.sampled_from(every), min_size=1)))))


@pytest.mark.parametrize(
    ("name", "width", "depth", "reduce_width", "reduce_depth"),
    [("NASNet", 5, 2, 3.5, 3), ("AmoebaNet", 4, 4, 4, 3), ("ENAS", 5, 2, 4, 4), ("SNAS_MILD", 4, 2, 2.5, 3)],
)
def test_published_cells(name: str, width: float, depth: int, reduce_width: float, reduce_depth: int) -> None:
    found = published_cells(name)
    assert found is not None
    assert tuple(tuple(source for _, source in node) for node in found["normal"].nodes) == SOURCES[name]
    assert (found["normal"].width, found["normal"].depth) == (width, depth)
    assert (found["reduce"].width, found["reduce"].depth) == (reduce_width, reduce_depth)


@pytest.mark.parametrize("name", ["DARTS_V1", "DARTS_V2"])
def test_darts(name: str) -> None:
    space, architecture = resolve(name)
    normal, reduce = space.topologies(architecture).values()  # type: ignore[attr-defined]
    assert (normal.width, normal.depth, reduce.width, reduce.depth) == (3.5, 3, 2.5, 3)
    assert normal.levels == (0, 0, 1, 1, 1, 2) and normal.longest_path == (0, 2, 5)


@pytest.mark.parametrize(
    ("sources", "width", "depth"),
    [
        (((0, 1), (0, 0), (0, 0), (1, 1)), 4, 2),  # BASE
        (((0, 1), (1, 2), (1, 2), (3, 2)), 2, 4),  # T-NAS, 1 shot
        (((1, 0), (2, 1), (2, 3), (4, 3)), 1.5, 5),  # T-NAS, 5 shots
    ],
)
def test_other_published_sources(sources: tuple[tuple[int, int], ...], width: float, depth: int) -> None:
    assert (cell(*sources).width, cell(*sources).depth) == (width, depth)


def test_common_pattern() -> None:
    for name, common in (("NASNet", True), ("ENAS", True), ("SNAS_MILD", True), ("AmoebaNet", False)):
        assert (published_cells(name) or {})["normal"].is_common_pattern is common
    assert resolve("DARTS_V2")[0].topologies(resolve("DARTS_V2")[1])["normal"].is_common_pattern  # type: ignore[attr-defined]
    assert is_common(Fraction(17, 5), 3, 4) and not is_common(Fraction(4), 4, 4) and not is_common(Fraction(0), 1, 0)


REDRAWN = {
    1: (2.5, 4),
    2: (2, 5),
    3: (3, 3),
    4: (3.5, 3),
    5: (2.5, 4),
    6: (2.5, 3),
    7: (3, 3),
    8: (2.5, 4),
    9: (3, 3),
    10: (3.5, 3),
}


@pytest.mark.parametrize("seed", REDRAWN)
def test_the_published_random_connections(seed: int) -> None:
    """The sampler of the paper's code: normal and reduction cell in turn, NumPy's legacy generator."""
    legacy = np.random.RandomState(seed)
    states, drawn = [0, 1], []
    for place in range(8):
        drawn.append(int(legacy.choice(states, 1)[0]))
        legacy.choice(states, 1)
        if place % 2:
            states.append(len(states))
    redrawn = cell(*zip(drawn[::2], drawn[1::2], strict=True))
    assert (redrawn.width, redrawn.depth) == REDRAWN[seed]


@settings(max_examples=1000, deadline=None)
@given(cells())
def test_depth_is_the_longest_path(topology: Topology) -> None:
    assert topology.depth == longest(topology)
    assert topology.operative_depth == longest(topology, skips=False)
    path = topology.longest_path
    assert len(path) == topology.effective_depth and path[-1] in topology.outputs and path[0] < topology.inputs
    for source, node in pairwise(path):
        assert source in {one for _, one in topology.nodes[node - topology.inputs]}


@settings(max_examples=200, deadline=None)
@given(cells(nodes=4))
def test_numbers_of_nodes_do_not_matter(topology: Topology) -> None:
    count = len(topology.nodes)
    patterns = Sources((), count).patterns()
    for order in permutations(range(count)):
        names = {0: 0, 1: 1, **{2 + old: 2 + new for new, old in enumerate(order)}}
        if any(names[source] >= names[node] for _, source, node in topology.edges):
            continue
        nodes = tuple(tuple((operation, names[source]) for operation, source in topology.nodes[old]) for old in order)
        other = Topology(nodes, tuple(sorted(names[node] for node in topology.outputs)))
        assert (other.width, other.depth) == (topology.width, topology.depth)
        assert (other.effective_width, other.effective_depth) == (topology.effective_width, topology.effective_depth)
        assert patterns.percentile(other) == patterns.percentile(topology)


@settings(max_examples=200, deadline=None)
@given(cells())
def test_dead_nodes_have_no_way_to_the_output(topology: Topology) -> None:
    reached, found = list(topology.outputs), set()
    while reached:
        node = reached.pop()
        if node >= topology.inputs and node not in found:
            found.add(node)
            reached += [source for _, source in topology.nodes[node - topology.inputs]]
    assert set(topology.dead) == set(range(2, 2 + len(topology.nodes))) - found
    assert topology.effective_width <= topology.width and topology.effective_depth <= topology.depth


def test_bad_cells_are_refused() -> None:
    with pytest.raises(UserError, match="node 2 of a cell reads one of the nodes 0 to 1, but 2 came"):
        cell((0, 2))
    with pytest.raises(UserError, match=r"joins some of its nodes 0 to 2, but \[3\] came"):
        cell((0, 1), outputs=(3,))


def test_patterns_of_darts_cells() -> None:
    patterns = Sources((), 4, distinct=True).patterns()
    assert {(float(width), depth): count for (width, depth), count in patterns.counts.items()} == {
        (1.5, 4): 2, (1.5, 5): 4, (2, 3): 1, (2, 4): 26, (2, 5): 12, (2.5, 3): 18, (2.5, 4): 48, (2.5, 5): 8, (3, 3): 32,
        (3, 4): 16, (3.5, 3): 12, (4, 2): 1,
    }  # fmt: skip
    assert patterns.total == 180 and patterns.mean() == pytest.approx((2.567, 3.772), abs=5e-4)
    darts_v2 = cell((0, 1), (0, 1), (1, 0), (0, 2))
    assert patterns.top_share(darts_v2) == 13 / 180
    assert patterns.percentile(darts_v2) == pytest.approx(100 * 167 / 180)


@pytest.mark.parametrize(
    ("nodes", "distinct", "total", "least", "share", "mean"),
    [
        (4, False, 14_400, 3.5, 0.124, (2.567, 3.594)),
        (4, False, 14_400, 4, 0.018, (2.567, 3.594)),
        (5, True, 2_700, 4.5, 0.0078, (2.900, 4.214)),
        (5, True, 2_700, 5, 0.00037, (2.900, 4.214)),
    ],
)
def test_known_shares(nodes: int, distinct: bool, total: int, least: float, share: float, mean: tuple[float, float]) -> None:
    patterns = Sources((), nodes, distinct=distinct).patterns()
    assert patterns.total == total and patterns.mean() == pytest.approx(mean, abs=5e-4)
    assert patterns.share(lambda width, depth: width >= least) == pytest.approx(share, rel=0.04)


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("nodes", range(1, 9))
def test_the_expected_width(nodes: int, distinct: bool) -> None:
    width, _ = Sources((), nodes, distinct=distinct).patterns().mean()
    assert width == pytest.approx(sum(2 / node for node in range(2, nodes + 2)))


@pytest.mark.parametrize(("inputs", "each", "distinct"), [(2, 2, True), (2, 2, False), (1, 1, False), (3, 2, True), (2, 1, False)])
def test_counting_node_by_node_is_counting_all(inputs: int, each: int, distinct: bool) -> None:
    nodes = 3
    options = [
        list(combinations(range(node), each)) if distinct else list(product(range(node), repeat=each))
        for node in range(inputs, inputs + nodes)
    ]
    counted: Counter[tuple[Fraction, int]] = Counter()
    for chosen in product(*options):
        made = Topology(
            tuple(tuple(("", source) for source in node) for node in chosen), tuple(range(inputs, inputs + nodes)), inputs
        )
        counted[made.width, made.depth] += 1
    assert dict(Sources((), nodes, inputs, each, distinct).patterns().counts) == counted


@pytest.mark.parametrize("name", ["nas201", "transnas-cell"])
def test_patterns_of_cells_with_operations_on_edges(name: str) -> None:
    space = catalogue.make("spaces", name)
    counted = Counter((cell.width, cell.depth) for a in enumerate_space(space) for cell in space.topologies(a).values())
    assert dict(space.wiring.patterns().counts) == counted


def test_patterns_of_small_graphs() -> None:
    """All matrices of five vertices, each measured as a cell of NAS-Bench-101 is."""
    space = catalogue.make("spaces", "nas101")
    counted: Counter[tuple[Fraction, int]] = Counter()
    common = 0
    places = [(source, node) for node in range(5) for source in range(node)]
    for bits in product((0, 1), repeat=len(places)):
        edges = {place for place, bit in zip(places, bits, strict=True) if bit}
        matrix = [[int((x, y) in edges) for y in range(5)] for x in range(5)]
        try:
            architecture = space.from_genotype(
                '{"matrix": %s, "ops": ["input", "maxpool3x3", "maxpool3x3", "maxpool3x3", "output"]}' % matrix  # noqa: UP031
            )
        except UserError:
            continue
        found = space.topologies(architecture)["cell"]
        counted[found.width, found.depth] += 1
        common += found.is_common_pattern
    patterns = Graph(("a",), 5, on_edges=False, most=9).patterns()
    assert patterns is not None and dict(patterns.counts) == counted
    assert 0 < patterns.common == common < patterns.total, "each held against its own number of nodes"


def test_cells_of_nas_bench_201() -> None:
    space = catalogue.make("spaces", "nas201")
    by_name = {
        "full": (3,) * 6,
        "direct": (0, 0, 0, 3, 0, 0),
        "none": (0,) * 6,
        "chain": (3, 0, 3, 0, 0, 1),
        "loose": (3, 0, 0, 3, 0, 3),
    }
    found = {name: space.topologies(space.architecture(choices))["cell"] for name, choices in by_name.items()}
    assert {name: (float(one.width), one.depth, one.dead) for name, one in found.items()} == {
        "full": (pytest.approx(1 + 1 / 2 + 1 / 3), 3, ()), "direct": (1, 1, (1, 2)), "none": (0, 0, (1, 2, 3)),
        "chain": (1, 3, ()), "loose": (1, 1, (1, 2)),
    }  # fmt: skip
    assert found["chain"].operative_depth == 2


SPACES = ["darts", "nao-cell", "few-shot", "nas201", "transnas-cell", "nas101", "rnn"]


@pytest.mark.parametrize("name", SPACES)
def test_cells_and_back(name: str) -> None:
    space = catalogue.make("spaces", name)
    rng = np.random.default_rng(0)
    patterns = space.wiring.patterns()
    for _ in range(50):
        architecture = sample(space, rng)
        found = space.topologies(architecture)
        again = space.of_topologies(found)
        assert space.topologies(again) == found
        if name not in ("nas201", "transnas-cell"):  # edges that lead nowhere are not seen
            assert again == architecture
        assert all((one.width, one.depth) in patterns.counts for one in found.values())


@pytest.mark.parametrize("name", SPACES)
def test_variants_keep_the_operations(name: str) -> None:
    space = catalogue.make("spaces", name)
    rng = np.random.default_rng(1)
    kinds = set()
    for turn in range(12):
        architecture = sample(space, rng)
        explanation = explained(space, architecture)
        for variant in explanation.variants(2, seed=turn):
            kinds.add(variant.name)
            assert variant.architecture is not None and space.topologies(variant.architecture) == variant.cells
            for part, own in explanation.cells.items():
                other = variant.cells[part]
                if variant.name == "random operations":
                    assert [edge[1:] for edge in other.edges] == [edge[1:] for edge in own.edges]
                elif name == "nas101":
                    assert [node[0][0] for node in other.nodes] == [node[0][0] for node in own.nodes]
                    assert len(other.edges) + len(other.outputs) == len(own.edges) + len(own.outputs) and not other.dead
                elif name == "nao-cell":  # which of a node's two branches comes first is a matter of their sources
                    assert [sorted(e for e, _ in node) for node in other.nodes] == [
                        sorted(e for e, _ in node) for node in own.nodes
                    ]
                else:
                    assert [operation for operation, _, _ in other.edges] == [operation for operation, _, _ in own.edges]
    assert kinds == {"widest", "narrowest", "random 1", "random 2", "random operations"}


@pytest.mark.parametrize(("name", "narrowest"), [("darts", 1.5), ("few-shot", 1.5), ("nao-cell", 1), ("rnn", 1)])
def test_the_extremes(name: str, narrowest: float) -> None:
    space = catalogue.make("spaces", name)
    rng, counts = np.random.default_rng(2), space.wiring.patterns().counts
    for _ in range(20):
        for own in space.topologies(sample(space, rng)).values():
            wide, narrow = (space.wiring.extreme(own, widest=widest) for widest in (True, False))
            nodes = len(own.nodes)
            assert (wide.width, wide.depth) == (nodes, 2) and (narrow.width, narrow.depth) == (narrowest, nodes + 1)
            assert space.wiring.extreme(wide, widest=True) == wide and space.wiring.extreme(narrow, widest=False) == narrow
            ranks = [(width, -depth) for width, depth in counts]
            assert (wide.rank, narrow.rank) == (max(ranks), min(ranks))


def test_adapted_cells_may_have_dead_nodes() -> None:
    """The published adapted AmoebaNet joins what the original joined."""
    found = published_cells("AmoebaNet")
    assert found is not None
    kept, joined = (
        next(one for one in explained_cells(found).variants(0, concat=concat) if one.name == "widest").cells
        for concat in ("keep", "all")
    )
    assert (kept["normal"].width, kept["normal"].dead, kept["normal"].effective_width) == (5, (2, 3), 3)
    assert kept["reduce"].dead == (2, 5)
    assert not joined["normal"].dead and joined["normal"].effective_width == 5
    enas = explained_cells(published_cells("ENAS") or {}).variants(0)[0]
    assert enas.name == "widest" and enas.cells["reduce"].dead == (4, 5)


def test_genotypes_are_read_and_written() -> None:
    for name in SOURCES:
        found = published_cells(name)
        assert found is not None and cells_of(written(found)) == dict(found)
    assert cells_of("nas201:0.0.0.0.0.0") is None
    for text in (
        "Genotype(",
        "Genotype(normal=__import__('os'))",
        "Genotype(normal=[('a', 1e999)], normal_concat=[2], reduce=[], reduce_concat=[2])",
        "Genotype(normal=[('a', 0)], normal_concat=[2], reduce=[], reduce_concat=[2])",
        "Genotype(normal=[('a', 1e999), ('b', 1)], normal_concat=[2], reduce=[('a', 0), ('b', 1)], reduce_concat=[2])",
        "Genotype(normal=[('a', 0), ('b', 1)], normal_concat=[1e999], reduce=[('a', 0), ('b', 1)], reduce_concat=[2])",
    ):
        with pytest.raises(UserError):
            cells_of(text)


def test_recurrent_edges_are_no_skips() -> None:
    space = catalogue.make("spaces", "rnn", nodes=2)
    one = space.topologies(space.architecture([0, 3, 1, 3]))["cell"]
    assert one.operative_depth == one.depth == 3 and not one.is_free("identity") and not one.is_skip("identity")
