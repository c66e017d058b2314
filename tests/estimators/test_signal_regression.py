"""The judge that has networks regress signals."""

from dataclasses import replace

import pytest
import torch

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import CandidateError, UserError
from archscout.core.problem import LANGUAGE_MODELLING, Problem, Task
from archscout.core.seeds import generator
from archscout.core.signals import SignalTask, signal_task
from archscout.estimators.signal_regression import SignalRegression
from archscout.testing.tasks import image_task

SPACE = catalogue.make("spaces", "nas201", channels=4, cells=1)
PROBLEM = Problem(SPACE, image_task((3, 16, 16)))
QUICK = SignalRegression(steps=4, every=2)
TEXT = Task("no data", LANGUAGE_MODELLING, (8,), 100, "no data")
RECURRENT = catalogue.make("spaces", "nlp-rnn", embedding=12, hidden=16, layers=2)


def cell(*choices):
    return SPACE.architecture(choices)


def test_the_value_is_minus_the_last_error_and_the_trace_is_kept():
    found = SignalRegression(steps=5, every=2).estimate(PROBLEM, cell(3, 1, 3, 1, 0, 1), seed=1)
    assert list(found.metrics) == ["error 2", "error 4", "error 5"]
    assert found.value == -found.metrics["error 5"] and found.cost_seconds > 0


def test_the_order_of_cells_is_that_of_the_paper():
    """A network that sees and mixes pixels before one that only passes them on, before one of nothing."""
    judge = SignalRegression(statistics="batch")
    problem = Problem(catalogue.make("spaces", "nas201", channels=8, cells=2), image_task((3, 16, 16)))
    best, residual, skips, nothing = (
        judge.estimate(problem, cell(*choices), seed=1).value
        for choices in ((3, 3, 3, 1, 3, 2), (3, 0, 3, 1, 0, 1), (1,) * 6, (0,) * 6)
    )
    assert min(best, residual) > skips >= nothing


def test_the_batch_the_signals_and_the_noise_are_the_same_for_all_seeds():
    a = replace(QUICK, rate=0.0, signals="nb101")
    one, other = (a.estimate(PROBLEM, cell(0, 0, 0, 0, 0, 0), seed=seed) for seed in (1, 2))
    assert one.value != other.value  # other weights
    assert a.estimate(PROBLEM, cell(0, 0, 0, 0, 0, 0), seed=1).value == one.value
    assert replace(a, draw=1).estimate(PROBLEM, cell(0, 0, 0, 0, 0, 0), seed=1).value != one.value


def test_repeats_are_averaged():
    one = QUICK.estimate(PROBLEM, cell(3, 0, 3, 1, 0, 1), seed=1)
    two = replace(QUICK, repeats=2).estimate(PROBLEM, cell(3, 0, 3, 1, 0, 1), seed=1)
    second = 2 * two.value - one.value
    assert second != pytest.approx(one.value) and two.metrics.keys() == one.metrics.keys()


def test_the_statistics_change_the_evaluation():
    running, batch = (
        replace(QUICK, statistics=kind).estimate(PROBLEM, cell(3, 0, 3, 1, 0, 1), seed=1) for kind in ("running", "batch")
    )
    assert running.value != batch.value and abs(batch.value) < 10


def test_images_may_be_made_smaller():
    large = Problem(SPACE, image_task((3, 32, 32)))
    small = replace(QUICK, resolution=16).estimate(large, cell(3, 0, 3, 1, 0, 1), seed=1)
    assert small.value != QUICK.estimate(large, cell(3, 0, 3, 1, 0, 1), seed=1).value


def test_presets_stand_in_place_of_the_settings():
    large = Problem(catalogue.make("spaces", "nas201", channels=4, cells=2), image_task((3, 32, 32)))
    quick = SignalRegression(preset="quick", every=50, steps=3, statistics="running").estimate(
        large, cell(3, 0, 3, 1, 0, 1), seed=1
    )
    thin = Problem(catalogue.make("spaces", "nas201", channels=4, cells=1), large.task)
    spelt = SignalRegression(steps=50, every=50, statistics="batch", resolution=16).estimate(thin, cell(3, 0, 3, 1, 0, 1), seed=1)
    assert quick.value == spelt.value and list(quick.metrics) == ["error 50"]


def test_a_preset_of_fewer_cells_needs_a_space_that_has_some():
    space = catalogue.make("spaces", "mobile")
    with pytest.raises(UserError, match="no setting 'cells'"):
        SignalRegression(preset="quick").estimate(Problem(space, PROBLEM.task), sample(space, generator(0)), seed=1)


@pytest.mark.parametrize("name", ["mobile", "macro", "darts", "nas101", "handmade"])
def test_it_judges_every_space_that_names_its_stages(name):
    space = catalogue.make("spaces", name, **{"nas101": {"stem": 4}, "darts": {"channels": 4, "layers": 3}}.get(name, {}))
    problem = Problem(space, image_task((1, 28, 28)))
    assert QUICK.estimate(problem, sample(space, generator(0)), seed=1).value < 0


def test_without_images_it_shows_noise():
    problem = Problem(SPACE, Task("no data", PROBLEM.task.kind, (3, 16, 16), 10, "no data"))
    assert QUICK.estimate(problem, cell(3, 0, 3, 1, 0, 1), seed=1).value < 0


def test_the_text_of_a_task_is_as_good_as_its_name_and_a_file_becomes_its_text(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(str(signal_task("combo")))
    judge = replace(QUICK, signals=str(file))
    assert SignalTask.parse(judge.signals) == signal_task("combo") and QUICK.signals == "combo"
    file.unlink()
    value = judge.estimate(PROBLEM, cell(3, 0, 3, 1, 0, 1), seed=1).value
    assert value == QUICK.estimate(PROBLEM, cell(3, 0, 3, 1, 0, 1), seed=1).value


def test_a_recurrent_network_regresses_sequences():
    problem = Problem(RECURRENT, TEXT)
    architecture = sample(RECURRENT, generator(0))
    found = SignalRegression(steps=20).estimate(problem, architecture, seed=1)
    assert found.value < 0 and list(found.metrics) == ["error 10", "error 20"]
    assert found.value == SignalRegression(steps=20).estimate(problem, architecture, seed=1).value
    defect = SignalRegression(steps=20, train_recurrent=False).estimate(problem, architecture, seed=1)
    assert defect.value != found.value


def test_judging_a_recurrent_network_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    SignalRegression(steps=2).estimate(Problem(RECURRENT, TEXT), sample(RECURRENT, generator(0)), seed=1)
    assert torch.equal(before, torch.get_rng_state())


class Bare:
    """A space that states modules only."""

    name, decisions = "bare", SPACE.decisions

    def architecture(self, choices):
        return SPACE.architecture(choices)

    def build(self, architecture, task):
        return torch.nn.Linear(2, 2)


class BareText(Bare):
    kinds = (LANGUAGE_MODELLING,)


@pytest.mark.parametrize(
    ("judge", "problem", "word"),
    [
        (replace(QUICK, signals="nlp"), PROBLEM, "for sequences, but the task needs some for images"),
        (replace(QUICK, signals="darts"), Problem(RECURRENT, TEXT), "for images, but the task needs some for sequences"),
        (QUICK, Problem(Bare(), PROBLEM.task), "states no `operations`"),
        (QUICK, Problem(BareText(), TEXT), "builds a Linear"),
    ],
    ids=["sequences for images", "images for sequences", "no graph", "no recurrent network"],
)
def test_what_does_not_fit_is_told_of(judge, problem, word):
    with pytest.raises(UserError, match=word):
        judge.estimate(problem, cell(3, 0, 3, 1, 0, 1), seed=1)


def test_a_rate_that_blows_up_is_a_failure_of_the_candidate():
    with pytest.raises(CandidateError, match="error at step"):
        replace(QUICK, rate=1e20).estimate(PROBLEM, cell(3, 3, 3, 3, 3, 3), seed=1)


@pytest.mark.parametrize("settings", [{"signals": "kombo"}, {"signals": "missing.json"}, {"signals": "{}"}])
def test_signals_that_are_none_are_refused(settings):
    with pytest.raises(UserError):
        SignalRegression(**settings)


WRONG = {"steps": 0, "every": 0, "repeats": 0, "rate": -1.0, "preset": "cheap", "statistics": "none", "resolution": 4}


@pytest.mark.parametrize("settings", [{"rate": float("nan")}, *({name: value} for name, value in WRONG.items())])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError):
        SignalRegression(**settings)
