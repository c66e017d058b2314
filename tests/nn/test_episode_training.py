"""Meta-training of one network through `fit`: what is cut goes on to the same end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from archscout import catalogue
from archscout.nn.episode_course import EpisodeCourse
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.network import Network
from archscout.nn.train import fit, new_network
from archscout.testing.tasks import episode_task

TASK = episode_task()
SPACE = catalogue.make("spaces", "handmade-few-shot")


class Cut(Exception):
    """The process dies."""


def network() -> Network:
    made = new_network(SPACE, SPACE.architecture((0, 0)), TASK, seed=1)
    assert isinstance(made, Network)
    return made


@pytest.mark.parametrize("method", ["anil", "fomaml", "reptile"])
@pytest.mark.parametrize(("cut", "lanes"), [(1, 1), (5, 1), (4, 2)])
def test_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, cut: int, lanes: int) -> None:
    recipe, file = EpisodeRecipe(method=method, batch=2, inner_steps=2), tmp_path / "net.safetensors"  # type: ignore[arg-type]
    straight = network()
    expected = fit(straight, TASK, recipe, seed=3, epochs=0.3, lanes=lanes)
    move = EpisodeCourse.move

    def dying(self: EpisodeCourse, step: int, progress: float) -> Tensor:
        if step >= cut:
            raise Cut
        return move(self, step, progress)

    with monkeypatch.context() as patch:
        patch.setattr(EpisodeCourse, "move", dying)
        with pytest.raises(Cut):
            fit(network(), TASK, recipe, seed=3, epochs=0.3, lanes=lanes, checkpoint=file, checkpoint_every_s=0)
    resumed = network()
    result = fit(resumed, TASK, recipe, seed=3, epochs=0.3, lanes=lanes, checkpoint=file)
    assert expected.steps == result.steps == 7 and result.valid_value == expected.valid_value
    assert result.valid_marks.tolist() == expected.valid_marks.tolist()
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
