"""Few-shot tasks through the command line: search, predict, train, meta train, adapt, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import Command
from PIL import Image

from archscout.report.facts import from_json
from archscout.testing.tasks import strokes

TASK = ("--task", "few-shot", "--ways", 3)
SMALL = ("--set", "space.channels=4", "--set", "space.nodes=2")
SHORT = (
    "iterations=3", "warm_up=0.4", "every=1", "population=3", "parents=1", "crossed=1", "mutated=1", "tasks=2", "final_tasks=2",
    "batch=2", "paths=1",
)  # fmt: skip


def settings(owner: str) -> list[str]:
    return [word for setting in SHORT for word in ("--set", f"{owner}.{setting}")]


def drawn(folder: Path, part: str, classes: int, images: int) -> None:
    """Sub-folders with images of characters."""
    split = strokes(part, 14, classes, images, 0)
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        place = folder / f"character {label:02}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{number}.png")


@pytest.fixture(scope="session")
def characters(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Twelve classes of five images."""
    return once("characters", lambda folder: drawn(folder, "train", 12, 5))


@pytest.fixture(scope="session")
def unseen(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Three other classes: two images of each to learn from, and one of each to be labelled."""

    def make(folder: Path) -> None:
        drawn(folder / "all", "test", 3, 3)
        for place in sorted((folder / "all").iterdir()):
            *shown, asked = sorted(place.iterdir())
            for number, file in enumerate(shown):
                to = folder / "support" / place.name / f"{number}.png"
                to.parent.mkdir(parents=True, exist_ok=True)
                file.rename(to)
            (folder / "asked").mkdir(exist_ok=True)
            asked.rename(folder / "asked" / f"{place.name}.png")

    return once("unseen", make)


@pytest.fixture(scope="session")
def found(archscout: Command, characters: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A finished search, to be looked at and not to be changed."""

    def make(folder: Path) -> None:
        words = ("search", "--data", characters, *TASK, "--budget", 6, "--epochs", 0.5, "--workers", 1, "--out", folder, "--json")
        done = archscout(*words, *SMALL, *settings("strategy"), "--set", "recipe.batch=2")
        Path(f"{folder}.json").write_text(done.out)

    return once("few-shot-run", make)


@pytest.fixture(scope="session")
def model(archscout: Command, characters: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """What AT-NAS learned from the characters."""

    def make(folder: Path) -> None:
        folder.mkdir()
        words = ("meta", "train", "at-nas", "--data", characters, "--ways", 3, "--shots", 2, "--name", "mine", "--json")
        done = archscout(*words, *SMALL, *settings("meta"), cwd=folder, env={"ARCHSCOUT_MODELS": str(folder)})
        (folder / "said.json").write_text(done.out)

    return once("at-nas", make)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_search_ends_with_a_network_a_verdict_and_a_report(found: Path) -> None:
    summary = read(found / "summary.json")
    assert summary == read(Path(f"{found}.json")) and summary["metric"] == "few-shot accuracy"
    low, high = summary["test_interval"]
    assert 0 <= low < summary["test_value"] < high <= 1
    names = [row["name"] for row in summary["baselines"]]
    assert names == ["random architecture", "MAML's network, strided", "MAML's network, pooled"]
    assert summary["artifacts"]["safetensors"] and summary["artifacts"]["onnx"] is None and summary["artifacts"]["pt2"] is None
    adaptation = read(found / "adaptation.json")
    assert adaptation["steps"] > 0 and adaptation["method"] in ("anil", "fomaml")
    facts = from_json((found / "report.json").read_text())
    assert facts.answer is not None and facts.answer.test_count == 600
    assert [(len(counts), sum(counts.values())) for counts in facts.data.counts.values()] == [(6, 30), (3, 15), (3, 15)]
    assert any("No class is in two parts: 6 train, 3 valid, 3 test classes" in note for note in facts.data.notes)
    page = (found / "report.html").read_text()
    assert "600 episodes" in page and "--support" in page and "30 train, 15 valid, 15 test; 12\u00a0classes" in page
    assert "MACs per image" in page and "Latency, one image" in page and "<dt>Augmentation</dt><dd>none</dd>" in page
    assert "with other test episodes of the same kind" in page and "knows nothing of" in page


def test_predict_adapts_to_the_support(archscout: Command, found: Path, unseen: Path, tmp_path: Path) -> None:
    support = shutil.copytree(unseen / "support", tmp_path / "support")
    shutil.copytree(support / "character 00", support / ".thumbnails")  # what is hidden is no class
    rows = archscout("predict", found, "--data", unseen / "asked", "--support", support, "--top", 2, "--json").json
    assert len(rows) == 3 and all(len(row["labels"]) == 2 for row in rows)
    known = {"character 00", "character 01", "character 02"}
    assert {guess["label"] for row in rows for guess in row["labels"]} <= known
    assert np.allclose([sum(guess["probability"] for guess in row["labels"]) for row in rows], 1, atol=0.5)


def test_predict_says_what_it_needs(archscout: Command, found: Path, unseen: Path, tmp_path: Path) -> None:
    archscout("predict", found, "--data", unseen / "asked", code=2).refused("give them with --support FOLDER")
    drawn(tmp_path / "many", "many", 4, 1)
    words = ("predict", found, "--data", unseen / "asked", "--support")
    archscout(*words, tmp_path / "many", code=2).refused("tells 2 to 3 classes apart, but the support has 4")
    archscout(*words, unseen / "asked", code=2).refused("lies in no sub-folder")
    archscout(*words, tmp_path / "none", code=2).refused("there is no folder")


def test_export_of_other_formats_is_refused(archscout: Command, found: Path) -> None:
    archscout("export", found, "--format", "onnx", code=2).refused("adapts its weights to every new task")


def test_train_one_network(archscout: Command, characters: Path, unseen: Path, tmp_path: Path) -> None:
    words = ("train", "handmade-few-shot:0.0", "--data", characters, *TASK, "--epochs", 1, "--set", "recipe.batch=2", "--out")
    assert "% of 600 test episodes (95 % interval" in archscout(*words, tmp_path / "told").out
    facts = archscout(*words, tmp_path / "one", "--json", "--set", "recipe.statistics=batch").json
    assert facts["metric"] == "few-shot accuracy" and facts["test_episodes"] == 600 and facts["recipe"]["batch"] == 2
    assert (tmp_path / "one" / "adaptation.json").is_file()
    one = next((unseen / "asked").iterdir())
    assert len(archscout("predict", tmp_path / "told", "--data", one, "--support", unseen / "support", "--json").json) == 1
    done = archscout("predict", tmp_path / "one", "--data", one, "--support", unseen / "support", code=2)
    done.refused("one alone is too little")


def test_a_space_without_a_supernet_is_searched_as_others_are(archscout: Command, characters: Path, tmp_path: Path) -> None:
    words = ("search", "--data", characters, *TASK, "--space", "handmade-few-shot", "--screen-only", "--budget", 6)
    assert archscout(*words, "--out", tmp_path / "run", "--json").json["best"]["architecture"].startswith("handmade-few-shot:")


def test_meta_training_is_in_a_space_for_episodes(archscout: Command, characters: Path) -> None:
    done = archscout("meta", "train", "at-nas", "--data", characters, "--ways", 3, "--space", "rnn", code=2)
    done.refused("the space 'rnn' serves language-modelling")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_meta_training_on_a_gpu_that_is_not_there(archscout: Command, characters: Path) -> None:
    archscout("meta", "train", "at-nas", "--data", characters, "--device", "cuda", code=2).refused("--device cuda needs a GPU")
    archscout("meta", "train", "at-nas", "--data", characters, "--device", "tpu", code=2).refused("takes auto, cpu, cuda")


def test_what_was_meta_trained_is_listed_and_adapts(archscout: Command, model: Path, unseen: Path) -> None:
    env = {"ARCHSCOUT_MODELS": str(model)}
    said = read(model / "said.json")
    assert said["name"] == "mine" and said["complete"] and said["task"]["ways"] == 3 and said["task"]["shots"] == 2
    [listed] = [one for one in archscout("meta", "list", "--json", env=env).json if one["name"] == "mine"]
    assert listed["about"] == "at-nas, from 3-way 2-shot episodes of characters"
    words = ("meta", "adapt", "mine", "--support", unseen / "support", "--data", unseen / "asked", "--json")
    one, again = (archscout(*words, "--rounds", 1, env=env).json for _ in range(2))
    assert one["rows"] == again["rows"] and one["architecture"] == again["architecture"].strip() and 0 <= one["score"] <= 1
    assert [Path(row["file"]).stem for row in one["rows"]] == ["character 00", "character 01", "character 02"]
    told = archscout(*words[:-1], "--rounds", 1, env=env)
    assert told.out.splitlines()[0] == "file,label,probability" and len(told.out.splitlines()) == 4
    assert "of the support's held-out images right" in told.err


def test_the_judge_adapts_paths_to_a_data_set(archscout: Command, model: Path, characters: Path) -> None:
    env = {"ARCHSCOUT_MODELS": str(model)}
    words = ("score", "few-shot:0.4.4.0.4.4.0.4.4.0.4.4", "few-shot:0.0.0.0.0.0.0.0.0.0.0.0", "--data", characters, *SMALL)
    judge = ("--estimator", "at-nas", "--set", "estimator.images=30", "--set", "estimator.epochs=1", "--json")
    rows = archscout(*words, *judge, "--set", "estimator.model=mine", env=env).json
    assert all(0 <= row["value"] <= 1 for row in rows)
    archscout(*words, *judge, code=2).refused("needs a meta-trained supernet")
    other = ("score", "few-shot:0.4.4.0.4.4.0.4.4.0.4.4", "--data", characters, "--set", "space.nodes=2")
    archscout(*other, *judge, "--set", "estimator.model=mine", env=env, code=2).refused("take its space and settings")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--ways", 5), ["5-way episodes", "need 15 classes", "but there are 12"]),
        (("--ways", 3, "--shots", 5), ["5 shots and 1 queries need 6 images", "has 5"]),
        (("--ways", 1), ["at least 2 --ways"]),
        (("--ways", 3, "--augment", "flip"), ["unchanged"]),
        (("--ways", 3, "--strategy", "darts"), ["serves image-classification"]),
        (("--ways", 3, "--space", "nas201"), ["serves image-classification"]),
    ],
)
def test_bad_input(archscout: Command, characters: Path, tmp_path: Path, words: tuple[object, ...], parts: list[str]) -> None:
    done = archscout("search", "--data", characters, "--task", "few-shot", *words, "--out", tmp_path / "run", code=2)
    done.refused(*parts)


def test_ways_are_of_few_shot_tasks(archscout: Command, characters: Path) -> None:
    archscout("search", "--data", characters, "--ways", 3, code=2).refused("--ways is of few-shot episodes")
