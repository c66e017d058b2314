"""Signal tasks as values: printing, parsing, names, and what is wrong with a damaged one."""

import json

import pytest

from archscout.core.errors import UnknownName, UserError
from archscout.core.signals import Dots, Resized, SignalTask, Sines, Stage, is_shipped, pinned, save_task, signal_task, signal_tasks

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


MID, HIGH = ([low + n * step for n in range(10)] for low, step in ((0.125, 0.025), (0.375, 0.0125)))


def waves(level, betas, per_sample=True):
    numbers = [int(beta) / 10_000 for beta in betas.split()] if isinstance(betas, str) else [round(beta, 4) for beta in betas]
    return Sines(level, tuple(numbers), per_sample)


PUBLISHED = {
    "combo": SignalTask((
        Stage(1.0, waves(1.0, HIGH), waves(1.0, HIGH), Dots(1.0, 1.0)),
        Stage(1.0, waves(1.0, HIGH), waves(1.0, MID), resized=Resized(1.0)),
        Stage(1.0, waves(1.0, HIGH), dots=Dots(1.0, 1.0), resized=Resized(1.0)),
    )),
    "nb101": SignalTask((
        Stage(1.0, sin2d=waves(1.1, "0143 0169 0149 0204 0229 0172 0156 0192 0155 0146")),
        Stage(
            0.75, waves(1.8, "2991 3060 3038 2880 2934 2961 3059 2929 3056 2959"),
            waves(2.9, "3798 3818 3583 3276 2649 2808 4205 3414 3036 4203"), None, Dots(1.1, 37 / 64), Resized(2.4),
        ),
        Stage(
            0.25, waves(1.5, "1539 1057 1066 1576 1337 1051 1319 1318 1028 1094", False),
            waves(0.9, "1979 2031 1034 2048 1357 2091 2454 0864 1352 1453", False), None, Dots(2.1, 28 / 64, False), Resized(2.2),
        ),
    ), 16, "uniform", 0.1),
    "darts": SignalTask((
        Stage(1.25, blurred_dots=Dots(1.6, 0.5), resized=Resized(1.3)),
        Stage(0.5, None, None, Dots(2.2, 46 / 64), Dots(1.0, 39 / 64, False), Resized(2.1)),
        Stage(1.25, blurred_dots=Dots(1.7, 36 / 64), resized=Resized(0.5)),
    ), 16, "gaussian", 0.2),
    "resnet": SignalTask((
        Stage(0.25, waves(1.1, "3792 3348 3835 2973 3064 3438 2157 3374 3203 2363", False), dots=Dots(0.5, 6 / 64, False)),
        Stage(
            0.25, None, waves(1.2, "1185 2206 0596 2331 2272 2653 1877 1083 1095 0563"), Dots(2.9, 20 / 64), None, Resized(2.3)
        ),
        Stage(
            0.5, None, waves(1.8, "3785 3794 3447 2706 2607 3945 2793 3832 3228 3014"), None, Dots(2.1, 0.5, False)
        ),
    ), 16, "gaussian", 0.9),
    "nlp": SignalTask((
        Stage(0.75, None, waves(2.6, "1955 2282 1843 2073 2208 1345 1703 2230 1903 1915")),
        Stage(0.75, None, waves(0.8, "1722 1701 1686 1655 1647 1702 1642 1771 1712 1723"), None, Dots(0.7, 0.8626)),
    ), 16, "uniform", 0.6),
    "nlp-combo": SignalTask((Stage(1.0, waves(1.0, MID), waves(1.0, MID)),) * 2),
    "nlp-single": SignalTask((Stage(1.0, dots=Dots(1.0, 1.0)),) * 2),
    "sin2d-mid": SignalTask((Stage(1.0, None, waves(1.0, MID)),) * 3),
}  # fmt: skip
"""As the specification states them."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_tasks_are_those_of_the_paper(name):
    assert signal_task(name) == PUBLISHED[name] and signal_task(name.upper()) == PUBLISHED[name]


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
        (_changed(["batch"], 10**400), "batch"),
        (_changed(["noise_level"], 10**400), "noise_level"),
        (_changed(["noise"], "pink"), "uniform or gaussian"),
        (_changed(["noise_level"], float("nan")), "noise_level"),
        (_changed(["noise_level"], True), "noise_level"),
        (_changed(["nose"], 1), "did you mean 'noise"),
        (_changed(["stages", 0, "width"], 11), "width"),
        (_changed(["stages", 0, "sin3d"], {}), 'no "sin3d"; did you mean'),
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
    (tmp_path / "folder.json").mkdir()
    for name in ("missing.json", "bytes.json", "folder.json", "nul\0.json"):
        with pytest.raises(UserError, match="cannot be read") as caught:
            signal_task(str(tmp_path / name))
        assert "\0" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        signal_task("~nobody-of-this-name/x.json")


def test_a_file_of_one_s_own_does_not_take_the_name_of_a_shipped_task(found):
    found.mkdir()
    (found / "combo.json").write_text(str(a_task()))
    assert signal_task("combo") != a_task() and signal_tasks()["combo"].startswith("hand-made")


def test_what_came_is_shown_on_one_line_and_cut():
    for text in (json.dumps({"stages": [{}, {}, {}], "noise": "a\nb" * 500}), json.dumps({"a\nb" * 500: 1})):
        with pytest.raises(UserError) as caught:
            SignalTask.parse(text)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHSCOUT_SIGNALS", str(tmp_path / "file" / "signals"))
    with pytest.raises(UserError, match="set ARCHSCOUT_SIGNALS"):
        save_task(a_task(), "mine")


def test_a_name_is_pinned_to_what_it_stands_for(found):
    save_task(a_task(), "mine")
    assert pinned("combo") == "combo" and pinned("mine") == str(a_task()) == pinned(str(a_task()))
