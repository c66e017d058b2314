"""Signal tasks as values: printing, parsing, names, and what is wrong with a damaged one."""

import json

import pytest

from archscout.core import signals
from archscout.core.errors import UnknownName, UserError
from archscout.core.signals import Dots, Resized, SignalTask, Sines, Stage, is_shipped, save_task, signal_task, signal_tasks

BETAS = tuple(0.05 * n for n in range(10))


def a_task():
    first = Stage(0.25, sin1d=Sines(1.5, BETAS, False), blurred_dots=Dots(0.7, 0.25))
    return SignalTask(
        (first, Stage(1.5, sin2d=Sines(2.9, BETAS)), Stage(resized=Resized(2.0), dots=Dots(1.0, 1.0))), 16, "gaussian", 0.4
    )


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHSCOUT_SIGNALS", str(tmp_path / "signals"))
    return tmp_path / "signals"


def test_a_task_prints_parses_and_hashes():
    task = a_task()
    assert SignalTask.parse(str(task)) == task and hash(SignalTask.parse(str(task))) == hash(task)
    assert SignalTask.parse(str(task)).digest == task.digest != SignalTask(task.stages, 16, "gaussian", 0.5).digest


def test_whole_numbers_make_the_same_task():
    text = '{"stages":[{"sin1d":{"level":1,"betas":[0,0,0,0,0,0,0,0,0,0]}},{},{}],"noise_level":0}'
    assert SignalTask.parse(text).digest == SignalTask.parse(text.replace('"level":1', '"level":1.0')).digest


@pytest.mark.parametrize("name", [name for name in signal_tasks() if is_shipped(name)])
def test_every_shipped_task_is_whole(name):
    task = signal_task(name)
    assert SignalTask.parse(str(task)) == task
    assert task.for_sequences == name.startswith("nlp")
    assert task.batch == 16 and all(stage.channels >= 16 for stage in task.stages)
    assert len(task.lines()) == len(task.stages) + 1


def test_the_published_tasks_are_those_of_the_paper():
    combo, searched, words = signal_task("combo"), signal_task("NB101"), signal_task("nlp")
    assert [{name for name in signals.SIGNALS if getattr(stage, name)} for stage in combo.stages] == [
        {"sin1d", "sin2d", "dots"}, {"sin1d", "sin2d", "resized"}, {"sin1d", "dots", "resized"},
    ]  # fmt: skip
    assert combo.stages[1].sin2d.betas[0] == 0.125 and combo.stages[1].sin2d.betas[-1] == 0.35
    assert combo.stages[0].sin2d.betas[0] == 0.375 and combo.stages[0].sin2d.betas[-1] == 0.4875
    assert [stage.channels for stage in searched.stages] == [64, 48, 16]
    assert searched.stages[1].blurred_dots.share * 64 == 37 and searched.noise_level == 0.1
    assert words.for_sequences and words.stages[0].channels == words.stages[1].channels == 48


def test_a_name_of_images_stands_for_that_of_sequences_where_sequences_are_regressed():
    assert signal_task("combo", sequences=True) == signal_task("nlp-combo")
    assert signal_task("nlp", sequences=True) == signal_task("nlp")


def test_names_files_and_texts(tmp_path, found):
    task = a_task()
    file = tmp_path / "mine.json"
    file.write_text(str(task))
    assert signal_task(str(file)) == signal_task(str(task)) == task
    assert save_task(task, "mine") == found / "mine.json"
    assert signal_task("mine") == task and "mine" in signal_tasks() and not is_shipped("mine")
    with pytest.raises(UnknownName, match="did you mean 'mine'"):
        signal_task("mins")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "combo", "NB101", "single", "x" * 200, ".hidden"])
def test_a_task_is_not_saved_under_any_name(name, found):
    with pytest.raises(UserError):
        save_task(a_task(), name)
    assert not found.exists()


def _changed(path, value):
    record = json.loads(str(a_task()))
    *parents, last = path
    inner = record
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "JSON"),
        ("[1]" * 50_000, "at most"),
        ("[]", "object"),
        ('{"stages": []}', "three stages"),
        ('{"stages": [{}]}', "three stages"),
        ('{"stages": [{"width": 1}, {"width": 0.5}]}', "same width"),
        ('{"stages": [{"resized": {"level": 1}}, {}]}', "resize"),
        (_changed(["batch"], 1), "batch"),
        (_changed(["batch"], 16.0), "batch"),
        (_changed(["noise"], "pink"), "uniform or gaussian"),
        (_changed(["noise_level"], float("nan")), "noise_level"),
        (_changed(["noise_level"], True), "noise_level"),
        (_changed(["nose"], 1), "did you mean 'noise'"),
        (_changed(["stages", 0, "width"], 11), "width"),
        (_changed(["stages", 0, "sin3d"], {}), "no 'sin3d'; did you mean"),
        (_changed(["stages", 0, "sin1d", "betas"], [0.1]), "10 betas"),
        (_changed(["stages", 0, "sin1d", "betas"], [0.6] * 10), "beta"),
        (_changed(["stages", 0, "sin1d", "betas"], None), "10 betas"),
        (_changed(["stages", 0, "sin1d", "level"], "1"), "level"),
        (_changed(["stages", 0, "sin1d", "per_sample"], 1), "true or false"),
        (_changed(["stages", 0, "blurred_dots"], {"level": 1}), "needs 'share'"),
        (_changed(["stages", 0, "blurred_dots", "share"], 1.1), "share"),
    ],
)  # fmt: skip
def test_a_damaged_task_is_told_of_in_one_sentence(text, word, tmp_path):
    with pytest.raises(UserError, match=word) as caught:
        SignalTask.parse(text)
    assert "\n" not in str(caught.value)
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(UserError, match="holds no signal task"):
        signal_task(str(file))


def test_a_file_that_cannot_be_read_is_told_of(tmp_path):
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.json", "bytes.json"):
        with pytest.raises(UserError, match="cannot be read"):
            signal_task(str(tmp_path / name))
