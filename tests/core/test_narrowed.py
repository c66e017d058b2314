"""Parts of spaces around good architectures."""

from __future__ import annotations

import pytest

from archscout import catalogue
from archscout.core.errors import LimitError
from archscout.core.narrowed import Whole, narrowed
from archscout.core.seeds import generator

NAS201 = catalogue.make("spaces", "nas201")


def test_candidates_are_what_was_used_a_skip_and_kernels_beside_it():
    one, other = NAS201.architecture([3, 3, 0, 4, 1, 2]), NAS201.architecture([3, 0, 0, 4, 1, 2])
    part = narrowed(NAS201, [one, other])
    # none, skip, 1 x 1, 3 x 3, mean: a 3 x 3 convolution brings the 1 x 1 one, a mean and nothing bring only the skip
    assert part.candidates == ((1, 2, 3), (0, 1, 2, 3), (0, 1), (1, 4), (1,), (1, 2, 3))
    assert part.size == 3 * 4 * 2 * 2 * 1 * 3
    assert Whole(NAS201).size == 5**6


def test_where_operations_read_from_stays_as_it_was():
    darts = catalogue.make("spaces", "darts")
    found = darts.from_genotype("DARTS_V2")
    part = narrowed(darts, [found])
    for decision, choice, candidates in zip(darts.decisions, found.choices, part.candidates, strict=True):
        names = {decision.options[number] for number in candidates}
        if decision.name.endswith("sources"):
            assert candidates == (choice,)
        else:
            assert "skip_connect" in names and choice in candidates
            assert decision.options[choice] != "sep_conv_3x3" or "sep_conv_5x5" in names
    assert 1 < part.size < Whole(darts).size


def test_kernels_of_blocks():
    macro = catalogue.make("spaces", "macro")
    part = narrowed(macro, [macro.architecture([1] * len(macro.decisions))])
    assert {macro.decisions[0].options[n] for n in part.candidates[0]} == {"identity", "mb3_k3"}, "mb6_k5 is another operation"


def test_draws_are_of_the_part_and_all_of_it():
    part = narrowed(NAS201, [NAS201.architecture([3, 1, 1, 1, 1, 1])])
    rng = generator(0)
    drawn = {part.sample(rng).choices for _ in range(60)}
    assert drawn == {(first, 1, 1, 1, 1, 1) for first in (1, 2, 3)}


def test_limits_that_nothing_in_the_part_meets():
    part = narrowed(NAS201, [NAS201.architecture([3] * 6)])
    with pytest.raises(LimitError, match="meets the limits"):
        part.sample(generator(0), lambda architecture: False)
    with pytest.raises(ValueError, match="none came"):
        narrowed(NAS201, [])
