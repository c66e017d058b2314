"""The sub-spaces of NAS-Bench-1Shot1: counted, drawn, refused, and folded into a network."""

import json
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archscout.benchmarks.tables import nas101 as table
from archscout.comparison import search
from archscout.comparison.whole import whole
from archscout.core.draw import legal
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.nn.supernet import supernet_of
from archscout.spaces._one_shot import SUBSPACES
from archscout.spaces.nas101 import Nas101
from archscout.testing.spaces import CHECKS
from archscout.testing.tasks import image_task

TASK = Task("t", IMAGE_CLASSIFICATION, (3, 8, 8), 4, "none")
WHOLE = Nas101()
SPACES = {number: Nas101(subspace=number) for number in SUBSPACES}
numbers = pytest.mark.parametrize("number", SUBSPACES)
seeds = st.integers(0, 2**32)


def drawn(number, count, seed=0):
    rng = np.random.default_rng(seed)
    return [SPACES[number].sample(rng) for _ in range(count)]


def specification(rows, *operations):
    return json.dumps({"matrix": [list(map(int, row)) for row in rows.split()], "ops": ["input", *operations, "output"]})


@numbers
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conforms(number, check):
    check(Nas101(stem=8, cells=1, subspace=number), image_task((1, 12, 12), classes=3))


@pytest.mark.parametrize(("number", "tuples", "cells"), [(1, 14_580, 3_288), (2, 29_160, 11_826)])
def test_every_cell_is_listed_once(number, tuples, cells):
    blocks, space = SUBSPACES[number], SPACES[number]
    every = list(space.every())
    assert len(set(every)) == len(every) == cells
    answers = list(product(*(range(len(question.options)) for question in blocks.questions)))
    assert len(answers) == tuples
    assert {blocks.cell(answer).pruned() for answer in answers} == {space.cell(architecture) for architecture in every}


def test_the_largest_has_118524_cells():
    assert sum(1 for _ in SUBSPACES[3].every()) == 118_524


def test_the_classes_of_the_first():
    assert sum(1 for _ in SPACES[1].classes()) == 2_685  # and 7,773 and 55,854 of the others, which takes minutes


@pytest.mark.parametrize(
    ("number", "every_operation", "without_unread"), [(1, 14_580, 6_240), (2, 29_160, 16_632), (3, 1_312_200, 363_648)]
)
def test_the_published_counts_with_loose_ends_mix_two_conventions(number, every_operation, without_unread):
    graphs = list(product(*SUBSPACES[number].sets))
    blocks = len(SUBSPACES[number].parents) - 1
    assert len(graphs) * 3**blocks == every_operation
    assert sum(3 ** len({parent for chosen in graph for parent in chosen if parent}) for graph in graphs) == without_unread


@numbers
def test_a_cell_has_nine_edges_before_pruning(number):
    assert {SUBSPACES[number].cell([0] * len(SUBSPACES[number].questions)).edges, sum(SUBSPACES[number].parents)} == {9}


@numbers
@given(seed=seeds)
def test_answers_say_which_cell_it_is(number, seed):
    blocks = SUBSPACES[number]
    rng = np.random.default_rng(seed)
    cell = blocks.cell([int(rng.integers(len(question.options))) for question in blocks.questions]).pruned()
    placed = blocks.answers(cell)
    # what the blocks are that the cell does without makes no difference
    filled = [int(rng.integers(len(q.options))) if a is None else a for a, q in zip(placed, blocks.questions, strict=True)]
    assert blocks.cell(filled).pruned() == cell


@numbers
@given(seed=seeds)
def test_legal_are_the_cells_of_the_subspace_alone(number, seed):
    asked = WHOLE.sample(np.random.default_rng(seed))
    cell = WHOLE.cell(asked)
    parents = [sum(column) for column in zip(*cell.matrix, strict=True)][1:]
    *blocks, output = SUBSPACES[number].parents
    some = iter(blocks)
    fits = parents[-1] == output and all(any(count == wanted for wanted in some) for count in parents[:-1])
    assert (legal(SPACES[number], asked.choices) is not None) == fits


def test_a_cell_outside_is_refused_in_one_sentence():
    architecture = WHOLE.from_genotype(specification("010 001 000", "maxpool3x3"))
    with pytest.raises(
        UserError, match=r"in sub-space 2 of 'nas101' the output has 3 parents, .* \[1, 1, 2, 2\] .* but 1 and \[1\] came"
    ):
        SPACES[2].architecture(architecture.choices)
    with pytest.raises(UserError, match="in sub-space 1"):
        SPACES[1].from_genotype(specification("010 001 000", "maxpool3x3"))
    with pytest.raises(UserError, match="take a sub-space"):
        next(WHOLE.every())


@numbers
def test_architectures_are_those_of_the_whole_space(number):
    for architecture in drawn(number, 50):
        assert WHOLE.architecture(architecture.choices) == architecture
        assert table.Nas101().row(SPACES[number], architecture) == table.Nas101().row(WHOLE, architecture) is not None
        assert SPACES[number].operations(architecture, TASK) == WHOLE.operations(architecture, TASK)


@numbers
def test_samples_have_every_set_of_parents_equally_often(number):
    blocks = SUBSPACES[number]
    row = blocks.rows["parents", len(blocks.parents)]
    found = np.bincount([blocks.answers(SPACES[number].cell(a))[row] for a in drawn(number, 300)])
    # Pruning moves what is left to the front, but never changes which of the output's parents is the input.
    sets = blocks.sets[-1]
    direct = sum(count for count, chosen in zip(found, sets, strict=True) if chosen[0] == 0)
    assert abs(direct / 300 - sum(chosen[0] == 0 for chosen in sets) / len(sets)) < 0.1


@numbers
def test_mutation_changes_one_answer_in_the_mean(number):
    rng = np.random.default_rng(0)
    space, blocks = SPACES[number], SUBSPACES[number]
    # no block is left out, so that every answer counts
    parent = space.smallest()
    changes = []
    for _ in range(300):
        child = space.mutate(parent, rng)
        assert child != parent and space.architecture(child.choices) == child
        answers = blocks.answers(space.cell(child))
        if None not in answers:
            changes.append(sum(a != b for a, b in zip(answers, blocks.answers(space.cell(parent)), strict=True)))
    assert min(changes) == 1 and 1 < np.mean(changes) < 2


@numbers
@pytest.mark.parametrize("stem", [12, 16])
def test_the_smallest(number, stem):
    """Among all graphs of maxima; other operations can only add."""
    space = Nas101(stem=stem, stacks=2, cells=1, subspace=number)
    maxima = [cell for cell in SUBSPACES[number].every() if set(cell.operations) == {2}]
    graphs = [space.operations(space.of_cell(cell), TASK) for cell in maxima]
    smallest = space.operations(space.smallest(), TASK)
    assert smallest.params == min(graph.params for graph in graphs) and smallest.macs == min(graph.macs for graph in graphs)


def test_the_whole_of_a_subspace():
    found = whole(SPACES[1], None, 0)
    assert sorted(found) == sorted(SPACES[1].every()) and found != list(SPACES[1].every())


def test_the_best_row_of_the_table_need_not_be_in_the_subspace():
    inside = SPACES[2].smallest()
    outside = WHOLE.from_genotype(specification("010 001 000", "maxpool3x3"))
    contest = SimpleNamespace(table=table.Nas101(), problem=SimpleNamespace(space=SPACES[2]))
    rows = [contest.table.row(WHOLE, architecture) for architecture in (inside, outside)]
    assert [search._written(contest, row) for row in rows] == [str(inside), None]


@numbers
def test_an_exact_path_is_the_network(number):
    """With the same weights in the same order, the path and the network of an architecture give the same logits."""
    space = Nas101(stem=6, stacks=2, cells=2, subspace=number)
    net = supernet_of(space, TASK, seed=0).double()
    x = torch.randn(3, *TASK.shape, generator=torch.Generator().manual_seed(0)).double()
    exact = [architecture for architecture in drawn(number, 20) if space.path_is_exact(architecture)]
    assert 5 < len(exact) < 20
    for architecture in exact:
        network = space.build(architecture, TASK).double()
        child = net.extract(architecture)
        with torch.no_grad():
            for mine, other in zip(network.parameters(), child.parameters(), strict=True):
                mine.copy_(other)
        assert torch.allclose(network(x), child(x), atol=1e-9)


def test_where_shares_do_not_come_out_even_no_path_is_exact():
    architecture = SPACES[2].smallest()
    assert Nas101(stem=12, subspace=2).path_is_exact(architecture) and not Nas101(stem=16, subspace=2).path_is_exact(architecture)


def test_blocks_that_a_cell_does_without_have_no_gates():
    space, rows = SPACES[1], SUBSPACES[1].rows
    opened = dict(space.opened(space.from_genotype(specification("0110 0011 0001 0000", *["maxpool3x3"] * 2))))
    assert set(opened) == {rows["operation", 1], rows["operation", 2], rows["parents", 5]}
    assert space.gates[rows["parents", 5]].options[opened[rows["parents", 5]]] == "1,2"


def test_gates_are_the_questions():
    assert [gate.name for gate in SPACES[1].gates] == [
        "block 1 operation", "block 2 operation", "block 3 operation", "block 3 parents", "block 4 operation", "block 4 parents",
        "output parents",
    ]  # fmt: skip
    assert SPACES[1].gates[3].options == ("0,1", "0,2", "1,2")
    assert WHOLE.gates == ()


@numbers
def test_the_strongest_sets_of_parents_win(number):
    space, blocks = SPACES[number], SUBSPACES[number]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        weights = np.zeros((len(space.gates), max(len(gate.options) for gate in space.gates)))
        for row, gate in enumerate(space.gates):
            weights[row, : len(gate.options)] = rng.dirichlet(np.ones(len(gate.options)))
        assert space.cell(space.derived(weights)) == blocks.cell(weights.argmax(1).tolist()).pruned()
