"""`archscout explain`, as a user types it; bad input is one sentence."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import SLOWNESS, Command, banded_images, until
from test_start import imports_torch

from archscout import catalogue
from archscout.core.draw import sample
from archscout.core.errors import RunError, UserError
from archscout.strategies import random

TINY = (
    *("--data", "bands.npz", "--image-size", "8", "--set", "space.channels=2", "--set", "study.train_images=120"),
    *("--set", "study.valid_images=60", "--set", "study.images=40", "--set", "study.noise_grid=3", "--set", "study.batches=3"),
    *("--set", "study.batch=8"),
)
SHALLOW = (*TINY, "--set", "space.cells=1")
SMALL = (
    "Genotype(normal=[('a', 0), ('b', 1), ('a', 0), ('b', 2)], normal_concat=[3], "
    "reduce=[('a', 0), ('a', 0), ('b', 1), ('a', 1)], reduce_concat=range(2, 4))"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images, labels = banded_images(300)
    np.savez(tmp_path / "bands.npz", x=images, y=labels, classes=np.array(["low", "middle", "high"]))
    return tmp_path


def test_a_cell_at_once(archscout: Command) -> None:
    took, done = [], None
    for _ in range(3):
        begun = time.perf_counter()
        done = archscout("explain", "DARTS_V2", "--json", fresh=True)
        took.append(time.perf_counter() - begun)
    assert min(took) < 2 * SLOWNESS
    assert done is not None
    normal, reduce = done.json["normal"], done.json["reduce"]
    wanted = {
        "width": 3.5, "depth": 3, "level": [0, 0, 1, 1, 1, 2], "f": [1, 1, 1, 0.5], "dead": [], "effective_width": 3.5,
        "effective_depth": 3, "skip_edges": 2, "param_free_share": 0.25, "longest_path": [0, 2, 5], "is_common_pattern": True,
        "compared_with": {"cells": 180, "what": "topologies of 4 nodes with different sources", "exact": True},
    }  # fmt: skip
    assert {name: normal[name] for name in wanted} == wanted
    assert normal["top_share"] == pytest.approx(13 / 180, abs=1e-6) and normal["percentile"] == pytest.approx(
        100 * 167 / 180, abs=1e-4
    )
    assert (reduce["width"], reduce["depth"], reduce["is_common_pattern"]) == (2.5, 3, False)
    variants = {one["name"]: one["cells"]["normal"] for one in done.json["variants"]}
    assert variants["widest"] == {"width": 4, "depth": 2, "dead": []}
    assert variants["narrowest"] == {"width": 1.5, "depth": 5, "dead": []}
    assert list(variants) == ["widest", "narrowest", "random 1", "random 2", "random operations"]


@pytest.mark.parametrize("words", [("DARTS_V2", "--json"), ("nas201:3.3.3.1.3.2",), ("ENAS",)])
def test_cells_need_no_torch(words: tuple[str, ...]) -> None:
    assert not imports_torch("explain", *words)


def test_in_words_and_as_a_page(call: Callable[..., str], folder: Path) -> None:
    said = call("explain", "DARTS_V2", "--out", "page")
    assert "normal: width 3.5c, depth 3: in the top 7.2 % of 180 topologies" in said and "page in page/explain.html" in said
    page = (folder / "page" / "explain.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and page.count("<script") == 1
    assert page.count("<svg") == 3 and "sep 3" in page and "in the top 7.2 % of 180" in page
    assert page.count("darts:") >= 5 and "archscout " in page
    kept = json.loads((folder / "page" / "explain.json").read_text())
    assert kept["normal"]["width"] == 3.5 and kept["subject"] == "DARTS_V2"


@pytest.mark.parametrize(
    ("what", "cells"),
    [
        ("AmoebaNet", {"normal": (4, 4), "reduce": (4, 3)}),
        ("nasnet", {"normal": (5, 2), "reduce": (3.5, 3)}),
        ("nas201:3.3.3.1.3.2", {"cell": (11 / 6, 3)}),
        ("64-41414-1_02_333", {"cell": (4 / 3, 3)}),
        (
            '{"matrix": [[0,1,1,0],[0,0,0,1],[0,0,0,1],[0,0,0,0]], "ops": ["input", "conv3x3-bn-relu", "maxpool3x3", "output"]}',
            {"cell": (2, 2)},
        ),
        ("NAO_B", {"normal": (3.5, 3), "reduce": (2.5, 4)}),
        (SMALL, {"normal": (1.5, 3), "reduce": (2, 2)}),
        ("few-shot:0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0", {"normal": (4, 2), "reduce": (4, 2)}),
        ("rnn:0.0.0.0.1.0.1.0.2.0.3.0.5.0.6.0", {"cell": (2, 5)}),
    ],
)
def test_all_spaces_with_cells(call: Callable[..., str], what: str, cells: dict[str, tuple[float, int]]) -> None:
    found = json.loads(call("explain", what, "--json"))
    assert {name: (found[name]["width"], found[name]["depth"]) for name in cells} == {
        name: (pytest.approx(width), depth) for name, (width, depth) in cells.items()
    }
    assert all(0 <= found[name]["percentile"] < 100 and 0 < found[name]["top_share"] <= 1 for name in cells)
    assert all(found[name]["compared_with"]["exact"] for name in cells)


def test_dead_nodes_of_variants(call: Callable[..., str]) -> None:
    found = {
        concat: json.loads(call("explain", "AmoebaNet", "--concat", concat, "--json"))["variants"][0] for concat in ("keep", "all")
    }
    assert found["keep"]["name"] == "widest" and found["keep"]["cells"]["normal"]["dead"] == [2, 3]
    assert found["all"]["cells"]["normal"]["dead"] == [] and "normal_concat=range(2, 7)" in found["all"]["genotype"]
    again = json.loads(call("explain", found["keep"]["genotype"], "--json"))
    assert again["normal"]["effective_width"] == 3 and "2 dead" not in call("explain", "AmoebaNet", "--concat", "all")


def test_a_sample_is_called_one(call: Callable[..., str]) -> None:
    text = str(sample(catalogue.make("spaces", "nas101", subspace=3), np.random.default_rng(0)))
    words = ("explain", text, "--set", "space.subspace=3")
    assert not json.loads(call(*words, "--json"))["cell"]["compared_with"]["exact"]
    assert "(a sample)" in call(*words)


def test_a_landscape(call: Callable[..., str], folder: Path) -> None:
    words = ("explain", "DARTS_V2", "--landscape", 5, "--epochs", 2, *TINY, "--set", "space.layers=3", "--out", "land")
    found = json.loads(call(*words, "--json"))
    [network] = found["study"]["networks"]
    assert found["complete"] and [point["epoch"] for point in network["curves"][0]] == [1, 2]
    surface = np.array(network["landscape"]["loss"][0])
    assert surface.shape == (5, 5) and (surface > 0).all() and network["landscape"]["axis"] == [-1, -0.5, 0, 0.5, 1]
    assert 0 < network["landscape"]["basin_area"] <= 1 and network["landscape"]["variation"] > 0
    assert np.array(network["noise"]["variance"]).shape == (3, 3) and network["noise"]["centre_variance"] > 0
    page = (folder / "land" / "explain.html").read_text()
    assert page.count("<svg") == 3 + 3 and "Loss around as it is" in page and page.count('<rect class="cell"') == 25 + 9
    other = json.loads(call(*words, "--json"))
    assert other["study"] == found["study"]


def test_networks_as_they_are_drawn(call: Callable[..., str]) -> None:
    found = json.loads(call("explain", "nas201:3.3.3.1.3.2", "--landscape", 3, "--epochs", 0, *SHALLOW, "--json"))
    [network] = found["study"]["networks"]
    assert network["curves"] == [] and "final_loss" not in network
    assert np.array(network["landscape"]["loss"][0])[1, 1] == pytest.approx(np.log(3), rel=0.6)


def test_other_networks_have_landscapes_too(call: Callable[..., str]) -> None:
    words = ("explain", "macro:1.0.0.0.0.0.0.0", "--landscape", 3, "--epochs", 0, *TINY, "--set", "space.head=8", "--json")
    found = json.loads(call(*words))
    assert "normal" not in found and np.array(found["study"]["networks"][0]["landscape"]["loss"]).shape == (1, 3, 3)


def test_the_whole_study(call: Callable[..., str], folder: Path) -> None:
    words = (
        "explain",
        "nas201:3.0.3.1.0.3",
        "--deep",
        "--landscape",
        3,
        "--epochs",
        2,
        *SHALLOW,
        "--set",
        "study.pairs=2",
        "--out",
        "deep",
    )
    found = json.loads(call(*words, "--json"))
    networks = {network["name"]: network for network in found["study"]["networks"]}
    # Four edges can be connected in four ways only, so there is no second random one.
    assert list(networks) == ["as it is", "widest", "narrowest", "random 1", "random operations"]
    assert all(len(network["curves"][0]) == 2 and network["loss_area"] > 0 for network in networks.values())
    assert [name for name, network in networks.items() if network.get("landscape")] == ["as it is", "widest", "narrowest"]
    assert len(networks["widest"]["landscape"]["loss"]) == 2
    told = found["study"]["correlations"]
    assert told["networks"] == 4 and -1 <= told["width with faster convergence"]["spearman"] <= 1
    page = (folder / "deep" / "explain.html").read_text()
    assert "How fast they converge" in page and "Spearman" in page and page.count("Loss around") == 3


def test_a_killed_study_goes_on_to_the_same_answer(archscout: Command, call: Callable[..., str], folder: Path) -> None:
    words = ("explain", "nas201:3.0.3.1.0.3", "--deep", "--landscape", 3, "--epochs", 3, *SHALLOW, "--json", "--out")
    process = archscout.start(*words, "killed", cwd=folder)
    assert until(lambda: any(b"random 1 0 1" in file.read_bytes() for file in (folder / "killed").glob("study-*.lines")), process)
    process.kill()
    process.communicate()
    [kept] = (folder / "killed").glob("study-*.lines")
    assert 3 < kept.read_bytes().count(b"\n") < 40
    found, straight = (json.loads(call(*words, name)) for name in ("killed", "straight"))
    assert found | {"page": ""} == straight | {"page": ""}


def test_the_time_may_be_up(call: Callable[..., str]) -> None:
    words = ("explain", "nas201:3.0.3.1.0.3", "--landscape", 3, "--epochs", 2, *SHALLOW, "--out", "short")
    said = call(*words, "--minutes", 0)
    assert "the time was up; the same command goes on" in said
    found = json.loads(call(*words, "--json"))
    assert found["complete"] and len(found["study"]["networks"][0]["curves"][0]) == 2


def test_a_run(call: Callable[..., str]) -> None:
    small = ("--set", "space.channels=4", "--set", "space.cells=1", "--formats", "safetensors")
    call("train", "nas201:3.3.1.0.3.2", "--data", "bands.npz", "--epochs", 0.2, *small, "--out", "run")
    found = json.loads(call("explain", "run", "--json"))
    assert found["architecture"] == "nas201:3.3.1.0.3.2" and found["run"] == "run" and found["cell"]["depth"] == 3
    with pytest.raises(UserError, match="does not say what its data were; name them with --data"):
        call("explain", "run", "--landscape", 3)
    sized = [word for word in SHALLOW if word not in ("--image-size", "8")]
    found = json.loads(call("explain", "run", "--landscape", 3, *sized, "--json"))
    [network] = found["study"]["networks"]
    assert network["name"] == "as the run trained it" and network["landscape"]["basin_area"] > 0 and network["curves"] == []
    call("train", "nas201:3.3.1.0.3.2", "--data", "bands.npz", "--epochs", 0.2, "--seed", 1, *small, "--out", "other")
    [other] = json.loads(call("explain", "other", "--landscape", 3, *sized, "--json"))["study"]["networks"]
    assert other["landscape"]["loss"] != network["landscape"]["loss"], "not what is known of another run of this architecture"


def test_a_damaged_run_is_one_sentence(call: Callable[..., str], folder: Path) -> None:
    whole = {"architecture": "nas201:3.3.1.0.3.2", "space": {"name": "nas201", "settings": {}}}
    for name, value in (("space", {"name": 5, "settings": {}}), ("space", {"name": "nas201"}), ("architecture", 5)):
        (folder / "architecture.json").write_text(json.dumps({**whole, name: value}))
        with pytest.raises(RunError, match=r"architecture\.json' is damaged"):
            call("explain", folder)
    (folder / "architecture.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match=r"architecture\.json' is damaged"):
        call("explain", folder)


def test_a_validation_loss_that_is_no_number(call: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.explaining.study.evaluate", lambda network, split: (np.ones(len(split), bool), float("nan")))
    words = ("explain", "nas201:3.3.3.1.3.2", "--landscape", 3, "--epochs", 1, *SHALLOW, "--out", "page")
    [network] = json.loads(call(*words, "--json"))["study"]["networks"]
    assert network["curves"][0][0]["loss"] is None and network["final_loss"] is None and network["final_error"] == 0
    assert json.loads((folder / "page" / "explain.json").read_text())["study"]["networks"] == [network]


@pytest.mark.parametrize(
    ("strategy", "more"),
    [("random", ("--queries", 8)), ("regularized-evolution", ("--queries", 30)), ("local", ("--queries", 20))],
)
def test_what_a_strategy_favours_by_table(call: Callable[..., str], folder: Path, strategy: str, more: tuple[object, ...]) -> None:
    words = (
        "explain",
        "--strategy",
        strategy,
        "--table",
        "nas201",
        "--seeds",
        3,
        *more,
        "--data",
        "bands.npz",
        "--image-size",
        "8",
        "--out",
        "b",
    )
    found = json.loads(call(*words, "--json"))
    assert [one["seed"] for one in found["found"]] == [0, 1, 2] and found["compared_with"]["cells"] == 15_625
    cell = found["cells"]["cell"]
    assert cell["width"]["mean"] == pytest.approx(np.mean([one["cells"]["cell"]["width"] for one in found["found"]]))
    assert cell["percentile"]["random"] == 50 and cell["width"]["random"] == pytest.approx(1.5557, abs=1e-4)
    place = cell["percentile"]
    assert len(place["values"]) == 3 and 0 <= place["interval"][0] <= place["mean"] <= place["interval"][1] <= 100
    page = (folder / "b" / "explain.html").read_text()
    assert page.count("<svg") == 2 and found["found"][0]["architecture"] in page
    again = call(*words)
    assert f"{strategy} in 'nas201', 3 seeds, beside 15,625 cells" in again and "page in b/explain.html" in again


def test_a_strategy_of_ones_own_leaves_nothing_beside_its_file(call: Callable[..., str], folder: Path) -> None:
    place = folder / "mine" / "own.py"
    place.parent.mkdir()
    place.write_text(inspect.getsource(random))
    words = ("--strategy", place, "--table", "nas201", "--seeds", 1, "--queries", 3, "--data", "bands.npz", "--image-size", "8")
    found = json.loads(call("explain", *words, "--out", "b", "--json"))
    assert json.loads(call("runs", folder, "--json")) == [], "they are no searches of the user"
    assert found["strategy"] == "own" and len(list((folder / "b" / "runs").glob("own-0-*"))) == 1
    assert [path.name for path in place.parent.iterdir() if path.suffix != ".pyc" and path.name != "__pycache__"] == ["own.py"]


def test_what_a_strategy_that_learns_by_itself_favours(call: Callable[..., str]) -> None:
    words = (
        *("explain", "--strategy", "darts", "--space", "darts", "--seeds", 2, "--data", "bands.npz", "--image-size", "8"),
        *("--set", "strategy.epochs=1", "--set", "strategy.channels=2", "--set", "strategy.depth=3", "--set", "strategy.batch=64"),
        *("--set", "strategy.order=1", "--out", "b", "--json"),
    )
    found = json.loads(call(*words))
    assert set(found["cells"]) == {"normal", "reduce"} and len(found["found"]) == 2
    assert found["cells"]["normal"]["width"]["random"] == pytest.approx(2.567, abs=1e-3)
    assert json.loads(call(*words)) == found


def test_a_killed_comparison_of_runs_goes_on_to_the_same_answer(archscout: Command, call: Callable[..., str], folder: Path) -> None:
    words = (
        *("explain", "--strategy", "regularized-evolution", "--table", "nas201", "--seeds", 12, "--queries", 60),
        *("--data", "bands.npz", "--image-size", "8", "--json", "--out"),
    )
    process = archscout.start(*words, "killed", cwd=folder)
    assert until(lambda: len(list((folder / "killed").glob("runs/*"))) > 2, process)
    process.kill()
    process.communicate()
    assert len(list((folder / "killed").glob("runs/*"))) < 12
    found, straight = (json.loads(call(*words, name)) for name in ("killed", "straight"))
    assert found | {"page": ""} == straight | {"page": ""}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("explain",), "name one thing to explain"),
        (("explain", "DARTS_V2", "--strategy", "darts"), "name one thing to explain"),
        (("explain", "nas2001:0.0"), "no search space 'nas2001'"),
        (("explain", "DARTS_V9"), "is no architecture that a space knows"),
        (("explain", "nas201:9.0.0.0.0.0"), "takes 0 to 4"),
        (("explain", "macro:1.0.0.0.0.0.0.0"), "the networks of 'macro' have no cells"),
        (("explain", "mobile:0.1.0.1.0.0.0.0.0.0.0.0.0.0.0.3.1.0.0.0"), "have no cells"),
        (("explain", "Genotype(normal=[('a', 0)"), "a genotype reads Genotype(normal="),
        (
            ("explain", "Genotype(normal=__import__('os').system('true'), normal_concat=[2], reduce=[], reduce_concat=[2])"),
            "a genotype reads",
        ),
        (("explain", SMALL.replace("('b', 2)", "('b', 3)")), "node 3 of a cell reads one of the nodes 0 to 2, but 3 came"),
        (("explain", SMALL.replace("[3]", "[9]")), "joins some of its nodes 0 to 3"),
        (("explain", "."), "holds no trained network"),
        (("explain", "AmoebaNet", "--landscape", "5"), "whose networks archscout does not build"),
        (("explain", "DARTS_V2", "--landscape", "4"), "grid is odd and at least 3"),
        (("explain", "DARTS_V2", "--landscape", "5", "--set", "study.batches=1"), "batches is at least 2"),
        (("explain", "DARTS_V2", "--set", "studi.batches=1"), "--set knows no 'studi.batches'"),
        (("explain", "DARTS_V2", "--table", "nas201"), "--table goes with --strategy"),
        (("explain", "DARTS_V2", "--queries", "5"), "--queries goes with --strategy"),
        (("explain", "DARTS_V2", "--epochs", "5"), "--epochs goes with --landscape or --deep"),
        (("explain", "--strategy", "random", "--space", "darts", "--dataset", "cifar10"), "--dataset goes with --table"),
        (("explain", "--strategy", "random"), "give --table"),
        (("explain", "--strategy", "random", "--space", "macro"), "have no cells"),
        (("explain", "--strategy", "random", "--table", "nas201", "--deep"), "--deep looks at one architecture"),
        (("explain", "rnn:0.0.0.0.1.0.1.0.2.0.3.0.5.0.6.0", "--landscape", "3", "--data", "bands.npz", "--image-size", "8"), "rnn"),
    ],
)
def test_bad_input_is_one_sentence(archscout: Command, words: tuple[str, ...], part: str) -> None:
    archscout(*words, code=2).refused(part)
