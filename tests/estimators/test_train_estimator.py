import dataclasses
from pathlib import Path

import pytest
import torch

from archscout.catalogue import make, record
from archscout.core.errors import NotFinite, UnknownName, UserError
from archscout.core.problem import Problem
from archscout.estimators.train import Train
from archscout.nn import checkpoint
from archscout.nn.train import Recipe, new_network
from archscout.spaces.darts import Darts
from archscout.spaces.mobile import Mobile
from archscout.testing.tasks import image_task

SPACE = Mobile()
SMALL = SPACE.architecture([0] * len(SPACE.decisions))
QUICK = Recipe(batch=32, learning_rate=0.1)


@pytest.fixture(autouse=True)
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def problem(rows: int = 96) -> Problem:
    return Problem(SPACE, image_task((1, 12, 12), 3, rows))


def test_it_trains_and_states_what_it_did() -> None:
    found = Train(6, QUICK).estimate(problem(600), SMALL, seed=0)
    assert found.value > 0.9
    assert found.metrics["valid_correct"] == round(found.value * 300)
    assert found.metrics["epochs"] == 6 and found.metrics["steps"] == 6 * 20
    assert found.cost_seconds >= found.metrics["seconds"] > 0


def test_it_is_a_function_of_settings_architecture_and_seed() -> None:
    before = torch.random.get_rng_state()
    one, again = (Train(1, QUICK).estimate(problem(), SMALL, seed=5) for _ in range(2))
    other = Train(1, QUICK).estimate(problem(), SMALL, seed=6)
    assert (one.value, one.metrics["train_loss"]) == (again.value, again.metrics["train_loss"])
    assert one.metrics["train_loss"] != other.metrics["train_loss"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_auxiliary_head_is_trained_along_and_not_kept(tmp_path: Path) -> None:
    space, recipe = Darts(2, 3), Recipe(batch=8, auxiliary=0.4, drop_path=0.2, small_share=0.0)
    asked = Problem(space, image_task((1, 32, 32), 3, 16))
    architecture = space.from_genotype("DARTS_V1")
    assert architecture is not None
    judge = Train(0.1, recipe, keep=str(tmp_path))
    judge.estimate(asked, architecture, seed=0)
    plain, headed = (new_network(space, architecture, asked.task, seed=0, auxiliary=wanted) for wanted in (False, True))
    drawn = headed.state_dict()
    assert all(torch.equal(tensor, drawn[name]) for name, tensor in plain.state_dict().items()), "the head draws its weights last"
    plain.load_state_dict(checkpoint.weights(judge.kept(asked, architecture, 0)))
    with pytest.raises(UserError, match="'mobile' have no auxiliary head"):
        judge.estimate(problem(), SMALL, seed=0)


def test_epochs_may_be_a_fraction() -> None:
    assert Train(0.25, QUICK).estimate(problem(), SMALL, seed=0).metrics["epochs"] == 0.25


def test_kept_weights_are_read_again_and_change_no_value(tmp_path: Path) -> None:
    plain, keeping = Train(1, QUICK), Train(1, QUICK, keep=str(tmp_path / "weights"))
    first = keeping.estimate(problem(), SMALL, seed=0)
    second = keeping.estimate(problem(), SMALL, seed=0)
    assert first.value == second.value == plain.estimate(problem(), SMALL, seed=0).value
    file = keeping.kept(problem(), SMALL, 0)
    network = new_network(SPACE, SMALL, problem().task, seed=9)
    network.load_state_dict(checkpoint.weights(file))
    others = {dataclasses.replace(keeping, epochs=2).kept(problem(), SMALL, 0), keeping.kept(problem(), SMALL, 1)}
    assert file not in others and len(others) == 2


def test_its_record_makes_it_again() -> None:
    made = Train(2, QUICK, keep="x")
    assert make("estimators", "train", **record(made)["settings"]) == made


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UserError, match="more than 0 epochs"):
        Train(0)
    with pytest.raises(UnknownName, match="did you mean 'batch'"):
        make("estimators", "train", recipe={"batc": 3})


def test_a_diverging_network_is_not_finite() -> None:
    with pytest.raises(NotFinite):
        Train(1, Recipe(learning_rate=1e30, batch=8)).estimate(problem(), SMALL, seed=0)
