"""Windows of tokens, and the language models that read them."""

from __future__ import annotations

import pickle
from math import sqrt

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.core.seeds import seeded
from archscout.nn.measure import example_input
from archscout.nn.recurrent import LanguageModel, LockedDropout, Node, RecurrentCell
from archscout.nn.tokens import TokenSplit, one_token_batch
from archscout.testing.tasks import image_task, token_task

RNN: list[Node] = [("linear", (0, 1)), ("activation_tanh", (2,))]


def test_a_window_and_the_same_one_token_later() -> None:
    split = TokenSplit(np.arange(23, dtype=np.int64), 5)
    assert len(split) == 4
    x, y = split.take(np.array([3, 0]))
    assert x.tolist() == [[15, 16, 17, 18, 19], [0, 1, 2, 3, 4]]
    assert torch.equal(y, x + 1)
    assert x.dtype == y.dtype == torch.int64


def test_a_batch_follows_from_its_seed() -> None:
    task = token_task(length=6, tokens=600)
    x, y = one_token_batch(task, "train", 16, seed=3)
    assert x.shape == y.shape == (16, 6)
    assert torch.equal(x, one_token_batch(task, "train", 16, seed=3)[0])
    assert not torch.equal(x, one_token_batch(task, "train", 16, seed=4)[0])
    assert not torch.equal(x[:, :], one_token_batch(task, "valid", 16, seed=3)[0])
    assert len(one_token_batch(task, "valid", 1000, seed=0)[0]) == len(task.splits["valid"]) == 33


def test_splits_travel_by_reference_where_they_can() -> None:
    split = token_task().splits["train"]
    assert pickle.loads(pickle.dumps(split)) is split and len(pickle.dumps(split)) < 500
    plain = TokenSplit(np.arange(9, dtype=np.int64), 4)
    copy = pickle.loads(pickle.dumps(plain))
    assert np.array_equal(copy.ids, plain.ids) and copy.length == 4


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="need more than 4 tokens"):
        TokenSplit(np.arange(4, dtype=np.int64), 4)


def test_example_inputs_have_the_form_of_the_task() -> None:
    assert example_input(image_task((1, 12, 12)), 3).shape == (3, 1, 12, 12)
    tokens = example_input(Task("t", LANGUAGE_MODELLING, (7,), 20, "f"), device="meta")
    assert tokens.shape == (1, 7) and tokens.dtype == torch.int64 and tokens.is_meta


def test_an_lstm_as_a_graph_is_torchs() -> None:
    # Gates as torch orders them: input, forget, candidate, output.
    gates: list[Node] = [("linear", (0, 1))] * 4
    activations: list[Node] = [
        ("activation_sigm", (3,)),
        ("activation_sigm", (4,)),
        ("activation_tanh", (5,)),
        ("activation_sigm", (6,)),
    ]
    rest: list[Node] = [
        ("elementwise_prod", (8, 2)), ("elementwise_prod", (7, 9)), ("elementwise_sum", (11, 12)), ("activation_tanh", (13,)),
        ("elementwise_prod", (14, 10)),
    ]  # fmt: skip
    with seeded(0):
        cell = RecurrentCell([*gates, *activations, *rest], [12, 10], 3, 5)
        torchs = torch.nn.LSTMCell(3, 5)
        x, h, c = torch.randn(2, 3), torch.randn(2, 5), torch.randn(2, 5)
    with torch.no_grad():
        weights = torch.cat([torchs.weight_ih, torchs.weight_hh], 1).chunk(4)
        for layer, weight, bias in zip(cell.layers, weights, (torchs.bias_ih + torchs.bias_hh).chunk(4), strict=False):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        for mine, wanted in zip(cell(x, (h, c)), torchs(x, (h, c)), strict=True):
            assert torch.allclose(mine, wanted, atol=1e-6)


def test_blend_and_leaky_relu() -> None:
    cell = RecurrentCell([("linear", (0, 1)), ("activation_leaky_relu", (2,)), ("blend", (3, 1, 2))], [2], 2, 4)
    x, h = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.full((3, 4), -2.0)
    [new] = cell(x, (h,))
    linear = cell.layers[0](torch.cat([x, h], 1))
    gate = torch.where(linear > 0, linear, 0.01 * linear)
    assert torch.allclose(new, gate * h + (1 - gate) * linear)


def test_a_sum_takes_in_all_its_terms() -> None:
    cell = RecurrentCell([("linear", (0, 1)), ("elementwise_sum", (1, 2, 2)), ("elementwise_prod", (1, 2, 3))], [2], 2, 2)
    h = torch.tensor([[2.0, -1.0]])
    [new] = cell(torch.ones(1, 2), (h,))
    linear = cell.layers[0](torch.cat([torch.ones(1, 2), h], 1))
    assert torch.allclose(new, h * linear * (h + 2 * linear))


def test_the_hidden_state_goes_on_where_it_stopped() -> None:
    with seeded(1):
        model = LanguageModel(RNN, [1], 9, [(4, 6), (6, 4)])
    tokens = torch.arange(24).view(2, 12) % 9
    whole = model(tokens)
    first, states = model.run(tokens[:, :5])
    second, _ = model.run(tokens[:, 5:], states)
    assert whole.shape == (2, 12, 9)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-6)
    assert [tuple(state.shape) for layer in states for state in layer] == [(2, 6), (2, 4)]
    assert torch.equal(model(tokens, states), model.run(tokens, states)[0])


def test_weights_are_tied_and_drawn_within_their_bounds() -> None:
    with seeded(2):
        model = LanguageModel(RNN, [1], 50, [(30, 40), (40, 30)])
    assert sum(p.numel() for p in model.parameters()) == 50 * 30 + 50 + 40 * (70 + 1) + 30 * (70 + 1)
    for cell in model.cells:
        for parameter in cell.parameters():
            assert 0.8 / sqrt(cell.size) < parameter.abs().max() <= 1 / sqrt(cell.size)
    assert model.embedding.weight.abs().max() <= 0.1 and not model.bias.any()
    tokens = torch.tensor([[1, 2]])
    logits = model(tokens)
    F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    assert model.embedding.weight.grad is not None and bool(model.embedding.weight.grad[49].any()), "the decoder is the embedding"


def test_dropout_keeps_its_mask_for_all_steps() -> None:
    drop = LockedDropout(0.5)
    with seeded(0):
        y = drop.train()(torch.ones(4, 7, 32))
    assert torch.equal(y, y[:, :1].expand_as(y)) and set(y.unique().tolist()) == {0.0, 2.0}
    x = torch.randn(2, 3, 4)
    assert torch.equal(drop.eval()(x), x)
