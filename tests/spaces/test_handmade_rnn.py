"""LSTM and GRU as rivals of equal size, and spaces that are sized for a plan."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task
from archscout.core.seeds import generator
from archscout.nn.measure import counts, largest

TEXT = Task("none", LANGUAGE_MODELLING, (35,), 10_000, "none")
RIVALS = catalogue.make("spaces", "handmade-rnn")


@given(st.integers(40_000, 20_000_000))
def test_rivals_have_as_many_parameters_as_they_may(bound: int) -> None:
    found = dict(RIVALS.baselines(Problem(RIVALS, TEXT, {"params": bound, "work": 1.0})))
    assert list(found) == ["LSTM", "GRU"]
    for architecture in found.values():
        params = counts(RIVALS, architecture, TEXT)["params"]
        family, size = architecture.choices
        larger = counts(RIVALS, RIVALS.architecture((family, min(size + 1, 1999))), TEXT)["params"]
        assert params <= bound and (larger > bound or size == 1999)


def test_rivals_of_a_published_size_match_it_closely() -> None:
    space = catalogue.make("spaces", "rnn", size=200)
    wanted = counts(space, sample(space, generator(0)), TEXT)["params"]
    for _, architecture in RIVALS.baselines(Problem(RIVALS, TEXT, {"params": wanted})):
        assert 0.99 * wanted < counts(RIVALS, architecture, TEXT)["params"] <= wanted


def test_a_limit_that_nothing_meets_leaves_no_rival() -> None:
    assert RIVALS.baselines(Problem(RIVALS, TEXT, {"params": 100})) == ()


@pytest.mark.parametrize("name", ["rnn", "nlp-rnn"])
def test_a_space_is_made_as_large_as_the_limits_allow(name: str) -> None:
    space = catalogue.make("spaces", name)
    for work in (30e6, 300e6):
        made = space.fitted(TEXT, {"work": work, "latency_ms": 1.0})
        architecture = sample(made, generator(1))
        assert counts(made, architecture, TEXT)["work"] < 2 * work
        if name == "rnn":
            assert 0.7 * work < counts(made, architecture, TEXT)["work"] <= work
    assert space.fitted(TEXT, {}) == space
    assert (
        counts(made, architecture, TEXT)["params"] > counts(space.fitted(TEXT, {"params": 150_000}), architecture, TEXT)["params"]
    )


def test_the_largest_size_is_found() -> None:
    assert largest(50, lambda size: {"params": size**2, "macs": size}, {"params": 100}) == 10
    assert largest(50, lambda size: {"params": size**2, "macs": size}, {"work": 21, "latency_ms": 0.1}) == 7
    assert largest(50, lambda size: {"params": 1, "macs": 1}, {"params": 1}) == 50
    assert largest(50, lambda size: {"params": 9, "macs": 1}, {"params": 1}) == 1


def test_the_state_of_an_lstm_goes_on() -> None:
    for family in (0, 1):
        net = RIVALS.build(RIVALS.architecture((family, 7)), TEXT).eval()
        tokens = torch.randint(0, 10_000, (2, 9), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            whole = net(tokens)
            _, _, states = net.outputs(tokens[:, :4])
            assert torch.allclose(net(tokens[:, 4:], states), whole[:, 4:], atol=1e-6)


@pytest.mark.parametrize("place", ["dropout_embedding", "dropout_input", "dropout_output"])
@pytest.mark.parametrize("family", [0, 1])
def test_dropouts_belong_to_training_and_differ_from_row_to_row(family: int, place: str) -> None:
    space = catalogue.make("spaces", "handmade-rnn", **{place: 0.5})
    net = space.build(space.architecture((family, 15)), TEXT)
    tokens = torch.arange(9).repeat(2, 1)
    one, other = net.train()(tokens)
    assert not torch.allclose(one, other)
    one, other = net.eval()(tokens)
    assert torch.allclose(one, other)
