"""A text in columns: for training by the number of the step, for evaluation in order."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archscout.nn.tokens import TokenSplit, TokenStream, drawn_length, in_order


def split(tokens: int, length: int) -> TokenSplit:
    return TokenSplit(np.arange(tokens, dtype=np.int64), length)


@given(st.integers(30, 200), st.integers(1, 9), st.integers(1, 7), st.booleans())
def test_a_pass_reads_every_column_once_in_its_order(tokens: int, length: int, columns: int, varied: bool) -> None:
    stream = TokenStream(split(tokens, length), columns, seed=1, varied=varied)
    step, seen = 0, []
    while True:
        x, y, begins = stream.at(step)
        assert (y == x + 1).all() and begins == (step == 0 or not seen)
        seen.append(x)
        step += 1
        if stream.at(step)[2]:
            break
    whole = torch.cat(seen, 1)
    rows = (tokens - 1) // stream.columns
    assert whole.flatten().tolist() == list(range(stream.columns * rows))
    if not varied:
        assert step == stream.per_pass and all(x.shape[1] == length for x in seen[:-1])


def test_a_step_follows_from_its_number() -> None:
    one, other = (TokenStream(split(5000, 35), 4, seed=3, varied=True) for _ in range(2))
    late = one.at(90)[0]
    for step in (0, 89, 2, 90):
        x, _, _ = other.at(step)
    assert torch.equal(x, late)
    assert [TokenStream(split(5000, 35), 4, seed=4, varied=True).at(n)[0].shape for n in range(9)] != [
        one.at(n)[0].shape for n in range(9)
    ]


def test_lengths_are_drawn_as_published() -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([drawn_length(35, rng) for _ in range(20_000)])
    assert lengths.min() >= 5 and lengths.max() <= 55
    halved = (lengths < 26).mean()  # of half the mean, or in the tail of the others
    assert halved == pytest.approx(0.05 * 0.95 + 0.95 * 0.03, abs=0.01)
    assert lengths.mean() == pytest.approx(0.975 * 35, abs=0.7)
    assert drawn_length(3, rng) >= 3


@pytest.mark.parametrize("length", [1, 3, 5, 8, 10])
def test_a_pass_of_short_windows_has_as_many_steps_as_it_says(length: int) -> None:
    stream = TokenStream(split(40_000, length), 1, seed=0, varied=True)
    steps = next(step for step in count(1) if stream.at(step)[2])
    assert stream.per_pass == pytest.approx(steps, rel=0.025)


@pytest.mark.parametrize("length", [11, 12, 20, 35, 70])
def test_a_pass_of_usual_windows_leaves_the_rounding_out(length: int) -> None:
    assert TokenStream(split(40_000, length), 4, seed=0, varied=True).per_pass == round(9999 / (0.975 * length))


@given(st.integers(1, 400), st.integers(1, 5))
def test_evaluation_meets_every_window_and_columns_go_on(windows: int, length: int) -> None:
    data = split(windows * length + 1, length)
    before, met = None, []
    for positions, x, y in in_order(data):
        assert (x[:, 0] == torch.from_numpy(positions * length)).all() and (y == x + 1).all()
        if before is not None:
            assert (positions == before[: len(positions)] + 1).all()
        before = positions
        met += positions.tolist()
    assert sorted(met) == list(range(windows)), "every window once, so that none is foretold by a state that has read it"
