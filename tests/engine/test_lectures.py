"""Trainings on databases: they go on from their snapshots to the same end, and stop when the time is up."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.moves import Lecture
from archscout.engine import lectures
from archscout.engine.lectures import Lectures, keep_model
from archscout.nn import checkpoint
from archscout.testing.databases import MadeUp


@dataclass(frozen=True)
class Counts:
    """Counts to five and remembers from where it came; `cut` after so many."""

    cut: int = 9

    def training(self, database, space, features, *, seed, state=None):
        first = 0 if state is None else int(state["step"])
        total = torch.zeros(()) if state is None else torch.as_tensor(state["learned.total"])
        for step in range(first, 5):
            if step == self.cut:
                raise KeyboardInterrupt
            total = total + step + seed
            yield Lecture(
                step + 1, 5, {"step": step}, {"step": step + 1, "learned.total": total.clone(), "learned.name": "counted"}
            )


@pytest.fixture
def made(tmp_path):
    space = catalogue.make("spaces", "nas201")
    database = MadeUp(space).database(2, 2)
    features = [[np.zeros((3, 4), np.float32)] * 2] * 2

    def lectures_of(learner, **more):
        def begun(state):
            return learner.training(database, space, features, seed=1, state=state)

        return Lectures(learner, begun, [database.digest], seed=1, folder=tmp_path, **more)

    return lectures_of


def test_it_ends_the_same_after_a_cut(made, monkeypatch):
    monkeypatch.setattr(lectures, "_SAVED_EVERY", 0.0)
    cut = made(Counts(cut=3))
    with pytest.raises(KeyboardInterrupt):
        cut.attend()
    heard = []
    other = made(Counts())
    cut.path.rename(other.path)
    learned, last = other.attend(tell=heard.append)
    assert [lecture.done for lecture in heard] == [4, 5], "the first three are not repeated"
    assert learned == {"total": torch.tensor(15.0), "name": "counted"} and last.done == last.total == 5
    again, last = other.attend(tell=heard.append)
    assert len(heard) == 2 and again == learned and last.metrics == {"step": 4}, "what is done is not done again"


def test_the_time_is_up(made):
    learned, last = made(Counts()).attend(minutes=0)
    assert last.done == 1 and learned["total"] == 1
    learned, last = made(Counts()).attend()
    assert last.done == 5

    @dataclass(frozen=True)
    class Silent:
        def training(self, *arguments, **more):
            yield Lecture(1, 5)

    with pytest.raises(UserError, match="the time was up before the first step was kept"):
        made(Silent()).attend(minutes=0)


def test_models_are_kept_whole(tmp_path):
    path = tmp_path / "one.safetensors"
    keep_model(path, {"weight": torch.arange(3), "facts": "{}"}, {"method": "counts"})
    tensors, facts = checkpoint.load(path)[0]
    assert tensors["weight"].tolist() == [0, 1, 2] and facts == {"model": {"facts": "{}"}, "method": "counts"}
