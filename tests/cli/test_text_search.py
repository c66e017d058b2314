"""A language model from a text, through the command line: search, resume, predict, sample, show, train, and what is refused."""

from __future__ import annotations

import json
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import Command, end_of, landed, until

from archscout.api import predict
from archscout.core.errors import ArchscoutError, UserError
from archscout.report.facts import from_json

WORDS = ("search", "--budget", 8, "--epochs", 1, "--workers", 1, "--vocabulary", "word")
SIZE = ("--set", "space.size=8", "--set", "space.nodes=2")
SETTINGS = (*SIZE, "--set", "data.window=10", "--set", "recipe.batch=4", "--json")
TWO_THREADS = {"OMP_NUM_THREADS": "2"}
"""As users have them; where a training has no lanes, its operations do."""


@pytest.fixture(scope="session")
def story(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """4,000 words, which follow from one another by a few rules."""

    def make(path: Path) -> None:
        draw = random.Random(0)
        people, deeds, things = "anna boris carl dora".split(), "sees hears likes".split(), "dog cat tree house".split()
        lines = [f"{draw.choice(people)} {draw.choice(deeds)} the {draw.choice(things)} and goes on" for _ in range(500)]
        path.write_text("\n".join(lines) + "\n")

    return once("story.txt", make)


@pytest.fixture(scope="session")
def told(archscout: Command, story: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A finished search, to be looked at and not to be changed."""

    def make(folder: Path) -> None:
        done = archscout(*WORDS, "--task", "language-modelling", "--data", story, "--out", folder, *SETTINGS, env=TWO_THREADS)
        Path(f"{folder}.json").write_text(done.out)

    return once("told", make)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_the_search_ends_with_a_model_a_verdict_and_a_report(told: Path) -> None:
    found = summary(told)
    assert found == json.loads(Path(f"{told}.json").read_text())
    assert found["task"] == "story" and found["metric"] == "perplexity"
    low, high = found["test_interval"]
    assert 1 < low < found["test_value"] < high < 18
    names = [row["name"] for row in found["baselines"]]
    assert names == ["random architecture", "LSTM", "GRU"]
    assert all(row["valid_value"] > 1 for row in found["baselines"])
    for file in (
        "model.safetensors",
        "vocabulary.json",
        "language_model.py",
        "architecture.json",
        "preprocessing.json",
        "report.html",
    ):
        assert (told / file).is_file(), file
    assert found["artifacts"]["pt2"] is None
    facts = from_json((told / "report.json").read_text())
    assert facts.metric == "perplexity" and facts.answer is not None and facts.sample and facts.comparison is not None
    page = (told / "report.html").read_text()
    for part in ("test perplexity", "the lower, the better", "windows of text", "What it writes", "LSTM", "GRU", "&lt;unk&gt;"):
        assert part in page, part
    assert "accurac" not in page and "image" not in page.split("</style>")[1].replace("image/", "")


def test_rivals_have_the_parameters_of_the_searched_network_and_its_cost(told: Path) -> None:
    facts = from_json((told / "report.json").read_text())
    assert facts.comparison is not None
    by_role = {c.name: c for c in facts.comparison.contestants}
    searched = by_role["searched 1"]
    for name in ("LSTM", "GRU"):
        rival = by_role[name]
        assert 0.8 * searched.params < rival.params <= searched.params  # 8 units: one more is a tenth of the parameters
        assert rival.epochs * rival.macs == pytest.approx(searched.epochs * searched.macs, rel=0.15)


def test_show_tells_perplexities(told: Path, call: Callable[..., str]) -> None:
    text = call("show", told)
    assert "perplexity" in text and "training windows of 10 tokens" in text and "by short training" in text
    rows = json.loads(call("show", told, "--json"))["stages"]
    assert all(row["perplexity"] > 1 for stage in rows[:2] for row in stage["best"])
    assert f"{summary(told)['test_value']:.2f}" in call("runs", told)


def test_predict_gives_perplexities(told: Path, story: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    (tmp_path / "a.txt").write_text("anna sees the dog and goes on\nboris likes a zebra\n")
    (tmp_path / "b.txt").write_text("on goes and dog the sees anna\n")
    one, other = json.loads(call("predict", told, "--data", tmp_path, "--json"))
    assert (one["tokens"], one["unknown"], other["unknown"]) == (13, 2, 0)
    assert other["perplexity"] > json.loads(call("predict", told, "--data", story, "--json"))[0]["perplexity"]
    header, first, _ = call("predict", told, "--data", tmp_path).splitlines()
    assert header == "file,tokens,unknown,perplexity" and first.startswith(f"{tmp_path / 'a.txt'},13,2,")


def test_predict_skips_texts_that_cannot_be_measured(told: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("anna hört the dog\n".encode("latin-1"))
    (tmp_path / "torn.txt.xz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"no text in the folder .* can be measured; .* needs a text of two tokens or more"):
        call("predict", told, "--data", tmp_path)
    (tmp_path / "good.txt").write_text("anna sees the dog\n")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "good-checkpoint.txt").write_text("anna sees the dog\n")
    rows, skipped = predict(told, tmp_path)
    assert [row["file"] for row in rows] == [str(tmp_path / "good.txt")]
    wanted = {"empty.txt": "needs a text of two tokens", "latin.txt": "is not UTF-8", "torn.txt.xz": "cannot be read"}
    assert [Path(file).name for file, _ in skipped] == sorted(wanted)
    assert all(wanted[Path(file).name] in reason for file, reason in skipped)
    with pytest.raises(UserError, match="needs a text of two tokens or more"):
        predict(told, tmp_path / "empty.txt")


def test_sample_writes_a_text(archscout: Command, told: Path, call: Callable[..., str], tmp_path: Path) -> None:
    words = ("sample", told, "--length", 12, "--start", "anna sees", "--seed", 3)
    text = archscout(*words, fresh=True).out
    assert text == call(*words) != call(*words[:-1], 4)
    assert 6 <= len(text.split()) <= 12 and "<unk>" not in text
    assert json.loads(call(*words, "--json"))["text"] + "\n" == text
    for refused, message in (
        (("sample", tmp_path), "holds no trained network yet"),
        (("export", told, "--format", "onnx"), r"a language model is not exported as onnx: .* use language_model\.py"),
        (("predict", told, "--data", tmp_path), "holds no texts"),
    ):
        with pytest.raises(ArchscoutError, match=message):
            call(*refused)


def test_a_killed_search_goes_on_to_the_same_end(archscout: Command, story: Path, told: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = archscout.start(*WORDS, "--data", story, "--out", folder, *SETTINGS, env=TWO_THREADS)
    assert until(lambda: landed(folder) >= 3, process)
    process.send_signal(signal.SIGKILL)
    end_of(process)
    archscout("resume", folder, "--json", env=TWO_THREADS)
    one, other = summary(folder), summary(told)
    for name in ("best", "test_value", "test_interval", "baselines", "search_won", "pareto"):
        wanted = {**other[name], "latency_ms": one[name]["latency_ms"]} if name == "best" else other[name]
        assert one[name] == wanted, name


def test_train_one_cell_and_one_rival(story: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("train", "rnn:0.0.1.1", "--data", story, "--epochs", 0.5, "--vocabulary", "word", "--set", "space.nodes=2")
    small = ("--set", "space.size=8", "--set", "data.window=10", "--set", "recipe.batch=4", "--out", tmp_path / "net")
    facts = json.loads(call(*words, *small, "--json"))
    assert facts["metric"] == "perplexity" and 1 < facts["test_interval"][0] < facts["test_value"] < 18
    assert (tmp_path / "net" / "vocabulary.json").is_file()
    assert "test perplexity" in call(*words, *small)
    rival = call("train", "handmade-rnn:1.7", *words[2:8], "--set", "data.window=10", "--out", tmp_path / "gru")
    assert "test perplexity" in rival
    published = call(
        *("train", "NAO", "--space", "rnn", "--recipe", "nao-ptb", "--data", story, "--epochs", 0.2, "--vocabulary", "word"),
        *("--set", "space.size=6", "--set", "data.window=10", "--out", tmp_path / "nao", "--json"),
    )
    recipe = json.loads(published)["recipe"]
    assert (recipe["name"], recipe["optimizer"], recipe["nonmono"]) == ("nao-ptb", "sgd", 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "image-classification"), "is a text, but a task of image-classification is one of images"),
        (("--task", "translation"), "there is no task 'translation'"),
        (("--vocabulary", "letters"), "there is no vocabulary 'letters'"),
        (("--space", "nas201"), "'nas201' serves image-classification, but the task is language-modelling"),
        (("--estimator", "naswot"), "'naswot' serves image-classification"),
        (("--strategy", "darts"), "'darts' serves image-classification"),
        (("--screen-only",), "screened by training; name an --estimator"),
        (("--set", "data.window=3000"), "too few for 2 windows of 3000"),
    ],
)
def test_searches_that_are_refused(
    story: Path, tmp_path: Path, call: Callable[..., str], words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        call("search", "--data", story, "--budget", 8, "--out", tmp_path / "run", *words)
    assert "\n" not in str(refused.value) and refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_trainings_that_are_refused(story: Path, call: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="the recipe 'nas201' does not train networks for language-modelling"):
        call("train", "rnn:0.0", "--set", "space.nodes=1", "--data", story, "--recipe", "nas201")
    with pytest.raises(UserError, match="'handmade' serves image-classification"):
        call("train", "handmade:0.0.0", "--data", story)


def test_an_empty_text_is_refused_in_one_sentence(archscout: Command, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    archscout("search", "--data", empty, "--out", tmp_path / "run", code=2).refused("the text 'empty' is empty")
    assert not (tmp_path / "run").exists()
