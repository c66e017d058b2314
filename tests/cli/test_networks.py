"""`archscout score` and `archscout train`: networks by their text forms and published names."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import Command, banded_images, end_of
from safetensors import safe_open
from safetensors.numpy import load_file

from archscout import catalogue
from archscout.api.training import _recipe_for
from archscout.core.errors import UserError
from archscout.nn.recipe import Recipe
from archscout.testing.tasks import image_task

STRING = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def test_score_by_text_form_and_published_form(small_data: Path, call: Callable[..., str]) -> None:
    words = ("score", "nas201:3.3.3.1.3.3", STRING, "--data", small_data)
    one, other = json.loads(call(*words, "--json"))
    assert one["architecture"] == other["architecture"] == "nas201:3.3.3.1.3.3"
    assert one["genotype"] == other["genotype"] == STRING
    assert one["value"] == other["value"] and one["failure"] is None
    assert one["params"] == other["params"] > 800_000
    assert call(*words).count("nas201:3.3.3.1.3.3") == 2


def test_score_by_published_name(small_data: Path, call: Callable[..., str]) -> None:
    [row] = json.loads(call("score", "DARTS_V2", "--estimator", "params", "--data", small_data, "--json"))
    assert row["architecture"].startswith("darts:") and row["value"] == row["params"]
    assert 3_100_000 < row["params"] < 3_500_000  # 3.3 million, as published, at 36 channels and 20 cells


def test_score_of_nothing_known(call: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="is no architecture that a space knows"):
        call("score", "DARTS_V9")


def test_a_setting_may_decide_what_a_published_name_means(small_data: Path, call: Callable[..., str]) -> None:
    words = ("score", "MDENAS_GPU", "--estimator", "params", "--data", small_data, "--json")
    [row] = json.loads(call(*words, "--set", "space.skeleton=gpu"))
    [again] = json.loads(call("score", row["architecture"], *words[2:], "--set", "space.skeleton=gpu"))
    assert row["value"] == again["value"] == row["params"] > 4_000_000
    with pytest.raises(UserError, match="'small' has 9 blocks, but a gene of 14 came"):
        call(*words)


def test_train(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    size = ("--epochs", 3, "--formats", "onnx")
    words = ("train", "handmade:0.0.0", "--data", small_data, *size, "--out", tmp_path / "net", "--json")
    facts = json.loads(call(*words))
    assert facts["epochs"] == 3 and facts["architecture"] == "handmade:0.0.0"
    low, high = facts["test_interval"]
    assert low <= facts["test_value"] <= high
    assert Path(facts["artifacts"]["safetensors"]).is_file() and Path(facts["artifacts"]["onnx"]).is_file()
    again = json.loads(call(*words))
    assert again["test_value"] == facts["test_value"], "a training that is done is not done again"
    image = tmp_path / "image.png"
    from PIL import Image

    Image.new("L", (8, 8)).save(image)
    [row] = json.loads(call("predict", tmp_path / "net", "--data", image, "--json"))
    assert row["labels"][0]["label"] in ("0", "1", "2")


def test_train_by_a_published_recipe(archscout: Command, small_data: Path, tmp_path: Path) -> None:
    done = archscout(
        *("train", "DARTS_V2", "--data", small_data, "--image-size", 32, "--recipe", "darts-cifar10", "--epochs", 0.05),
        *("--set", "space.channels=2", "--set", "space.layers=3", "--set", "recipe.clip=4", "--out", tmp_path / "net", "--json"),
        fresh=True,
    )
    facts = done.json
    assert facts["recipe"]["name"] == "darts-cifar10" and facts["notes"] == []
    assert [facts["recipe"][name] for name in ("auxiliary", "drop_path", "clip")] == [0.4, 0.2, 4.0]
    assert 0 < facts["epochs"] < 0.1
    [checkpoint] = (tmp_path / "net" / "checkpoints").glob("*.safetensors")
    with safe_open(checkpoint, "np") as file:
        assert any(name.startswith("network.auxiliary.") for name in file.keys())
    with safe_open(facts["artifacts"]["safetensors"], "np") as file:
        assert not any("auxiliary" in name for name in file.keys())
        weights = [name for name in file.keys() if name.endswith(("weight", "bias"))]
        assert sum(file.get_tensor(name).size for name in weights) == facts["params"] < 1_000
    graph = json.loads(Path(facts["artifacts"]["architecture"]).read_text())["graph"]
    assert graph["output"] == len(graph["operations"]) - 1


def test_a_training_by_a_published_recipe_that_was_killed_ends_like_one_that_was_not(tmp_path: Path, archscout: Command) -> None:
    images, labels = banded_images(60)
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    words = ["train", "DARTS_V2", "--data", tmp_path / "few.npz", "--image-size", 32, "--recipe", "darts-cifar10", "--epochs", 10]
    words += ["--set", "space.channels=2", "--set", "space.layers=3", "--formats", "", "--out"]

    def ended_after_an_epoch(number: signal.Signals) -> int:
        process = archscout.start(*words, tmp_path / "killed")
        assert process.stderr is not None and any(line.startswith("epoch") for line in process.stderr)
        process.send_signal(number)
        return end_of(process).code

    archscout(*words, tmp_path / "straight")
    assert ended_after_an_epoch(signal.SIGTERM) == 143, "it saves"
    assert ended_after_an_epoch(signal.SIGKILL) == -signal.SIGKILL, "what came after that save is lost"
    assert "epoch 1 of 10" not in archscout(*words, tmp_path / "killed").err
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_recipe_in_half_precision(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("train", "DARTS_V2", "--data", small_data, "--image-size", 32, "--recipe", "darts-cifar10", "--epochs", 0.05)
    size = ("--set", "space.channels=2", "--set", "space.layers=3", "--formats", "", "--json")
    found = []
    for precision in ("fp32", "bf16"):
        facts = json.loads(call(*words, *size, "--set", f"recipe.precision={precision}", "--out", tmp_path / precision))
        assert facts["recipe"]["precision"] == precision and facts["notes"] == []
        found.append(load_file(facts["artifacts"]["safetensors"]))
    assert all(weight.dtype == np.float32 for weight in found[1].values() if weight.ndim), "weights stay as they are"
    assert all(np.isfinite(weight).all() for weight in found[1].values())
    assert any(not np.array_equal(found[0][name], found[1][name]) for name in found[0]), "it should be computed otherwise"


@pytest.mark.parametrize(
    ("name", "device", "asked", "precision"),
    [
        ("darts-cifar10", "cuda", {}, "bf16"), ("darts-cifar10", "cuda", {"recipe.precision": "fp32"}, "fp32"),
        ("darts-cifar10", "cpu", {}, "fp32"), ("default", "cuda", {}, "fp32"),
    ],
)  # fmt: skip
def test_published_recipes_are_trained_in_half_precision_on_a_gpu(
    name: str, device: str, asked: dict[str, str], precision: str
) -> None:
    space = catalogue.make("spaces", "darts")
    found = space.architecture([0] * len(space.decisions))
    recipe, _ = _recipe_for(name, space, found, image_task((3, 32, 32)), device, asked)
    assert isinstance(recipe, Recipe) and recipe.precision == precision


@pytest.mark.parametrize(
    ("name", "recipe", "operation_set", "dropped"),
    [("NAO_A", "nao-cifar10", "full", [0.4, 0.2, 0.4]), ("NAO_B", "nao-cifar100", "small", [0.4, 0.4, 0.2])],
)
def test_released_cells_train_by_the_recipe_of_nao(
    name: str, recipe: str, operation_set: str, dropped: list[float], small_data: Path, tmp_path: Path, call: Callable[..., str]
) -> None:
    words = (
        "train",
        name,
        "--data",
        small_data,
        "--image-size",
        32,
        "--recipe",
        recipe,
        "--epochs",
        0.01,
        "--formats",
        "",
        "--json",
    )
    size = ("space.channels=4", "space.layers=1", f"space.operation_set={operation_set}")
    given = [word for setting in size for word in ("--set", setting)]
    facts = json.loads(call(*words, *given, "--out", tmp_path / "net"))
    assert facts["recipe"]["name"] == recipe and facts["notes"] == [] and facts["epochs"] > 0
    assert [facts["recipe"][part] for part in ("auxiliary", "drop_path", "dropout")] == dropped
    assert facts["artifacts"]["pt2"] is facts["artifacts"]["onnx"] is None, "formats that were not asked for"
    with safe_open(facts["artifacts"]["safetensors"], "np") as file:
        assert not any("auxiliary" in part for part in file.keys())


def test_a_recipe_goes_without_what_the_network_cannot_have(small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    words = ("train", "nas201:3.0.0.0.0.0", "--data", small_data, "--epochs", 0.05, "--set", "space.channels=2", "--json")
    facts = json.loads(
        call(*words, "--set", "space.cells=1", "--recipe", "darts-cifar10", "--formats", "", "--out", tmp_path / "net")
    )
    assert facts["recipe"]["auxiliary"] == facts["recipe"]["drop_path"] == 0
    assert len(facts["notes"]) == 2 and "no auxiliary head" in facts["notes"][0] and "no paths" in facts["notes"][1]
    assert facts["params"] < 3_000, "the settings of the space count"
    words = ("train", "DARTS_V1", "--data", small_data, "--set", "recipe.small_share=0", "--out", tmp_path / "other")
    with pytest.raises(UserError, match=r"--set recipe.auxiliary=0.4 cannot be: the auxiliary head of 'darts' needs 8 x 8 pixels"):
        call(*words, "--set", "recipe.auxiliary=0.4")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("--recipe", "darts-cifar"), "did you mean 'darts-cifar10'"),
        (("--set", "recipe.drop_path=1"), "drop_path is less than 1"),
        (("--set", "recipe.clips=1"), "did you mean 'clip'"),
        (("--set", "space.chanels=4"), "did you mean 'channels'"),
        (("--set", "space.channels=0"), "must be at least 1"),
        (("--device", "tpu"), "--device takes auto, cpu, cuda"),
        (("--formats", "tflite"), "not exported as 'tflite'"),
    ],
)
def test_train_refuses(words: tuple[str, str], wanted: str, small_data: Path, tmp_path: Path, call: Callable[..., str]) -> None:
    with pytest.raises(UserError) as refused:
        call("train", "nas201:3.3.3.1.3.2", "--data", small_data, "--out", tmp_path / "net", *words)
    assert wanted in str(refused.value) and refused.value.exit_code == 2
    assert not (tmp_path / "net").exists()


def test_recipes_are_listed_with_their_source(call: Callable[..., str]) -> None:
    listed = json.loads(call("plugins", "recipes", "--json"))["recipes"]
    assert list(listed) == [
        "default",
        "darts-cifar10",
        "darts-cifar100",
        "nasi-cifar10",
        "nasi-cifar100",
        "nao-cifar10",
        "nao-cifar100",
        "nas201",
        "nao-ptb",
        "nao-wikitext2",
    ]
    assert listed["nasi-cifar100"]["recipe"]["auxiliary"] == 0.6 and listed["nas201"]["size"] == {"channels": 16, "cells": 5}
    text = call("plugins", "recipes", "darts-cifar10")
    assert "arXiv 1806.09055" in text and "drop_path         0.2" in text and "600 epochs, 36 channels, 20 layers" in text
    assert "clip" not in call("plugins", "recipes")
    with pytest.raises(UserError, match="no recipe 'dart'"):
        call("plugins", "recipes", "dart")


def test_score_uses_the_settings_of_the_space(small_data: Path, call: Callable[..., str]) -> None:
    words = ("score", "DARTS_V2", "--estimator", "params", "--data", small_data, "--json")
    [row] = json.loads(call(*words, "--set", "space.channels=4", "--set", "space.layers=3"))
    assert row["value"] == row["params"] < 10_000
