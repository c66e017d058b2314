"""Architectures as tokens: numbering, legality, what changes places; every space of the catalogue and back."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archscout import catalogue
from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.draw import sample, size
from archscout.core.encoding import TokenEncoding, architecture_of, encoding_of, tokens_of
from archscout.core.protocols import PartialSpace, TokenSpace
from archscout.core.seeds import generator
from archscout.testing.spaces import random_tokens

SPACES = [
    *(catalogue.make("spaces", name) for name in catalogue.names("spaces") if name != "rnn"),
    catalogue.make("spaces", "nao-cell", operation_set="full"),
    catalogue.make("spaces", "rnn", nodes=11),
    catalogue.make("spaces", "nas101", subspace=2),
]
MANY = [space for space in SPACES[:-1] if space.name in {"nao-cell", "nas101", "nas201", "darts", "rnn", "mobile", "proxyless"}]
# Tokens 1 and 2 decide what may come after them; the first and the last two positions may change places, or the middle ones.
SMALL = TokenEncoding(
    vocabulary=6,
    allowed=((1, 2), (3, 4, 5)) * 4,
    step=2,
    follows={1: (3,), 2: (3, 5)},
    swaps=(((0, 6, 2), (2, 4, 2)),),
)


@dataclass(frozen=True)
class Named:
    """Decisions with these names of options."""

    options: tuple[tuple[str, ...], ...]
    name: str = "named"

    @property
    def decisions(self):
        return tuple(Decision(f"d{place}", options) for place, options in enumerate(self.options))

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture, task):
        raise NotImplementedError


def identity(space):
    return f"{space.name} {size(space):.0e}"


def test_decisions_that_share_names_share_tokens():
    space = Named((("a", "b"), ("x", "y"), ("c", "b"), ("y", "z", "x")))
    encoding = encoding_of(space)
    assert encoding == TokenEncoding(7, ((1, 2), (4, 5), (2, 3), (4, 5, 6)), step=2, by_decision=True)
    assert tokens_of(space, space.architecture((1, 0, 1, 1))) == (2, 4, 2, 6)
    assert architecture_of(space, np.array((1, 5, 3, 4))) == Architecture("named", (0, 1, 0, 2))


def test_what_joins_groups_takes_the_place_of_the_first():
    encoding = encoding_of(Named((("a",), ("x",), ("b",), ("c", "a", "b"), ("c",))))
    assert encoding.allowed == ((1,), (4,), (2,), (1, 2, 3), (3,)) and encoding.vocabulary == 5
    assert encoding.step == 1


@pytest.mark.parametrize(
    ("name", "options", "length", "vocabulary", "step"),
    [
        ("nao-cell", {}, 40, 12, 2),
        ("nao-cell", {"operation_set": "full"}, 60, 21, 3),
        ("rnn", {"nodes": 11}, 22, 16, 2),
        ("rnn", {"nodes": 1}, 2, 6, 1),
        ("nas101", {}, 27, 7, 1),
        ("nas201", {}, 6, 6, 1),
        ("darts", {}, 24, 18, 3),
        ("nlp-rnn", {}, 103, 39, 1),
    ],
)
def test_sizes(name, options, length, vocabulary, step):
    encoding = encoding_of(catalogue.make("spaces", name, **options))
    assert (encoding.length, encoding.vocabulary, encoding.step) == (length, vocabulary, step)


def test_a_decision_may_read_what_the_published_one_may():
    nao, rnn = catalogue.make("spaces", "nao-cell"), catalogue.make("spaces", "rnn", nodes=11)
    for position, tokens in enumerate(encoding_of(nao).allowed):
        node = position // 2 % 10 // 2
        assert tokens == (tuple(range(1, node + 3)) if position % 2 == 0 else (7, 8, 9, 10, 11))
    for position, tokens in enumerate(encoding_of(rnn).allowed):
        assert tokens == (tuple(range(1, position // 2 + 2)) if position % 2 == 0 else (12, 13, 14, 15))


@given(st.lists(st.integers(0, 5), min_size=7, max_size=9))
def test_legal_is_what_masks_and_transitions_let_through(tokens):
    mask, after = SMALL.mask(), SMALL.transitions()
    assert mask.shape == (8, 6) and after.shape == (6, 6)
    let_through = len(tokens) == 8 and all(mask[range(8), tokens]) and all(after[tokens[:-1], tokens[1:]])
    assert SMALL.is_legal(tokens) == let_through


@given(st.integers(0, 2**32))
def test_random_tokens_are_legal_and_one_changed_token_may_not_be(seed):
    for row in random_tokens(SMALL, 5, generator(seed)):
        assert SMALL.is_legal(row)
        assert not SMALL.is_legal([*row[:-1], 4]), "4 follows neither 1 nor 2"
        assert not SMALL.is_legal(row[:-1]) and not SMALL.is_legal([0, *row[1:]])


def test_nothing_is_restricted_without_follows():
    assert TokenEncoding(3, ((1, 2),) * 2).transitions() is None


def test_one_pair_of_a_group_changes_places_in_half_of_the_rows():
    rows = np.tile([1, 3, 2, 3, 2, 5, 2, 3], (4000, 1))
    before = rows.copy()
    found, counts = np.unique(SMALL.swapped(rows, generator(0)), axis=0, return_counts=True)
    assert (rows == before).all()
    assert found.tolist() == [[1, 3, 2, 3, 2, 5, 2, 3], [1, 3, 2, 5, 2, 3, 2, 3], [2, 3, 2, 3, 2, 5, 1, 3]]
    assert abs(counts[0] - 2000) < 130 and abs(counts[1] - 1000) < 110, "four standard deviations"
    assert (SMALL.swapped(rows, generator(0)) == SMALL.swapped(rows, generator(0))).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"step": 3}, "divides"),
        ({"allowed": ()}, "at least 1"),
        ({"allowed": ((1, 6), (2,))}, "ascending"),
        ({"allowed": ((0, 1), (2,))}, "ascending"),
        ({"allowed": ((2, 1), (2,))}, "ascending"),
        ({"follows": {1: ()}}, "at least one"),
        ({"swaps": (((0, 1, 2),),)}, "apart"),
        ({"swaps": (((0, 1, 2), (4, 7, 2)),)}, "apart"),
    ],
)
def test_an_encoding_that_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        TokenEncoding(**{"vocabulary": 6, "allowed": SMALL.allowed, "step": 1} | wrong)


@pytest.mark.parametrize("space", SPACES, ids=identity)
def test_tokens_that_are_not_legal_are_refused(space):
    tokens = tokens_of(space, sample(space, generator(0)))
    for wrong in (tokens[:-1], (*tokens, tokens[-1]), (0, *tokens[1:]), (*tokens[:-1], encoding_of(space).vocabulary)):
        with pytest.raises(ValueError, match=space.name):
            architecture_of(space, wrong)


@pytest.mark.parametrize("space", SPACES, ids=identity)
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_every_space_and_back(space, seed):
    rng = generator(seed)
    architecture = sample(space, rng)
    encoding, tokens = encoding_of(space), tokens_of(space, architecture)
    swapped = encoding.swapped(np.array([tokens] * 4), rng)
    for row in (tokens, *swapped):
        assert encoding.is_legal(tuple(row)) and architecture_of(space, row) == architecture


@pytest.mark.parametrize("space", MANY, ids=identity)
def test_ten_thousand_legal_sequences_and_back(space):
    rows = random_tokens(encoding_of(space), 10_000, generator(0, "tokens"))
    found = [architecture_of(space, row) for row in rows]
    legal = [architecture for architecture in found if architecture is not None]
    assert len(legal) == len(rows) or isinstance(space, PartialSpace)
    assert [architecture_of(space, tokens_of(space, architecture)) for architecture in legal] == legal
    assert len(legal) > 7_000 and len(set(legal)) > 2_000


def test_only_spaces_with_a_form_of_their_own_state_it():
    assert {space.name for space in SPACES if isinstance(space, TokenSpace)} == {"nao-cell", "nas101"}
