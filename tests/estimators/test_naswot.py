"""NASWOT against the identities of its specification."""

from dataclasses import dataclass
from itertools import combinations
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from archscout.core.architecture import Decision, checked
from archscout.core.draw import sample
from archscout.core.errors import CandidateError, NotFinite
from archscout.core.problem import Problem
from archscout.core.seeds import derive, generator, seeded
from archscout.estimators import naswot
from archscout.estimators.naswot import Codes, Naswot, agreement
from archscout.nn.batches import ImageSplit, one_batch
from archscout.nn.executor import WeightBank, execute
from archscout.nn.network import Network
from archscout.spaces.nas201 import Nas201
from archscout.testing.tasks import image_task


def codes_of(*layers):
    codes = Codes()
    for layer in layers:
        codes.add(torch.as_tensor(layer, dtype=torch.float32) - 0.5)
    return codes


def random_codes(batch=12, units=300, seed=0):
    return (np.random.default_rng(seed).random((batch, units)) < 0.5).astype(np.float32)


@dataclass(frozen=True)
class Modules:
    """A space without graphs: one hidden layer of one of several kinds."""

    @property
    def name(self):
        return "modules"

    @property
    def decisions(self):
        return (Decision("activation", ("relu", "in-place relu", "dead relu", "none", "twice", "dropout")),)

    def architecture(self, choices):
        return checked(self.name, self.decisions, tuple(choices))

    def build(self, architecture, task):
        return Hidden(task, architecture.choices[0])


class Hidden(nn.Module):
    def __init__(self, task, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(task.shape[0], 8, 3)
        self.activation = nn.Identity() if kind == 3 else nn.ReLU(inplace=kind == 1)
        self.dead = nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(8, task.classes)

    def forward(self, x):
        x = self.first(x)
        if self.kind == 2:
            self.dead(x)
        if self.kind == 5:
            x = self.dropout(x)
        x = self.activation(x)
        if self.kind == 4:
            x = self.activation(x - 0.1)
        return self.last(x.mean((2, 3)))


TASK = image_task((3, 16, 16), classes=5, rows=64)


def test_two_images_by_hand():
    codes = codes_of([[1, 0, 1, 0], [1, 1, 0, 0]])
    assert codes.kernel.tolist() == [[4, 2], [2, 4]]
    assert codes.log_determinant() == pytest.approx(log(12), abs=1e-12)
    assert codes.log_determinant(normalise=True) == pytest.approx(log(12 / 16), abs=1e-12)


def test_codes_at_half_distance():
    hadamard = np.array([[1]])
    while len(hadamard) < 16:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    found = codes_of(hadamard > 0).log_determinant()
    assert found == pytest.approx(16 * log(8) + log(17), abs=1e-9)


def test_identical_codes_are_not_finite():
    with pytest.raises(NotFinite, match="apart"):
        codes_of([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0]]).log_determinant()
    with pytest.raises(NotFinite, match="apart"):
        codes_of(np.ones((5, 40))).log_determinant()


def test_order_of_images_does_not_matter_and_doubled_layers_add_b_log_2():
    layer = random_codes()
    value = codes_of(layer).log_determinant()
    assert codes_of(layer[::-1].copy()).log_determinant() == pytest.approx(value, abs=1e-9)
    doubled = codes_of(layer, layer)
    assert doubled.log_determinant() == pytest.approx(value + 12 * log(2), abs=1e-9)
    counted = Codes()
    counted.add(torch.from_numpy(layer) - 0.5, 2)
    assert torch.equal(counted.kernel, doubled.kernel) and counted.units == doubled.units == 600


def test_the_kernel_is_the_direct_hamming_count():
    layers = [random_codes(9, units, units) for units in (1, 33, 257)]
    codes, together = codes_of(*layers), np.concatenate(layers, 1)
    kernel = codes.kernel
    assert torch.equal(kernel, kernel.t())
    assert set(kernel.diagonal().tolist()) == {codes.units} == {291}
    assert all(int(kernel[i, j]) == int((together[i] == together[j]).sum()) for i, j in combinations(range(9), 2))
    assert torch.linalg.eigvalsh(kernel.double()).min() > -1e-9


def test_feature_maps_count_every_channel_and_pixel_whatever_the_layout():
    x = torch.randn(6, 4, 5, 7, generator=torch.Generator().manual_seed(0))
    kernels = []
    for layout in (torch.contiguous_format, torch.channels_last):
        codes = Codes()
        codes.add(x.contiguous(memory_format=layout))
        assert codes.units == 140
        kernels.append(codes.kernel)
    assert torch.equal(*kernels)


def test_chunks_change_nothing(monkeypatch):
    layer = random_codes(16, 5000)
    expected = codes_of(layer).kernel
    monkeypatch.setattr(naswot, "_UNITS_AT_ONCE", 700)
    assert torch.equal(codes_of(layer).kernel, expected)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("batch", [2, 9, 128])
def test_agreement_is_exact_at_every_width(monkeypatch, batch, quick):
    monkeypatch.setattr(naswot, "_int8_is_quick", lambda: quick)
    monkeypatch.setattr(naswot, "_WORDS_AT_ONCE", 100)
    for units in (*range(1, 40), 63, 64, 65, 127, 129, 1000, 4097):
        on = torch.from_numpy(random_codes(batch, units, units) > 0.5)
        assert torch.equal(agreement(on), (on[:, None] == on[None]).sum(-1)), units


@pytest.mark.parametrize("broken", [None, lambda a, b: torch.zeros(len(a), len(a), dtype=torch.int32)])
def test_an_int8_product_that_is_missing_or_wrong_is_not_used(monkeypatch, broken):
    naswot._int8_is_quick.cache_clear()
    if broken is None:
        monkeypatch.delattr(torch, "_int_mm", raising=False)
    else:
        monkeypatch.setattr(torch, "_int_mm", broken, raising=False)
    assert not naswot._int8_is_quick()
    naswot._int8_is_quick.cache_clear()


@pytest.mark.parametrize(("number", "convolutions"), [(1835, 0), (11472, 2), (6111, 5), (1462, 6)])
def test_units_of_nas201(number, convolutions):
    space = Nas201()
    task = image_task((3, 32, 32), classes=10, rows=2)
    units = Naswot(batch=2).estimate(Problem(space, task), space.at(number), seed=0).metrics["units"]
    assert units == 40_960 + 143_360 * convolutions


@pytest.mark.parametrize("number", [1462, 11472, 6111, 0, 9])
def test_equals_hooks_on_the_module_with_equal_weights(number):
    space = Nas201(8, 2)
    architecture = space.at(number)
    found = Naswot(batch=32).estimate(Problem(space, TASK), architecture, seed=7)
    graph = space.operations(architecture, TASK)
    network = Network(graph).train()
    network.load_state_dict(dict(WeightBank().draw(graph, 7)), strict=False)
    codes = Codes()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: codes.add(inputs[0]))
    images, _ = one_batch(TASK, "train", 32, seed=derive(0, "naswot", TASK.fingerprint))
    with torch.no_grad():
        network(images)
    assert found.metrics["units"] == codes.units
    # A pre-activation within rounding of nought may fall on either side: a few of 2 * 10**5 codes.
    assert found.value == pytest.approx(codes.log_determinant(), rel=1e-3)


def test_kernels_are_equal_in_double_precision():
    space = Nas201(8, 2)
    graph = space.operations(space.at(6111), TASK)
    weights = WeightBank(torch.float64).draw(graph, 3)
    network = Network(graph).double().train()
    network.load_state_dict(dict(weights), strict=False)
    images = one_batch(TASK, "train", 16, seed=0)[0].double()
    ours, hooked = Codes(), Codes()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: hooked.add(inputs[0]))
    with torch.no_grad():
        network(images)
        execute(graph, weights, images, observe=lambda _, out, count: ours.add(out, count))
    assert torch.equal(ours.kernel, hooked.kernel)


def test_only_live_leaves_dead_branches_out():
    space = Nas201(4, 1)
    # A convolution 0->1 that nothing reads, beside a skip 0->3.
    dead = space.from_genotype("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    alive = space.from_genotype("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    problem = Problem(space, TASK)

    def units(architecture, only_live):
        return Naswot(16, only_live=only_live).estimate(problem, architecture, seed=0).metrics["units"]

    assert units(dead, True) == units(alive, True) == units(alive, False) < units(dead, False)


@pytest.mark.parametrize("only_live", [True, False])
def test_a_network_without_signal_is_not_finite(only_live):
    space = Nas201(4, 1)
    with pytest.raises(NotFinite):
        Naswot(16, only_live=only_live).estimate(Problem(space, TASK), space.at(1651), seed=0)


def test_the_seed_changes_the_weights_and_not_the_images():
    space = Nas201(4, 1)
    problem, architecture = Problem(space, TASK), space.at(6111)
    values = [Naswot(16).estimate(problem, architecture, seed=seed).value for seed in (1, 2, 1)]
    assert values[0] == values[2] != values[1]
    other = image_task((3, 16, 16), classes=5, rows=64, seed=1)
    assert Naswot(16).estimate(Problem(space, other), architecture, seed=1).value != values[0]


def test_settings_that_change_the_value():
    space = Nas201(4, 1)
    problem, architecture = Problem(space, TASK), space.at(6111)
    plain = Naswot(16).estimate(problem, architecture, seed=1)
    normalised = Naswot(16, normalise=True).estimate(problem, architecture, seed=1)
    assert normalised.value == pytest.approx(plain.value - 16 * log(plain.metrics["units"]), abs=1e-9)
    half = Naswot(16, precision="bf16").estimate(problem, architecture, seed=1)
    assert half.value != plain.value and half.value == pytest.approx(plain.value, rel=0.01)
    assert Naswot(16, split="valid").estimate(problem, architecture, seed=1).value != plain.value


def test_small_and_repeating_data():
    space = Nas201(4, 1)
    source: ImageSplit = TASK.splits["train"]
    some = ImageSplit(source.images, source.labels, source.rows[:10], source.mean, source.std)
    twice = ImageSplit(source.images, source.labels, np.concatenate([source.rows[:10]] * 2), source.mean, source.std)
    values = []
    for split in (some, twice):
        task = type(TASK)("t", TASK.kind, TASK.shape, TASK.classes, "same", {"train": split})
        values.append(Naswot(128).estimate(Problem(space, task), space.at(6111), seed=0).value)
    assert values[0] == pytest.approx(values[1], rel=1e-3)  # the same ten images, in another order


def test_larger_cells_of_one_family_score_higher():
    space = Nas201(8, 1)
    problem = Problem(space, TASK)
    values = [Naswot(32).estimate(problem, space.at(number), seed=0).value for number in (1835, 11472, 6111, 1462)]
    assert values == sorted(values)


@pytest.mark.parametrize(("kind", "layers"), [(0, 1), (1, 1), (2, 2), (4, 2), (5, 1)])
def test_modules_are_read_by_hooks(kind, layers):
    space = Modules()
    problem = Problem(space, TASK)
    found = Naswot(32).estimate(problem, space.architecture([kind]), seed=3)
    assert found.metrics["units"] == layers * 8 * 14 * 14
    if kind in (1, 5):  # in place or behind a dropout (switched off): the same codes
        assert found.value == Naswot(32).estimate(problem, space.architecture([0]), seed=3).value
    with seeded(3):
        network = space.build(space.architecture([kind]), TASK)
    images, _ = one_batch(TASK, "train", 32, seed=derive(0, "naswot", TASK.fingerprint))
    before = network.first(images)
    by_hand = Codes()
    by_hand.add(before)
    if kind == 2:
        by_hand.add(before)
    if kind == 4:
        by_hand.add(torch.relu(before) - 0.1)
    assert found.value == pytest.approx(by_hand.log_determinant(), rel=1e-9)


def test_live_modules_and_networks_without_activations():
    space = Modules()
    problem = Problem(space, TASK)
    with_dead = Naswot(32, only_live=True).estimate(problem, space.architecture([2]), seed=3)
    assert with_dead.value == Naswot(32).estimate(problem, space.architecture([0]), seed=3).value
    assert with_dead.metrics["units"] == 8 * 14 * 14
    with pytest.raises(CandidateError, match="use another judge"):
        Naswot(32, only_live=True).estimate(problem, space.architecture([3]), seed=3)


def test_wrong_settings_are_refused():
    for settings in ({"batch": 1}, {"precision": "fp16"}):
        with pytest.raises(ValueError, match="must be"):
            Naswot(**settings)


def test_bf16_ranks_as_full_precision_does():
    space = Nas201(8, 1)
    problem = Problem(space, TASK)
    rng = generator(0, "ranks")
    values = []
    for architecture in {sample(space, rng) for _ in range(15)}:
        try:
            values.append([Naswot(32, precision=p).estimate(problem, architecture, seed=0).value for p in ("fp32", "bf16")])
        except NotFinite:
            continue
    ranks = np.argsort(np.argsort(np.array(values), axis=0), axis=0)
    assert len(values) > 8
    assert np.corrcoef(ranks.T)[0, 1] > 0.97
