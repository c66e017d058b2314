"""FUSE: who is chosen among candidates, what a choice mixes, and how like tasks narrow the space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archscout import catalogue
from archscout.core.baseline_tasks import baseline_place
from archscout.core.errors import UnknownName, UserError
from archscout.core.narrowed import Narrowed
from archscout.core.problem import Problem
from archscout.nn.baseline_tasks import baseline_of
from archscout.nn.task_distance import TaskDistance, without_head
from archscout.nn.task_networks import NetworkPlan, images_of, trained
from archscout.strategies.fuse import Fuse, Fusion, _Draws
from archscout.testing.strategies import LOOP_CHECKS
from archscout.testing.tasks import image_task

TASK = image_task((3, 8, 8), 3, 64)
SPACE = catalogue.make("spaces", "nas201", channels=2, cells=1)
SHORT = Fuse(turns=2, rounds=1, epochs=0.5, batch=8, items=16, channels=2, depth=1, report=1, seeds=1, neighbours=1)
PLAN = NetworkPlan((3, 8, 8), epochs=4, batch=16, samples=40)


class Fixed(nn.Module):
    """Gives each image of labels (in its first pixel) the logit `right` of its class; without weights."""

    def __init__(self, right: float) -> None:
        super().__init__()
        self.right = right

    def forward(self, x):
        return F.one_hot(x[:, 0, 0, 0].long(), 3).float() * self.right


def labelled(count=64):
    y = torch.arange(count) % 3
    return y.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2), y


@pytest.mark.parametrize("mix", ["logits", "log-sum"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_obviously_best_candidate_is_chosen_in_one_round(mix, place):
    fusion = Fusion([Fixed(4.0 if number == place else 0.0) for number in range(3)], 1e-3, 1e-3, mix)
    fusion.learn(labelled())
    fusion.judge([labelled()], passes=2, batch=16)
    assert fusion.best == place and float(fusion.choice()[place]) > 1 / 3 + 1e-4


@pytest.mark.parametrize("mix", ["logits", "log-sum"])
def test_among_equal_candidates_the_choice_stays_even(mix):
    networks = []
    for _ in range(3):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        with torch.no_grad():
            network[1].weight.copy_(torch.linspace(-1, 1, 12).view(3, 4))
            network[1].bias.zero_()
        networks.append(network)
    fusion = Fusion(networks, 1e-3, 1e-3, mix)
    for _ in range(3):
        fusion.learn(labelled())
        fusion.judge([labelled()], passes=3, batch=16)
    # Rounding errors alone may move it: Adam takes steps of a thousandth whatever their size, 36 in all.
    torch.testing.assert_close(fusion.choice(), torch.full((3,), 1 / 3), atol=2e-3, rtol=0)


def test_better_candidates_are_chosen_more_often_than_chance_would():
    """Of ten candidates of known quality, three at a time: the best of the three is chosen."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(20):
        drawn = rng.permutation(10)[:3]
        fusion = Fusion([Fixed(0.3 * float(number)) for number in drawn], 1e-3, 1e-3)
        fusion.judge([labelled(48)], passes=1, batch=16)
        hits += int(fusion.best == int(drawn.argmax()))
    assert hits > 12, f"chance is a third of 20, but {hits} came"


def test_what_is_mixed():
    outputs = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 1, 2, 2])
    alpha = torch.tensor([0.3, -1.0, 2.0])
    share = alpha.softmax(0)
    wanted = {
        "logits": F.cross_entropy(sum(a * c for a, c in zip(share, outputs, strict=True)), labels),
        "log-sum": F.nll_loss(torch.log(sum(a * c.softmax(1) for a, c in zip(share, outputs, strict=True))), labels),
    }
    for mix, loss in wanted.items():
        fusion = Fusion([Fixed(1.0)] * 3, 1e-3, 1e-3, mix)
        with torch.no_grad():
            fusion.alpha.copy_(alpha)
        torch.testing.assert_close(fusion.loss(outputs, labels).detach(), loss)


def test_learning_moves_all_candidates_and_leaves_the_choice():
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(3)]
    before = [network[1].weight.detach().clone() for network in networks]
    fusion = Fusion(networks, 1e-2, 1e-2)
    fusion.learn(labelled())
    assert all(not torch.equal(network[1].weight, old) for network, old in zip(networks, before, strict=True))
    assert torch.equal(fusion.alpha.detach(), torch.ones(3)) and fusion.alpha.grad is None
    weights = [network[1].weight.detach().clone() for network in networks]
    fusion.judge([labelled()], passes=1, batch=16)
    assert all(torch.equal(network[1].weight, old) for network, old in zip(networks, weights, strict=True))


def searched(strategy, task=TASK, space=SPACE, seed=0):
    search = strategy.search(Problem(space, task), seed=seed)
    reports = []
    while True:
        try:
            reports.append(next(search))
        except StopIteration as end:
            return end.value, reports


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dictionary of two tasks: the target itself, and one of other images."""
    folder = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHSCOUT_TASKS", str(folder))
        other = image_task((3, 8, 8), 4, 64, seed=5)
        for name, task, good in (("near", TASK, ["nas201:3.1.1.1.1.1"]), ("far", other, ["nas201:4.4.4.4.4.4", "darts:1.2"])):
            images = images_of(task, PLAN)
            network = trained(images, PLAN, 0)
            baseline_of(name, name, images, PLAN, [(network, 0.9)], good).save(baseline_place(name))
        images = images_of(TASK, PLAN)
        baseline_of("elsewhere", "", images, PLAN, [(network, 0.9)], ["macro:1.1"]).save(baseline_place("elsewhere"))
    return folder


@pytest.fixture
def dictionary(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHSCOUT_TASKS", str(kept))
    return kept


@pytest.mark.usefixtures("dictionary")
def test_near_tasks_narrow_the_space():
    answer, reports = searched(SHORT)
    last = reports[-1].metrics
    assert last["baselines"] == 2 and last["distance to near"] < 1e-6 < last["distance to far"]
    assert last["space"] == 5**6 and last["narrowed"] == 3
    for architecture in (answer, *(report.best for report in reports if report.best)):
        assert architecture.choices[0] in (1, 2, 3) and architecture.choices[1:] == (1, 1, 1, 1, 1)
    [said] = SHORT.remarks(last)
    assert "the nearest are near (0.000); the next, far, lies at" in said and "from 15,625 to 3 tuples" in said


@pytest.mark.usefixtures("dictionary")
def test_classes_can_be_matched():
    plain, matched = (searched(replace(SHORT, match=match, turns=1))[1][-1].metrics for match in ("none", "centroid"))
    assert matched["distance to near"] < 1e-6, "its own classes are those of the same task"
    assert matched["distance to far"] != plain["distance to far"] and matched["distance to far"] > 1e-3


@pytest.mark.usefixtures("dictionary")
def test_which_tasks_count_can_be_said():
    _, reports = searched(replace(SHORT, baselines="far"))
    assert reports[-1].metrics["narrowed"] == 2**6 and "distance to near" not in reports[-1].metrics
    both, _ = searched(replace(SHORT, neighbours=2))
    assert both.choices[1] in (1, 4)
    with pytest.raises(UnknownName, match=r"there is no baseline task 'nar'; did you mean 'near' or 'far'"):
        searched(replace(SHORT, baselines="nar"))


def test_where_nothing_near_meets_the_limits_the_whole_space_is_drawn_from():
    part = Narrowed(SPACE, ((3,),) * 6)

    def accept(architecture):
        return architecture.choices[0] != 3

    one, other = (_Draws(part, accept, seed=1) for _ in range(2))
    first = one.first()
    assert one.left and accept(first)
    assert one.others(0, first, 2) == other.others(0, first, 2), "whoever goes on later draws the same"
    assert not _Draws(part, None, seed=1).left
    [said] = SHORT.remarks({"space": 15625.0, "baselines": 1.0, "narrowed": 1.0, "left": 1.0, "distance to near": 0.1})
    assert "Nothing around their architectures meets the limits" in said


def test_an_empty_dictionary_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_TASKS", str(tmp_path))
    _, reports = searched(SHORT)
    [said] = SHORT.remarks(reports[-1].metrics)
    assert "holds none with an architecture of this space, so FUSE searched the whole space (15,625" in said
    whole = replace(SHORT, neighbours=0)
    assert "as asked for" in whole.remarks(reports[-1].metrics)[0]


@pytest.mark.usefixtures("dictionary")
def test_where_the_target_cannot_be_learned_nothing_is_called_near():
    """Labels that have nothing to do with the images."""
    train = TASK.splits["train"]
    shuffled = replace(train, labels=np.random.default_rng(0).permutation(train.labels), source=None)
    valid = TASK.splits["valid"]
    scrambled = replace(valid, labels=np.random.default_rng(1).permutation(valid.labels), source=None)
    task = replace(TASK, splits={"train": shuffled, "valid": scrambled}, fingerprint="shuffled")
    _, reports = searched(SHORT, task)
    assert "narrowed" not in reports[-1].metrics
    assert "no better than chance" in SHORT.remarks(reports[-1].metrics)[0]


@pytest.mark.usefixtures("dictionary")
@pytest.mark.parametrize("check", LOOP_CHECKS.values(), ids=LOOP_CHECKS)
def test_conforms_with_a_dictionary(check):
    check(replace(SHORT, neighbours=1, target_epochs=1.0))


def test_a_dictionary_that_changed_meanwhile_is_noticed(dictionary, tmp_path, monkeypatch):
    search = SHORT.search(Problem(SPACE, TASK), seed=0)
    state = next(search).state
    search.close()
    (tmp_path / "near.safetensors").write_bytes((dictionary / "near.safetensors").read_bytes())
    monkeypatch.setenv("ARCHSCOUT_TASKS", str(tmp_path))
    with pytest.raises(UserError, match="the dictionary of baseline tasks changed"):
        next(SHORT.search(Problem(SPACE, TASK), seed=0, state=state))


def test_the_last_layer_counts_for_all_tasks_or_for_none(dictionary, tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_TASKS", str(tmp_path))
    (tmp_path / "far.safetensors").write_bytes((dictionary / "far.safetensors").read_bytes())  # which has four classes
    task = image_task((3, 8, 8), 3, 64, seed=6)
    images = images_of(task, PLAN)
    network = trained(images, PLAN, 0)
    baseline_of("alike", "", images, PLAN, [(network, 0.9)], ["nas201:3.1.1.1.1.1"]).save(baseline_place("alike"))
    mine = images_of(TASK, PLAN)
    pair = network, trained(mine, PLAN, 0)
    whole = [TaskDistance().fisher(one, mine.x, mine.y) for one in pair]
    parts = [without_head(fisher, one) for fisher, one in zip(whole, pair, strict=True)]
    for names, (source, target) in (("alike", whole), ("alike,far", parts)):
        found = searched(replace(SHORT, turns=1, baselines=names))[1][-1].metrics["distance to alike"]
        assert found == pytest.approx(TaskDistance().between(source, target), abs=1e-6)


@pytest.mark.usefixtures("dictionary")
def test_pacing_counts_the_distances_too():
    asked = replace(SHORT, turns=50, epochs=2.0, seeds=1)
    paced = asked.paced(Problem(SPACE, TASK), 1e-6, seed=0)
    assert paced["turns"] == 1 and paced["target_epochs"] == 1.0 and paced["seeds"] == 1
    plenty = asked.paced(Problem(SPACE, TASK), 1e6, seed=0)
    assert plenty["turns"] == 50 and plenty["target_epochs"] == PLAN.epochs


def test_cells_of_darts(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_TASKS", str(tmp_path))
    darts = catalogue.make("spaces", "darts", channels=2, layers=3)
    answer, _ = searched(replace(SHORT, turns=1, channels=2, depth=3, epochs=0.1), space=darts)
    assert answer.space == "darts"


def test_settings_are_checked():
    with pytest.raises(ValueError, match="candidates"):
        Fuse(candidates=1)
    with pytest.raises(ValueError, match="share lies between 0 and 1"):
        Fuse(share=1.0)
    with pytest.raises(ValueError, match="not negative"):
        Fuse(neighbours=-1)
