"""Drawing, mutating, crossing and enumerating, over random spaces."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archscout.core.architecture import Architecture, Decision, checked
from archscout.core.draw import crossover, enumerate_space, legal, mutate, neighbours, sample, size
from archscout.core.errors import LimitError, UserError


@dataclass(frozen=True)
class Grid:
    """Decisions with these numbers of options; with `switch`, option 0 of the first makes the last one without effect."""

    options: tuple[int, ...]
    switch: bool = False

    @property
    def name(self):
        return "grid"

    @property
    def decisions(self):
        return tuple(Decision(f"d{place}", tuple(map(str, range(count)))) for place, count in enumerate(self.options))

    def architecture(self, choices):
        choices = checked(self.name, self.decisions, tuple(choices)).choices
        if self.switch and len(choices) > 1 and choices[0] == 0:
            choices = (*choices[:-1], 0)
        return Architecture(self.name, choices)

    def build(self, architecture, task):
        raise NotImplementedError


@dataclass(frozen=True)
class Partial(Grid):
    """Refuses tuples with a sum above `most`."""

    most: int = 3

    def architecture(self, choices):
        found = super().architecture(choices)
        if sum(found.choices) > self.most:
            raise UserError(f"the sum should be at most {self.most}, but {sum(found.choices)} came")
        return found

    def smallest(self):
        return self.architecture([0] * len(self.options))


spaces = st.builds(Grid, st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), st.booleans())
roomy = spaces.filter(lambda space: len(set(enumerate_space(space))) > 1)
seeds = st.integers(0, 2**32)


@given(spaces, seeds)
def test_text_round_trip_and_normalisation(space, seed):
    architecture = sample(space, np.random.default_rng(seed))
    assert Architecture.parse(str(architecture)) == architecture
    assert space.architecture(architecture.choices) == architecture
    assert len(architecture.digest) == 16 and architecture.digest == Architecture.parse(str(architecture)).digest


@given(roomy, seeds)
def test_mutants_are_legal_and_differ(space, seed):
    rng = np.random.default_rng(seed)
    parent = sample(space, rng)
    child = mutate(space, parent, rng)
    assert child != parent
    assert space.architecture(child.choices) == child
    if not space.switch:
        assert sum(a != b for a, b in zip(parent.choices, child.choices, strict=True)) == 1
        assert child in neighbours(space, parent)


@given(spaces, seeds)
def test_crossover_takes_from_either_parent(space, seed):
    rng = np.random.default_rng(seed)
    one, other = sample(space, rng), sample(space, rng)
    child = crossover(space, one, other, rng)
    assert space.architecture(child.choices) == child
    if not space.switch:
        assert all(c in (a, b) for a, b, c in zip(one.choices, other.choices, child.choices, strict=True))


@given(spaces)
def test_enumeration_is_complete_without_repetition(space):
    every = list(enumerate_space(space))
    assert len(set(every)) == len(every) <= size(space)
    if not space.switch:
        assert len(every) == size(space)
        assert every == sorted(every)
    assert {sample(space, np.random.default_rng(seed)) for seed in range(20)} <= set(every)


@given(spaces, seeds)
def test_neighbours_are_mutual(space, seed):
    here = sample(space, np.random.default_rng(seed))
    around = neighbours(space, here)
    assert here not in around and len(set(around)) == len(around)
    if not space.switch:
        assert len(around) == sum(count - 1 for count in space.options)
        assert all(here in neighbours(space, there) for there in around)


@given(seeds)
def test_of_a_partial_space_comes_only_what_is_legal(seed):
    space, rng = Partial((4, 4, 4)), np.random.default_rng(seed)
    every = {choices for choices in product(range(4), repeat=3) if sum(choices) <= 3}
    assert {architecture.choices for architecture in enumerate_space(space)} == every
    one, other = sample(space, rng), sample(space, rng)
    assert mutate(space, one, rng) in neighbours(space, one)
    drawn = [one, other, mutate(space, one, rng), crossover(space, one, other, rng), *neighbours(space, one)]
    assert {architecture.choices for architecture in drawn} <= every
    assert legal(space, (3, 3, 3)) is None and legal(space, (3, 0, 0)) == space.architecture((3, 0, 0))
    with pytest.raises(UserError, match="takes 0 to 3"):
        legal(Grid((4, 4, 4)), (4, 0, 0))


def test_where_no_mixture_is_legal_the_first_parent_stays():
    @dataclass(frozen=True)
    class Twins(Partial):
        def architecture(self, choices):
            found = Grid.architecture(self, choices)
            if found.choices not in ((0,) * 12, (1,) * 12):
                raise UserError("all choices should be equal")
            return found

    space, rng = Twins((2,) * 12), np.random.default_rng(0)
    one, other = space.architecture([1] * 12), space.smallest()
    assert crossover(space, one, other, rng) == one


@given(seeds)
def test_equal_seeds_draw_equal_architectures(seed):
    space = Grid((5, 5, 5, 5))
    first, second = ([sample(space, rng) for _ in range(5)] for rng in (np.random.default_rng(seed), np.random.default_rng(seed)))
    assert first == second


def test_accept_is_obeyed():
    space, rng = Grid((5, 5)), np.random.default_rng(0)

    def small(architecture):
        return sum(architecture.choices) <= 2

    drawn = [sample(space, rng, small) for _ in range(200)]
    assert all(map(small, drawn)) and len(set(drawn)) == 6
    parent = space.architecture([0, 0])
    assert all(small(mutate(space, parent, rng, small)) for _ in range(100))


def test_what_cannot_be_met_is_a_limit_error():
    space, rng = Grid((5, 5)), np.random.default_rng(0)
    with pytest.raises(LimitError, match=r"raise them \(--max-params"):
        sample(space, rng, lambda _: False)
    with pytest.raises(LimitError):
        mutate(Grid((1, 1)), Grid((1, 1)).architecture([0, 0]), rng)


def test_a_space_may_draw_for_itself():
    class Drawn(Grid):
        def sample(self, rng):
            return self.architecture([4, 4])

        def mutate(self, architecture, rng):
            return self.architecture([3, 3])

    space, rng = Drawn((5, 5)), np.random.default_rng(0)
    assert sample(space, rng).choices == (4, 4)
    assert mutate(space, sample(space, rng), rng).choices == (3, 3)


def test_samples_are_uniform():
    rng = np.random.default_rng(0)
    counts = np.bincount([sample(Grid((4,)), rng).choices[0] for _ in range(4000)], minlength=4)
    assert counts == pytest.approx([1000] * 4, abs=100)


@pytest.mark.parametrize("choices", [(0,), (0, 0, 0), (0, 5), (-1, 0)])
def test_illegal_choices_are_named(choices):
    with pytest.raises(UserError, match=r"takes"):
        Grid((5, 5)).architecture(choices)


@pytest.mark.parametrize("text", ["", "nas201", "nas201:", "nas201:1.", "nas201:a", "nas201:-1", "NAS:1", "a:1.2 b"])
def test_text_of_another_form_is_refused(text):
    with pytest.raises(UserError, match="reads like"):
        Architecture.parse(text)
