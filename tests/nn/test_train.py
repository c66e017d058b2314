import json
import math
import os
import signal
import threading
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
import torch

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import NotFinite, RunError, UserError
from archscout.core.operations import AUXILIARY, GraphBuilder
from archscout.core.problem import Task
from archscout.core.protocols import SharedSpace
from archscout.core.seeds import generator
from archscout.nn import checkpoint as checkpoints
from archscout.nn import train
from archscout.nn.image_course import ImageCourse, shrunk
from archscout.nn.network import Network, without_auxiliary
from archscout.nn.recipe import optimizer_of
from archscout.nn.train import (
    EpochReport,
    Recipe,
    accuracy,
    evaluate,
    fit,
    initialise,
    new_network,
    step_seconds,
)
from archscout.testing.tasks import image_task

QUICK = Recipe(batch=16, learning_rate=0.05)
PUBLISHED = replace(
    QUICK, nesterov=False, decay_all=True, warm_up=0.0, schedule="cosine", last_rate=0.001, small_share=0.0, clip=0.5,
    drop_path=0.3, auxiliary=0.4, drop_path_by_depth=True, dropout=0.3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def task() -> Task:
    return image_task((1, 12, 12), 3, 160)


def network(task: Task, seed: int = 0) -> Network:
    g = GraphBuilder(task.shape)
    x = g.relu(g.batch_norm(g.conv(g.input, 8, 3, stride=2)))
    x = g.relu(g.add(g.batch_norm(g.conv(x, 8, 3, name="branch"), name="last"), x))
    built = Network(g.finish(g.linear(g.global_pool(x), task.classes)))
    return initialise(built, seed)  # type: ignore[return-value]


def headed(task: Task, seed: int = 0) -> Network:
    """The same with two paths that may be dropped and an auxiliary head."""
    g = GraphBuilder(task.shape)
    x = g.relu(g.batch_norm(g.conv(g.input, 8, 3, stride=2)))
    paths = [g.droppable(g.batch_norm(g.conv(x, 8, 3, name="branch"), name="last")) for _ in range(2)]
    x = g.relu(g.add(*paths, x))
    logits = g.linear(g.global_pool(x), task.classes)
    with g.scope(AUXILIARY):
        g.mark(AUXILIARY, g.linear(g.global_pool(g.relu(x)), task.classes))
    return initialise(Network(g.finish(logits)), seed)  # type: ignore[return-value]


def state(net: torch.nn.Module) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in net.state_dict().items()}


class Cut(Exception):
    pass


def cut_after(epochs: float):  # type: ignore[no-untyped-def]
    def on_epoch(report: EpochReport) -> None:
        if report.epoch >= epochs:
            raise Cut

    return on_epoch


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns(seed: int) -> None:
    task = image_task((1, 12, 12), 3, 600, seed)
    net = network(task, seed)
    result = fit(net, task, QUICK, seed=seed, epochs=5)
    assert result.valid_value > 0.9
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.history[-1].valid_value == result.valid_value == result.valid_marks.mean()
    assert result.valid_marks.dtype == bool and len(result.valid_marks) == 300
    assert accuracy(net, task.splits["valid"]) == (result.valid_marks.sum(), 300)


@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, optimizer="adamw", learning_rate=0.003, average=0.9, schedule="cosine")])
def test_equal_seeds_give_equal_bytes_and_others_do_not(task: Task, recipe: Recipe) -> None:
    nets = [network(task) for _ in range(3)]
    results = [fit(net, task, recipe, seed=s, epochs=2) for net, s in zip(nets, (7, 7, 8), strict=True)]
    assert state(nets[0]) == state(nets[1]) != state(nets[2])
    assert results[0].history[0].train_loss == results[1].history[0].train_loss


@pytest.mark.parametrize(
    "recipe",
    [
        QUICK, replace(QUICK, average=0.9), replace(QUICK, optimizer="adamw", learning_rate=0.003), replace(QUICK, momentum=0.0),
        PUBLISHED, replace(PUBLISHED, precision="bf16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [1, 13, 20])
@pytest.mark.parametrize("lanes", [1, 2])
def test_resumed_equals_uninterrupted_byte_for_byte(  # type: ignore[no-untyped-def]
    tmp_path: Path, task: Task, recipe: Recipe, cut: int, lanes: int, monkeypatch
) -> None:
    made = headed if recipe.auxiliary else network
    straight = made(task)
    expected = fit(straight, task, recipe, seed=3, epochs=2.5, lanes=lanes)

    # A save after every step; the process "dies" within step `cut`.
    from archscout.nn import image_course

    steps = [0]
    descend = image_course._descend

    def dying(*arguments):  # type: ignore[no-untyped-def]
        steps[0] += 1
        if steps[0] > cut:
            raise Cut
        return descend(*arguments)

    file = tmp_path / "net.safetensors"
    monkeypatch.setattr(image_course, "_descend", dying)
    with pytest.raises(Cut):
        fit(made(task), task, recipe, seed=3, epochs=2.5, checkpoint=file, checkpoint_every_s=0, lanes=lanes)
    monkeypatch.setattr(image_course, "_descend", descend)
    resumed = made(task, seed=99)
    result = fit(resumed, task, recipe, seed=3, epochs=2.5, checkpoint=file, lanes=lanes)
    assert state(resumed) == state(straight)
    assert [(r.epoch, r.train_loss, r.valid_value) for r in result.history] == [
        (r.epoch, r.train_loss, r.valid_value) for r in expected.history
    ]
    assert (result.steps, result.valid_value) == (expected.steps, expected.valid_value)
    # Once more, from the finished training: nothing is trained, all is the same.
    again = made(task, seed=98)
    assert fit(again, task, recipe, seed=3, epochs=2.5, checkpoint=file, lanes=lanes).valid_value == expected.valid_value
    assert state(again) == state(straight)
    assert set(os.listdir(tmp_path)) <= {"net.safetensors", "net.previous.safetensors"}


def test_epochs_may_be_fractions_and_one_step_is_the_least(task: Task) -> None:
    assert fit(network(task), task, QUICK, seed=0, epochs=0.3).steps == 6  # 160 images, batch 8, 20 steps an epoch
    result = fit(network(task), task, QUICK, seed=0, epochs=1.25)
    assert (result.steps, result.epochs_done) == (25, 1.25)
    assert [report.epoch for report in result.history] == [1.0, 1.25]
    assert fit(network(task), task, QUICK, seed=0, epochs=0.0001).steps == 1


def test_the_batch_adapts_to_small_sets() -> None:
    assert [Recipe(batch=64).batch_for(n) for n in (50_000, 640, 200, 5)] == [64, 32, 10, 5]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(schedule: str) -> None:
    recipe = Recipe(schedule=schedule, warm_up=0.2)  # type: ignore[arg-type]
    rates = [recipe.rate(progress) for progress in np.linspace(0, 1, 101)]
    assert rates[0] == 0 and rates[20] == pytest.approx(1) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(a <= b + 1e-12 for a, b in pairwise(rates[:21]))
    assert all(a >= b for a, b in pairwise(rates[20:]))
    assert Recipe(warm_up=0.0).rate(0.0) == 1


def test_the_rate_falls_to_the_last_one() -> None:
    for schedule in ("linear", "cosine"):
        recipe = Recipe(schedule=schedule, warm_up=0.2, learning_rate=0.035, last_rate=0.001)  # type: ignore[arg-type]
        rates = [0.035 * recipe.rate(progress) for progress in np.linspace(0, 1, 101)]
        assert rates[0] == 0 and rates[20] == pytest.approx(0.035) and rates[-1] == pytest.approx(0.001)
        assert all(a >= b for a, b in pairwise(rates[20:]))


def test_what_decays_and_how_momentum_is_taken(task: Task) -> None:
    some, everything = (optimizer_of(network(task), replace(QUICK, decay_all=whole, nesterov=whole)) for whole in (False, True))
    assert [group["weight_decay"] for group in some.param_groups] == [5e-4, 0.0]
    assert [group["weight_decay"] for group in everything.param_groups] == [5e-4, 5e-4]
    assert (some.defaults["nesterov"], everything.defaults["nesterov"]) == (False, True)


def test_clipped_gradients_move_the_weights_no_further(task: Task) -> None:
    recipe = Recipe(batch=8, learning_rate=0.1, momentum=0.0, weight_decay=0.0, warm_up=0.0, clip=1e-3)
    moved = []
    for clip in (0.0, 1e-3, 1e3):
        net = network(task)
        before = [p.detach().clone() for p in net.parameters()]
        assert fit(net, task, replace(recipe, clip=clip), seed=0, epochs=0.01).steps == 1
        moved.append(math.sqrt(sum(float((p.detach() - b).square().sum()) for p, b in zip(net.parameters(), before, strict=True))))
    assert moved[0] == moved[2] > moved[1]
    assert moved[1] == pytest.approx(0.1 * 0.5 * 1e-3, rel=1e-3)  # the one step is at half of a schedule that falls to nothing


def test_the_auxiliary_loss_has_its_weight(task: Task) -> None:
    recipe = replace(QUICK, label_smoothing=0.0, small_share=0.0)
    losses = [
        fit(headed(task), task, replace(recipe, auxiliary=weight), seed=0, epochs=0.01).history[0].train_loss
        for weight in (0.0, 0.4, 0.8)
    ]
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]))
    assert losses[1] - losses[0] == pytest.approx(0.4 * math.log(3), rel=0.3)  # of three classes, before anything is learned


def test_paths_are_dropped_ever_more_often_and_kept_in_the_mean(task: Task) -> None:
    net = headed(task)
    course = ImageCourse(net, task, replace(PUBLISHED, drop_path=0.4), 0)
    for progress in (0.0, 0.5, 1.0):
        kept = course.dropped(0, progress, 20_000)["kept"]
        assert kept.shape == (20_000, 2)
        assert float((kept == 0).float().mean()) == pytest.approx(0.4 * progress, abs=0.01)
        assert float(kept.mean()) == pytest.approx(1, abs=0.02)
    first = course.dropped(0, 1.0, 50)["kept"]
    assert not torch.equal(first, course.dropped(1, 1.0, 50)["kept"])
    assert not torch.equal(first[:, 0], first[:, 1])
    assert ImageCourse(headed(task), task, QUICK, 0).dropped(0, 1.0, 50) == {}


def test_early_paths_are_dropped_less_often_where_depth_counts(task: Task) -> None:
    g = GraphBuilder(task.shape)
    x = g.relu(g.batch_norm(g.conv(g.input, 4, 3)))
    for cell in (1, 2):
        with g.scope(f"cell{cell}", depth=cell / 2):
            x = g.add(g.droppable(g.batch_norm(g.conv(x, 4, 3))), x)
    deep = Network(g.finish(g.linear(g.global_pool(x), task.classes)))
    recipe = replace(QUICK, drop_path=0.4, drop_path_by_depth=True)
    kept = ImageCourse(deep, task, recipe, 0).dropped(0, 0.5, 20_000)["kept"]
    assert (kept == 0).float().mean(0).tolist() == pytest.approx([0.1, 0.2], abs=0.01)
    assert kept.mean(0).tolist() == pytest.approx([1, 1], abs=0.01)
    even = ImageCourse(deep, task, replace(recipe, drop_path_by_depth=False), 0).dropped(0, 0.5, 20_000)["kept"]
    assert (even == 0).float().mean(0).tolist() == pytest.approx([0.2, 0.2], abs=0.01)


def test_dropout_drops_features_from_the_first_step_on_and_in_training_alone(task: Task) -> None:
    course = ImageCourse(headed(task), task, replace(QUICK, dropout=0.4), 0)
    features = course.dropped(0, 0.0, 5_000)["features"]
    assert features.shape == (5_000, 8), "as many as the classifier reads"
    assert float((features == 0).float().mean()) == pytest.approx(0.4, abs=0.01)
    assert float(features.mean()) == pytest.approx(1, abs=0.02)
    net, x = headed(task).eval(), torch.randn(3, *task.shape, generator=torch.Generator().manual_seed(0))
    read: list[torch.Tensor] = []
    net.get_submodule("linear").register_forward_hook(lambda _, inputs, output: read.append(inputs[0]))
    net(x), net.learn(x, features=features[:3])
    assert torch.equal(read[1], read[0] * features[:3])
    whole = fit(headed(task), task, replace(QUICK, dropout=0.4), seed=0, epochs=0.5).history[0].train_loss
    assert whole != fit(headed(task), task, QUICK, seed=0, epochs=0.5).history[0].train_loss


def test_a_recipe_for_another_network_is_refused(task: Task) -> None:
    with pytest.raises(UserError, match=r"auxiliary head, but the network has none.*recipe\.auxiliary=0"):
        fit(network(task), task, PUBLISHED, seed=0, epochs=1)
    with pytest.raises(UserError, match=r"drops paths, but the network has none.*recipe\.drop_path=0"):
        fit(network(task), task, replace(QUICK, drop_path=0.1), seed=0, epochs=1)
    g = GraphBuilder(task.shape)
    convolutional = Network(g.finish(g.global_pool(g.conv(g.input, task.classes))))
    with pytest.raises(UserError, match=r"drops features before the classifier, but.*none.*recipe\.dropout=0"):
        fit(convolutional, task, replace(QUICK, dropout=0.1), seed=0, epochs=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "adam"}, "optimizer is sgd or adamw, but 'adam' came"),
        ({"precision": "fp16"}, "precision is fp32 or bf16"),
        ({"clip": -1.0}, "clip is a number from 0 on"),
        ({"weight_decay": math.nan}, "weight_decay is a number from 0 on"),
        ({"auxiliary": math.inf}, "auxiliary is a number from 0 on"),
        ({"drop_path": 1.0}, "drop_path is less than 1"),
        ({"dropout": 1.0}, "dropout is less than 1"),
        ({"warm_up": 1.5}, "warm_up lies between 0 and 1"),
        ({"batch": 0}, "are more than 0"),
        ({"learning_rate": 0.01, "last_rate": 0.02}, "last_rate is at most its learning_rate"),
        ({"auxiliary": 0.4}, "needs whole images"),
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_checkpoints_from_before_the_newer_fields_still_fit() -> None:
    assert {"clip", "drop_path", "auxiliary", "decay_all", "nesterov", "last_rate"}.isdisjoint(Recipe().record())
    assert len(Recipe().record()) == 13
    assert Recipe(clip=5.0, nesterov=False).record() == {**Recipe().record(), "clip": 5.0, "nesterov": False}


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(optimizer="adamw", average=0.5)
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


def test_a_loss_that_is_no_number_is_named(task: Task) -> None:
    with pytest.raises(NotFinite, match=r"(?s)step \d+ of .*smaller learning rate than 1e\+30"):
        fit(network(task), task, replace(QUICK, learning_rate=1e30), seed=0, epochs=3)


def test_weights_that_are_no_numbers_after_the_last_step_are_named(task: Task) -> None:
    with pytest.raises(NotFinite, match=r"weights of the trained network, such as '.*weight', are not finite; a smaller learning"):
        fit(network(task), task, replace(QUICK, learning_rate=1e45), seed=0, epochs=0.01)


@pytest.mark.parametrize("later", [0.01, 0.03, 0.005], ids=["even", "slower", "quicker"])
def test_a_deadline_shortens_the_schedule_honestly(task: Task, monkeypatch: pytest.MonkeyPatch, later: float) -> None:
    # A step takes 0.01 s by a clock of its own, from the fortieth on `later`; so no other program disturbs this.
    now, progresses, (move, marks) = [100.0], [], (ImageCourse.move, ImageCourse.marks)

    def timed(self: ImageCourse, step: int, progress: float) -> torch.Tensor:
        progresses.append(progress)
        now[0] += 0.01 if step < 40 else later
        return move(self, step, progress)

    def evaluated(self: ImageCourse) -> object:
        now[0] += 0.01
        return marks(self)

    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(train, clock, lambda: now[0])
    monkeypatch.setattr(ImageCourse, "move", timed)
    monkeypatch.setattr(ImageCourse, "marks", evaluated)
    result = fit(network(task), task, QUICK, seed=0, epochs=1e6, deadline=101.5)
    assert 101.3 < now[0] <= 101.5, "the time is used, and no more"
    assert result.stopped_early and result.epochs_done > 1
    assert progresses[-1] > 0.95 and progresses == sorted(progresses), "the schedule goes to its end"


def test_a_deadline_that_is_far_away_changes_nothing(task: Task) -> None:
    one, other = network(task), network(task)
    fit(one, task, QUICK, seed=0, epochs=2)
    result = fit(other, task, QUICK, seed=0, epochs=2, deadline=monotonic() + 1000)
    assert state(one) == state(other) and not result.stopped_early


def test_time_is_left_for_what_is_evaluated_afterwards(task: Task) -> None:
    start = monotonic()
    result = fit(network(task), task, QUICK, seed=0, epochs=1e6, deadline=start + 4, reserve=10**12)
    assert result.stopped_early and result.steps > 5
    assert 0.5 < monotonic() - start < 3  # half of what is left at the most is kept back, however slow the first steps are


def finished(tmp_path: Path, task: Task) -> tuple[Path, dict[str, bytes]]:
    """A checkpoint and a previous one, and the weights of the whole training."""
    file = tmp_path / "net.safetensors"
    straight = network(task)
    fit(straight, task, QUICK, seed=3, epochs=2, checkpoint=file, checkpoint_every_s=0.02)
    assert checkpoints.previous(file).exists()
    return file, state(straight)


def test_two_damaged_checkpoints_mean_a_fresh_start(tmp_path: Path, task: Task) -> None:
    file, expected = finished(tmp_path, task)
    for path in (file, checkpoints.previous(file)):
        path.write_bytes(b"\xff" * 40)
    net = network(task)
    result = fit(net, task, QUICK, seed=3, epochs=2, checkpoint=file)
    assert state(net) == expected and len(result.remarks) == 2


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, task: Task) -> None:
    file, _ = finished(tmp_path, task)
    with pytest.raises(RunError, match="another network, recipe, seed or data set"):
        fit(network(task), task, QUICK, seed=4, epochs=2, checkpoint=file)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_saves_and_is_delivered(tmp_path: Path, task: Task, number: signal.Signals) -> None:
    file = tmp_path / "net.safetensors"
    straight = network(task)
    fit(straight, task, QUICK, seed=3, epochs=40)

    def stop(signum: int, frame: object) -> None:
        raise Cut

    before = signal.signal(number, stop)
    try:
        threading.Timer(0.15, os.kill, (os.getpid(), number)).start()
        with pytest.raises(Cut):
            fit(network(task), task, QUICK, seed=3, epochs=40, checkpoint=file, checkpoint_every_s=1000)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    found, _ = checkpoints.load(file)
    assert found is not None and 0 < found[1]["step"] < 800
    resumed = network(task, seed=9)
    fit(resumed, task, QUICK, seed=3, epochs=40, checkpoint=file)
    assert state(resumed) == state(straight)


def test_kept_weights_are_the_trained_ones(tmp_path: Path, task: Task) -> None:
    file = tmp_path / "net.safetensors"
    net = network(task)
    fit(net, task, replace(QUICK, average=0.9), seed=0, epochs=1, checkpoint=file)
    other = network(task, seed=5)
    other.load_state_dict(checkpoints.weights(file))
    assert state(other) == state(net)
    with_head = tmp_path / "head.safetensors"
    fit(headed(task), task, PUBLISHED, seed=0, epochs=0.1, checkpoint=with_head)
    without_auxiliary(headed(task)).load_state_dict(checkpoints.weights(with_head))
    with pytest.raises(RunError, match="no checkpoint"):
        checkpoints.weights(tmp_path / "none")


def test_initialise_is_seeded_and_begins_blocks_as_their_skips(task: Task) -> None:
    nets = [network(task, seed) for seed in (1, 1, 2)]
    before = torch.random.get_rng_state()
    initialise(nets[0], 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert state(nets[0]) == state(nets[1]) != state(nets[2])
    assert not nets[0].state_dict()["last.weight"].any()
    assert nets[0].state_dict()["norm.weight"].all()


def test_evaluation_keeps_the_order_and_can_mirror(task: Task) -> None:
    net = network(task)
    one, loss = evaluate(net, task.splits["valid"], batch=7)
    other, again = evaluate(net, task.splits["valid"], batch=80)
    assert np.array_equal(one, other) and loss == pytest.approx(again, rel=1e-5)
    assert math.isfinite(evaluate(net, task.splits["valid"], mirror=True)[1])


def test_shrunk_images_and_bfloat16_train_too() -> None:
    task = image_task((3, 24, 24), 3, 64)
    recipe = replace(QUICK, small_share=0.5, label_smoothing=0.1)
    full, half = (
        fit(network(task), task, replace(recipe, precision=precision), seed=0, epochs=1).history[-1].train_loss
        for precision in ("fp32", "bf16")
    )
    assert half == pytest.approx(full, rel=0.05) and half != full


def test_step_seconds_leaves_the_network_alone(task: Task) -> None:
    net = network(task)
    before = state(net)
    assert 0 < step_seconds(net, task, QUICK) < 1
    assert state(net) == before


def test_shrunk_images_keep_the_parity_of_every_halving():
    for extent in range(24, 80):
        small = shrunk(extent, 0.75)
        assert abs(small - 0.75 * extent) <= 4
        for _ in range(3):
            assert small % 2 == extent % 2
            small, extent = (small + 1) // 2, (extent + 1) // 2


def test_every_space_of_images_trains_on_shrunk_images_of_28_pixels():
    task = image_task((1, 28, 28), 3, 16)
    for name in ("nas201", "darts", "nao-cell", "proxyless", "mobile"):
        space = catalogue.make("spaces", name)
        space = space.sized(4, 3) if isinstance(space, SharedSpace) else space
        network = new_network(space, sample(space, generator(0)), task, seed=0)
        result = fit(network, task, Recipe(batch=8, small_share=0.9), seed=0, epochs=1)
        assert result.steps == 2


@pytest.mark.parametrize("choices", [(0, 0, 4, 0, 4, 3), (4, 0, 0, 3, 4, 1), (0,) * 6])
def test_networks_with_nodes_of_nought_train_on_shrunk_images(choices):
    task, space = image_task((1, 28, 28), 3, 16), catalogue.make("spaces", "nas201", channels=4, cells=1)
    network = new_network(space, space.architecture(choices), task, seed=0)
    assert fit(network, task, Recipe(batch=8, small_share=0.9), seed=0, epochs=1).steps == 2
